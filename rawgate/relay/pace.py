"""How fast somebody takes what was written to them, from looks at what is left.

TCP acknowledges in lumps: a reader whose buffer is full tells of room only when a good part of it is free again. So one
look says little. Whoever has taken something since the last one is not late; and over the whole time since we began to
wait, a client has to have taken octets at a least rate.
"""


class Pace:
    """Of one side, from when it was full.

    moved   monotonic time of the last look that saw less than the one before
    """

    __slots__ = ("_began", "_first", "_left", "moved")

    def __init__(self, left: int, now: float) -> None:
        self._began = self.moved = now
        self._first = self._left = left

    def look(self, left: int, now: float) -> bool:
        """left: octets that it has not taken. Whether it took any since the last look."""
        took = left < self._left
        if took:
            self.moved = now
        self._left = left
        return took

    def keeps(self, rate: float, now: float) -> bool:
        """Whether it took so many octets a second, by the last look."""
        return self._first - self._left >= rate * (now - self._began)
