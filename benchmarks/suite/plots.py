"""Plots as SVG: rows with a label on the left, marks in the middle, figures in columns on the right.

Colours are classes of the page's style sheet, so one drawing serves light and dark pages.
"""

import math
from collections.abc import Iterator, Sequence
from html import escape

from msgspec import Struct

WIDTH, ROW, HEADER, LABEL, COLUMN = 960, 30, 26, 285, 88
"""Dimensions in the drawing's own units; the page scales it. `HEADER`: height of the text above or below the rows."""
BAR = 16
GAP = 12
WORD = 70
"""The width between labels and marks, and of a figure behind a mark."""


class Scale(Struct, frozen=True):
    """Maps values to positions. `log`: equal ratios are equal distances."""

    least: float
    most: float
    left: float
    right: float
    log: bool = False

    def at(self, value: float) -> float:
        """The position of a value. Values beyond an end are placed at the end."""
        value = min(max(value, self.least), self.most)
        share = (self._of(value) - self._of(self.least)) / ((self._of(self.most) - self._of(self.least)) or 1)
        return self.left + share * (self.right - self.left)

    def _of(self, value: float) -> float:
        return math.log(value) if self.log else value


class BarRow(Struct, frozen=True):
    """A bar of two parts, the spread of their sum, the text behind it, and the columns. `style`: a CSS class."""

    label: str
    parts: tuple[float, ...]
    least: float
    most: float
    text: str
    columns: tuple[str, ...] = ()
    style: str = ""


class DotRow(Struct, frozen=True):
    """Dots in a row: (value, least, most, class). `mark`: value at which a stroke crosses the row, or None."""

    label: str
    dots: tuple[tuple[float, float, float, str], ...]
    mark: float | None = None
    columns: tuple[tuple[str, str], ...] = ()


def bars(title: str, rows: Sequence[BarRow], columns: Sequence[str] = ()) -> str:
    """A plot of bars that begin at zero."""
    right = WIDTH - COLUMN * len(columns) - WORD
    scale = Scale(0, max(max(row.most, sum(row.parts)) for row in rows) or 1.0, LABEL + GAP, right)
    top = HEADER if columns else 4
    drawn = [*_columns(columns), *(_bar(row, top + number * ROW, scale) for number, row in enumerate(rows))]
    return _drawing(title, top + ROW * len(rows) + 4, drawn)


def _bar(row: BarRow, y: float, scale: Scale) -> str:
    middle = y + ROW / 2
    marks, at = [], 0.0
    for part, name in zip(row.parts, ("first", "second"), strict=False):
        begin, end = scale.at(at), scale.at(at + part)
        at += part
        marks.append(
            f'<rect class="{name}" x="{begin:.1f}" y="{middle - BAR / 2:.1f}" width="{end - begin:.1f}" '
            f'height="{BAR}" rx="1"/>'
        )
    if row.most > row.least:
        marks.append(_whisker(scale.at(row.least), scale.at(row.most), middle))
    behind = scale.at(max(row.most, at)) + 8
    return (
        f'<g class="{row.style}">{_label(row.label, middle)}{"".join(marks)}'
        f"{_text(behind, middle, row.text, 'strong')}{_figures([(text, '') for text in row.columns], middle)}</g>"
    )


def dots(
    title: str,
    rows: Sequence[DotRow],
    ticks: Sequence[tuple[float, str]],
    columns: Sequence[str] = (),
    emphasis: float | None = None,
    label: float = LABEL,
) -> str:
    """A plot of dots on a logarithmic axis from the first tick to the last. `emphasis`: the tick with a stronger line;
    `label`: the width for labels."""
    scale = Scale(ticks[0][0], ticks[-1][0], label + GAP + 6, WIDTH - COLUMN * len(columns) - GAP, log=True)
    bottom = HEADER + ROW * len(rows)
    drawn = list(_columns(columns))
    for value, name in ticks:
        style = "axis" if value == emphasis else "grid"
        x = scale.at(value)
        drawn.append(f'<line class="{style}" x1="{x:.1f}" x2="{x:.1f}" y1="{HEADER}" y2="{bottom}"/>')
        drawn.append(f'<text class="dim" x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{escape(name)}</text>')
    drawn += [_dots(row, HEADER + number * ROW, scale, label) for number, row in enumerate(rows)]
    return _drawing(title, bottom + HEADER, drawn)


def _dots(row: DotRow, y: float, scale: Scale, label: float) -> str:
    middle = y + ROW / 2
    marks = []
    if row.mark is not None:
        x = scale.at(row.mark)
        marks.append(f'<line class="bar" x1="{x:.1f}" x2="{x:.1f}" y1="{middle - 11}" y2="{middle + 11}"/>')
    for value, least, most, style in row.dots:
        whisker = _whisker(scale.at(least), scale.at(most), middle) if most > least else ""
        marks.append(f'<g class="{style}">{whisker}<circle cx="{scale.at(value):.1f}" cy="{middle}" r="6"/></g>')
    return f"<g>{_label(row.label, middle, label)}{''.join(marks)}{_figures(row.columns, middle)}</g>"


def logarithmic_ticks(least: float, most: float) -> list[tuple[float, str]]:
    """Ticks from the series 1, 2, 5, 10, … that enclose both values."""
    steps = [mantissa * 10.0**power for power in range(-3, 9) for mantissa in (1, 2, 5)]
    first = max(step for step in steps if step <= max(least, steps[0]))
    last = min(step for step in steps if step >= min(most, steps[-1]) and step > first)
    return [(step, f"{step:,.10g}") for step in steps if first <= step <= last]


def _columns(names: Sequence[str]) -> Iterator[str]:
    for number, name in enumerate(reversed(names)):
        yield f'<text class="dim" x="{WIDTH - COLUMN * number}" y="16" text-anchor="end">{escape(name)}</text>'


def _figures(columns: Sequence[tuple[str, str]], middle: float) -> str:
    return "".join(
        f'<text class="figure {style}" x="{WIDTH - COLUMN * number}" y="{middle + 4.5}" text-anchor="end">'
        f"{escape(text)}</text>"
        for number, (text, style) in enumerate(reversed(columns))
    )


def _label(text: str, middle: float, right: float = LABEL) -> str:
    return f'<text class="label" x="{right}" y="{middle + 4.5}" text-anchor="end">{escape(text)}</text>'


def _text(x: float, middle: float, text: str, style: str) -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{middle + 4.5}">{escape(text)}</text>'


def _whisker(begin: float, end: float, middle: float) -> str:
    ends = "".join(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{middle - 4}" y2="{middle + 4}"/>' for x in (begin, end))
    return f'<g class="whisker"><line x1="{begin:.1f}" x2="{end:.1f}" y1="{middle}" y2="{middle}"/>{ends}</g>'


def _drawing(title: str, height: float, drawn: Sequence[str]) -> str:
    return (
        f'<div class="plot"><svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}">'
        f"{''.join(drawn)}</svg></div>"
    )
