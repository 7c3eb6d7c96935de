"""Results as text and as JSON."""

from collections.abc import Sequence

from msgspec import Struct

from suite.rounds import RatioOutcome, Spread, WorkloadOutcome
from suite.special import SpecialOutcome
from suite.workloads import Unit


class Results(Struct, frozen=True):
    """The results of a run. `skipped`: what was not measured, and why."""

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
    """A line of the table of bars. `sound`: whether the conditions of the bar were met."""

    what: str
    value: Spread
    bar: float
    unit: str = ""
    sound: bool = True

    @property
    def met(self) -> bool:
        return self.sound and self.value.median <= self.bar


def table(rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns: the first one to the left, the others to the right."""
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
    rows = [
        [outcome.title, per_second(outcome.unit), f"CPU µs/{outcome.unit}", "user", "system", "p50 µs", "p99 µs", "MiB"]
    ]
    for each in outcome.contenders:
        times = [f"{value:,.1f}" for value in (each.cpu.median, each.user.median, each.system.median)]
        # wrk cannot measure delays of pipelined requests.
        delays = [f"{delay:,.0f}" if delay else "–" for delay in (each.p50, each.p99)]
        rows.append([each.title, f"{each.rate.median:,.0f}", *times, *delays, f"{each.memory / 2**20:.0f}"])
    lines = [table(rows)]
    lines += [f"  {ratio_text(outcome, ratio)}{_against_bar(ratio)}" for ratio in outcome.ratios]
    lines += [f"  ! {remark}" for remark in outcome.remarks]
    return "\n".join(lines)


def per_second(unit: Unit) -> str:
    return "MiB/s" if unit == "MiB" else f"{unit}s/s"


def titles_of(outcome: WorkloadOutcome) -> dict[str, str]:
    return {each.contender: each.title for each in outcome.contenders}


def ratio_text(outcome: WorkloadOutcome, ratio: RatioOutcome) -> str:
    titles, value = titles_of(outcome), ratio.spread
    return f"CPU {titles[ratio.of]} ÷ {titles[ratio.to]} = {value.median:.2f} ({value.least:.2f}–{value.most:.2f})"


def _against_bar(ratio: RatioOutcome) -> str:
    if ratio.bar is None:
        return ""
    return f", bar {ratio.bar:g}: {'met' if ratio.spread.median <= ratio.bar else 'MISSED'}"


def special_text(outcome: SpecialOutcome) -> str:
    rows = [[outcome.title, outcome.unit, "least", "most"]]
    rows += [
        [
            f"{each.title}, {each.part}" if each.part else each.title,
            *(f"{value:,.0f}" for value in (each.value.median, each.value.least, each.value.most)),
        ]
        for each in outcome.figures
    ]
    ratio = bar_of(outcome)
    lines = [table(rows), *([f"  {bar_text(ratio)}"] if ratio else []), *(f"  ! {text}" for text in outcome.remarks)]
    return "\n".join(lines)


def bar_of(outcome: SpecialOutcome) -> Ratio | None:
    if outcome.bar is None:
        return None
    if outcome.ratio is None:
        return Ratio(outcome.title, outcome.figures[0].value, outcome.bar, outcome.unit)
    ours, theirs = outcome.figures[0], outcome.figures[1]
    what = f"{outcome.title}, {ours.part}: {ours.title} ÷ {theirs.title}"
    return Ratio(what, outcome.ratio, outcome.bar, sound=not outcome.remarks)


def bar_text(ratio: Ratio) -> str:
    unit = f" {ratio.unit}" if ratio.unit else ""
    value = bar_number(ratio, ratio.value.median) + unit
    return f"{ratio.what} = {value}, bar {ratio.bar:g}: {'met' if ratio.met else 'MISSED'}"


def bar_number(ratio: Ratio, value: float) -> str:
    return f"{value:,.0f}" if ratio.unit else f"{value:.2f}"


def bars(results: Results) -> list[Ratio]:
    """All ratios of the run that have a bar."""
    found = []
    for outcome in results.workloads:
        titles = titles_of(outcome)
        for ratio in outcome.ratios:
            if ratio.bar is not None:
                what = f"{outcome.title}: {titles[ratio.of]} ÷ {titles[ratio.to]}"
                found.append(Ratio(what, ratio.spread, ratio.bar))
    found += [one for outcome in results.specials if (one := bar_of(outcome)) is not None]
    return found


def bars_text(results: Results) -> str:
    rows = [["Bars (CPU ratios unless a unit is given)", "median", "spread", "bar", ""]]
    for ratio in bars(results):
        median, least, most = (
            bar_number(ratio, value) for value in (ratio.value.median, ratio.value.least, ratio.value.most)
        )
        rows.append(
            [
                f"{ratio.what}{ratio.unit and f', {ratio.unit}'}",
                median,
                f"{least}–{most}",
                f"{ratio.bar:g}",
                "met" if ratio.met else "MISSED",
            ]
        )
    return table(rows) if len(rows) > 1 else ""
