"""What must be true of a `InMemoryGateway`, whatever its clients and services did.

Everything that the gateway sent is read with the strict reader, which shares no code with it. To the upstream each
connection carries whole requests, one after the other; each was decided on, none is made up, and none is there twice,
except for a retry. To the client goes one response for each log line, in the lines' order and with their status, and
nothing else; a response that was cut is the last. In the end nothing is left open.
"""

from collections.abc import Generator, Iterator

from harness.books import has_more
from harness.in_memory_gateway import BODY, Decided, End, InMemoryGateway, UpstreamEnd, asked_in_order, forwards
from harness.stuck import length_of
from harness.wire_reader import (
    Cut,
    Malformed,
    Message,
    Stream,
    read_body,
    read_request_head,
    read_response,
    read_response_head,
)
from rawgate.errors import CLIENT_GONE, OK, UPSTREAM_CUT
from rawgate.message import Forward
from rawgate.net.states import CLOSED, HEAD
from rawgate.observe.line import Record


class Logged:
    """A log record as these checks need it, short in a message."""

    def __init__(self, record: Record) -> None:
        self.id, self.method, self.target = record.request_id, record.method, record.target
        self.status, self.reason, self.upstream = record.status, record.reason, record.upstream
        self.bytes_in, self.bytes_out, self.remote = record.bytes_in, record.bytes_out, record.remote

    def __repr__(self) -> str:
        return f"<{self.id[-4:]} {self.method!r} {self.target!r} {self.status} {self.reason}>"


def findings(gateway: InMemoryGateway) -> list[str]:
    """All that is wrong, a phrase each. The gateway must have settled."""
    lines = [Logged(record) for record in gateway.records]
    found = list(_left_open(gateway))
    found += _logged(gateway, lines)
    for number, upstream in enumerate(gateway.upstreams):
        found += [f"upstream {number}: {finding}" for finding in _upwards(gateway, upstream)]
    found += _repeated(gateway)
    for line in lines:
        found += [f"{line}: {finding}" for finding in _octets_up(gateway, line)]
    for client in gateway.clients:
        mine = [line for line in lines if line.remote == client.remote]
        found += [f"client {client.remote}: {finding}" for finding in _downwards(gateway, client, mine)]
    return found


# ── what is left open ──


def _left_open(gateway: InMemoryGateway) -> Iterator[str]:
    pool = gateway.pool
    if pool.size or pool.tunnels or pool.waiting or pool.guard.budget.retrying:
        yield f"not at rest: {pool!r}"
    connections = gateway.connections
    if connections.open or connections.refused or connections.idle or connections.addresses.counts:
        yield f"client connections are left: {connections.open} {connections.refused}"
    if connections.buffers.total:
        yield f"{connections.buffers.total} octets are in the book"
    if gateway.pending:
        yield "a decision is still waited for"
    for end in [*gateway.clients, *gateway.upstreams]:
        if not end.lost:
            yield f"left open: {end.protocol!r}"
    if gateway.connections.draining and not gateway.emptied:
        yield "the end was not told"
    if len(gateway.loop.timers) > 1:  # the reaper's
        yield f"timers are left: {[timer.callback for timer in gateway.loop.timers]}"


def _logged(gateway: InMemoryGateway, lines: list[Logged]) -> Iterator[str]:
    names = [line.id for line in lines]
    decided = {one.decision.request_id for one in gateway.decided}
    for client in gateway.clients:
        undecided = [line for line in lines if line.remote == client.remote and line.id not in decided]
        if client.states[-2:] == [HEAD, CLOSED] and not undecided:
            yield f"a head that its client {client.remote} did not end is not logged"
    if len(set(names)) != len(names):
        yield f"logged twice: {lines}"
    missing = [one.decision.request_id for one in gateway.decided if one.decision.request_id not in set(names)]
    if missing:
        yield f"not logged: {missing}"
    if gateway.hasty:
        yield f"logged before their clients had taken all: {gateway.hasty}"
    if any(line.reason == "internal" for line in lines):
        yield f"an internal error: {lines}"


