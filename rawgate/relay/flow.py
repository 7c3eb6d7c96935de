"""What an exchange and the tunnel that may follow it share: two ports, flow control, deadlines, and the outcome.

Octets come in by `client_data` and `upstream_data`, and go out through the ports. Time comes in as `now`, in monotonic
seconds. The shell calls `expire` to let deadlines end the flow, and to learn when to call again.

The faster side waits for the slower one: a full client pauses the upstream, a full upstream pauses the client. A
deadline runs only against the side that is waited for. `waiting_since` is the time when that side last made progress,
or when the flow began to wait for it.
"""

from abc import ABC, abstractmethod
from math import inf
from typing import TYPE_CHECKING, Final

from rawgate import errors
from rawgate.errors import Reason
from rawgate.message import Forward, Octets, RequestHead
from rawgate.relay.options import ClientOptions
from rawgate.relay.pace import Pace
from rawgate.relay.phases import DONE, LEASING, OVER, Event, Phase
from rawgate.relay.pool import Pool
from rawgate.relay.ports import ClientPort, UpstreamPort

if TYPE_CHECKING:
    from rawgate.relay.endpoints import Endpoint

_OK: Final = errors.OK  # which would be looked up by its name for each flow

CLOSED: Final = "It closed"
RESET: Final = "It reset"
LOST: Final = "The network lost"
"""How an upstream's connection ended: the beginning of the log's detail."""

NEVER: Final = -1.0
"""In place of a time: it did not happen."""


