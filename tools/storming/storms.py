"""The storms: what happens to the targets, and when.

Six targets in three zones, two in each; the gateway stands in the first (`HERE`). Each serves eight requests at once,
ten milliseconds each as a rule: together many times what they are asked for here, so that two are enough at any time.
"""

from collections.abc import Mapping

from msgspec import Struct

from harness.upstreams import Conduct

TARGETS = 6
ALL = tuple(range(TARGETS))
ZONES = ("a", "a", "b", "b", "c", "c")
HERE = "a"
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
    """begins, ends: seconds, the time in which something is wrong. bad: the targets whose share is to be told; empty:
    each has its turn, or nothing can be told. zoned: the gateways know the zones; otherwise all targets are alike."""

    name: str
    says: str
    seconds: float
    begins: float
    ends: float
    bad: tuple[int, ...]
    acts: tuple[Act, ...]
    zoned: bool = False


def _deploy(name: str, says: str, polite: bool) -> Storm:
    """A target after the other goes, and is back after a second and a half. A polite one first says for two and a half
    seconds that it wants no more, by its health and by `Connection: close`, then finishes what it has."""
    acts: list[Act] = []
    at = 2.0
    for number in ALL:
        one = (number,)
        if polite:
            acts += [Act(at, one, {"ready": False, "closing": True})]
            at += 2.5
            acts += [Act(at, one, {"network": "leaving"})]
        else:
            acts += [Act(at, one, {"network": "down"})]
        at += 1.5
        acts += [Act(at, one, {"network": "up", "ready": True, "closing": False})]
        at += 1.0 if polite else 2.0
    return Storm(name, says, at + 1, 2.0, at, (), tuple(acts))


def _fault(
    name: str, says: str, targets: tuple[int, ...], wrong: Mapping[str, object], right: Mapping[str, object]
) -> Storm:
    """Something is wrong with these targets for twelve seconds. What is silent does not see what comes, so nothing can
    be said of its share."""
    silent = wrong.get("network") == "silent"
    acts = (Act(3.0, targets, wrong), Act(15.0, targets, right))
    return Storm(name, says, 25.0, 3.0, 15.0, () if silent else targets, acts, zoned=silent)


def _herd() -> Storm:
    """All are down for two seconds. Then one is back each half second, at first twenty times as slow as when warm."""
    cold = {"network": "up", "cold": 20.0, "warm_up": 6.0}
    back = tuple(Act(5.0 + number / 2, (number,), cold) for number in ALL)
    return Storm(
        "herd",
        "all targets restart: 2 s later one is back each 0.5 s, for 6 s slower at first, by 20",
        *(25.0, 3.0, 14.0, ()),
        (Act(3.0, ALL, {"network": "down"}), *back),
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
    # Slowly, so that many requests are under way at once, and with workers for all: what is measured are the retries.
    _fault(
        "retries",
        "all targets answer 503 to all, after 0.3 s",
        ALL,
        {"answer": 503, "times": ((1.0, 0.3, 0.3),), "workers": 64},
        {"answer": 200, "times": CALM.times, "workers": CALM.workers},
    ),
)
