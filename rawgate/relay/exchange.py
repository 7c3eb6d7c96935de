"""One exchange: one request of one client, relayed to one upstream, and the response relayed back.

There are no sockets, no loop, no Task and no clock here, so the whole life of a request runs in a test as a script of
octets. `flow` says how octets and time come in. `phases` has the table of what may follow what, `deadlines` the table
of whom an exchange waits for. After a 101 a `tunnel` takes over.

This is the longest module of the room, and one class. It was not split along client and upstream: nearly every event
of one side acts on the other, and each may end the exchange, so both halves would share all state. What could go
without that has gone: `flow`, `tunnel`, `upload`, `deadlines`. Read it from `start` on; the methods stand in the order
in which a request meets them, and its endings come last.

Rules
-----
After the final head is out nothing can be taken back. What goes wrong then ends in a *cut*: the client is sent what
came, then its connection is closed where the framing shows that the response is not whole (a length, chunks). Where a
FIN would pass for the end of the body, the connection is reset. So no client mistakes half a body for a whole one.

A FIN from the client while its request is served means that the client is gone, since close() looks the same. The
configuration can say that it is a half-close (`half_close`).

A request is sent again, once and on a new connection, when all of these hold: the connection had been used before (the
upstream may have closed it because it was idle), or another endpoint or address is up; the method is idempotent; not an
octet of a response was seen; not an octet of the body was taken from the client. Where the configuration asks for more,
`guarded_exchange` has the rules.
"""

from math import inf
from typing import Final

from rawgate import errors
from rawgate.errors import MessageError, Reason, RequestError, ResponseError
from rawgate.message import CHUNKED, NO_BODY, UNTIL_CLOSE, Forward, LocalReply, Octets, RequestHead, ResponseHead
from rawgate.relay.deadlines import REST_TIMEOUT, deadline, has_progressed, past_total
from rawgate.relay.endpoints import Endpoint
from rawgate.relay.flow import CLOSED, NEVER, Flow
from rawgate.relay.lessee import Lessee
from rawgate.relay.options import ClientOptions
from rawgate.relay.phases import (
    AWAITING,
    DONE,
    EARLY,
    FINAL_HEAD,
    FLUSHING,
    LEASED,
    OVER,
    RELAYING,
    REQUEST_END,
    RESPONSE_AHEAD,
    RESPONSE_END,
    RESPONSE_HELD,
    RETRY,
    SENDING,
    SWITCHED,
    UPLOADING,
    Event,
)
from rawgate.relay.pool import Pool
from rawgate.relay.ports import ClientPort, UpstreamPort
from rawgate.relay.tunnel import Tunnel
from rawgate.relay.upload import Upload
from rawgate.wire import (
    CONNECTION,
    ResponseRules,
    Transfer,
    body_octets,
    body_reader,
    reply,
    request_head,
    response_tail,
)

