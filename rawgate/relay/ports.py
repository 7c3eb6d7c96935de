"""The two small doors through which an exchange touches the world. `net` implements them; tests fake them.

They are base classes, not `typing.Protocol`s. Compiled ahead of time, a method of a base class is called through a
table; a method of a protocol is looked up by name, which costs as much as making a small object.

Nothing behind a port calls back while a method of the port runs. There are two exceptions: `ClientPort.resume` may hand
over octets that were held, and `client_is_full` or `upstream_is_full` may be called where something is written. `write`
may keep little until the end of the loop's turn, or until the port is asked for anything else (`net.turn`); then it is
written there. All methods may be called on a connection that is already lost; then they do nothing.
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
        """Send, in this turn of the loop, and buffer what the kernel does not take. When too much is buffered, the flow
        is told that this side is full."""

    @abstractmethod
    def write_eof(self) -> None:
        """Half-close: send FIN behind what is buffered. Only tunnels do this. A connection that cannot half-close is
        closed behind what is buffered, and so its own side ends too: `client_eof` or `upstream_eof`
        follows."""

    @abstractmethod
    def pause(self) -> None:
        """Deliver no more octets until `resume`."""

    @abstractmethod
    def resume(self) -> None:
        """Deliver octets again, those first that were held."""

    @abstractmethod
    def reset(self) -> None:
        """End at once with a TCP reset, and drop what is buffered. A FIN would tell the peer that all was sent."""

    @abstractmethod
    def buffered(self) -> int:
        """Octets written that the kernel has not taken. They are in our memory."""

    @abstractmethod
    def write_backlog(self) -> int:
        """Octets written that the peer's system has not acknowledged: those that are buffered, and those in the kernel.
        Deadlines see by it whether the peer takes any. It is a system call."""


class ClientPort(Port):
    """The client's side. The connection outlives the exchange; only the shell closes it, after `finished`."""

    __slots__ = ("flush_from", "last")

    last: bool
    """No further request is served on this connection, since the gateway is about to end."""
    flush_from: int
    """Octets of a response's body. An exchange that sent at least so many calls `flush` at its end. The kernel has room
    for a smaller body, as far as one can know without a look."""

    @abstractmethod
    def flush(self) -> None:
        """Nothing more will be written for now. If the kernel has not taken all, call `client_is_full` unless the flow
        knows already, and `client_has_room` once the kernel has taken it."""

    @abstractmethod
    def cut(self) -> None:
        """The response ends before its end, as its framing shows. However the connection ends, it must not say
        otherwise: with TLS there is no closure alert."""

    @abstractmethod
    def date(self) -> bytes:
        """The value of a Date field for a reply of our own."""

    @abstractmethod
    def monotonic(self, wall: float) -> float:
        """The monotonic seconds at a time of day, in Unix seconds."""

    @abstractmethod
    def expect_large_body(self) -> None:
        """The client is about to send a large body, so octets may be handed over as views of a shared buffer."""

    @abstractmethod
    def arm(self, due: float) -> None:
        """Call `Flow.expire` at `due`, or earlier."""

    @abstractmethod
    def attach(self, flow: "Flow") -> None:
        """From now on this flow gets what comes from this side: a tunnel takes over from an exchange."""

    @abstractmethod
    def finished(self, flow: "Flow") -> None:
        """The flow is over. Its attributes hold the outcome."""


class UpstreamPort(Port):
    """The upstream's side: one connection, leased from a pool for the length of one exchange."""

    __slots__ = (
        "address",
        "endpoint",
        "ever_had_body",
        "idle_since",
        "is_last",
        "last_had_body",
        "reader",
        "retire_at",
        "reused",
    )

    endpoint: "Endpoint"
    """The endpoint that the connection leads to."""
    address: str
    """The address of the endpoint that the connection leads to."""
    is_last: bool
    """Its exchange is its last one: the upstream is not there any more."""
    reused: bool
    """It served an exchange before the present one, so the upstream may have closed it while it was idle."""
    last_had_body: bool
    """The request before the present one had a body; while it is idle: the last request had."""
    ever_had_body: bool
    """Some request on this connection had a body."""
    reader: "ResponseReader"
    """Reads the response heads that come on this connection."""
    idle_since: float
    """Monotonic time since when it is idle."""
    retire_at: float
    """Monotonic time after which an idle connection is not leased again."""

    @abstractmethod
    def attach(self, flow: "Flow | None") -> None:
        """From now on this flow gets what comes from this side. None: the connection is idle, and nobody gets it."""

    @abstractmethod
    def is_stale(self) -> bool:
        """Whether something has come that nobody asked for: octets, or the connection's end. Looks into the socket, and
        never waits."""

    @abstractmethod
    def has_failed(self) -> bool:
        """What was written last was not taken, and nothing of it is buffered: `Flow.upstream_lost` is about to come."""

    @abstractmethod
    def drain(self) -> None:
        """Nothing more will be written. Call `upstream_has_room` once the kernel has taken all that is buffered."""

    @abstractmethod
    def close(self) -> None:
        """Close behind what is buffered."""
