"""Draws the state diagram of `rawgate.relay.phases` as SVG, from its table.

The table gives the arrows and their labels. Positions of phases and paths of arrows are chosen by hand, below: nine
phases are few enough for that, and a person places them better than an algorithm. A phase or an arrow that is in the
table only, or in the layout only, is an error, so the drawing cannot differ from the table.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path

from msgspec import Struct

from rawgate.relay.phases import LEASING, TABLE, Event, Phase

FILE = Path(__file__).parents[1] / "rawgate/relay/phases.svg"
WIDTH, HEIGHT = 1310, 560
CORNER = 10
"""Radius at the bends of an arrow."""

Point = tuple[int, int]
Table = Mapping[Phase, Mapping[Event, Phase]]


class Box(Struct, frozen=True):
    """The box of a phase: its centre, its size, and a few words on what happens in the phase."""

    x: int
    y: int
    words: tuple[str, ...]
    width: int = 150
    height: int = 56


class Arrow(Struct, frozen=True):
    """The path of an arrow: its corners from box to box, and the position and alignment of its label."""

    points: tuple[Point, ...]
    label: Point
    anchor: str = "middle"


class LayoutError(Exception):
    """Table and layout differ. One sentence: what to change."""


# Rows, from above: a loss while the response is awaited; tunnel; the usual way; flushing; early; losses before that.
OVER, UP, MAIN, HELD, EARLY, RAIL = 50, 130, 240, 335, 430, 510
RETRY = 160
DONE = 1200
"""The left side of the last box."""

BOXES = {
    "leasing": Box(140, MAIN, ("waiting for a connection",)),
    "sending": Box(380, MAIN, ("the request goes up",)),
    "awaiting": Box(620, MAIN, ("the upstream works",)),
    "relaying": Box(860, MAIN, ("the response comes down",)),
    "tunnel": Box(860, UP, ("octets, both ways",)),
    "flushing": Box(1030, HELD, ("a slow client", "takes the rest"), width=120, height=64),
    "early": Box(860, EARLY, ("both ways go on",)),
    "uploading": Box(1105, EARLY, ("the rest goes up",), width=120),
    "done": Box(1240, 280, ("outcome", "is known"), width=80, height=500),
}

ARROWS = {
    ("leasing", "sending"): Arrow(((215, MAIN), (305, MAIN)), (257, MAIN - 10)),
    ("sending", "awaiting"): Arrow(((455, MAIN), (545, MAIN)), (497, MAIN - 10)),
    ("awaiting", "relaying"): Arrow(((695, MAIN), (785, MAIN)), (737, MAIN - 10)),
    ("relaying", "done"): Arrow(((935, MAIN), (DONE, MAIN)), (1142, MAIN - 10)),
    # Back to the start: one rail for both.
    ("sending", "leasing"): Arrow(((380, 212), (380, RETRY), (140, RETRY), (140, 212)), (260, RETRY - 10)),
    ("awaiting", "leasing"): Arrow(((580, 212), (580, RETRY), (140, RETRY), (140, 212)), (480, RETRY - 10)),
    ("awaiting", "tunnel"): Arrow(((660, 212), (660, UP), (785, UP)), (722, UP - 10)),
    ("tunnel", "done"): Arrow(((935, UP), (DONE, UP)), (1142, UP - 10)),
    ("relaying", "flushing"): Arrow(((860, 268), (860, HELD - 14), (970, HELD - 14)), (912, HELD - 24)),
    ("early", "flushing"): Arrow(((860, 402), (860, HELD + 14), (970, HELD + 14)), (912, HELD + 34)),
    ("flushing", "done"): Arrow(((1090, HELD), (DONE, HELD)), (1142, HELD - 10)),
    ("sending", "early"): Arrow(((420, 268), (420, EARLY), (785, EARLY)), (602, EARLY - 10)),
    ("early", "relaying"): Arrow(((820, 402), (820, 268)), (812, 340), "end"),
    ("early", "uploading"): Arrow(((935, EARLY), (1045, EARLY)), (990, EARLY - 10)),
    ("relaying", "uploading"): Arrow(((935, 262), (1094, 262), (1094, 402)), (1015, 258)),
    ("uploading", "flushing"): Arrow(((1065, 402), (1065, 367)), (1010, 390)),
    ("uploading", "done"): Arrow(((1165, EARLY), (DONE, EARLY)), (1142, EARLY - 36)),
    ("early", "done"): Arrow(((860, 458), (860, 485), (DONE, 485)), (995, 478)),
    # Losses: each before a final head; the way to the end passes outside of all others.
    ("leasing", "done"): Arrow(((140, 268), (140, RAIL), (DONE, RAIL)), (150, 390), "start"),
    ("sending", "done"): Arrow(((340, 268), (340, RAIL), (DONE, RAIL)), (350, 390), "start"),
    ("awaiting", "done"): Arrow(((620, 212), (620, OVER), (DONE, OVER)), (1142, OVER - 10)),
}

# Plain colours first, for programs that ignore media queries.
STYLE = """
  .paper { fill: #ffffff; }
  .box { fill: #f3f6fa; stroke: #8c959f; stroke-width: 1.5; }
  .way { fill: none; stroke: #57606a; stroke-width: 1.5; }
  .tip, .start { fill: #57606a; }
  text { font-family: system-ui, "Segoe UI", "DejaVu Sans", sans-serif; text-anchor: middle; fill: #1f2328; }
  .phase { font-size: 16px; font-weight: 600; }
  .words { font-size: 11px; fill: #656d76; }
  .event { font-size: 12px; font-style: italic; paint-order: stroke; stroke: #ffffff; stroke-width: 5px; }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #0d1117; }
    .box { fill: #1c2330; stroke: #6e7681; }
    .way { stroke: #a6adb5; }
    .tip, .start { fill: #a6adb5; }
    text { fill: #e6edf3; }
    .words { fill: #9198a1; }
    .event { stroke: #0d1117; }
  }
"""


OPENING = (
    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"',
    'role="img" aria-labelledby="title">',
    '<title id="title">The phases of an exchange, and the events between them</title>',
    "<!-- Written by tools/draw-phases from rawgate.relay.phases.TABLE. -->",
    f"<style>{STYLE}</style>",
    '<marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">',
    '<path class="tip" d="M0 0 8 4 0 8z"/></marker>',
    f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}" rx="8"/>',
)


def arrows(table: Table) -> dict[tuple[str, str], list[str]]:
    """(from, to) → the events that lead there, in the table's order."""
    found: dict[tuple[str, str], list[str]] = {}
    for phase, row in table.items():
        for event, target in row.items():
            found.setdefault((phase.name, target.name), []).append(event.name)
    return found


def check_layout(table: Table) -> None:
    """Raise LayoutError when the layout lacks something of the table, or has more."""
    phases = {phase.name for phase in table}
    ways = set(arrows(table))
    for name in sorted(phases - BOXES.keys()):
        raise LayoutError(f"the phase {name} has no box in the drawing: give it one in BOXES")
    for name in sorted(BOXES.keys() - phases):
        raise LayoutError(f"the drawing has a box for {name}, and the table no such phase: take it out of BOXES")
    for start, end in sorted(ways - ARROWS.keys()):
        raise LayoutError(f"the arrow from {start} to {end} is not in the drawing: add it to ARROWS")
    for start, end in sorted(ARROWS.keys() - ways):
        raise LayoutError(f"the drawing has an arrow from {start} to {end}, and the table none: take it out of ARROWS")


def draw(table: Table) -> str:
    """The whole drawing. Raises LayoutError."""
    check_layout(table)
    found = arrows(table)
    lines = [
        *OPENING,
        *start_lines(BOXES[LEASING.name]),
        *(f'<path class="way" marker-end="url(#tip)" d="{path(ARROWS[name].points)}"/>' for name in found),
    ]
    for name, box in BOXES.items():
        lines += box_lines(name, box)
    for ends, events in found.items():
        lines += label_lines(ARROWS[ends], events)
    return "\n".join([*lines, "</svg>", ""])


def start_lines(first: Box) -> Iterator[str]:
    """The initial state: a dot and its arrow."""
    edge = first.x - first.width // 2
    yield f'<circle class="start" cx="{edge - 38}" cy="{first.y}" r="6"/>'
    yield f'<path class="way" marker-end="url(#tip)" d="M{edge - 32} {first.y} {edge} {first.y}"/>'


def path(points: tuple[Point, ...]) -> str:
    """An SVG path of straight lines with rounded corners."""
    pieces = [f"M{points[0][0]} {points[0][1]}"]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        (x1, y1), (x2, y2) = towards(corner, before), towards(corner, after)
        pieces.append(f"L{x1} {y1}Q{corner[0]} {corner[1]} {x2} {y2}")
    return "".join([*pieces, f"L{points[-1][0]} {points[-1][1]}"])


def towards(corner: Point, other: Point) -> Point:
    """The point between a corner and the next one at which the curve begins. All lines are level or upright."""
    x, y = other[0] - corner[0], other[1] - corner[1]
    return (corner[0] + CORNER * ((x > 0) - (x < 0)), corner[1] + CORNER * ((y > 0) - (y < 0)))


def box_lines(name: str, box: Box) -> Iterator[str]:
    """A phase: its box, its name, and a few words below."""
    left, top = box.x - box.width // 2, box.y - box.height // 2
    yield f'<rect class="box" x="{left}" y="{top}" width="{box.width}" height="{box.height}" rx="8"/>'
    first = box.y + 5 - 8 * len(box.words)
    yield f'<text class="phase" x="{box.x}" y="{first}">{escape(name)}</text>'
    for number, words in enumerate(box.words, 1):
        yield f'<text class="words" x="{box.x}" y="{first + 3 + 14 * number}">{escape(words)}</text>'


def label_lines(arrow: Arrow, events: list[str]) -> Iterator[str]:
    """The events of an arrow, one below the other; the last one stands at the label's position."""
    x, y = arrow.label
    for number, event in enumerate(reversed(events)):
        text = escape(event)
        yield f'<text class="event" style="text-anchor: {arrow.anchor}" x="{x}" y="{y - 14 * number}">{text}</text>'


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="tools/draw-phases", description="Draw the phases of an exchange from its table."
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the drawing is not current")
    checks = parser.parse_args().check
    try:
        drawing = draw(TABLE)
    except LayoutError as error:
        sys.stderr.write(f"tools/draw-phases: {error}\n")
        return 1
    if not checks:
        FILE.write_text(drawing, "utf-8")
    elif not FILE.exists() or FILE.read_text("utf-8") != drawing:
        sys.stderr.write(f"tools/draw-phases: {FILE.name} is not what the table says: run tools/draw-phases\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