class Flow(ABC):
    """Octets between one client and one upstream. The outcome is valid once `phase` is DONE:

    reason        how it ended
    status        the status that the client was sent; 0 before any was
    bytes_in      octets of the request's body taken from the client, without chunk framing
    bytes_out     octets of the response's body handed to the client's connection, without chunk framing
    detail        more about the reason, for the log; "" where the reason says all
    asked_at      monotonic seconds when a connection was asked for
    leased_at     … when the connection was there; `NEVER` if there was none
    head_at       … when the final head came; `NEVER` if none came
    ended_at      … when the upstream had done its part, or was left
    over_at       … when a slow client, too, had taken all
    client_waited  seconds in which the client was waited for: for the rest of its body, or to take octets
    attempts      how often the request was sent, or was about to be; 1 or more
    endpoint      where it was sent last, or could not be; None: nowhere
    keep_open     the client's connection may serve another request
    linger        the client may still be sending: its connection is read on for a while before it is closed

    While it lasts:

    wants_body     octets from the client are to be handed over
    waiting_since  see the module
    client_pace    how fast the client takes what was written; None: it is not full
    upstream_pace  how fast the upstream does, while it is full, or still takes a request that is out; else None
    client_since   monotonic seconds since when the client has been waited for; `NEVER` while it is not
    """

    __slots__ = (
        "asked_at",
        "attempts",
        "bytes_in",
        "bytes_out",
        "client",
        "client_ended",
        "client_options",
        "client_pace",
        "client_since",
        "client_waited",
        "detail",
        "ended_at",
        "endpoint",
        "forward",
        "has_tunnel_slot",
        "head",
        "head_at",
        "keep_open",
        "leased_at",
        "linger",
        "over_at",
        "phase",
        "pool",
        "reason",
        "started",
        "status",
        "upstream",
        "upstream_ended",
        "upstream_full",
        "upstream_pace",
        "waiting_since",
        "wants_body",
    )

    def __init__(
        self,
        client: ClientPort,
        pool: Pool,
        forward: Forward,
        head: RequestHead,
        client_options: ClientOptions,
        now: float,
    ) -> None:
        self.client = client
        self.pool = pool
        self.forward = forward
        self.head = head
        self.client_options = client_options
        self.phase: Phase = LEASING
        self.reason = _OK
        self.status = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.detail = ""
        self.started = self.asked_at = self.over_at = self.waiting_since = now
        self.leased_at = self.head_at = self.ended_at = self.client_since = NEVER
        self.client_waited = 0.0
        self.attempts = 1
        self.endpoint: Endpoint | None = None
        self.upstream: UpstreamPort | None = None
        self.wants_body = False
        self.keep_open = False
        self.linger = False
        self.upstream_full = False
        self.client_ended = False
        self.upstream_ended = False
        self.client_pace: Pace | None = None
        self.upstream_pace: Pace | None = None
        self.has_tunnel_slot = False

    def __repr__(self) -> str:
        name = type(self).__name__
        return f"<{name} {self.phase} in={self.bytes_in} out={self.bytes_out} status={self.status} {self.reason!r}>"

    # ── from the client ──

    @abstractmethod
    def client_data(self, data: Octets, now: float) -> bytes:
        """Octets from the client while `wants_body`. Returns those that belong to the next request."""

    @abstractmethod
    def client_fin(self, now: float) -> bool:
        """The client's FIN has come; octets before it may still be held. Returns whether the client is taken for gone,
        so that the flow is over."""

    @abstractmethod
    def client_eof(self, now: float) -> None:
        """The client has half-closed: it sends nothing more, and all that it sent has been handed over."""

    @abstractmethod
    def client_lost(self, now: float, detail: str = "") -> None:
        """The client's connection is gone. detail: for the log."""

    def client_is_full(self, now: float) -> None:
        """More is buffered for the client than may be. The upstream waits."""
        self.waiting_since = now
        self.client_pace = Pace(self.client.write_backlog(), now)
        self.clock_client(now)
        if self.upstream is not None:
            self.upstream.pause()

    def client_has_room(self, now: float) -> None:
        """The client has caught up."""
        self.client_pace = None
        self.waiting_since = now
        self.clock_client(now)
        if self.upstream is not None:
            self.upstream.resume()

    def clock_client(self, now: float) -> None:
        """The side that is waited for may have changed: add up the time in which it was the client. It is called when a
        side is found to be slow, and when it has caught up, so an exchange of two fast sides pays nothing for it."""
        if self.client_since != NEVER:
            self.client_waited += now - self.client_since
        self.client_since = now if self.waits_for_client() else NEVER

    def waits_for_client(self) -> bool:
        """Whether the client is waited for, and not the upstream."""
        return self.client_pace is not None

    # ── from the upstream ──

    @abstractmethod
    def upstream_data(self, data: bytes, now: float) -> None:
        """Octets from the upstream."""

    @abstractmethod
    def upstream_eof(self, now: float) -> None:
        """The upstream sends nothing more. This ends a body that is delimited by close, or half-closes a tunnel; else
        it is a loss."""

    def upstream_ends(self, refused: bool = False) -> None:
        """The upstream's connection is gone. Octets that came before may follow, and then `upstream_lost`. refused:
        what was written to it last was not taken."""
        self.upstream_ended = True

    @abstractmethod
    def upstream_lost(self, now: float, how: str = CLOSED) -> None:
        """The upstream's connection is gone, and nothing more follows. how: `CLOSED`, `RESET` or `LOST`."""

    def upstream_is_full(self, now: float) -> None:
        """More is buffered for the upstream than may be. The client waits."""
        self.upstream_full = True
        self.waiting_since = now
        if self.upstream is not None:
            self.upstream_pace = Pace(self.upstream.write_backlog(), now)
        self.clock_client(now)
        self.client.pause()

    def upstream_has_room(self, now: float) -> None:
        """The upstream has caught up."""
        self.upstream_full = False
        self.upstream_pace = None
        self.waiting_since = now
        self.clock_client(now)
        # Also where the whole body is here: the client's share of the memory has become less.
        self.client.resume()

    # ── deadlines ──

    def expire(self, now: float) -> float:
        """Time has passed. Ends the flow if the side that is waited for is late. Returns when to call again."""
        if self.phase is DONE:
            return inf
        due, reason = self.deadline()
        if now < due or self.has_progressed(reason, now):
            return self.deadline()[0]
        self.timed_out(reason, now)
        return inf

    @abstractmethod
    def deadline(self) -> tuple[float, Reason]:
        """When the time of the side that is waited for is over, in monotonic seconds, and the reason with which the
        flow ends then."""

    @abstractmethod
    def has_progressed(self, reason: Reason, now: float) -> bool:
        """The deadline with this reason is over. Returns whether the side is not late after all: a slow reader may have
        taken some, a slow sender may have sent enough."""

    @abstractmethod
    def timed_out(self, reason: Reason, now: float) -> None:
        """The side that is waited for is late: end the flow, or wait for something else."""

    def client_takes(self, pace: Pace, least: int, now: float) -> bool:
        """Whether the client has taken some since the last look, and `least` octets a second on the whole."""
        return pace.look(self.client.write_backlog(), now) and pace.reaches(least, now)

    def upstream_takes(self, now: float) -> bool:
        """Whether a full upstream has taken some since the last look."""
        pace, upstream = self.upstream_pace, self.upstream
        return pace is not None and upstream is not None and pace.look(upstream.write_backlog(), now)

    # ── endings ──

    @abstractmethod
    def end_soon(self, reason: Reason, spread: float, now: float) -> None:
        """`DRAINING`: the gateway is about to end. `TUNNEL_OUTDATED`: its configuration has changed. A request goes on
        until it is complete; what has no end of its own ends within `spread` seconds."""

    @abstractmethod
    def give_up(self, reason: Reason, now: float) -> None:
        """The shell ends the flow, for a reason of its own."""

    def cut(self, reason: Reason, now: float, *, shows: bool) -> None:
        """End the client's connection: the client does not get the whole. shows: the framing shows that. Where it does
        not, a FIN would pass for the end, so the connection is reset. So is that of a client that does not take what it
        is sent."""
        self.linger = self.linger or self.wants_body
        self.drop_upstream(reason, now)
        self.keep_open = False
        is_gone = reason is errors.CLIENT_GONE
        if is_gone or not shows:
            self.client.reset()
        else:
            self.client.cut()
        self.finish(OVER, reason, now, status=reason.status if is_gone else self.status)

    def drop_upstream(self, reason: Reason, now: float) -> None:
        """Leave the upstream, whatever it is doing: reset its connection."""
        self._clock_upstream(now)
        upstream = self.upstream
        if upstream is not None:
            self.upstream = None
            upstream.attach(None)
            upstream.reset()
            self.tell_pool(upstream, reason, now)

    def close_upstream(self, now: float) -> None:
        """The upstream has done its part, and its connection is not used again: close it."""
        self._clock_upstream(now)
        upstream = self.upstream
        if upstream is not None:
            self.upstream = None
            upstream.attach(None)
            upstream.close()
            self.tell_pool(upstream, self.reason, now)

    def _clock_upstream(self, now: float) -> None:
        """Its time ends now, unless it had done its part before."""
        self.clock_client(now)
        if self.ended_at == NEVER:
            self.ended_at = now

    @abstractmethod
    def tell_pool(self, upstream: UpstreamPort, reason: Reason, now: float) -> None:
        """The upstream's connection has been ended. If the pool has it in its books, tell the pool that, and why."""

    def finish(self, event: Event, reason: Reason, now: float, *, status: int = -1) -> None:
        """The flow is over. status: the status that the client was sent; -1: the one that `status` holds already."""
        self.phase = self.phase.moves[event]
        self.reason = reason
        self.over_at = now
        self.wants_body = False
        if self.has_tunnel_slot:
            self.pool.free_tunnel()
        if status >= 0:
            self.status = status
        self.client.finished(self)
