"""A quota that the worker processes of one gateway share: exact, and fair between them.

Each quota has a record of 64-bit cells in shared memory, and a lock. In it each worker has a column: how many slots it
has taken, and since when it waits for one. What a dead worker held is given back by emptying its column: `forget`.

How a slot comes from one worker to another
- Who finds no slot notes that it *waits*, with the next number of a counter. Whoever frees a slot *grants* it, under
  the same lock, to a worker that waits, and wakes it; the worker takes the grant in a later turn of its loop. So while
  a worker waits no slot is free, and nobody can overtake it. A worker in which nobody waits any more gives its grant
  back, and the next one gets it.
- A worker waits as a whole, for one slot at a time. Who in it is served first is its own queue's business. When it has
  taken a grant and more wait, it waits anew, behind the other workers.
- Who begins to wait wakes those that have slots and do not wait themselves: they may have idle connections, and then
  close one each time that it is asked for (`give_if_due`).

Whose turn it is
- A worker in which nobody waits keeps no slot that it does not use: the one that has waited longest gets it.
- A worker in which somebody waits keeps the slot, and the connection that has it, for its own. To hand it over would
  cost a connection closed here and another one made there. There are three exceptions: a worker that waits and holds
  none at all; one that holds at least two fewer; one that has been passed over as often as there are slots. Of several,
  the one that has waited longest comes first.

So workers with equal load end up with equal parts, and then nothing moves. None starves: a waiting worker gets a slot
at the latest when as many have been freed as there are slots and workers.

What it costs
Taking a slot and giving it back take the lock. A connection that goes from one request to the next keeps its slot, and
asks only whether it should (`give_if_due`): that reads one cell, `PRESSURE`, without the lock. To read it too early
does no harm. Who waits wakes us after it has written the cell, and then we look again.

What may be half done
A cell is written whole. Whatever a worker has written when it dies, no slot is taken twice: it counts its slots in
its own column, and a grant counts as taken. What it had still to do, so that nobody waits in vain, `forget` does. So
whether a lock was found with a dead holder makes no difference here.
"""

from collections.abc import Callable
from typing import Final

from rawgate.message import Locks
from rawgate.relay.quota import Quota

NAME: Final = 4
"""Cells of a quota's name, as SHA-256: the first ones."""

LIMIT: Final = 4
PRESSURE: Final = 5
"""How many workers wait, plus how many slots are taken too many. 0: whoever has a slot may keep it."""
TICKETS: Final = 6
"""The last number that was given to a worker that waits."""
HEADER: Final = 8

# Behind the header: one cell of each kind for each worker.
TAKEN: Final = 0
GRANTED: Final = 1
"""1: it was given a slot and has not taken it yet."""
SINCE: Final = 2
"""The number with which it waits; 0: it does not."""
PASSED: Final = 3
"""How many slots went to others since it has waited."""
OPEN: Final = 4
"""How many quotas of this record it has open, or has still slots of."""
KINDS: Final = 5


def cells_needed(workers: int) -> int:
    """Of one record."""
    return HEADER + KINDS * workers