# ── upwards ──


def _upwards(gateway: InMemoryGateway, upstream: UpstreamEnd) -> Iterator[str]:
    """What is wrong with the requests on one upstream connection."""
    parsed = forwards(gateway)
    stream = Stream.of(upstream.sent)
    if upstream.misused:
        yield f"used though it had stirred: {upstream.misused!r}"
    while True:
        message = None
        try:
            message = read_request_head(stream)
            if message is None:
                return
            yield from _is_known(message, parsed)
            if _is_tunnel(upstream, message):
                return
            read_body(stream, message)
        except Malformed as error:
            yield f"sent what is no request: {error}"
            return
        except Cut:
            if message is None:
                yield "a head was cut"
            return
        yield from _same_body(gateway, message, parsed.get(_id(message)))
        if stream.unread and has_more(upstream, _id(message)):
            yield "used again though more had come than an answer"


def _id(message: Message) -> str:
    return (message.value(b"x-request-id") or b"").decode("latin-1")


def _is_tunnel(upstream: UpstreamEnd, request: Message) -> bool:
    """Whether the upstream switched protocols for this request, so that no HTTP follows."""
    octets = upstream.arrived.get(_id(request), b"")
    return bool(request.values(b"upgrade")) and b" 101 " in octets


def _is_known(message: Message, parsed: dict[str, Decided]) -> Iterator[str]:
    """What is wrong with a head that was sent up, beside the decision about it."""
    decided = parsed.get(_id(message))
    if decided is None or not isinstance(decided.decision, Forward):
        yield f"nobody asked for {message.raw!r}"
        return
    if not decided.decision.head.startswith(message.start + b"\r\n"):
        yield f"{message.start!r} is not what was decided"
    if message.method != decided.head.method:
        yield f"{message.method!r} instead of {decided.head.method!r}"


def _same_body(gateway: InMemoryGateway, message: Message, decided: Decided | None) -> Iterator[str]:
    """Where a body that was sent up differs from the client's, as far as the strict reader can tell."""
    if decided is None:
        return
    position = [one for one in gateway.decided if one.peer == decided.peer].index(decided)
    theirs = asked(gateway, decided.peer)
    if position < len(theirs):
        if theirs[position].method != message.method:
            yield f"{message.method!r} was {theirs[position].method!r} at the client"
        if theirs[position].complete and theirs[position].body != message.body:
            yield f"a body became {message.body!r}"
        if not theirs[position].complete:
            yield "completed what the client did not"


def asked(gateway: InMemoryGateway, peer: str) -> list[Message]:
    """The requests of a client as the strict reader sees them, up to the first that it does not take."""
    client = next(client for client in gateway.clients if client.remote == peer)
    stream = Stream.of(client.heard)
    found: list[Message] = []
    try:
        while (message := read_request_head(stream)) is not None:
            found.append(message)
            read_body(stream, message)
    except (Malformed, Cut) as error:
        # A body that the strict reader refuses may be valid nevertheless: it takes no chunk extension.
        if found and not found[-1].complete and isinstance(error, Malformed):
            found.pop()
    return found


def _repeated(gateway: InMemoryGateway) -> Iterator[str]:
    """Requests that were sent up twice, although the first connection was good or its response had begun."""
    retry = gateway.pool.options.retry
    for name in {name for end in gateway.upstreams for name in end.asked}:
        ends = asked_in_order(gateway, name)
        if len(ends) > (2 if retry is None else retry.attempts):
            yield f"{name} went up {len(ends)} times"
        for first in ends[:-1]:
            # Where an answer may be followed by another attempt, its client must not have seen any of it.
            if first.asked[name].client_had != ends[-1].asked[name].client_had or (
                retry is None and first.arrived.get(name)
            ):
                yield f"{name} was sent again after an answer had begun"


