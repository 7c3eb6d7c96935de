"""One exchange: one request of one client, relayed to one upstream, and the answer relayed back.

Octets come in by `client_data` and `upstream_data`, octets go out through two ports; time comes in as `now` (monotonic
seconds) and the next deadline is asked for with `expire`. No sockets, no loop, no Task: the whole life of a request
runs in a test as a script of bytes.

Theory
------
The life is a path through `TABLE`. A row is a phase, a column an event; a cell is the next phase, and a missing cell is
an illegal move, which raises. The table is consulted when the phase changes, never per piece of a body. `phases.svg`,
beside this module, is the table drawn by `tools/draw-phases`.

    leasing    waiting for a connection: dialing, or in the queue
    sending    the request head is out, its body is not complete; the upstream's 100 (Continue) may be awaited
    awaiting   the request is out whole; no final response head yet
    relaying   the final response head has been passed on; the body follows
    early      the same, but the request is not complete: both go on, and neither connection is used again
    uploading  the response is complete; the rest of the request goes up as long as it is taken
    flushing   the response is complete, a slow client has not taken all of it yet
    tunnel     101: octets pass both ways, unread
    done       over; `reason`, `status` and the counters are the outcome

Whoever is slower is waited for: a full client pauses the upstream, a full upstream pauses the client. A deadline runs
only against the side that is waited for; `_wait` says which that is, from the phase and from which side is full, and
`since` is when that side last made progress, or when we began to wait for it.

After the final head is out nothing can be taken back. What goes wrong then ends in a *cut*: what came is sent, then the
client's connection is closed where the framing shows that the response is not whole (a length, chunks), and reset where
its end would pass for the body's: so no client mistakes half a body for a whole one.

A FIN from the client while its request is being served means that it is gone, since close() looks the same, unless the
configuration says that it is a half-close (`half_close`).

A request is sent again, once and on a new connection, when all of these hold: the connection had been used before (so
the upstream may just have closed it for idleness), or there is another target; the method is idempotent; not one octet
of a response was seen; not one octet of the body has been consumed.
"""

from math import inf
from typing import Final

from rawgate import errors
from rawgate.errors import MessageError, Reason, RequestError, ResponseError
from rawgate.message import CHUNKED, NO_BODY, UNTIL_CLOSE, Forward, Octets, Options, RequestHead, ResponseHead
from rawgate.relay.pace import Pace
from rawgate.relay.pool import Pool, Waiter
from rawgate.relay.ports import ClientPort, UpstreamPort
from rawgate.wire import (
    CONNECTION,
    LAST_CHUNK,
    Body,
    CountedBody,
    EndlessBody,
    body_octets,
    body_reader,
    chunk,
    last_chunk,
    reply,
    request_head,
    response_tail,
)

