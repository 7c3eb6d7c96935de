"""The storms: what happens to the targets, and when.

Six targets in three zones, two in each; the gateway stands in the first. Each serves eight requests at once, ten
milliseconds each as a rule: four times what they are asked for here, so that four of six are enough at any time.
"""

from collections.abc import Mapping

from msgspec import Struct

from harness.upstreams import Conduct

TARGETS = 6
ALL = tuple(range(TARGETS))
ZONES = ("a", "a", "b", "b", "c", "c")
RATE = 200.0
"""Requests a second: little enough for a machine that others use too, enough for one percent to mean something."""
CALM = Conduct(times=((1.0, 0.010, 0.3),))
"""Log-normal, as service times are: 5 to 20 ms."""
CHECKED_EVERY = 1.0
"""Seconds between health checks, where the gateway has such."""


class Act(Struct, frozen=True):
    """At so many seconds after the start these targets change so (`Conduct`)."""

    at: float
    targets: tuple[int, ...]
    changes: Mapping[str, object]


class Storm(Struct, frozen=True):
    """begins, ends: seconds, the time in which something is wrong. bad: the targets with which; empty: with each in
    turn, or with all."""

    name: str
    says: str
    seconds: float
    begins: float
    ends: float
    bad: tuple[int, ...]
    acts: tuple[Act, ...]


def _deploy(name: str, says: str, polite: bool) -> Storm:
    """A target after the other goes, and is back after a second and a half. A polite one first says for three seconds
    that it wants no more, by its health and by `Connection: close`, then finishes what it has."""
    acts: list[Act] = []
    at = 2.0
    for number in ALL:
        one = (number,)
        if polite:
            acts += [Act(at, one, {"ready": False, "closing": True})]
            at += 3.0
            acts += [Act(at, one, {"network": "leaving"})]
        else:
            acts += [Act(at, one, {"network": "down"})]
        at += 1.5
        acts += [Act(at, one, {"network": "up", "ready": True, "closing": False})]
        at += 1.5 if polite else 2.5
    return Storm(name, says, at + 1, 2.0, at, (), tuple(acts))


def _fault(
    name: str, says: str, bad: tuple[int, ...], wrong: Mapping[str, object], right: Mapping[str, object]
) -> Storm:
    """Something is wrong with these targets for fifteen seconds."""
    return Storm(name, says, 30.0, 5.0, 20.0, bad, (Act(5.0, bad, wrong), Act(20.0, bad, right)))


def _herd() -> Storm:
    """All are down for two seconds. Then one is back each half second, at first twenty times as slow as when warm."""
    cold = {"network": "up", "cold": 20.0, "warm_up": 6.0}
    back = tuple(Act(7.0 + number / 2, (number,), cold) for number in ALL)
    return Storm(
        "herd",
        "all targets restart: 2 s later one is back each 0.5 s, for 6 s slower at first, by 20",
        *(30.0, 5.0, 16.0, ()),
        (Act(5.0, ALL, {"network": "down"}), *back),
    )


STORMS = (
    _deploy("deploy", "a target after the other says that it will go, goes, and comes back", polite=True),
    _deploy("deploy-rude", "the same with kill -9: connections are reset, nobody is told", polite=False),
    _fault(
        "zone",
        "the two targets of the gateway's own zone fall silent, as behind a cut cable",
        (0, 1),
        {"network": "silent"},
        {"network": "up"},
    ),
    _fault(
        "brown-out",
        "one target takes 1.5 s for what took 10 ms, give or take",
        (2,),
        {"times": ((1.0, 1.5, 0.5),)},
        {"times": CALM.times},
    ),
    _herd(),
    _fault(
        "poison",
        "one target answers 503 at once, and so seems to have the least to do",
        (3,),
        {"answer": 503, "times": ((1.0, 0.0, 0.0),)},
        {"answer": 200, "times": CALM.times},
    ),
    _fault("retries", "all targets answer 503 to all", ALL, {"answer": 503}, {"answer": 200}),
)
