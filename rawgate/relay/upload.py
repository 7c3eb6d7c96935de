"""A request's body on its way from the client to the upstream, and how fast its client sends it."""

from rawgate.message import Forward
from rawgate.wire import Body, Transfer

RATE_SPAN = 10.0
"""Seconds over which the client's rate is measured. Kestrel gives 5 s of grace, but phones lose their network for
longer."""


class Upload(Transfer):
    """Made when there is a connection to send the body to.

    begun       octets of the body have been taken from the client, so the request cannot be sent a second time
    confirmed   the upstream's 100 (Continue) has been passed on
    rate_since  monotonic seconds since when the client's rate is measured
    """

    __slots__ = ("_expects", "_rate_octets", "begun", "confirmed", "rate_since")

    def __init__(self, body: Body, forward: Forward, chunked: bool, expects: bool, now: float) -> None:
        """expects: the client asks for a 100 (Continue) before it sends the body."""
        super().__init__(body, chunked, forward.trailer)
        self._expects = expects
        self.begun = False
        self.confirmed = False
        self.measure(now)

    @property
    def awaits_100(self) -> bool:
        """Whether the client waits for a 100 (Continue), so that no body can be expected of it."""
        return self._expects and not self.confirmed and not self.octets

    def measure(self, now: float) -> None:
        """Measure the client's rate from now on: from now on it is the client that is waited for."""
        self.rate_since = now
        self._rate_octets = self.octets

    def reaches(self, rate: int, now: float) -> bool:
        """Whether the client sent so many octets a second since `rate_since`. Then measures from now on."""
        enough = self.octets - self._rate_octets >= rate * (now - self.rate_since)
        self.measure(now)
        return enough
