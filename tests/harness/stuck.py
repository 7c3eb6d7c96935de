"""What must be true of an `InMemoryGateway` when everybody has taken and sent all (`InMemoryGateway.flow`): whatever
has come for somebody was passed on, and all that could come is being read.
"""

from collections.abc import Callable, Iterator

from harness.books import serving
from harness.in_memory_gateway import InMemoryGateway, UpstreamEnd
from harness.wire_reader import (
    Cut,
    Malformed,
    Message,
    Stream,
    read_body,
    read_request_head,
    read_response_head,
)
from rawgate.relay.flow import Flow
from rawgate.relay.phases import TUNNEL


def stuck(gateway: InMemoryGateway) -> Iterator[str]:
    """What is wrong, a phrase each."""
    for client in gateway.clients:
        flow = serving(client)
        # What it sends ahead has to wait for its turn.
        waits = bool(gateway.pending) if flow is None else flow.upstream is None or not flow.wants_body
        if not (client.is_closing() or client.reading or waits):
            yield f"nobody reads {client.protocol!r}"
    for upstream in gateway.upstreams:
        flow = upstream.upstream.flow
        if upstream.is_closing():
            continue
        if not upstream.reading:
            yield f"nobody reads {upstream.upstream!r}"
        if flow is not None:
            yield from _passed_on(upstream, flow)


def _passed_on(upstream: UpstreamEnd, flow: Flow) -> Iterator[str]:
    """What has come from one side of a flow, and did not get to the other one."""
    name = flow.forward.request_id
    asked = upstream.asked[name]
    came, went = upstream.arrived.get(name, b""), asked.client.sent[asked.client_had :]
    read, tunnel = _response_reader(asked.method), flow.phase is TUNNEL
    if flow.status and length_of(came, read, tunnel=tunnel) > length_of(went, read, tunnel=tunnel):
        yield f"{flow!r}: of {came!r} only {went!r} went down"
    went = upstream.sent[asked.begins :]
    if tunnel:
        _, _, went = went.partition(b"\r\n\r\n")
        if not asked.client.heard.endswith(b"\r\n\r\n" + went):
            yield f"{flow!r}: of {asked.client.heard!r} only {went!r} went up"
    elif flow.wants_body and flow.bytes_in != length_of(went, read_request_head):
        yield f"{flow!r}: {went!r} went up"


def _response_reader(method: bytes) -> Callable[[Stream], Message | None]:
    def read(stream: Stream) -> Message | None:
        message = read_response_head(stream, method)
        while message is not None and message.status < 200 and message.status != 101:
            message = read_response_head(stream, method)
        return message

    return read


def length_of(octets: bytes, read_head: Callable[[Stream], Message | None], *, tunnel: bool = False) -> int:
    """How much is here of a message's body; of a tunnel, how much follows its head."""
    stream = Stream.of(octets)
    message = None
    try:
        message = read_head(stream)
        if message is not None and not tunnel:
            read_body(stream, message)
    except (Malformed, Cut):
        pass
    if message is None:
        return 0
    return len(stream.unread) if tunnel else len(message.body)
