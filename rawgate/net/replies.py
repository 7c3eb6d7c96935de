"""Replies of our own, and the log record of each request: the one place where either is made.

A reply of our own is a `LocalReply`: a decision (a refusal, a page, a redirect), or a refusal that is made here for
what never became a decision (a malformed head, a deadline, a limit of the gateway). An exchange that fails writes its
own reply (`relay.exchange`), since it knows what the client has been sent already; its record is made here too.
"""

from time import monotonic, time

from rawgate import errors
from rawgate.errors import Reason
from rawgate.message import TRACEPARENT, LocalReply, Peer, RequestHead, trace_id_of
from rawgate.net.listener import ClientConnections
from rawgate.net.logged_fields import logged_fields, trace_id_sent
from rawgate.net.turn import Cork
from rawgate.observe.line import Record
from rawgate.relay.flow import NEVER, Flow
from rawgate.wire import CONNECTION, RequestReader, body_octets, reply


class CurrentRequest:
    """The request that a client connection serves: one object per connection, which serves one request at a time.

    began  monotonic seconds of its first octet
    wall   the same, as the time of day: Unix seconds
    head   None until it is whole, and again once it has its record: an idle connection keeps none
    reader  what reads it
    client_waited  seconds for which the rest of its head was waited for
    """

    __slots__ = (
        "_connections",
        "_cork",
        "_octets",
        "_peer",
        "_replied",
        "began",
        "client_waited",
        "head",
        "reader",
        "wall",
    )

    def __init__(self, connections: ClientConnections, cork: Cork, reader: RequestReader, peer: Peer) -> None:
        self._connections = connections
        self._cork = cork
        self.reader = reader
        self._peer = peer
        self.began = self.wall = self.client_waited = 0.0
        self.head: RequestHead | None = None
        self._replied: LocalReply | None = None  # written, and without a record yet
        self._octets = 0  # of its body

    def begin(self, now: float, wall: float) -> None:
        """Its first octet is here. wall: 0: at this moment."""
        self.began = now
        self.wall = wall or time()
        self.client_waited = 0.0

    def reply(self, local: LocalReply, *, keep: bool) -> None:
        """Write a reply of our own. keep: the connection stays open after it. Its record comes with `taken`, or with
        `cut`, since nobody knows before whether the client gets the reply, nor how long that takes."""
        head = self.head
        out = reply(
            local,
            date=self._connections.date(),
            head_only=self._method() == b"HEAD",
            connection=CONNECTION[keep][1 if head is None else head.minor],
        )
        self._replied, self._octets = local, body_octets(out)
        self._cork.write(out)

    def taken(self) -> None:
        """The client has taken what was written, but for a rest that is small: if it is a reply of our own, its record
        is due."""
        local = self._replied
        if local is not None:
            self._replied = None
            self._log_reply(local, self._octets)

    def cut(self, reason: Reason, detail: str = "") -> None:
        """The client will not take the rest of a reply of our own, if it has not done so: that is what its record
        says."""
        local = self._replied
        if local is not None:
            self._replied = None
            status = reason.status if reason is errors.CLIENT_GONE else local.status
            request_id, client_id, shadow = local.request_id, local.client_id, local.shadow
            ended = LocalReply(status, reason, b"", detail, local.route, request_id, client_id, shadow=shadow)
            self._log_reply(ended, self._octets)

    def refusal(self, reason: Reason, detail: str) -> LocalReply:
        """The reply to what never became a decision."""
        request_id = self._connections.new_id()
        return LocalReply(reason.status, reason, b"", detail, "", request_id, self._peer.address)

    def abandon(self, request_id: str, client_id: str, *, route: str = "", detail: str = "") -> None:
        """The client is gone before anything was sent to an upstream: there is a record, and nothing is written."""
        gone = errors.CLIENT_GONE
        self._log_reply(LocalReply(gone.status, gone, b"", detail, route, request_id, client_id), 0)

    def log(self, flow: Flow) -> None:
        """Write the record of a request that was forwarded: it has ended."""
        forward, head = flow.forward, flow.head
        options = self._connections.generation.options
        logged = options.logged
        record = Record(
            self.wall,
            forward.request_id,
            head.method,
            head.authority,
            head.target,
            forward.options.route,
            forward.client_id,
            flow.status,
            flow.over_at - self.began,
            forward.options.upstream,
            flow.asked_at,
            flow.leased_at,
            flow.head_at,
            flow.ended_at,
            flow.bytes_in,
            flow.bytes_out,
            self._peer.text,
            flow.reason.code,
            flow.detail,
            self.client_waited + flow.client_waited,
            logged_fields(head, logged, self._peer) if logged else None,
            trace_id_sent(forward.head) if options.traced else "",
        )
        if flow.attempts > 1:
            record.attempts = flow.attempts
        endpoint = flow.endpoint
        if endpoint is not None and len(flow.pool.endpoints.all) > 1:
            record.sent_to = endpoint.place.name
        extras = forward.extras
        if extras is not None:
            record.shadow = extras.shadow
            if extras.leave is not None:
                extras.leave()
        self._connections.log.write(record)
        self.head = None

    def _log_reply(self, local: LocalReply, bytes_out: int) -> None:
        """Write the record of a request that met no upstream."""
        head = self.head
        options = self._connections.generation.options
        logged = options.logged
        record = Record(
            self.wall,
            local.request_id,
            self._method(),
            b"" if head is None else head.authority,
            self.reader.line[1] if head is None else head.target,
            local.route,
            local.client_id,
            local.status,
            monotonic() - self.began,
            "",
            NEVER,
            NEVER,
            NEVER,
            NEVER,
            0,
            bytes_out,
            self._peer.text,
            local.reason.code,
            local.note or local.detail,
            self.client_waited,
            logged_fields(head, logged, self._peer) if logged and head is not None else None,
            trace_id_of(head.parsed.get(TRACEPARENT, b"")) if options.traced and head is not None else "",
        )
        if local.shadow:
            record.shadow = local.shadow
        self._connections.log.write(record)
        self.head = None

    def _method(self) -> bytes:
        """Of a head that is not whole: as far as its first line has been read."""
        return self.reader.line[0] if self.head is None else self.head.method
