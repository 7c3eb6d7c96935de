"""Whether a limit held, from the notes of those who asked, whose clocks tell only between which times each was counted.

too many   so many were admitted surely within one window that is no longer than the rule's: each of them was
           asked for after its beginning, and told before its end
too few    one was refused although, whatever was counted when, fewer than `maximum` could count
lost       in a window that began before the run and ends after it: who asked more often than `maximum` was not
           admitted exactly `maximum` times; each request of a killed process may or may not be among them
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

from rawgate.policy.limiter import COUNTERS, SUBWINDOWS
from tools.limiting.processes import ADMITTED, ASKED, REFUSED, Note, Rule

LONG = 3600.0
"""Seconds of a window that no run outlasts."""


class Verdict:
    """The sum over all clients of a rule. `peak`: the most that were surely in one window."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.clients = self.hits = self.admitted = self.unknown = 0
        self.peak = self.too_many = self.too_few = self.lost = 0

    @property
    def holds(self) -> bool:
        return not (self.too_many or self.too_few or self.lost)

    def add(self, notes: Iterable[Note]) -> None:
        """All notes about one client."""
        notes = list(notes)
        admitted = [note for note in notes if note.mark == ADMITTED]
        unknown = [note for note in notes if note.mark == ASKED]
        self.clients += 1
        self.hits += len(notes)
        self.admitted += len(admitted)
        self.unknown += len(unknown)
        self._look_for_too_many(admitted)
        self._look_for_too_few([note for note in notes if note.mark == REFUSED], [*admitted, *unknown])
        if self.rule.window >= LONG:
            expected = min(self.rule.maximum, len(notes))
            self.lost += not len(admitted) <= expected <= len(admitted) + len(unknown)

    def _look_for_too_many(self, admitted: list[Note]) -> None:
        before = sorted(note.before for note in admitted)
        after = sorted(note.after for note in admitted)
        for number, begin in enumerate(before):
            # Of those told by the end, at most as many began too early as there are that did.
            within = bisect_right(after, begin + self.rule.window) - number
            self.peak = max(self.peak, within)
            self.too_many += within > self.rule.maximum

    def _look_for_too_few(self, refused: list[Note], counted: list[Note]) -> None:
        before = sorted(note.before for note in counted)
        after = sorted(note.after for note in counted)
        counts_for = self.rule.window * COUNTERS / SUBWINDOWS
        for note in refused:
            could_count = bisect_right(before, note.after) - bisect_left(after, note.before - counts_for)
            self.too_few += could_count < self.rule.maximum
