"""Time and random octets for the rooms that may read neither: they are given these objects, and call them."""

from os import urandom
from time import gmtime, time

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class RequestIds:
    """Each call returns 128 random bits as 32 hexadecimal digits: as long as a trace id (W3C Trace Context).

    The kernel is asked for 256 ids at a time, since a system call per request would cost as much as routing it. Each
    process needs an object of its own: two processes that share the buffer would share ids.
    """

    __slots__ = ("_at", "_digits")

    def __init__(self) -> None:
        self._digits = ""
        self._at = 0

    def forget(self) -> None:
        """For a process that was just forked: the ids that are left are its parent's."""
        self._digits = ""
        self._at = 0

    def __call__(self) -> str:
        at = self._at
        if at == len(self._digits):
            self._digits = urandom(16 * 256).hex()
            at = 0
        self._at = at + 32
        return self._digits[at : at + 32]


class HttpDate:
    """Each call returns the value of a Date field for now (IMF-fixdate, RFC 9110 section 5.6.7). It is formatted once
    per second."""

    __slots__ = ("_date", "_second")

    def __init__(self) -> None:
        self._second = -1
        self._date = b""

    def __call__(self) -> bytes:
        second = int(time())
        if second != self._second:
            self._second = second
            # By hand: `email.utils.formatdate` would bring 25 modules, a twentieth of a start.
            year, month, day, hour, minute, seconds, weekday, *_ = gmtime(second)
            date = f"{_DAYS[weekday]}, {day:02} {_MONTHS[month - 1]} {year} {hour:02}:{minute:02}:{seconds:02} GMT"
            self._date = date.encode()
        return self._date
