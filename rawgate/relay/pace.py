"""How fast one side takes what was written to it, as seen by looks at what it has not taken yet.

TCP acknowledges in lumps: a reader whose buffer is full tells of room only when a good part of it is free again. So a
single look says little. A side that has taken some octets since the last look is not late. A client has also to take
octets at a least rate, over all the time since we began to wait for it.
"""


class Pace:
    """The pace of one side, from the moment when it was full.

    moved   monotonic time of the last look that found less than the look before it
    """

    __slots__ = ("_began", "_first", "_left", "moved")

    def __init__(self, left: int, now: float) -> None:
        self._began = self.moved = now
        self._first = self._left = left

    def look(self, left: int, now: float) -> bool:
        """Take a look. left: octets that the side has not taken. Returns whether it took any since the last look."""
        took = left < self._left
        if took:
            self.moved = now
        self._left = left
        return took

    def reaches(self, rate: float, now: float) -> bool:
        """Whether it took so many octets a second, from the first look to the last one."""
        return self._first - self._left >= rate * (now - self._began)