IDEMPOTENT: Final = frozenset((b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS"))
"""RFC 9110 section 9.2.2, without TRACE, which never gets here."""

INTERIM_LIMIT = 64
"""1xx heads relayed in one exchange; an upstream that sends more is taken for broken."""

RATE_SPAN = 10.0
"""Seconds over which the client's body rate is measured."""


ANSWERED = 5.0
"""Seconds after which a service that has answered, and takes nothing of the rest of the request, is done with it: as in
nginx's `lingering_timeout`. A client that only reads when it has sent all is waiting meanwhile."""

NEVER: Final = -1.0
"""The time of what did not happen."""

NO_TUNNEL: Final = "As many connections of this kind as may be are open to this service."
MADE_WAY: Final = (
    "Others wait for this service while this client address holds more than its share of the connections to it, and "
    "this request was waiting for its client."
)
"""Details of `queue_full`, where its own sentence would not say why."""

NOT_TAKEN: Final = "The service did not take the rest of the request."
NOT_SENT: Final = "The client did not send the rest of its request."
"""Details of a response that was whole before its request was."""

LARGE: Final = 128 * 1024
"""Octets of a request body of known length from which on the client's side is told that much is coming."""


class Sign:
    """A phase or an event. Compared by identity and hashed by it: a table keyed by these is five times faster to look
    up than one keyed by Enum members. `moves` is the phase's own row of `TABLE`."""

    __slots__ = ("moves", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.moves: dict[Sign, Sign] = {}

    def __repr__(self) -> str:
        return self.name


# One by one, and final: compiled ahead of time they are constants, and not looked up by name.
LEASING: Final = Sign("leasing")
SENDING: Final = Sign("sending")
AWAITING: Final = Sign("awaiting")
RELAYING: Final = Sign("relaying")
EARLY: Final = Sign("early")
UPLOADING: Final = Sign("uploading")
FLUSHING: Final = Sign("flushing")
TUNNEL: Final = Sign("tunnel")
DONE: Final = Sign("done")

LEASED: Final = Sign("leased")
REQUEST_END: Final = Sign("request_end")
RETRY: Final = Sign("retry")
FINAL_HEAD: Final = Sign("final_head")
SWITCHED: Final = Sign("switched")
RESPONSE_END: Final = Sign("response_end")
RESPONSE_HELD: Final = Sign("response_held")
RESPONSE_AHEAD: Final = Sign("response_ahead")
OVER: Final = Sign("over")


class IllegalMove(errors.RawgateError):
    """An event in a phase that cannot have it: a mistake in this module or in the shell."""


class Row(dict[Sign, Sign]):
    """One phase's events. A look-up of an event that the phase cannot have raises, and costs nothing otherwise."""

    def __init__(self, phase: Sign, moves: dict[Sign, Sign]) -> None:
        super().__init__(moves)
        self.phase = phase

    def __missing__(self, event: Sign) -> Sign:
        raise IllegalMove(f"{event} while {self.phase}")


# `over` stands for every loss, deadline and refusal: what becomes of the two connections then depends on the phase it
# is met in, and is decided in `_fail`.
_MOVES: dict[Sign, dict[Sign, Sign]] = {
    LEASING: {LEASED: SENDING, OVER: DONE},
    SENDING: {REQUEST_END: AWAITING, FINAL_HEAD: EARLY, RETRY: LEASING, OVER: DONE},
    AWAITING: {FINAL_HEAD: RELAYING, SWITCHED: TUNNEL, RETRY: LEASING, OVER: DONE},
    RELAYING: {RESPONSE_END: DONE, RESPONSE_HELD: FLUSHING, RESPONSE_AHEAD: UPLOADING, OVER: DONE},
    EARLY: {
        REQUEST_END: RELAYING,
        RESPONSE_AHEAD: UPLOADING,
        RESPONSE_END: DONE,
        RESPONSE_HELD: FLUSHING,
        OVER: DONE,
    },
    UPLOADING: {REQUEST_END: DONE, RESPONSE_HELD: FLUSHING, OVER: DONE},
    FLUSHING: {RESPONSE_END: DONE, OVER: DONE},
    TUNNEL: {RESPONSE_END: DONE, OVER: DONE},
    DONE: {},
}
TABLE = {phase: Row(phase, moves) for phase, moves in _MOVES.items()}
for _phase, _row in TABLE.items():
    _phase.moves = _row


KEEP_ON: Final = frozenset((UPLOADING, FLUSHING, TUNNEL, DONE))
"""Phases in which a client's FIN does not mean that nobody waits for the upstream any more."""


class ClientOptions(Options, frozen=True):
    """What the gateway's configuration says about clients. Seconds; octets a second; octets and fields of trailers.

    half_close: a client that has sent FIN behind its request is served all the same
    """

    body_timeout: float = 30.0
    send_timeout: float = 30.0
    body_rate: int = 240
    trailer_octets: int = 16 * 1024
    trailer_fields: int = 100
    half_close: bool = False


def request_error(detail: str) -> MessageError:
    return RequestError(errors.BAD_REQUEST, detail)


class Exchange(Waiter):
    """See the module's theory. Outcome, valid once `phase` is DONE:

    reason        how it ended
    status        what the client was told (0 only before anything was)
    bytes_in      octets of the request's body taken from the client, chunk framing not counted
    bytes_out     octets of the response's body handed to the client's connection, chunk framing not counted
    detail        more about the reason, for the log; "" where that says all
    asked_at, leased_at, head_at, ended_at  monotonic seconds: a connection was asked for, was there; the final head
                  came, the upstream had done its part; `NEVER`
    over_at       monotonic seconds when the client's connection was done with it, a slow client's taking included
    keep_open     the client's connection may serve another request
    linger        the client may still be sending: read on for a while before closing
    was_reset     the client's connection has been reset
    """

    __slots__ = (
        "asked_at",
        "body_taken",
        "bytes_in",
        "bytes_out",
        "client",
        "client_ended",
        "client_options",
        "client_pace",
        "detail",
        "ended_at",
        "forward",
        "head",
        "head_at",
        "interim",
        "keep_open",
        "leased_at",
        "linger",
        "may_tunnel",
        "over_at",
        "phase",
        "pool",
        "promised",
        "rate_bytes",
        "rate_since",
        "reason",
        "rechunk",
        "request_body",
        "response_body",
        "response_close",
        "response_seen",
        "retried",
        "sent_100",
        "since",
        "started",
        "status",
        "trailed",
        "upstream",
        "upstream_ended",
        "upstream_full",
        "upstream_pace",
        "wants_body",
        "was_reset",
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
        self.phase = LEASING
        self.reason = errors.OK
        self.status = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.detail = ""
        self.started = self.asked_at = self.ended_at = self.over_at = self.since = now
        self.leased_at = self.head_at = NEVER
        self.upstream: UpstreamPort | None = None
        self.request_body: Body | None = None
        self.response_body: Body | None = None
        self.wants_body = False
        self.keep_open = False
        self.linger = False
        self.was_reset = False
        self.upstream_full = False
        self.client_ended = False
        self.upstream_ended = False
        self.response_seen = False
        self.response_close = False
        self.trailed = False
        self.rechunk = False
        self.retried = False
        self.sent_100 = False
        self.interim = 0
        self.promised = -1
        self.client_pace: Pace | None = None  # while the client is full
        self.upstream_pace: Pace | None = (
            None  # while the upstream is full; or while it still takes a request that is out
        )
        self.rate_since = now
        self.rate_bytes = 0
        self.body_taken = False
        self.careful = head.body != NO_BODY or head.method not in IDEMPOTENT  # see `pool.Waiter`
        self.may_tunnel = False  # it has a place among the pool's tunnels

    def __repr__(self) -> str:
        return f"<Exchange {self.phase} in={self.bytes_in} out={self.bytes_out} status={self.status} {self.reason!r}>"

    # ── leasing ──

    def start(self, now: float) -> None:
        """Ask the pool for a connection; if this may become a tunnel, for a place among those first."""
        if self.forward.upgrade:
            self.may_tunnel = self.pool.reserve_tunnel()
            if not self.may_tunnel:
                self._fail(errors.QUEUE_FULL, now, NO_TUNNEL)
                return
        self._acquire(now)

    @property
    def address(self) -> str:
        """Whose share of the pool's connections this is."""
        return self.forward.address

    @property
    def stalled_since(self) -> float:
        """Since when it has had a connection and has waited for its client; `inf` while it does not."""
        phase = self.phase
        if self.client_pace is not None:
            waits = phase is RELAYING or phase is EARLY or phase is UPLOADING
        else:
            waits = (phase is SENDING or phase is UPLOADING) and not self.upstream_full and not self._awaits_100()
        return self.since if waits else inf

    def make_way(self, now: float) -> None:
        """Others wait for the connection, this client's address holds more than its share of them, and this exchange
        waits for its client."""
        if self.status:
            self.detail = MADE_WAY
            self._cut(errors.CLIENT_GONE, now)
        else:
            self._fail(errors.QUEUE_FULL, now, MADE_WAY)

    def _acquire(self, now: float) -> None:
        self.since = now
        got = self.pool.acquire(self, now)
        if got is None:
            if self.pool.queued(self):
                self.client.arm(now + self.pool.options.queue_timeout)
        elif isinstance(got, UpstreamPort):
            self.leased(got, now)
        else:
            self._fail(got, now)

    def leased(self, upstream: UpstreamPort, now: float) -> None:
        """The pool has a connection for us: the request goes out."""
        head = self.head
        self.phase = self.phase.moves[LEASED]
        self.upstream = upstream
        self.since = self.leased_at = now
        self.upstream_full = False
        upstream.attach(self)
        forward, body = self.forward, head.body
        upstream.write(request_head(forward.head, body, head.expect, forward.upgrade, b"content-length" in head.parsed))
        if body == NO_BODY:
            self.phase = self.phase.moves[REQUEST_END]
            return
        options = self.client_options
        self.request_body = body_reader(head.body, request_error, options.trailer_octets, options.trailer_fields)
        self.rate_since = now
        self.wants_body = True
        if body >= LARGE:
            self.client.bulk()
        if not self.upstream_full:
            self.client.resume()

    def lease_failed(self, reason: Reason, now: float, detail: str = "") -> None:
        """The dial made for us failed. Why is for the log alone: it may name what the client need not know."""
        self.detail = detail
        self._fail(reason, now)

    # ── from the client ──

    def client_data(self, data: Octets, now: float) -> bytes:
        """Octets from the client while `wants_body`. Returns those that belong to the next request."""
        self.since = now
        upstream = self.upstream
        body = self.request_body
        if upstream is None:
            return bytes(data)
        if self.phase is TUNNEL:
            self.bytes_in += len(data)
            upstream.write(data)
            return b""
        if body is None:
            return bytes(data)
        self.body_taken = True
        try:
            payload = body.feed(data)
        except MessageError as error:
            self._fail(error.reason, now, error.detail)
            return b""
        self.bytes_in += len(payload)
        if self.bytes_in > self.forward.options.body_limit:
            self._fail(errors.BODY_TOO_LARGE, now, self.forward.options.too_large)
            return b""
        self._send_up(upstream, body, payload)
        if body.done:
            self.wants_body = False
            if self.phase is UPLOADING:
                # The client has been told that this is the last request here: what is behind it is nobody's.
                self.linger = bool(body.rest)
                self._await_taking(upstream, now)
                return b""
            self.phase = self.phase.moves[REQUEST_END]
            return body.rest
        return b""

    def _send_up(self, upstream: UpstreamPort, body: Body, payload: Octets) -> None:
        if self.head.body != CHUNKED:
            if payload:
                upstream.write(payload)
            return
        out = chunk(bytes(payload)) if payload else b""
        if body.done:
            may_pass = self.forward.trailer
            trailers = [field for field in body.trailers if may_pass(field[0].lower())]
            self.trailed = bool(trailers)
            out += last_chunk(trailers)
        if out:
            upstream.write(out)

    def client_fin(self, now: float) -> bool:
        """The client's FIN has come; octets before it may be held back still. Whether the client is gone, and the
        exchange over with it."""
        phase = self.phase
        if self.client_options.half_close or phase in KEEP_ON:
            return False
        if self.status:
            self._cut(errors.CLIENT_GONE, now)
        else:
            self.client_lost(now)
        return True

    def client_eof(self, now: float) -> None:
        """A half-close: the client sends nothing more, and all that it sent has been handed over. Inside a request that
        is a loss."""
        self.client_ended = True
        if self.phase is TUNNEL:
            if self.upstream is not None:
                self.upstream.write_eof()
            self._end_tunnel(now)
        elif self.wants_body:
            self.client_lost(now)

    def client_lost(self, now: float, detail: str = "") -> None:
        """The client's connection is gone. detail: for the log."""
        if self.phase is UPLOADING and self.client_pace is None:
            self._end_upload(now, detail=detail or NOT_SENT)
        elif self.phase is not DONE:
            self.detail = detail
            self._drop_upstream(now)
            self._finish(OVER, errors.CLIENT_GONE, now, status=errors.CLIENT_GONE.status)

    def client_is_full(self, now: float) -> None:
        """More is written to the client than it takes: the upstream waits."""
        self.since = now
        self.client_pace = Pace(self.client.unsent(), now)
        if self.upstream is not None:
            self.upstream.pause()

    def client_has_room(self, now: float) -> None:
        """The client caught up."""
        self.client_pace = None
        self.since = now
        if self.phase is FLUSHING:
            self._finish(RESPONSE_END, self.reason, now)
        elif self.upstream is not None:
            self.upstream.resume()

    # ── from the upstream ──

    def upstream_data(self, data: bytes, now: float) -> None:
        """Octets from the upstream."""
        self.response_seen = True
        if self.phase is UPLOADING:
            if self.upstream is not None:
                self.pool.suspect(self.upstream.target)
            self._end_upload(now, detail=NOT_TAKEN)
            return
        body = self.response_body
        try:
            if body is not None:
                self._relay(body, data, b"", now)
            elif self.phase is TUNNEL:
                self.since = now
                self.bytes_out += len(data)
                self.client.write(data)
            else:
                # No progress as far as `response_timeout` is concerned: it runs until the final head is whole, however
                # the upstream drips it and whatever it says in between.
                self._read_heads(data, now)
        except ResponseError as error:
            self._fail(error.reason if self.status == 0 else errors.UPSTREAM_CUT, now, error.detail)

    def _read_heads(self, data: bytes, now: float) -> None:
        while self.upstream is not None:
            reader = self.upstream.reader
            head = reader.feed(data, self.head.method)
            if head is None:
                return
            data = reader.rest
            if head.status >= 200:
                self._final_head(head, data, now)
                return
            if head.status == 101:
                self._switch(head, data, now)
                return
            self._interim_head(head, now)

    def _interim_head(self, head: ResponseHead, now: float) -> None:
        self.interim += 1
        if self.interim > INTERIM_LIMIT:
            raise ResponseError("too many interim responses")
        if self.head.minor == 0:
            return  # RFC 9110 section 15.2: never a 1xx to an HTTP/1.0 client
        if head.status == 100 and self.phase is SENDING:
            self.sent_100 = True
            self.since = self.rate_since = now  # from here on it is the client that we wait for
        self.client.write(self.forward.on_response(head) + response_tail(NO_BODY, -1, b""))

    def _final_head(self, head: ResponseHead, data: bytes, now: float) -> None:
        early = self.phase is SENDING
        self.phase = self.phase.moves[FINAL_HEAD]
        self.status = head.status
        self.head_at = now
        self.promised = head.keep_alive
        self.response_close |= head.close or early
        if early and self._awaits_100():  # the body is not going to come
            self.wants_body = False
            self.linger = True
        request = self.head
        octets = framing = head.body
        if octets < 0:  # chunked, or until close: both are of unknown length to the client
            self.rechunk = request.minor == 1
            framing = CHUNKED if self.rechunk else UNTIL_CLOSE
        self.keep_open = keep = not (request.close or early or self.client.last or framing == UNTIL_CLOSE)
        out = self.forward.on_response(head)
        tail = response_tail(framing, head.length, CONNECTION[keep][request.minor], head.upgrade)
        if 0 <= octets <= len(data):
            # All of it is here, as most answers are: one join, one write.
            clean = octets == len(data)
            self.bytes_out = octets
            self.client.write(b"".join((out, tail, data if clean else data[:octets])))
            self._response_end(now, clean=clean)
            return
        options = self.client_options
        body = self.response_body = body_reader(
            octets, ResponseError, options.trailer_octets, options.trailer_fields, strict=False
        )
        self._relay(body, data, out + tail, now)

    def _relay(self, body: Body, data: bytes, head: bytes, now: float) -> None:
        try:
            payload = body.feed(data)
        except ResponseError:
            if head:  # nothing is out yet: the client can still be told
                self.status = 0
                self.head_at = NEVER
            raise
        self.since = now
        self.bytes_out += len(payload)
        out = payload
        if self.rechunk:
            out = chunk(bytes(payload)) if payload else b""
            if body.done:
                out += last_chunk(body.trailers)
        if head:
            out = b"".join((head, out))
        if out:
            self.client.write(out)
        if body.done:
            self._response_end(now, clean=not body.rest)

    def _response_end(self, now: float, *, clean: bool) -> None:
        """The response is whole. clean: not an octet came after it."""
        self.ended_at = now
        upstream = self.upstream
        if upstream is not None:
            if self.client_pace is not None:
                upstream.resume()
            carried = self.request_body is not None
            if not clean and carried:
                self.pool.suspect(upstream.target)
            if (self.wants_body or self.upstream_full) and self._goes_on(upstream, now, clean=clean):
                return
            self.upstream = None
            # aiohttp 3.14 takes the trailers of one request for fields of the next one on that connection.
            if clean and not (self.response_close or self.upstream_full or self.trailed):
                self.pool.release(upstream, now, self.promised, carried=carried)
            else:
                self._close_upstream(upstream)
        if self.client_pace is not None:
            self.phase = self.phase.moves[RESPONSE_HELD]
        else:
            self._finish(RESPONSE_END, self.reason, now)

    def _goes_on(self, upstream: UpstreamPort, now: float, *, clean: bool) -> bool:
        """The response is whole, and the request is not, or is not taken yet: whether the rest of it may go up."""
        if self.upstream_ended or not clean:
            self.detail = NOT_TAKEN
            self.linger = self.wants_body
            self.wants_body = False
            return False
        self.phase = self.phase.moves[RESPONSE_AHEAD]
        self.since = self.rate_since = now
        self.rate_bytes = self.bytes_in
        self.client.arm(now + ANSWERED)
        if not self.wants_body:
            self._await_taking(upstream, now)
        return True

    def _await_taking(self, upstream: UpstreamPort, now: float) -> None:
        """Both messages are whole: wait until the upstream has taken what is buffered."""
        if upstream.buffered():
            upstream.drain()
        else:
            self._end_upload(now)

    def _end_upload(self, now: float, reason: Reason = errors.OK, detail: str = "") -> None:
        """The response is whole; so is the request, unless `detail` says what became of the rest of it."""
        if detail:
            self._drop_upstream(now)
        elif self.upstream is not None:
            upstream, self.upstream = self.upstream, None
            self._close_upstream(upstream)
        self.linger = self.linger or self.wants_body
        self.keep_open = self.keep_open and not self.wants_body
        self.wants_body = False
        self.reason, self.detail = reason, detail
        if self.client_pace is not None:
            self.phase = self.phase.moves[RESPONSE_HELD]
        else:
            self._finish(OVER if detail else REQUEST_END, reason, now)

    def upstream_eof(self, now: float) -> None:
        """The upstream sends nothing more: the end of a close-delimited body, a half-close of a tunnel, or a loss."""
        self.since = now
        body = self.response_body
        if self.phase is TUNNEL:
            self.upstream_ended = True
            self.client.write_eof()
            self._end_tunnel(now)
        elif self.phase is UPLOADING:
            self._end_upload(now, detail=NOT_TAKEN)
        elif isinstance(body, EndlessBody):
            self.response_close = self.upstream_ended = True
            if self.rechunk:
                self.client.write(LAST_CHUNK)
            self._response_end(now, clean=True)
        else:
            self.upstream_lost(now)

    def upstream_ends(self) -> None:
        """The upstream's connection is gone. What had come before that may follow, then `upstream_lost`."""
        self.response_close = self.upstream_ended = True

    def upstream_lost(self, now: float) -> None:
        """The upstream's connection is gone, in the middle of things."""
        if self.phase is DONE or self.upstream is None:
            return
        if self.phase is UPLOADING:
            self._end_upload(now, detail=NOT_TAKEN)
            return
        upstream, wordless = self.upstream, not (self.response_seen or self.body_taken)
        if wordless and not upstream.used:
            self.pool.targets.failed(upstream.target, "it closed a new connection without a word", now)
        if wordless and self._may_retry(upstream, now):
            self._retry(upstream, now)
        elif self.phase is TUNNEL:
            self._cut(errors.UPSTREAM_CUT, now)
        else:
            self._fail(errors.UPSTREAM_RESET if self.status == 0 else errors.UPSTREAM_CUT, now)

    def _may_retry(self, upstream: UpstreamPort, now: float) -> bool:
        """Whether a request of which nothing is lost may be sent again. A new connection that ends so says that the
        target is broken: then only to another one."""
        return (
            not self.retried
            and self.head.method in IDEMPOTENT
            and (upstream.used or not self.pool.targets.is_only(upstream.target, now))
        )

    def _retry(self, upstream: UpstreamPort, now: float) -> None:
        self.phase = self.phase.moves[RETRY]
        self.retried = True
        self.wants_body = self.response_close = self.upstream_ended = False
        self.upstream_pace = None
        self.since = now
        self.upstream = None
        upstream.attach(None)
        upstream.reset()
        self.pool.replace(upstream, self)

    def upstream_is_full(self, now: float) -> None:
        """More is written to the upstream than it takes: the client waits."""
        self.upstream_full = True
        self.since = now
        if self.upstream is not None:
            self.upstream_pace = Pace(self.upstream.unsent(), now)
        self.client.pause()

    def upstream_has_room(self, now: float) -> None:
        """The upstream caught up."""
        self.upstream_full = False
        self.upstream_pace = None
        self.since = self.rate_since = now
        self.rate_bytes = self.bytes_in
        if self.wants_body:
            self.client.resume()
        elif self.phase is UPLOADING:
            self._end_upload(now)

    # ── tunnel ──

    def _switch(self, head: ResponseHead, data: bytes, now: float) -> None:
        """101. RFC 9110 section 7.8: only to a protocol that was offered."""
        offered = self.forward.upgrade
        if not offered or self.phase is not AWAITING or head.upgrade.lower() != offered:
            raise ResponseError("101 without an upgrade having been asked for")
        self.phase = self.phase.moves[SWITCHED]
        self.status = 101
        self.started = self.head_at = now
        tail = response_tail(NO_BODY, -1, b"upgrade", head.upgrade)
        self.bytes_out += len(data)
        self.client.write(b"".join((self.forward.on_response(head), tail, data)))
        self.wants_body = True
        if self.upstream is not None:
            self.pool.switched(self.upstream)
        self.client.resume()

    def _end_tunnel(self, now: float) -> None:
        if self.client_ended and self.upstream_ended:
            self.ended_at = now
            if self.upstream is not None:
                upstream, self.upstream = self.upstream, None
                self._close_upstream(upstream)
            self._finish(RESPONSE_END, errors.OK, now)

    # ── deadlines ──

    def _wait(self) -> tuple[float, Reason]:
        """Until when the side that we wait for has, and how it ends if it does not come."""
        options = self.pool.options
        phase = self.phase
        if phase is LEASING:
            # The dial keeps its own deadline (connect_timeout), since it may serve another waiter in the end.
            queued = self.pool.queued(self)
            due, reason = (self.since + options.queue_timeout if queued else inf), errors.QUEUE_TIMEOUT
        elif phase is TUNNEL:
            due, reason = self.since + options.tunnel_idle, errors.TUNNEL_IDLE
            return min((due, reason), (self.started + options.tunnel_max_age, errors.TUNNEL_MAX_AGE), key=_first)
        elif self.client_pace is not None:
            due, reason = self.since + self.client_options.send_timeout, errors.CLIENT_GONE
        elif self.upstream_full:
            reason = errors.UPSTREAM_CUT if self.status else errors.UPSTREAM_TIMEOUT
            due = self.since + (ANSWERED if phase is UPLOADING else options.idle_timeout)
        elif (phase is SENDING or phase is UPLOADING) and not self._awaits_100():
            due, reason = self.since + self.client_options.body_timeout, errors.BODY_TIMEOUT
            if self.client_options.body_rate:
                due = min(due, self.rate_since + RATE_SPAN)
        elif phase is SENDING or phase is AWAITING:
            due, reason = self.since + self._response_timeout(), errors.UPSTREAM_TIMEOUT
        else:
            due, reason = self.since + options.idle_timeout, errors.UPSTREAM_CUT
        if options.total_timeout is not None and self.started + options.total_timeout < due:
            out = self.status != 0
            return self.started + options.total_timeout, errors.UPSTREAM_CUT if out else errors.UPSTREAM_TIMEOUT
        return due, reason

    def _awaits_100(self) -> bool:
        return self.head.expect and not self.sent_100 and self.bytes_in == 0

    def _response_timeout(self) -> float:
        own = self.forward.options.response_timeout
        return self.pool.options.response_timeout if own is None else own

    def expire(self, now: float) -> float:
        """Time has passed: end the exchange if the side that we wait for is late. Returns when to ask again."""
        if self.phase is DONE:
            return inf
        due, reason = self._wait()
        if now < due or self._progressed(reason, now):
            return self._wait()[0]
        if reason is errors.QUEUE_TIMEOUT and self.pool.insist(self, now):
            return inf  # a dial is under way, with a deadline of its own
        self._doubt(reason, now)
        if self.phase is TUNNEL:
            self._drop_upstream(now)
            self._finish(OVER, reason, now)
        elif reason is errors.CLIENT_GONE:
            self._cut(reason, now)
        else:
            self._fail(reason, now)
        return inf

    def _doubt(self, reason: Reason, now: float) -> None:
        """Somebody is late. A used connection that the upstream has left silent is not the only one: see `pool`."""
        upstream = self.upstream
        late = reason is errors.UPSTREAM_TIMEOUT or reason is errors.UPSTREAM_CUT
        if late and upstream is not None and upstream.used and not self._past_total(now):
            self.pool.doubt(upstream.target, self.since)

    def _progressed(self, reason: Reason, now: float) -> bool:
        """The deadline passed, but look closer: a slow reader may have taken some, a slow sender enough."""
        if reason is errors.TUNNEL_MAX_AGE:
            return False
        if reason is errors.BODY_TIMEOUT:
            if now >= self.since + self.client_options.body_timeout:
                return False
            enough = self.bytes_in - self.rate_bytes >= self.client_options.body_rate * (now - self.rate_since)
            self.rate_since, self.rate_bytes = now, self.bytes_in
            return enough
        if self._past_total(now) or not self._takes(now):
            return False
        self.since = now
        return True

    def _takes(self, now: float) -> bool:
        """Whether the side that we wait for has taken some of what was written to it."""
        pace = self.client_pace
        if pace is not None:
            least = 0 if self.phase is TUNNEL else self.client_options.body_rate
            return pace.look(self.client.unsent(), now) and pace.keeps(least, now)
        upstream, pace = self.upstream, self.upstream_pace
        if upstream is None:
            return False
        if self.upstream_full:
            return pace is not None and pace.look(upstream.unsent(), now)
        if self.phase is AWAITING and self.bytes_in:
            return self._takes_request(upstream.unsent(), now)
        return False

    def _takes_request(self, left: int, now: float) -> bool:
        """`response_timeout` does not count the time in which the upstream still takes the request: what we wrote may
        lie in the kernel for minutes. It has to have taken some of the body before, so that one that is not there at
        all is noticed in time, and then some in each `idle_timeout`."""
        pace = self.upstream_pace
        if pace is None:
            if not 0 < left < self.bytes_in:
                return False
            self.upstream_pace = Pace(left, now)
            return True
        pace.look(left, now)
        if not left:
            self.upstream_pace = None
            return True
        return now < pace.moved + self.pool.options.idle_timeout

    def _past_total(self, now: float) -> bool:
        total = self.pool.options.total_timeout
        return total is not None and self.phase is not TUNNEL and now >= self.started + total

    # ── endings ──

    def give_up(self, reason: Reason, now: float) -> None:
        """The shell ends it, for a reason of its own."""
        if self.phase is not DONE:
            self._fail(reason, now)

    def _fail(self, reason: Reason, now: float, detail: str = "") -> None:
        """It cannot go on. Before the final head is out the client is told why; after it, the client is cut."""
        if detail:
            self.detail = detail
        if self.status != 0:
            self._cut(reason, now)
            return
        # A body that is refused may have ended in the same read; what came behind it has been dropped with it, so no
        # further request can be told apart on this connection.
        complete = reason.fault != "client" and (
            self.head.body == NO_BODY or (self.request_body is not None and self.request_body.done)
        )
        self._drop_upstream(now)
        # After a broken answer the client's connection always ends: whether it is cut in the middle of that answer, or
        # told 502, depends only on how the octets came.
        broken = reason is errors.UPSTREAM_BAD_RESPONSE
        self.keep_open = complete and not broken and not self.head.close and not self.client.last
        self.linger = not complete
        head_only = self.head.method == b"HEAD"
        out = reply(
            reason.status,
            reason,
            detail,
            self.forward.request_id,
            self.forward.fields,
            date=self.client.date(),
            head_only=head_only,
            connection=CONNECTION[self.keep_open][self.head.minor],
        )
        self.bytes_out += body_octets(out)
        self.client.write(out)
        self._finish(OVER, reason, now, status=reason.status)

    def _cut(self, reason: Reason, now: float) -> None:
        """End the client's connection: what it has is not the whole, see the module's theory. A client that does not
        take what it is sent is reset."""
        if self.phase is UPLOADING and self.client_pace is None:
            self._stop_upload(reason, now)
            return
        shows = self.status != 101 and (self.head.minor == 1 or isinstance(self.response_body, CountedBody))
        self.linger = self.linger or self.wants_body
        self._drop_upstream(now)
        self.keep_open = False
        if reason is errors.CLIENT_GONE or not shows:
            self.was_reset = True
            self.client.reset()
        self._finish(OVER, reason, now, status=reason.status if reason is errors.CLIENT_GONE else self.status)

    def _stop_upload(self, reason: Reason, now: float) -> None:
        """The response has been relayed whole: nothing to cut. What was wrong with the request is the reason."""
        if reason is errors.BAD_REQUEST or reason is errors.BODY_TOO_LARGE:
            self._end_upload(now, reason, self.detail or reason.detail)
        elif reason is errors.BODY_TIMEOUT or reason is errors.CLIENT_GONE:
            self._end_upload(now, detail=self.detail or NOT_SENT)
        else:
            self._end_upload(now, detail=NOT_TAKEN)

    def _drop_upstream(self, now: float) -> None:
        """Leave the upstream, whatever it was doing."""
        if self.phase is not FLUSHING and self.phase is not UPLOADING:  # then its response is whole already
            self.ended_at = now
        upstream = self.upstream
        if upstream is None:
            self.pool.leave(self)
            return
        self.upstream = None
        upstream.attach(None)
        upstream.reset()
        self.pool.discard(upstream)

    def _close_upstream(self, upstream: UpstreamPort) -> None:
        """The response is whole, but the connection is not to be used again."""
        upstream.attach(None)
        upstream.close()
        self.pool.discard(upstream)

    def _finish(self, event: Sign, reason: Reason, now: float, *, status: int = -1) -> None:
        self.phase = self.phase.moves[event]
        self.reason = reason
        self.over_at = now
        self.wants_body = False
        if self.may_tunnel:
            self.pool.free_tunnel()
        if status >= 0:
            self.status = status
        self.client.finished(self)


def _first(pair: tuple[float, Reason]) -> float:
    return pair[0]
