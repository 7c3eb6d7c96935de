"""`policy.store_scripts` as a function: counters in memory, with the time as an argument. A test compares it with the
real script, answer by answer."""

from rawgate.policy.limiter import COUNTERS, SUBWINDOWS
from rawgate.policy.store_scripts import SHARE

Answer = tuple[int, int, int, int, int]


class ModelStore:
    """Counters by key: number of the sub-window of the latest count, and 17 counts, that sub-window's first."""

    def __init__(self) -> None:
        self.counters: dict[bytes, tuple[int, list[int]]] = {}
        self.asked = 0

    def count(self, key: bytes, width: int, most: int, need: int, extra: int, now: int) -> Answer:
        """`store_scripts.COUNT`; now: microseconds."""
        self.asked += 1
        current = now // width
        last, before = self.counters.get(key, (current, []))
        passed = current - last
        if -COUNTERS <= passed < 0:
            current, passed = last, 0
        elif passed < 0:
            before, passed = [], 0
        ring = ([0] * min(passed, COUNTERS) + before + [0] * COUNTERS)[:COUNTERS]
        free, granted = most - sum(ring), 0
        if free > 0:
            granted = min(free, need)
            granted += min(extra, (free - granted) // SHARE)
            ring[0] += granted
            free -= granted
            self.counters[key] = current, ring
        age, above = SUBWINDOWS, max(-free, 0)
        while age > 0 and above >= ring[age]:
            above -= ring[age]
            age -= 1
        release = (current - age + COUNTERS) * width - now
        return granted, max(free, 0), release, (current + 1) * width - now, current

    def take_back(self, key: bytes, subwindow: int, count: int = 1) -> None:
        """`store_scripts.TAKE_BACK`."""
        if key not in self.counters:
            return
        last, ring = self.counters[key]
        age = max(last - subwindow, 0)
        if age <= SUBWINDOWS:
            ring[age] = max(ring[age] - count, 0)
