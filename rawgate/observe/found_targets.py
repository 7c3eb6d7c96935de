"""Counts of targets that nobody has written down, because DNS or Consul tell of them: a bounded number of rows.

    a block:  other │ slot │ slot │ …       `SLOTS` slots; each has ID, and behind it the rows of a target

What is told of them keeps within bounds, whatever a zone or a catalogue says: at a time at most `NAMED` targets of an
upstream have a name, the first ones in the order of their names, and what is counted at all others goes to "other". All
processes name the same ones, as soon as they have heard the same.

Other processes may learn of targets in another order, so rows cannot be agreed on beforehand, as those of the
configuration are. Each worker gives the slots of its own column away, and writes into each whose it is. Who reads adds
up what belongs to one target, whichever slot it has in which column.

When a target goes, or has a name no longer, its slot is free for another one, and what was counted there goes to
"other": the sum over all targets never shrinks. One that comes back begins at 0, as a series in Prometheus may. A
process that reads in the very moment in which another one frees a slot may once see what is moved twice, or not at all.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Final

from rawgate.observe import layout

NAMED: Final = layout.SLOTS

OTHER: Final = "other"
"""In place of a target's name. No target has it: theirs have a port."""

Row = Sequence[int]
"""The cells of a target, from `layout.DOWN` on."""


def named(targets: Iterable[str]) -> list[str]:
    """Those of them that are told of by name."""
    return sorted(set(targets))[:NAMED]


def identity(target: str) -> int:
    """What a slot says about whose it is: never 0, and another number for each target."""
    return int.from_bytes(blake2b(target.encode(), digest_size=8).digest()) or 1


class Slots:
    """Those of one upstream in the column of this worker."""

    __slots__ = ("_column", "_is_settled", "_rows", "_start")

    def __init__(self, column: memoryview, start: int) -> None:
        """start: the first row of the block. A worker that follows one that died finds its slots as they were left."""
        self._column: Final = column
        self._start: Final = start
        self._rows: dict[str, int] = {}
        self._is_settled = False

    def settle(self, targets: Iterable[str]) -> None:
        """From now on these are the targets, named or not."""
        column, wanted = self._column, named(targets)
        if self._is_settled and self._rows.keys() == set(wanted):
            return
        self._is_settled = True
        ids = {identity(target): target for target in wanted}
        free, self._rows = [], {}
        for slot in range(self._start + layout.SLOT_ROWS, self._start + layout.FOUND_ROWS, layout.SLOT_ROWS):
            target = ids.pop(column[slot], None)
            if target is None:
                self._empty(slot)
                free.append(slot)
            else:
                self._rows[target] = slot + 1
        for (number, target), slot in zip(ids.items(), free, strict=False):
            column[slot] = number
            self._rows[target] = slot + 1

    def row(self, target: str) -> int:
        """The first row of a target; one without a name shares that of the others."""
        return self._rows.get(target, self._start + 1)

    @property
    def rows(self) -> list[int]:
        """The first rows of all, that of the others among them."""
        return [self._start + 1, *self._rows.values()]

    def _empty(self, slot: int) -> None:
        column, other = self._column, self._start + 1
        if column[slot]:
            column[slot] = 0
            for row in layout.COUNTS_OF_TARGET:
                column[other + row] += column[slot + 1 + row]
            for row in range(layout.TARGET_ROWS):
                column[slot + 1 + row] = 0


def sums(blocks: Iterable[Row], targets: Iterable[str]) -> Mapping[str, Row]:
    """Target → the sums over these blocks, one of each column. `OTHER`: of all that belongs to none of them."""
    ids = {identity(target): target for target in targets}
    found = {target: [0] * layout.TARGET_ROWS for target in (*ids.values(), OTHER)}
    for block in blocks:
        for at in range(0, len(block), layout.SLOT_ROWS):
            cells = found[ids.get(block[at], OTHER)]
            for row in range(layout.TARGET_ROWS):
                cells[row] += block[at + 1 + row]
    return found