IDEMPOTENT: Final = frozenset((b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS"))
"""RFC 9110 section 9.2.2, without TRACE, which never gets here."""

INTERIM_LIMIT = 64
"""1xx heads that are relayed in one exchange. An upstream that sends more is taken for broken. Go's client used to take
5; now it limits the octets of all together. Here each has the limit of a head."""

NO_TUNNEL: Final = "As many connections of this kind as may be are open to this service."
MADE_WAY: Final = (
    "Others wait for this service while this client address holds more than its share of the connections to it, and "
    "this request was waiting for its client."
)
"""Details of `queue_full`. The reason's own sentence does not say why."""

NOT_TAKEN: Final = "The service did not take the rest of the request."
NOT_SENT: Final = "The client did not send the rest of its request."
"""Details for the log when the response was whole and its request was not."""


def request_error(detail: str) -> MessageError:
    return RequestError(errors.BAD_REQUEST, detail)


class Exchange(Flow, Lessee):
    """See the module. `Flow` describes the outcome.

    upload    the request's body on its way, once there is a connection to send it to; None: the request has no body
    download  the response's body on its way; None where the whole body came with its head
    reusable  nothing was seen so far that forbids to use the upstream's connection again
    """

    __slots__ = (
        "_interim",
        "_keep_alive",
        "_response_rules",
        "_response_seen",
        "download",
        "reusable",
        "unrepeatable",
        "upload",
    )

    def __init__(
        self,
        client: ClientPort,
        pool: Pool,
        forward: Forward,
        head: RequestHead,
        client_options: ClientOptions,
        response_rules: ResponseRules,
        now: float,
    ) -> None:
        super().__init__(client, pool, forward, head, client_options, now)
        self._response_rules = response_rules
        self.unrepeatable = head.body != NO_BODY or head.method not in IDEMPOTENT
        self.upload: Upload | None = None
        self.download: Transfer | None = None
        self.reusable = True
        self._response_seen = False
        self._interim = 0
        self._keep_alive = -1

    # ── leasing ──

    def start(self, now: float) -> None:
        """Ask the pool for a connection. An exchange that may become a tunnel takes a tunnel's slot before."""
        if self.forward.upgrade:
            self.has_tunnel_slot = self.pool.reserve_tunnel()
            if not self.has_tunnel_slot:
                self._fail(errors.QUEUE_FULL, now, NO_TUNNEL)
                return
        self.ask_pool(now)

    def ask_pool(self, now: float) -> None:
        """Get a connection, wait for one, or fail."""
        self.waiting_since = now
        got = self.pool.acquire(self, now)
        if got is None:
            if self.pool.queued(self):
                self.client.arm(self.deadline()[0])
        elif isinstance(got, UpstreamPort):
            self.leased(got, now)
        else:
            self._fail(got, now)

    @property
    def address(self) -> str:
        """See `Lessee`."""
        return self.forward.address

    @property
    def key(self) -> str:
        """See `Lessee`."""
        extras = self.forward.extras
        return "" if extras is None else extras.key

    @property
    def stalled_since(self) -> float:
        """See `Lessee`. A client is waited for while it is full, or while it has more of the request's body to send."""
        phase = self.phase
        if self.client_pace is not None:
            waits = phase is RELAYING or phase is EARLY or phase is UPLOADING
        else:
            waits = (phase is SENDING or phase is UPLOADING) and not self.upstream_full and not self._awaits_100()
        return self.waiting_since if waits else inf

    def waits_for_client(self) -> bool:
        """Also while the rest of the request's body is missing, whatever has come of the response."""
        waits_for_body = self.wants_body and not self.upstream_full and not self._awaits_100()
        return waits_for_body or self.client_pace is not None

    def make_way(self, now: float) -> None:
        """See `Lessee`."""
        if self.status:
            self.detail = MADE_WAY
            self._cut(errors.CLIENT_GONE, now)
        else:
            self._fail(errors.QUEUE_FULL, now, MADE_WAY)

    def leased(self, upstream: UpstreamPort, now: float) -> None:
        """The connection is here: the request goes out."""
        head = self.head
        self.phase = self.phase.moves[LEASED]
        self.upstream = upstream
        self.endpoint = upstream.endpoint
        self.waiting_since = self.leased_at = now
        self.upstream_full = False
        upstream.attach(self)
        upstream.reader.read_by(self._response_rules)
        forward, body = self.forward, head.body
        upstream.write(request_head(forward.head, body, head.expect, forward.upgrade, b"content-length" in head.parsed))
        if body == NO_BODY:
            self.phase = self.phase.moves[REQUEST_END]
            return
        options = self.client_options
        reader = body_reader(body, request_error, options.trailer_octets, options.trailer_fields)
        self.upload = Upload(reader, forward, body == CHUNKED, head.expect, now)
        self.wants_body = True
        if body >= options.large_body:
            self.client.expect_large_body()
        if not self.upstream_full:
            self.client.resume()
        if self.wants_body and self.client_since == NEVER:
            self.clock_client(now)

    def lease_failed(self, reason: Reason, now: float, detail: str = "", endpoint: Endpoint | None = None) -> None:
        """There is no connection. `detail` goes to the log alone, since it may name what the client need not know."""
        self.detail = detail
        if endpoint is not None:
            self.endpoint = endpoint
        self._fail(reason, now)

    # ── from the client ──

    def client_data(self, data: Octets, now: float) -> bytes:
        self.waiting_since = now
        upstream, upload = self.upstream, self.upload
        if upstream is None or upload is None:
            return bytes(data)
        upload.begun = True
        try:
            piece = upload.feed(data)
        except MessageError as error:
            self._fail(error.reason, now, error.detail)
            return b""
        self.bytes_in = upload.octets
        if self.bytes_in > self.forward.options.body_limit:
            self._fail(errors.BODY_TOO_LARGE, now, self.forward.options.too_large)
            return b""
        if piece:
            upstream.write(piece)
        if upload.done:
            return self._request_end(upload, upstream, now)
        if self.client_since == NEVER:
            self.clock_client(now)
        return b""

    def _request_end(self, upload: Upload, upstream: UpstreamPort, now: float) -> bytes:
        """The request is whole. Returns the octets that came behind it."""
        self.wants_body = False
        if self.client_since != NEVER:
            self.clock_client(now)
        if upload.trailed:
            # aiohttp 3.14 takes the trailers of one request for fields of the next one on that connection.
            self.reusable = False
        if self.phase is UPLOADING:
            # The client was told that no further request is served here, so nobody reads what came behind this one.
            self.linger = bool(upload.rest)
            self._drain_upload(upstream, now)
            return b""
        self.phase = self.phase.moves[REQUEST_END]
        return upload.rest

    def client_fin(self, now: float) -> bool:
        phase = self.phase
        if self.client_options.half_close or phase is UPLOADING or phase is FLUSHING or phase is DONE:
            return False
        if self.status:
            self._cut(errors.CLIENT_GONE, now)
        else:
            self.client_lost(now)
        return True

    def client_eof(self, now: float) -> None:
        """Within a request's body this is a loss."""
        self.client_ended = True
        if self.wants_body:
            self.client_lost(now)

    def client_lost(self, now: float, detail: str = "") -> None:
        if self.phase is UPLOADING and self.client_pace is None:
            self._end_upload(now, detail=detail or NOT_SENT)
        elif self.phase is not DONE:
            self.detail = detail
            self.drop_upstream(errors.CLIENT_GONE, now)
            self.finish(OVER, errors.CLIENT_GONE, now, status=errors.CLIENT_GONE.status)

    def client_has_room(self, now: float) -> None:
        super().client_has_room(now)
        if self.phase is FLUSHING:
            self.finish(RESPONSE_END, self.reason, now)

    # ── from the upstream ──

    def upstream_data(self, data: bytes, now: float) -> None:
        self._response_seen = True
        if self.phase is UPLOADING:
            if self.upstream is not None:
                self.pool.stop_reuse_after_body(self.upstream.endpoint)
            self._end_upload(now, detail=NOT_TAKEN)
            return
        try:
            if self.download is not None:
                self._response_body(self.download, data, now)
            else:
                # `waiting_since` stays. `response_timeout` runs until the final head is whole, however slowly it comes,
                # and whatever interim heads come before.
                self._read_heads(data, now)
        except ResponseError as error:
            self._fail(error.reason if self.status == 0 else errors.UPSTREAM_CUT, now, error.detail)

    def _read_heads(self, data: bytes, now: float) -> None:
        upstream = self.upstream
        while upstream is not None:
            reader = upstream.reader
            head = reader.feed(data, self.head.method)
            if head is None:
                return
            if not upstream.reused:
                self.pool.endpoints.responded(upstream.endpoint, upstream.address, now)
            data, reader.rest = reader.rest, b""  # up to 256 KiB, which the connection would keep
            if head.status >= 200:
                self._final_head(head, data, now)
                return
            if head.status == 101:
                self._switch(upstream, head, data, now)
                return
            self._interim_head(head, now)
            upstream = self.upstream

    def _interim_head(self, head: ResponseHead, now: float) -> None:
        self._interim += 1
        if self._interim > INTERIM_LIMIT:
            raise ResponseError("More interim responses came than the limit.")
        if self.head.minor == 0:
            return  # RFC 9110 section 15.2: never a 1xx to an HTTP/1.0 client
        if head.status == 100 and self.phase is SENDING and self.upload is not None:
            self.upload.confirmed = True
            self.waiting_since = now
            self.clock_client(now)
            self.upload.measure(now)
        self.client.write(self.forward.on_response(head) + response_tail(NO_BODY, -1, b""))

    def _switch(self, upstream: UpstreamPort, head: ResponseHead, data: bytes, now: float) -> None:
        """101: a tunnel takes over. RFC 9110 section 7.8: the protocol must be one that the client offered."""
        offered = self.forward.upgrade
        if not offered or self.phase is not AWAITING or head.upgrade.lower() != offered:
            raise ResponseError("The protocol was switched (101), though not to one that the request offered.")
        self.phase = self.phase.moves[SWITCHED]
        tunnel = Tunnel(self, data, now)
        self.upstream = None
        upstream.attach(tunnel)
        self.client.attach(tunnel)
        tail = response_tail(NO_BODY, -1, b"upgrade", head.upgrade)
        self.client.write(b"".join((self.forward.on_response(head), tail, data)))
        self.pool.switched(upstream, now - self.leased_at, now)
        self.client.resume()

    def _final_head(self, head: ResponseHead, data: bytes, now: float) -> None:
        """Pass the final head on, with what is here of the body. That piece is read before anything is sent: if it is
        malformed, the client can still be told."""
        request = self.head
        octets = framing = head.body
        chunked = octets < 0 and request.minor == 1
        if octets < 0:  # chunked, or until close: there is no length to tell the client
            framing = CHUNKED if chunked else UNTIL_CLOSE
        transfer: Transfer | None = None
        piece: Octets = data
        if not 0 <= octets <= len(data):
            options = self.client_options
            reader = body_reader(octets, ResponseError, options.trailer_octets, options.trailer_fields, strict=False)
            transfer = self.download = Transfer(reader, chunked)
            piece = transfer.feed(data)
            self.bytes_out = transfer.octets
        else:
            if octets < len(data):
                piece = data[:octets]
            self.bytes_out = octets
        early = self.phase is SENDING
        self.phase = self.phase.moves[FINAL_HEAD]
        self.status = head.status
        self.waiting_since = self.head_at = now
        self._keep_alive = head.keep_alive
        if head.close or early:
            self.reusable = False
        if early and self._awaits_100():  # the client has a response, and will not send the body
            self.wants_body = False
            self.linger = True
        self.keep_open = keep = not (request.close or early or self.client.last or framing == UNTIL_CLOSE)
        out = self.forward.on_response(head)
        tail = response_tail(framing, head.length, CONNECTION[keep][request.minor], head.upgrade)
        self.client.write(b"".join((out, tail, piece)))
        if transfer is None:
            self._response_end(now, clean=octets == len(data))
        elif transfer.done:
            self._response_end(now, clean=not transfer.rest)

    def _response_body(self, download: Transfer, data: bytes, now: float) -> None:
        piece = download.feed(data)
        self.waiting_since = now
        self.bytes_out = download.octets
        if piece:
            self.client.write(piece)
        if download.done:
            self._response_end(now, clean=not download.rest)

    def _response_end(self, now: float, *, clean: bool) -> None:
        """The response is whole. clean: not an octet came behind it."""
        self.ended_at = now
        upstream = self.upstream
        if upstream is not None:
            if self.client_pace is not None:
                upstream.resume()
            had_body = self.upload is not None
            if not clean and had_body:
                self.pool.stop_reuse_after_body(upstream.endpoint)
            if (self.wants_body or self.upstream_full) and self._continue_upload(upstream, now, clean=clean):
                return
            if clean and self.reusable and not self.upstream_full:
                self.upstream = None
                seconds = now - self.leased_at
                self.pool.done(upstream, self.reason, self.status, seconds, now, True, self._keep_alive, had_body)
            else:
                self.close_upstream(now)
        self._finish_when_taken(RESPONSE_END, now)

    def _finish_when_taken(self, event: Event, now: float) -> None:
        """All is written. The exchange is over, unless a slow client has not taken all of the response yet."""
        if self.bytes_out >= self.client.flush_from:
            self.client.flush()
        if self.client_pace is not None:
            self.phase = self.phase.moves[RESPONSE_HELD]
        else:
            self.finish(event, self.reason, now)

    def upstream_eof(self, now: float) -> None:
        self.waiting_since = now
        download = self.download
        if self.phase is UPLOADING:
            self._end_upload(now, detail=NOT_TAKEN)
        elif download is not None and download.is_endless:
            self.upstream_ends()
            end = download.end()
            if end:
                self.client.write(end)
            self._response_end(now, clean=True)
        else:
            self.upstream_lost(now)

    def upstream_ends(self, refused: bool = False) -> None:
        super().upstream_ends(refused)
        self.reusable = False
        if refused and self.upload is not None:
            # Also where the last octets of the request's body were among those.
            self.upstream_full = True

    def upstream_lost(self, now: float, how: str = CLOSED) -> None:
        upstream = self.upstream
        if self.phase is DONE or upstream is None:
            return
        if self.phase is UPLOADING:
            self._end_upload(now, detail=NOT_TAKEN)
            return
        silent = not self._response_seen
        if silent and not upstream.reused:
            self.pool.endpoints.closed_without_response(upstream.endpoint, upstream.address, now)
        if self.status == 0 and self._may_retry(upstream, silent, now):
            self._retry(upstream, now)
        elif self.status == 0:
            self.detail = f"{how} {self._what_was_lost(upstream)}."
            self._fail(errors.UPSTREAM_RESET, now)
        else:
            self._fail(errors.UPSTREAM_CUT, now)

    def _what_was_lost(self, upstream: UpstreamPort) -> str:
        """A connection that ended before the final head, for the log alone: the client has the reason's sentence."""
        if upstream.reader.started:
            return "the connection within the head of its response"
        if self._response_seen:
            return "the connection behind an interim response (1xx)"
        what = f"a {'used' if upstream.reused else 'new'} connection without a word"
        upload = self.upload
        return what if upload is None or upload.done else f"{what}, before it had the whole request"

    def _may_retry(self, upstream: UpstreamPort, silent: bool, now: float) -> bool:
        """Whether a request whose connection was lost may be sent again. silent: not an octet of a response came. If
        the connection was new, its endpoint or its address is broken, so another one must be up."""
        return (
            silent
            and self.attempts == 1
            and self.head.method in IDEMPOTENT
            and not (self.upload is not None and self.upload.begun)
            and (upstream.reused or not self.pool.endpoints.is_only(upstream.endpoint, upstream.address, now))
        )

    def _retry(
        self, upstream: UpstreamPort, now: float, reason: Reason = errors.UPSTREAM_RESET, status: int = 0
    ) -> None:
        """Send the request again. reason, status: how this attempt ended."""
        self.phase = self.phase.moves[RETRY]
        self.attempts += 1
        self.reusable = True
        self.wants_body = self.upstream_ended = self._response_seen = False
        self.upload = None
        self.upstream_pace = None
        self.waiting_since = now
        self.clock_client(now)
        self.upstream = None
        upstream.attach(None)
        upstream.reset()
        self.pool.redial(upstream, self, reason, status, now - self.leased_at, now)

    def upstream_has_room(self, now: float) -> None:
        if self.upload is not None:
            self.upload.measure(now)
        if self.phase is UPLOADING and not self.wants_body:
            self._end_upload(now)
        else:
            super().upstream_has_room(now)

    # ── the response was whole before its request was ──

    def _continue_upload(self, upstream: UpstreamPort, now: float, *, clean: bool) -> bool:
        """The response is whole, and a part of the request is missing or not taken. Returns whether it may go up."""
        if self.upstream_ended or not clean:
            self.detail = NOT_TAKEN
            self.linger = self.wants_body
            self.wants_body = False
            self.clock_client(now)
            return False
        self.phase = self.phase.moves[RESPONSE_AHEAD]
        self.waiting_since = now
        if self.upload is not None:
            self.upload.measure(now)
        self.client.arm(now + REST_TIMEOUT)
        if not self.wants_body:
            self._drain_upload(upstream, now)
        return True

    def _drain_upload(self, upstream: UpstreamPort, now: float) -> None:
        """Both messages are whole. Wait until the kernel has taken what is buffered for the upstream, or until
        `upstream_lost`: in one turn of the loop all the rest may be written to a connection that took none of it."""
        if upstream.buffered():
            upstream.drain()
        elif not upstream.has_failed():
            self._end_upload(now)

    def _end_upload(self, now: float, reason: Reason = errors.OK, detail: str = "") -> None:
        """The response is whole, and the upstream has done its part. detail: why a part of the request was not sent; ""
        if all of it was."""
        if detail:
            self.drop_upstream(reason, now)
        else:
            self.close_upstream(now)
        self.linger = self.linger or self.wants_body
        self.keep_open = self.keep_open and not self.wants_body
        self.wants_body = False
        self.clock_client(now)
        self.reason, self.detail = reason, detail
        self._finish_when_taken(OVER if detail else REQUEST_END, now)

    def _abandon_upload(self, reason: Reason, now: float) -> None:
        """Something is wrong, but the response is whole, so there is nothing to cut. A fault of the request becomes the
        reason. If the rest of it just did not come, or was not taken, the outcome is good and has a detail."""
        if reason is errors.BAD_REQUEST or reason is errors.BODY_TOO_LARGE:
            self._end_upload(now, reason, self.detail or reason.detail)
        elif reason is errors.BODY_TIMEOUT or reason is errors.CLIENT_GONE:
            self._end_upload(now, detail=self.detail or NOT_SENT)
        else:
            self._end_upload(now, detail=NOT_TAKEN)

    # ── deadlines ──

    def deadline(self) -> tuple[float, Reason]:
        return deadline(self)

    def has_progressed(self, reason: Reason, now: float) -> bool:
        return has_progressed(self, reason, now)

    def timed_out(self, reason: Reason, now: float) -> None:
        if reason is errors.QUEUE_TIMEOUT and self.pool.preempt_for(self, now):
            return  # a dial is under way now, with a deadline of its own
        self._close_silent(reason, now)
        if reason is errors.CLIENT_GONE:
            self._cut(reason, now)
        else:
            self._fail(reason, now)

    def _close_silent(self, reason: Reason, now: float) -> None:
        """If the upstream was silent on a reused connection, other idle connections may be dead as well: see `pool`."""
        upstream = self.upstream
        late = reason is errors.UPSTREAM_TIMEOUT or reason is errors.UPSTREAM_CUT
        if late and upstream is not None and upstream.reused and not past_total(self, now):
            self.pool.close_silent(upstream.endpoint, self.waiting_since)

    def _awaits_100(self) -> bool:
        return self.upload is not None and self.upload.awaits_100

    # ── endings ──

    def end_soon(self, reason: Reason, spread: float, now: float) -> None:
        """Nothing to do: it ends by itself."""

    def give_up(self, reason: Reason, now: float) -> None:
        if self.phase is not DONE:
            self._fail(reason, now)

    def _fail(self, reason: Reason, now: float, detail: str = "", fields: bytes = b"") -> None:
        """The exchange cannot go on. Before the final head is out the client is told why; after that it is cut.
        fields: of the reply, beside those of the route."""
        if detail:
            self.detail = detail
        if self.status != 0:
            self._cut(reason, now)
            return
        # A body that is refused may have ended in the same read. What came behind it was dropped with it, so where the
        # next request begins is not known any more.
        complete = reason.fault != "client" and (
            self.head.body == NO_BODY or (self.upload is not None and self.upload.done)
        )
        self.drop_upstream(reason, now)
        # After a broken response the client's connection always ends. Whether the client is cut in the middle of that
        # response, or told 502, depends only on how the octets came.
        broken = reason is errors.UPSTREAM_BAD_RESPONSE
        self.keep_open = complete and not broken and not self.head.close and not self.client.last
        self.linger = not complete
        forward = self.forward
        out = reply(
            LocalReply(
                reason.status, reason, fields + forward.fields, detail, "", forward.request_id, forward.client_id
            ),
            date=self.client.date(),
            head_only=self.head.method == b"HEAD",
            connection=CONNECTION[self.keep_open][self.head.minor],
        )
        self.bytes_out = body_octets(out)
        self.client.write(out)
        self.finish(OVER, reason, now, status=reason.status)

    def _cut(self, reason: Reason, now: float) -> None:
        """End a response that is not whole: see the rules. In `uploading` it is whole, and the request ends instead."""
        if self.phase is UPLOADING and self.client_pace is None:
            self._abandon_upload(reason, now)
            return
        shows = self.head.minor == 1 or (self.download is not None and self.download.is_counted)
        self.cut(reason, now, shows=shows)

    def drop_upstream(self, reason: Reason, now: float) -> None:
        if self.upstream is None:
            self.pool.leave(self)
        super().drop_upstream(reason, now)

    def tell_pool(self, upstream: UpstreamPort, reason: Reason, now: float) -> None:
        self.pool.done(upstream, reason, self.status, self.ended_at - self.leased_at, now)
