"""`tools/storms`: its figures, from made-up records of what clients and targets saw."""

import pytest

from harness.upstreams import Arrival, Seen
from tools.storming.clients import LOST, TIMED_OUT, Answered
from tools.storming.report import figures, left_alone, tables
from tools.storming.storms import STORMS, TARGETS, Storm

STORM = Storm("gale", "one target of two is bad", 10.0, 2.0, 8.0, (1,), ())
BEGAN = 1000.0


def seen(*arrivals: tuple[float, str, str]) -> Seen:
    return Seen([Arrival(BEGAN + at, method, path) for at, method, path in arrivals], len(arrivals), 1, 2)


def test_figures() -> None:
    answered = [
        Answered(0, "GET", BEGAN + 1.0, 0.010, 200),
        Answered(1, "GET", BEGAN + 3.0, 0.020, 404),
        Answered(2, "POST", BEGAN + 4.0, 0.030, 503),
        Answered(3, "GET", BEGAN + 5.0, 0.040, LOST),
        Answered(4, "POST", BEGAN + 6.0, 10.0, TIMED_OUT),
    ]
    good = seen((1.0, "GET", "/work/0"), (3.1, "GET", "/work/1"), (6.1, "POST", "/work/4"))
    bad = seen((3.0, "GET", "/work/1"), (6.0, "POST", "/work/4"))
    found = figures(STORM, "sieve", BEGAN, answered, [good, bad], 0.001)
    assert (found.requests, found.failed, found.failed_posts, found.last_failure) == (5, 3, 2, 4.0)
    assert (found.p50, found.p99, found.longest) == pytest.approx((30.0, 10_000.0, 10_000.0))
    assert found.statuses == {"time-out": 1, "lost": 1, "200": 1, "404": 1, "503": 1}
    # Of four that were asked in the storm two reached a target, each twice.
    assert (found.load, found.repeated, found.bad_share) == (100.0, 100.0, 50.0)
    assert (found.repeated_posts, found.peak, found.checks) == (1, 3, 4)
    assert found.left_alone == 1.0
    clients, targets = (text.splitlines() for text in tables([found]).split("\n\n"))
    assert {line.count("|") for line in clients} == {10}
    assert {line.count("|") for line in targets} == {8}
    assert clients[2].startswith(
        "| gale | sieve | 5 | 3 (60.0 %) | 2 | 4.0 | 30 | 10,000 | time-out: 1, lost: 1, 200: 1,"
    )
    assert targets[2] == "| gale | sieve | 100 | 100 | 50.0 | 1.0 | 3 |"


@pytest.mark.parametrize(
    ("bad_until", "again_at", "found"),
    [(0.0, 0.0, 0.0), (2.0, 0.0, 1.99), (2.0, 2.5, 2.5), (6.0, 0.0, None)],
    ids=["at once", "after two seconds", "tried once more within a second", "never"],
)
def test_left_alone(bad_until: float, again_at: float, found: float | None) -> None:
    """A hundred requests a second for six seconds; every other one goes to the bad target, until it is left alone."""
    all_at = [number / 100 for number in range(1, 601)]
    bad = [at for number, at in enumerate(all_at) if number % 2 == 0 and at <= bad_until] + [again_at] * (
        again_at > 0
    ) * 2
    measured = left_alone(all_at, bad, 0.0, 6.0)
    assert measured == (None if found is None else pytest.approx(found, abs=0.02))


@pytest.mark.parametrize("storm", STORMS, ids=[storm.name for storm in STORMS])
def test_a_storm_ends_well(storm: Storm) -> None:
    """What is changed is changed back before the end: the last seconds show whether the gateway has come back."""
    changed: dict[int, dict[str, object]] = {number: {} for number in range(TARGETS)}
    for act in sorted(storm.acts, key=lambda act: act.at):
        assert storm.begins <= act.at < storm.seconds
        for number in act.targets:
            changed[number] |= act.changes
    for number, conduct in changed.items():
        assert number not in storm.bad or conduct
        assert conduct.get("network", "up") == "up"
        assert conduct.get("answer", 200) == 200
        assert conduct.get("ready", True)
        assert not conduct.get("closing", False)
