"""Results as text and as JSON."""

from collections.abc import Iterator, Sequence

from msgspec import Struct

from suite.rounds import RatioOutcome, Spread, WorkloadOutcome
from suite.special import SpecialOutcome


class Results(Struct, frozen=True):
    """A whole run. `skipped`: what was left out, and why."""

    date: str
    command: str
    revision: str
    machine: dict[str, str]
    rounds: int
    seconds: float
    skipped: list[str]
    workloads: list[WorkloadOutcome]
    specials: list[SpecialOutcome]


class Ratio(Struct, frozen=True):
    """A line of the table of bars. `sound`: whether the conditions of the bar were kept."""

    what: str
    value: Spread
    bar: float
    unit: str = ""
    sound: bool = True

    @property
    def met(self) -> bool:
        return self.sound and self.value.median <= self.bar


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns in line: the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("─" * width for width in widths))
    return "\n".join(lines)


def workload_text(outcome: WorkloadOutcome) -> str:
    what = outcome.unit
    rows = [[outcome.title, f"{what}s/s", f"CPU µs/{what}", "user", "system", "p50 µs", "p99 µs", "MiB"]]
    for each in outcome.contenders:
        p50 = sorted(turn.sample.p50 for turn in each.turns)[len(each.turns) // 2]
        p99 = sorted(turn.sample.p99 for turn in each.turns)[len(each.turns) // 2]
        figures = (each.rate.median, each.cpu.median, each.user.median, each.system.median, p50, p99)
        rows.append([each.title, *_figures(figures), f"{each.memory / 2**20:.0f}"])
    lines = [table(rows)]
    lines += [f"  {ratio_text(outcome, ratio)}" for ratio in outcome.ratios]
    lines += [f"  ! {remark}" for remark in outcome.remarks]
    return "\n".join(lines)


def _figures(figures: Sequence[float]) -> Iterator[str]:
    rate, *times = figures
    yield f"{rate:,.0f}"
    cpu, user, system, p50, p99 = times
    yield from (f"{cpu:,.1f}", f"{user:,.1f}", f"{system:,.1f}")
    # wrk knows no delays of pipelined requests.
    yield from (f"{delay:,.0f}" if delay else "–" for delay in (p50, p99))


def ratio_text(outcome: WorkloadOutcome, ratio: RatioOutcome) -> str:
    titles = {each.contender: each.title for each in outcome.contenders}
    value = f"{ratio.spread.median:.2f} ({ratio.spread.least:.2f}–{ratio.spread.most:.2f})"
    bar = "" if ratio.bar is None else f", bar {ratio.bar:g}: {'met' if ratio.spread.median <= ratio.bar else 'MISSED'}"
    return f"CPU {titles[ratio.of]} ÷ {titles[ratio.to]} = {value}{bar}"


def special_text(outcome: SpecialOutcome) -> str:
    rows = [[outcome.title, outcome.unit, "least", "most"]]
    rows += [
        [each.title, f"{each.value.median:,.0f}", f"{each.value.least:,.0f}", f"{each.value.most:,.0f}"]
        for each in outcome.figures
    ]
    ratio = bar_of(outcome)
    lines = [table(rows), *([f"  {bar_text(ratio)}"] if ratio else []), *(f"  ! {text}" for text in outcome.remarks)]
    return "\n".join(lines)


def bar_of(outcome: SpecialOutcome) -> Ratio | None:
    if outcome.bar is None:
        return None
    if not outcome.of_ratio:
        return Ratio(outcome.title, outcome.figures[0].value, outcome.bar, outcome.unit)
    if len(outcome.figures) < 2:
        return None
    ours, theirs = outcome.figures[0], outcome.figures[1]
    value = ours.value.median / theirs.value.median
    spread = Spread(value, value, value)
    return Ratio(f"{ours.title} ÷ {theirs.title}", spread, outcome.bar, sound=not outcome.remarks)


def bar_text(ratio: Ratio) -> str:
    value = f"{ratio.value.median:,.0f} {ratio.unit}" if ratio.unit else f"{ratio.value.median:.2f}"
    return f"{ratio.what} = {value}, bar {ratio.bar:g}: {'met' if ratio.met else 'MISSED'}"


def bars(results: Results) -> list[Ratio]:
    """Everything in the run that has a bar."""
    found = []
    for outcome in results.workloads:
        titles = {each.contender: each.title for each in outcome.contenders}
        for ratio in outcome.ratios:
            if ratio.bar is not None:
                what = f"{outcome.title}: {titles[ratio.of]} ÷ {titles[ratio.to]}"
                found.append(Ratio(what, ratio.spread, ratio.bar))
    found += [one for outcome in results.specials if (one := bar_of(outcome)) is not None]
    return found


def bars_text(results: Results) -> str:
    rows = [["Bars (CPU ratios unless a unit is given)", "median", "spread", "bar", ""]]
    for ratio in bars(results):
        if ratio.unit:
            figures = [f"{ratio.value.median:,.0f} {ratio.unit}", f"{ratio.value.least:,.0f}–{ratio.value.most:,.0f}"]
        else:
            figures = [f"{ratio.value.median:.2f}", f"{ratio.value.least:.2f}–{ratio.value.most:.2f}"]
        rows.append([ratio.what, *figures, f"{ratio.bar:g}", "met" if ratio.met else "MISSED"])
    return table(rows) if len(rows) > 1 else ""
