"""The access log's two threads, which change places between any two instructions: whatever the order, and whatever the
descriptor does, each line comes once and in order, or is counted."""

import errno
import os
from collections.abc import Iterable, Iterator
from itertools import cycle, product
from math import inf
from pathlib import Path
from random import Random
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.records import record as usual
from harness.taking_turns import Turns
from rawgate.observe import access_log
from rawgate.observe.line import Record

BATCH = 3
ROUTE, QUIET = "loud", "quiet"
Outcome = str | int
"""Of a write: "all", so many octets of it, "again" (it has no room), or "broken"."""


class Descriptor:
    """Stands for `os` and `select` in the module: a file that all is written to, or a part, or nothing."""

    O_WRONLY = os.O_WRONLY
    strerror = staticmethod(os.strerror)
    POLLOUT = 0

    def __init__(self, turns: Turns, outcomes: Iterable[Outcome]) -> None:
        self.data = b""
        self._turns = turns
        self._outcomes = iter(outcomes)

    def fstat(self, _: int) -> os.stat_result:
        return Path(os.devnull).stat()

    def write(self, _: int, data: bytes) -> int:
        self._turns.step()
        outcome = next(self._outcomes, "all")
        if outcome == "again":
            raise BlockingIOError
        if outcome == "broken":
            raise OSError(errno.EPIPE, "broken")
        taken = data if outcome == "all" else data[: int(outcome)]
        self.data += taken
        self._turns.step()
        return len(taken)

    def poll(self) -> "Descriptor":
        """`select.poll()`, what it returns, and that one's `poll()`: there is room."""
        self._turns.step()
        return self

    def register(self, _: int, __: int) -> None: ...


class Encoder:
    """A line is a number, or D and how many were dropped. It is not for two threads at once, and notices."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._is_used = False

    def requests(self, records: list[Record]) -> bytes:
        return self._made("".join(f"{record.bytes_in}\n" for record in records))

    def dropped(self, _: float, count: int) -> bytes:
        return self._made(f"D{count}\n")

    def _made(self, lines: str) -> bytes:
        assert not self._is_used
        self._is_used = True
        for _ in range(25):
            self._turns.step()
        self._is_used = False
        return lines.encode()


class Story:
    """A log, what is asked of it on the loop's thread, and what came out."""

    def __init__(self, plan: Iterable[int], outcomes: Iterable[Outcome], capacity: int, patience: float) -> None:
        self.turns = Turns(access_log, plan, patience)
        self.file = Descriptor(self.turns, outcomes)
        self.capacity = capacity
        self.written = 0
        self.said: list[str] = []
        self.at_close = 0  # octets written when `close` had returned

    def tell(self, acts: list[str]) -> None:
        """Do these things, then close the log, and go on until its thread has ended."""
        with patch.multiple(
            access_log,
            BATCH=BATCH,
            Event=self.turns.event,
            Lock=self.turns.lock,
            Thread=self.turns.thread,
            LineEncoder=lambda: Encoder(self.turns),
            os=self.file,
            select=self.file,
        ):
            self.log = access_log.AccessLog(1, self.capacity, self.said.append)
            self.log.quiet = frozenset({QUIET})
            self.turns.run(lambda: self._act(acts))

    def _act(self, acts: list[str]) -> None:
        for act in acts:
            match act:
                case "start":
                    self.log.start()
                case "write":
                    self.log.write(usual(bytes_in=self.written, route=ROUTE))
                    self.written += 1
                    assert self.written - len(self.lines) - self.log.dropped <= self.capacity
                case "quiet":
                    self.log.write(usual(bytes_in=-1, route=QUIET))
                case "all":
                    self.turns.until(lambda: len(self.lines) + self.log.dropped == self.written)
                case "close":
                    self.log.close(1.0)
                    self.at_close = len(self.file.data)

    @property
    def lines(self) -> list[bytes]:
        """Those of requests. One that was begun counts: its rest is kept."""
        return [line for line in self.file.data.split(b"\n") if line and not line.startswith(b"D")]

    @property
    def reported(self) -> int:
        return sum(int(line[1:]) for line in self.file.data.split(b"\n")[:-1] if line.startswith(b"D"))


def check(story: Story) -> None:
    *whole, _ = story.file.data.split(b"\n")
    numbers = [int(line) for line in whole if not line.startswith(b"D")]
    assert numbers == sorted(set(numbers))
    assert set(numbers) <= set(range(story.written))
    assert len(story.lines) + story.log.dropped == story.written
    assert story.reported <= story.log.dropped


def any_order(seed: int, most: int) -> Iterator[int]:
    """A plan without end."""
    random = Random(seed)  # noqa: S311 - the same one each time
    while True:
        yield random.randint(1, most)


plans = st.builds(any_order, st.integers(0, 2**32), st.sampled_from([2, 8, 30, 100, 400])) | st.lists(
    st.integers(1, 150), max_size=20
)
acts = st.lists(st.sampled_from(["write", "write", "all", "quiet"]), max_size=25)
early = st.lists(st.sampled_from(["write", "quiet"]), max_size=5)
late = st.lists(st.just("write"), max_size=2)
outcomes = st.lists(st.sampled_from(["all", "all", "again", "broken"]) | st.integers(1, 5), max_size=12) | st.just(
    ["broken", "all"] * 10
)


@settings(max_examples=500)
@given(early, acts, late, plans, outcomes, st.integers(1, 12), st.integers(0, 30) | st.just(inf))
def test_each_line_comes_once_and_in_order_or_is_counted(
    early: list[str],
    acts: list[str],
    late: list[str],
    plan: Iterable[int],
    outcomes: list[Outcome],
    capacity: int,
    patience: float,
) -> None:
    story = Story(plan, outcomes, capacity, patience)
    story.tell([*early, "start", *acts, "close", *late])
    check(story)
    # Of what comes out after the end, all was in one write, with the rest of a line before.
    assert story.file.data[story.at_close :].count(b"\n") <= BATCH + 1


@settings(max_examples=300)
@given(early, acts, plans)
def test_a_log_that_has_room_and_time_loses_nothing(early: list[str], acts: list[str], plan: Iterable[int]) -> None:
    story = Story(plan, [], 100, inf)
    story.tell([*early, "start", *acts, "all", "close"])
    check(story)
    assert story.log.dropped == 0
    assert story.said == []


def test_a_failed_write_costs_all_that_waits_and_no_room() -> None:
    """Lines and records both wait, as many as there may be."""
    story = Story([], ["broken"], 7, inf)
    story.tell([*["write"] * 7, "start", "all", *["write"] * 7, "close"])
    check(story)
    assert story.lines == [b"%d" % number for number in range(7, 14)]
    assert story.reported == story.log.dropped == 7


def test_a_failing_log_in_many_regular_orders() -> None:
    """Dropping and reporting meet the loop while it encodes, which few orders bring about."""
    for plan in product(range(5, 240, 15), repeat=2):
        story = Story(cycle(plan), ["broken", "all"] * 10, 12, inf)
        story.tell(["start", *["write"] * 30, "close"])
        check(story)