class SharedQuota(Quota):
    """The slots of one worker, of those that all workers share.

    taken  how many of them this worker has taken by this object
    """

    __slots__ = (
        "_cells",
        "_claims",
        "_closed",
        "_freed",
        "_is_closed",
        "_is_leaving",
        "_locks",
        "_stripe",
        "_to_wake",
        "_waits",
        "_wake",
        "_worker",
        "_workers",
    )

    def __init__(
        self,
        cells: memoryview,
        locks: Locks,
        stripe: int,
        worker: int,
        wake: Callable[[int], None],
        closed: "Callable[[SharedQuota], None]",
    ) -> None:
        """cells: the record, of `cells_needed` cells; stripe: its lock. worker: the number of this one, from 0. wake:
        lets another worker, or this one, call `woken` in a later turn of its loop. closed: called once, after `let_go`,
        as soon as all slots have been given back: then the record may serve another name."""
        super().__init__(cells[LIMIT], is_shared=True)
        self._cells = cells
        self._locks = locks
        self._stripe = stripe
        self._worker = worker
        self._workers = (len(cells) - HEADER) // KINDS
        self._wake = wake
        self._closed = closed
        self._freed: Callable[[], None] | None = None
        self._to_wake: list[int] = []
        self._is_leaving = self._is_closed = False
        # As they were when this worker held the lock last. Others may have granted a slot since.
        self._waits = 0  # what PRESSURE has of this worker: 1 if it waits, else 0
        self._claims = False  # it waits, or was granted a slot

    # ── what a pool calls ──

    def take(self) -> bool:
        self._lock()
        try:
            return self._take()
        finally:
            self._unlock()

    def give(self) -> None:
        self._lock()
        try:
            self._give()
            self._settle(self._worker)
        finally:
            self._unlock()
        self._close_if_empty()

    def take_or_wait(self) -> bool:
        self._lock()
        try:
            if self._take():
                return True
            if not self._is_leaving and not self._cell(SINCE, self._worker):
                self._join()
            return False
        finally:
            self._unlock()

    def stop_waiting(self) -> None:
        if not self._claims or self._is_leaving:
            return
        self._lock()
        try:
            self._set(SINCE, self._worker, 0)
            self._set(GRANTED, self._worker, 0)
            self._settle()
        finally:
            self._unlock()

    def give_if_due(self) -> bool:
        if self._cells[PRESSURE] == self._waits:
            return False
        self._lock()
        try:
            due = self._is_due()
            if due:
                self._give()
            elif self._cell(SINCE, self._worker):
                # The slot serves who waits here: others have waited longer now.
                self._pass_over(self._worker)
                self._set(SINCE, self._worker, self._ticket())
            self._settle(self._worker)
        finally:
            self._unlock()
        self._close_if_empty()
        return due

    def on_free(self, freed: Callable[[], None]) -> None:
        self._freed = freed

    def resize(self, limit: int) -> None:
        self.limit = limit
        self._lock()
        try:
            self._cells[LIMIT] = limit
            self._settle()
        finally:
            self._unlock()

    def let_go(self) -> None:
        self.stop_waiting()
        self._is_leaving = True
        self._close_if_empty()

    # ── what the loop and the supervisor call ──

    def woken(self) -> None:
        """Somebody has woken this worker, for the sake of this quota or of another one."""
        if self._freed is None or self._is_leaving:
            return
        if self._cells[PRESSURE] or self._cell(GRANTED, self._worker):
            self._freed()

    def forget(self, is_dead: Callable[[], bool]) -> None:
        """Give back what this worker held, which is dead, unless it is not dead any more: it has a successor. For an
        object that is made for this call."""
        self._lock()
        try:
            if not is_dead():
                return
            for kind in (TAKEN, SINCE, GRANTED, PASSED):
                self._set(kind, self._worker, 0)
            self._settle()
            # The dead one may have granted slots, and died before it could wake for them.
            granted = self._column(GRANTED)
            self._to_wake = [worker for worker in range(self._workers) if granted[worker]]
        finally:
            self._unlock()

    # ── with the lock ──

    def _lock(self) -> None:
        self._locks.acquire(self._stripe)

    def _unlock(self) -> None:
        waits = self._cell(SINCE, self._worker) != 0
        self._waits = 1 if waits else 0
        self._claims = waits or self._cell(GRANTED, self._worker) != 0
        self._locks.release(self._stripe)
        if self._to_wake:
            to_wake, self._to_wake = self._to_wake, []
            for worker in to_wake:
                self._wake(worker)

    def _take(self) -> bool:
        """Take what was granted, or a free slot."""
        if self._cell(GRANTED, self._worker):
            self._set(GRANTED, self._worker, 0)
        elif self._free() <= 0:
            return False
        self._set(TAKEN, self._worker, self._cell(TAKEN, self._worker) + 1)
        self.taken += 1
        return True

    def _give(self) -> None:
        self._set(TAKEN, self._worker, self._cell(TAKEN, self._worker) - 1)
        self.taken -= 1

    def _join(self) -> None:
        """Wait, behind the others. Those that may have idle connections are to close one."""
        self._set(PASSED, self._worker, 0)
        self._set(SINCE, self._worker, self._ticket())
        self._cells[PRESSURE] += 1
        taken, since = self._column(TAKEN), self._column(SINCE)
        self._to_wake += [worker for worker in range(self._workers) if taken[worker] and not since[worker]]

    def _is_due(self) -> bool:
        """Whether a slot that this worker has, and does not use, is to be given back."""
        if self._free() < 0:
            return True
        mine = self._cell(TAKEN, self._worker) + self._cell(GRANTED, self._worker)
        return self._next(self._worker, mine, claims=self._claims_now()) not in {-1, self._worker}

    def _settle(self, giver: int = -1) -> None:
        """Grant the free slots to those who wait. giver: who has just given one back; -1: nobody did of their own."""
        free = self._free()
        while free > 0:
            mine = 0 if giver < 0 else self._cell(TAKEN, giver) + self._cell(GRANTED, giver) + 1
            chosen = self._next(giver, mine, claims=giver >= 0 and self._cell(SINCE, giver) != 0)
            if chosen < 0:
                break
            self._pass_over(chosen)
            self._set(GRANTED, chosen, 1)
            self._set(SINCE, chosen, 0)
            self._to_wake.append(chosen)
            free -= 1
            giver = -1
        waiting = self._workers - self._column(SINCE).count(0)
        self._cells[PRESSURE] = waiting + max(0, -free)

    def _next(self, giver: int, mine: int, *, claims: bool) -> int:
        """Whose turn it is to have a slot that `giver` had (see the module's rules); -1: nobody waits. mine: how many
        slots it has, with this one. claims: somebody waits there."""
        since, taken, granted = self._column(SINCE), self._column(TAKEN), self._column(GRANTED)
        passed, limit = self._column(PASSED), self._cells[LIMIT]
        chosen, longest = giver if claims else -1, 0
        for worker in range(self._workers):
            number = since[worker]
            if number == 0 or (claims and worker == giver) or (longest and number > longest):
                continue
            held = taken[worker] + granted[worker]
            if not claims or held == 0 or mine > held + 1 or passed[worker] >= limit:
                chosen, longest = worker, number
        return chosen

    def _pass_over(self, chosen: int) -> None:
        """A slot goes to this worker, and the others that wait are passed over."""
        since = self._column(SINCE)
        for worker in range(self._workers):
            if worker == chosen:
                self._set(PASSED, worker, 0)
            elif since[worker]:
                self._set(PASSED, worker, self._cell(PASSED, worker) + 1)

    def _ticket(self) -> int:
        self._cells[TICKETS] += 1
        return self._cells[TICKETS]

    def _claims_now(self) -> bool:
        return self._cell(SINCE, self._worker) != 0 or self._cell(GRANTED, self._worker) != 0

    def _free(self) -> int:
        """How many slots are free; negative: so many too many are taken."""
        return self._cells[LIMIT] - sum(self._column(TAKEN)) - sum(self._column(GRANTED))

    # ── cells ──

    def _cell(self, kind: int, worker: int) -> int:
        return self._cells[HEADER + kind * self._workers + worker]

    def _set(self, kind: int, worker: int, value: int) -> None:
        self._cells[HEADER + kind * self._workers + worker] = value

    def _column(self, kind: int) -> list[int]:
        """The cells of a kind, one for each worker."""
        first = HEADER + kind * self._workers
        return self._cells[first : first + self._workers].tolist()

    # ── the end ──

    def _close_if_empty(self) -> None:
        if self._is_leaving and not self._is_closed and not self.taken:
            self._is_closed = True
            # A request that began before the reload may still come. It is counted here, by nobody else.
            cells = memoryview(bytearray(8 * len(self._cells))).cast("Q")
            cells[LIMIT] = self.limit
            self._cells = cells
            self._closed(self)
