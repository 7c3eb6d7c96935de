"""What an exchange and the tunnel that may follow it share: two ports, flow control, deadlines, and the outcome.

Octets come in by `client_data` and `upstream_data`, octets go out through the ports. Time comes in as `now` (monotonic
seconds), and the shell asks for the next deadline with `expire`.

Whoever is slower is waited for: a full client pauses the upstream, a full upstream pauses the client. A deadline runs
only against the side that is waited for. `since` is when that side last made progress, or when we began to wait for it.
"""

from abc import ABC, abstractmethod
from math import inf
from typing import Final

from rawgate import errors
from rawgate.errors import Reason
from rawgate.message import Forward, Octets, RequestHead
from rawgate.relay.options import ClientOptions
from rawgate.relay.pace import Pace
from rawgate.relay.phases import DONE, LEASING, OVER, Event, Phase
from rawgate.relay.pool import Pool
from rawgate.relay.ports import ClientPort, UpstreamPort

NEVER: Final = -1.0
"""The time of what did not happen."""


class Flow(ABC):
    """Octets between one client and one upstream. The outcome is valid once `phase` is DONE:

    reason        how it ended
    status        what the client was told (0 only before anything was)
    bytes_in      octets of the request's body taken from the client, chunk framing not counted
    bytes_out     octets of the response's body handed to the client's connection, chunk framing not counted
    detail        more about the reason, for the log; "" where the reason says all
    asked_at, leased_at, head_at, ended_at  monotonic seconds: a connection was asked for; it was there; the final head
                  came; the upstream had done its part; `NEVER` if that did not happen
    over_at       monotonic seconds when the client's connection was done with it, a slow client's taking included
    client_waited  seconds in which it was the client that was waited for: for the rest of its body, or to take octets
    keep_open     the client's connection may serve another request
    linger        the client may still be sending: read on for a while before closing

    While it lasts:

    wants_body    octets from the client are to be handed over
    client_pace   while the client is full: how fast it takes what was written
    upstream_pace  while the upstream is full, or still takes a request that is out: the same
    client_since  monotonic seconds since when the client has been waited for; `NEVER` while it is not
    """

    __slots__ = (
        "asked_at",
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
        "forward",
        "has_tunnel_place",
        "head",
        "head_at",
        "keep_open",
        "leased_at",
        "linger",
        "over_at",
        "phase",
        "pool",
        "reason",
        "since",
        "started",
        "status",
        "upstream",
        "upstream_ended",
        "upstream_full",
        "upstream_pace",
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
        self.reason = errors.OK
        self.status = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.detail = ""
        self.started = self.asked_at = self.over_at = self.since = now
        self.leased_at = self.head_at = self.ended_at = self.client_since = NEVER
        self.client_waited = 0.0
        self.upstream: UpstreamPort | None = None
        self.wants_body = False
        self.keep_open = False
        self.linger = False
        self.upstream_full = False
        self.client_ended = False
        self.upstream_ended = False
        self.client_pace: Pace | None = None
        self.upstream_pace: Pace | None = None
        self.has_tunnel_place = False

    def __repr__(self) -> str:
        name = type(self).__name__
        return f"<{name} {self.phase} in={self.bytes_in} out={self.bytes_out} status={self.status} {self.reason!r}>"

    # ── from the client ──

    @abstractmethod
    def client_data(self, data: Octets, now: float) -> bytes:
        """Octets from the client while `wants_body`. Returns those that belong to the next request."""

    @abstractmethod
    def client_fin(self, now: float) -> bool:
        """The client's FIN has come; octets before it may be held back still. Whether the client is gone, and the flow
        over with it."""

    @abstractmethod
    def client_eof(self, now: float) -> None:
        """A half-close: the client sends nothing more, and all that it sent has been handed over."""

    @abstractmethod
    def client_lost(self, now: float, detail: str = "") -> None:
        """The client's connection is gone. detail: for the log."""

    def client_is_full(self, now: float) -> None:
        """More is written to the client than it takes: the upstream waits."""
        self.since = now
        self.client_pace = Pace(self.client.write_backlog(), now)
        self.clock_client(now)
        if self.upstream is not None:
            self.upstream.pause()

    def client_has_room(self, now: float) -> None:
        """The client caught up."""
        self.client_pace = None
        self.since = now
        self.clock_client(now)
        if self.upstream is not None:
            self.upstream.resume()

    def clock_client(self, now: float) -> None:
        """Whoever is waited for may be another one now: count the client's time. Called when a side turns out to be
        slow, and when it has caught up; where neither is, nothing is counted."""
        if self.client_since != NEVER:
            self.client_waited += now - self.client_since
        self.client_since = now if self.waits_for_client() else NEVER

    def waits_for_client(self) -> bool:
        """Whether it is the client that is waited for."""
        return self.client_pace is not None

    # ── from the upstream ──

    @abstractmethod
    def upstream_data(self, data: bytes, now: float) -> None:
        """Octets from the upstream."""

    @abstractmethod
    def upstream_eof(self, now: float) -> None:
        """The upstream sends nothing more: the end of a close-delimited body, a half-close of a tunnel, or a loss."""

    def upstream_ends(self) -> None:
        """The upstream's connection is gone. What had come before that may follow, then `upstream_lost`."""
        self.upstream_ended = True

    @abstractmethod
    def upstream_lost(self, now: float) -> None:
        """The upstream's connection is gone, in the middle of things."""

    def upstream_is_full(self, now: float) -> None:
        """More is written to the upstream than it takes: the client waits."""
        self.upstream_full = True
        self.since = now
        if self.upstream is not None:
            self.upstream_pace = Pace(self.upstream.write_backlog(), now)
        self.clock_client(now)
        self.client.pause()

    def upstream_has_room(self, now: float) -> None:
        """The upstream caught up."""
        self.upstream_full = False
        self.upstream_pace = None
        self.since = now
        self.clock_client(now)
        if self.wants_body:
            self.client.resume()

    # ── deadlines ──

    def expire(self, now: float) -> float:
        """Time has passed: end the flow if the side that we wait for is late. Returns when to ask again."""
        if self.phase is DONE:
            return inf
        due, reason = self.waits()
        if now < due or self.has_progressed(reason, now):
            return self.waits()[0]
        self.is_late(reason, now)
        return inf

    @abstractmethod
    def waits(self) -> tuple[float, Reason]:
        """Until when the side that we wait for has, and how it ends if nothing comes."""

    @abstractmethod
    def has_progressed(self, reason: Reason, now: float) -> bool:
        """The deadline passed, but look closer: a slow reader may have taken some, a slow sender enough."""

    @abstractmethod
    def is_late(self, reason: Reason, now: float) -> None:
        """Nothing came in time."""

    def client_takes(self, pace: Pace, least: int, now: float) -> bool:
        """Whether the client has taken some of what was written to it, and `least` octets a second on the whole."""
        return pace.look(self.client.write_backlog(), now) and pace.reaches(least, now)

    def upstream_takes(self, now: float) -> bool:
        """Whether a full upstream has taken some of what was written to it."""
        pace, upstream = self.upstream_pace, self.upstream
        return pace is not None and upstream is not None and pace.look(upstream.write_backlog(), now)

    # ── endings ──

    @abstractmethod
    def give_up(self, reason: Reason, now: float) -> None:
        """The shell ends it, for a reason of its own."""

    def cut(self, reason: Reason, now: float, *, shows: bool) -> None:
        """End the client's connection: what the client has is not the whole. shows: the framing shows that; else a FIN
        would pass for the end, and the connection is reset. A client that does not take what it is sent is reset."""
        self.linger = self.linger or self.wants_body
        self.drop_upstream(reason, now)
        self.keep_open = False
        is_gone = reason is errors.CLIENT_GONE
        if is_gone or not shows:
            self.client.reset()
        self.finish(OVER, reason, now, status=reason.status if is_gone else self.status)

    def drop_upstream(self, reason: Reason, now: float) -> None:
        """Leave the upstream, whatever it was doing."""
        self.clock_client(now)
        if self.ended_at == NEVER:
            self.ended_at = now
        upstream = self.upstream
        if upstream is not None:
            self.upstream = None
            upstream.attach(None)
            upstream.reset()
            self.let_go(upstream, reason, now)

    def close_upstream(self, now: float) -> None:
        """The upstream has done its part, but its connection is not to be used again."""
        upstream = self.upstream
        if upstream is not None:
            self.upstream = None
            upstream.attach(None)
            upstream.close()
            self.let_go(upstream, self.reason, now)

    @abstractmethod
    def let_go(self, upstream: UpstreamPort, reason: Reason, now: float) -> None:
        """The upstream connection is ended: whoever keeps the book of it hears so, and why."""

    def finish(self, event: Event, reason: Reason, now: float, *, status: int = -1) -> None:
        """It is over. status: what the client was told; -1: what `status` says already."""
        self.phase = self.phase.moves[event]
        self.reason = reason
        self.over_at = now
        self.wants_body = False
        if self.has_tunnel_place:
            self.pool.free_tunnel()
        if status >= 0:
            self.status = status
        self.client.finished(self)