def _octets_up(gateway: InMemoryGateway, line: Logged) -> Iterator[str]:
    """Where the log has another number of octets than were sent up when the request was sent last. The piece with which
    a body became too large was counted, and not sent."""
    ends = asked_in_order(gateway, line.id)
    if not ends or (line.bytes_in > BODY and line.status != 101):
        return
    octets = length_of(ends[-1].sent[ends[-1].asked[line.id].begins :], read_request_head, tunnel=line.status == 101)
    if octets != line.bytes_in and (line.status != 101 or line.reason == OK.code):
        yield f"{octets} octets went up instead of {line.bytes_in}"


# ── downwards ──


def _downwards(gateway: InMemoryGateway, client: End, lines: list[Logged]) -> Iterator[str]:
    """What is wrong with one client connection, beside its log lines."""
    stream = Stream.of(client.sent)
    for position, line in enumerate(lines):
        last = position == len(lines) - 1
        try:
            ends = yield from _response(gateway, client, stream, line)
        except Malformed as error:
            yield f"{line}: sent what is no response: {error}"
            return
        except Cut:
            if not last or line.reason == OK.code:
                yield f"{line}: cut, but not as a cut"
            return
        if ends and not last:
            yield f"{lines[position + 1]} was served after {line}"
            return
        if ends is None:
            return
    if stream.unread:
        yield f"sent more than its responses: {stream.unread!r}"


def _response(gateway: InMemoryGateway, client: End, stream: Stream, line: Logged) -> Generator[str, None, bool | None]:
    """Read the response that belongs to a line. Returns whether the connection must end after it; None: no HTTP
    follows."""
    gone = line.reason == CLIENT_GONE.code
    message = yield from _final_head(stream, line)
    if message is None:
        if not gone or line.status == 101:
            yield f"{line}: no response"
        return True
    if message.status != line.status and (not gone or message.status == 101):
        yield f"{line}: the client saw {message.status}"
    if message.status == 101:
        if len(stream.unread) != line.bytes_out:
            yield f"{line}: {len(stream.unread)} octets of a tunnel instead of {line.bytes_out}"
        return None
    if _id(message) != line.id:
        yield f"{line}: a response to another request, {_id(message)}"
    yield from _body(stream, message, line)
    if message.framing == "close" and client.was_reset:
        return True
    if not gone:
        yield from _whole(gateway, line, message)
    return gone or b"close" in b",".join(message.values(b"connection")).lower()


def _body(stream: Stream, message: Message, line: Logged) -> Iterator[str]:
    """Read a body. One that was cut is counted as far as it got."""
    try:
        read_body(stream, message)
    except Cut:
        if line.upstream and len(message.body) != line.bytes_out:
            yield f"{line}: {len(message.body)} octets of body before the cut instead of {line.bytes_out}"
        raise


def _final_head(stream: Stream, line: Logged) -> Generator[str, None, Message | None]:
    """Read interim heads and the final one."""
    while (message := read_response_head(stream, line.method)) is not None:
        if message.status >= 200 or message.status == 101:
            break
        if line.upstream == "":
            yield f"{line}: an interim response of our own"
    return message


def _whole(gateway: InMemoryGateway, line: Logged, message: Message) -> Iterator[str]:
    """What is wrong with a response that looks whole to the client."""
    if line.reason == UPSTREAM_CUT.code:
        yield f"{line}: cut, but the client cannot know"
    if len(message.body) != line.bytes_out:
        yield f"{line}: {len(message.body)} octets of body instead of {line.bytes_out}"
    if line.upstream and line.reason == "ok":
        yield from _as_answered(gateway, line, message)


def _as_answered(gateway: InMemoryGateway, line: Logged, message: Message) -> Iterator[str]:
    """Where a whole response differs from the upstream's, as far as the strict reader can tell."""
    ends = asked_in_order(gateway, line.id)
    stream = Stream.of(ends[-1].arrived.get(line.id, b"") if ends else b"")
    try:
        answer = read_response(stream, line.method)
    except Malformed:
        return
    except Cut:
        yield f"{line}: a response that broke off was passed on as whole"
        return
    if answer is None:
        yield f"{line}: a response that nobody sent"
    elif (answer.status, answer.body) != (message.status, message.body):
        yield f"{line}: {answer.status} {answer.body!r} became {message.status} {message.body!r}"
