"""How the benchmark suite comes from what programs say to its figures. Nothing here is about speed."""

from pathlib import Path

import pytest
from suite import report
from suite.contenders import ALL as CONTENDERS
from suite.contenders import FILES, filled
from suite.generators import MARK, Sample, durations, percentile, sample_of
from suite.machine import version_of
from suite.rounds import Spread, Turn, remarks_on, spread
from suite.special import Special, SpecialOutcome
from suite.tokens import Algorithm, Issuer, api_keys
from suite.workloads import ALL as WORKLOADS


def test_a_sample_is_the_marked_line_of_a_generators_output() -> None:
    output = f'Running 1s test\n{MARK}{{"requests":7,"seconds":0.5,"octets":900,"statuses":1,"p99":12.5}}\n'
    assert sample_of(output, "") == Sample(7, 0.5, 900, statuses=1, p99=12.5)


def test_a_generator_that_says_no_such_line_has_failed() -> None:
    with pytest.raises(SystemExit, match="unable to connect"):
        sample_of("Running 1s test\n", "unable to connect\n")


def test_h2loads_log_becomes_ordered_durations() -> None:
    assert durations("1000\t200\t90\n1005\t200\t30\nhalf a li") == [30, 90]


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1), (0.5, 51), (0.99, 100), (1.0, 100)])
def test_percentile(share: float, expected: float) -> None:
    assert percentile(list(range(1, 101)), share) == expected


def test_spread() -> None:
    assert spread([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0)


@pytest.mark.parametrize(
    ("answered", "remark"),
    [
        ([900, 1000, 1100], ""),
        ([1000, 90, 1100, 1], "nginx: hardly an answer in 2 of 4 rounds, which makes its ratio worthless"),
    ],
    ids=["steady", "stalled"],
)
def test_rounds_in_which_a_contender_stalled_are_told(answered: list[int], remark: str) -> None:
    plain = next(workload for workload in WORKLOADS if workload.name == "plain")
    turns = [Turn(Sample(count, 1.0, 0), count, count, 5.0, 13.0) for count in answered]
    assert remarks_on(plain, {"nginx": turns}) == [remark] * bool(remark)


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ("nginx version: nginx/1.22.1", "1.22.1"),
        ("HAProxy version 2.6.12-1+deb12u4 2026/10/17", "2.6.12-1+deb12u4"),
        ("1.4.5", "1.4.5"),
        ("of today", "of today"),
    ],
)
def test_version(line: str, version: str) -> None:
    assert version_of(line) == version


@pytest.mark.parametrize(
    ("median", "remarks", "met"),
    [(1.5, [], True), (1.51, [], False), (1.0, ["rawgate did not keep up"], False)],
)
def test_a_bar_is_met_by_what_reaches_it_and_kept_its_conditions(median: float, remarks: list[str], met: bool) -> None:
    figures = [Special(name, name, Spread(9, 9, 9)) for name in ("rawgate", "nginx")]
    ratio = report.bar_of(SpecialOutcome("delays", "Delays", "µs", figures, 1.5, Spread(median, 1, 2), remarks))
    assert ratio is not None
    assert ratio.met is met


def test_without_a_ratio_the_bar_is_for_the_first_figure() -> None:
    figures = [Special(name, name, Spread(value, value, value)) for name, value in (("rawgate", 3000), ("nginx", 500))]
    ratio = report.bar_of(SpecialOutcome("idle", "Idle connection", "octets", figures, 4096))
    assert ratio is not None
    assert report.bar_text(ratio) == "Idle connection = 3,000 octets, bar 4096: met"


def test_columns_of_a_table_are_in_line() -> None:
    assert report.table([["what", "a"], ["longer", "12"]]) == "what     a\n──────  ──\nlonger  12"


def test_every_contender_has_its_file_and_every_placeholder_a_value() -> None:
    given = dict.fromkeys(("port", "upstream", "here", "modules", "dir", "name"), "x")
    for contender in CONTENDERS.values():
        text = (FILES / contender.file).read_text()
        written = filled(text, contender.settings | given)
        left = [word for word in written.split("@")[1::2] if word.isalpha() and f"@{word}@" in text]
        assert not left, f"{contender.name}: {left}"


def test_workloads_name_contenders_that_there_are() -> None:
    names = [workload.name for workload in WORKLOADS]
    assert len(set(names)) == len(names)
    for workload in WORKLOADS:
        mentioned = {*workload.contenders, *workload.at_leisure}
        assert mentioned <= CONTENDERS.keys(), workload.name
        assert {name for ratio in workload.ratios for name in (ratio.of, ratio.to)} <= {*workload.contenders}


def test_no_two_credentials_are_the_same() -> None:
    assert len(set(api_keys().values())) == 5000


@pytest.mark.parametrize("algorithm", ["hs256", "rs256"])
def test_no_token_comes_twice(tmp_path: Path, algorithm: Algorithm) -> None:
    issuer = Issuer(tmp_path)
    issuer.write_pool(algorithm, 20)
    lines = (tmp_path / f"{algorithm}.txt").read_text().splitlines()
    for turn in (1, 2, 3):
        path = issuer.new_tokens(algorithm, turn, 30)
        assert issuer.new_tokens(algorithm, turn, 30).read_bytes() == path.read_bytes()
        lines += path.read_text().splitlines()
    assert len({*lines}) == len(lines) == 110
