"""What has come from a client and cannot be used yet, and whether more of it is read.

A client may send ahead: the next requests (pipelining), or a body before there is an upstream to send it to. That is
held, in order, until its turn comes.

On uvloop a reset is noticed only while reading. So reading goes on while a request is being served, until
`limits.head` octets are held; only then is the socket left alone. With responses waiting to be taken it is left alone
at once: a reset is noticed there when they cannot be written.
"""

import asyncio


class Inbound:
    """One client's octets that wait, and the place of its FIN among them.

    limit   octets that may be held while reading goes on
    held    octets that have come and that nobody has used
    paused  the exchange takes no octets of a body for now
    ended   the client has sent FIN; `held` comes before it
    """

    __slots__ = ("_reading", "_transport", "ended", "held", "limit", "paused")

    def __init__(self, transport: asyncio.Transport, limit: int) -> None:
        self._transport = transport
        self.limit = limit
        self._reading = True
        self.held = b""
        self.paused = False
        self.ended = False

    def hold(self, data: bytes) -> None:
        """Keep these behind what is held."""
        self.held += data
        if len(self.held) > self.limit:
            self.stop_reading()

    def take(self) -> bytes:
        """All that is held; it is no longer held then."""
        held, self.held = self.held, b""
        return held

    def is_at_end(self) -> bool:
        """Whether FIN is what comes next."""
        return self.ended and not self.held and not self.paused

    def stop_reading(self) -> None:
        """Leave the socket alone."""
        if self._reading:
            self._reading = False
            self._transport.pause_reading()

    def read_on(self) -> None:
        """Read again, unless too much is held. Not for a transport that is gone."""
        if not self._reading and len(self.held) <= self.limit:
            self._reading = True
            self._transport.resume_reading()
