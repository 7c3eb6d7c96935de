"""The page of the benchmark suite: its plots, and that it says what the results say."""

import pytest
from suite.page import page
from suite.plots import Scale, logarithmic_ticks
from suite.report import Results
from suite.rounds import ContenderOutcome, RatioOutcome, Spread, WorkloadOutcome
from suite.special import Special, SpecialOutcome


def _outcome(contender: str, title: str, cpu: float) -> ContenderOutcome:
    each = Spread(cpu, cpu - 1, cpu + 1)
    return ContenderOutcome(contender, title, [], Spread(9000, 8000, 9500), each, each, each, 100.0, 200.0, 2**20)


def _results(ratio: float) -> Results:
    contenders = [_outcome("rawgate", "rawgate", 30.0), _outcome("nginx", "nginx <log>", 15.0)]
    ratios = [RatioOutcome("rawgate", "nginx", 1.6, Spread(ratio, ratio - 0.1, ratio + 0.1))]
    plain = WorkloadOutcome("plain", "Plain proxy", "Small requests", "", "request", contenders, ratios, [])
    figures = [
        Special(name, name, Spread(value, value, value), part)
        for part in ("p99", "p50", "p99.9")
        for name, value in (("rawgate", 120.0), ("nginx", 90.0))
    ]
    delays = SpecialOutcome("delays-50%", "Delay at half", "µs", figures, 1.5, Spread(1.3, 1.2, 1.4))
    return Results(
        "2026-01-02", "benchmarks/run", "abc", {"cores": "2"}, 7, 1, ["not installed: caddy"], [plain], [delays]
    )


@pytest.mark.parametrize(("ratio", "verdicts"), [(1.5, (2, 0)), (1.7, (1, 1))])
def test_what_misses_its_bar_is_said(ratio: float, verdicts: tuple[int, int]) -> None:
    table = page(_results(ratio)).partition("At a glance</h2>")[0]
    assert (table.count("✓ met"), table.count("✗ missed")) == verdicts


def test_the_page_needs_nothing_else_and_escapes_what_it_is_given() -> None:
    text = page(_results(1.5))
    for outside in ("<script", "src=", "url(", "http:", "https:"):
        assert outside not in text
    assert "nginx <log>" not in text
    assert "nginx &lt;log&gt;" in text
    assert "not installed: caddy" in text


@pytest.mark.parametrize(
    ("value", "log", "place"),
    [(1, True, 100), (2, True, 200), (4, True, 300), (9, True, 300), (1, False, 100), (2.5, False, 200)],
)
def test_scale(value: float, log: bool, place: float) -> None:
    assert Scale(1, 4, 100, 300, log).at(value) == pytest.approx(place)


@pytest.mark.parametrize(
    ("least", "most", "names"),
    [(120, 900, ["100", "200", "500", "1,000"]), (1, 1, ["1", "2"]), (0.3, 1.5, ["0.2", "0.5", "1", "2"])],
)
def test_ticks_enclose_the_values(least: float, most: float, names: list[str]) -> None:
    assert [name for _, name in logarithmic_ticks(least, most)] == names
