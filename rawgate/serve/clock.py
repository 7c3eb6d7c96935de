"""Time and random octets, as the rooms that may not read them are given them."""

from email.utils import formatdate
from os import urandom
from time import time


class RequestIds:
    """128 random bits as 32 hexadecimal digits, a call. The kernel is asked for many at a time: a system call per
    request would cost as much as routing it. One per process: two that share a buffer would share ids."""

    __slots__ = ("_at", "_digits")

    def __init__(self) -> None:
        self._digits = ""
        self._at = 0

    def __call__(self) -> str:
        at = self._at
        if at == len(self._digits):
            self._digits = urandom(16 * 256).hex()
            at = 0
        self._at = at + 32
        return self._digits[at : at + 32]


class Calendar:
    """The value of a Date field (IMF-fixdate, RFC 9110 section 5.6.7), formatted once per second."""

    __slots__ = ("_date", "_second")

    def __init__(self) -> None:
        self._second = -1
        self._date = b""

    def __call__(self) -> bytes:
        second = int(time())
        if second != self._second:
            self._second = second
            self._date = formatdate(second, usegmt=True).encode()
        return self._date
