"""The two small doors through which an exchange touches the world. `net` implements them; tests fake them.

They are base classes and no protocols of typing: compiled ahead of time, a call then goes through a table, where one by
name costs as much as making a small object.

Nothing behind a port calls back while a port method runs, with two exceptions: `ClientPort.resume` may hand over octets
that were held back, and `write` and `flush` may say `…_is_full`. All methods may be called on a connection that is
already lost: they then do nothing.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from rawgate.message import Octets

if TYPE_CHECKING:
    from rawgate.relay.endpoints import Endpoint
    from rawgate.relay.flow import Flow
    from rawgate.wire import ResponseReader


class Port(ABC):
    """One side of an exchange."""

    __slots__ = ()

    @abstractmethod
    def write(self, data: Octets) -> None:
        """Send, or buffer what the kernel does not take; the shell says `…_full` when that is too much."""

    @abstractmethod
    def write_eof(self) -> None:
        """Half-close: send FIN after what is buffered. Only tunnels do this. A connection that cannot half-close (TLS
        in asyncio) is closed after what is buffered; then its side ends too: `client_eof`, `upstream_eof`."""

    @abstractmethod
    def pause(self) -> None:
        """Deliver no more octets until `resume`."""

    @abstractmethod
    def resume(self) -> None:
        """Deliver again, what was held back first."""

    @abstractmethod
    def reset(self) -> None:
        """End at once with a TCP reset, dropping what is buffered: the peer must not take it for an end."""

    @abstractmethod
    def buffered(self) -> int:
        """Octets written that the kernel has not taken yet: they are in our memory."""

    @abstractmethod
    def write_backlog(self) -> int:
        """Octets written that the peer's system has not taken yet: the same, and what the kernel holds. A system call,
        for deadlines that want to know about progress."""


class ClientPort(Port):
    """The client's side. The connection outlives the exchange: only the shell closes it, after `finished`."""

    __slots__ = ("last", "waited_from")

    last: bool
    """No further request will be served on this connection (the gateway drains)."""
    waited_from: int
    """Octets of a response's body from which on the exchange flushes at its end. With fewer the kernel has room for it,
    as far as one can know without looking."""

    @abstractmethod
    def flush(self) -> None:
        """Nothing more will be written for now. If the kernel has not taken all, say `client_is_full` where that has
        not been said, and `client_has_room` when it has."""

    @abstractmethod
    def date(self) -> bytes:
        """The value of a Date field for now, for a reply of our own."""

    @abstractmethod
    def expect_large_body(self) -> None:
        """Much of one body is coming from this side: it may be handed over as views."""

    @abstractmethod
    def arm(self, due: float) -> None:
        """Call `Flow.expire` at `due` at the latest."""

    @abstractmethod
    def attach(self, flow: "Flow") -> None:
        """A tunnel takes over: from now on it is told what comes from this side."""

    @abstractmethod
    def finished(self, flow: "Flow") -> None:
        """The flow is over; its outcome stands in its attributes."""


class UpstreamPort(Port):
    """The upstream's side: one connection, leased from a pool for the length of one exchange."""

    __slots__ = ("address", "bodies", "carried", "endpoint", "reader", "rested_at", "retire_at", "used")

    endpoint: "Endpoint"
    """Where this connection leads to."""
    address: str
    """Which of the endpoint's addresses it leads to."""
    used: bool
    """It has served an exchange before: the upstream may have closed it while it was idle."""
    carried: bool
    """Idle: the last request that it carried had a body."""
    bodies: bool
    """Some request that it carried had a body."""
    reader: "ResponseReader"
    """Reads the response heads that come from there."""
    rested_at: float
    """Monotonic time since when it has been idle."""
    retire_at: float
    """Monotonic time after which an idle connection is not leased again."""

    @abstractmethod
    def attach(self, flow: "Flow | None") -> None:
        """Whose octets these are from now on; None: nobody's, the connection is idle."""

    @abstractmethod
    def is_spoilt(self) -> bool:
        """Whether something has come that nobody asked for, be it only the end: looks into the socket, never waits."""

    @abstractmethod
    def drain(self) -> None:
        """Nothing more will be written. If not all of it has been taken, say `upstream_has_room` when it has."""

    @abstractmethod
    def close(self) -> None:
        """Close after what is buffered has been sent."""
