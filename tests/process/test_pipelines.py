"""Nothing is lost, made up or swapped: for any mix of pipelined requests, however its octets are cut, the responses,
the log lines and what the upstream saw tell the same story in the same order."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from harness import configs
from harness.gateway import Gateway, running
from harness.upstream import Upstream, replying, response
from harness.wire_reader import Message, Stream, read_response

pytestmark = pytest.mark.process


class Request(Struct, frozen=True):
    """A request, and what is to become of it. `sent_on`: the target at the upstream, b"" when it is refused."""

    method: bytes
    target: bytes
    lines: bytes = b""
    body: bytes = b""
    payload: bytes = b""
    status: int = 200
    reason: str = "ok"
    sent_on: bytes = b""

    @property
    def octets(self) -> bytes:
        return b"%b %b HTTP/1.1\r\nHost: a.test\r\n%b\r\n%b" % (self.method, self.target, self.lines, self.body)


def with_length(payload: bytes) -> Request:
    return Request(
        b"PUT", b"/open/put?q", b"Content-Length: %d\r\n" % len(payload), payload, payload, sent_on=b"/put?q"
    )


def with_chunks(pieces: list[bytes]) -> Request:
    body = b"".join(b"%x;ext=1\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\nAge: 1\r\n\r\n"
    return Request(b"POST", b"/open/post", b"Transfer-Encoding: chunked\r\n", body, b"".join(pieces), sent_on=b"/post")


LOOKS_LIKE_A_REQUEST = b"GET /open/smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n"
PAYLOADS = st.one_of(st.binary(max_size=40), st.just(LOOKS_LIKE_A_REQUEST), st.just(b"0\r\n\r\n"))
REQUESTS = st.one_of(
    st.just(Request(b"GET", b"/open/a?x=1", sent_on=b"/a?x=1")),
    st.just(Request(b"HEAD", b"/read/b", b"X-Long: " + b"y" * 300 + b"\r\n", sent_on=b"/read/b")),
    st.just(Request(b"GET", b"/read//c/../d", sent_on=b"/read/d")),
    st.just(Request(b"GET", b"/nowhere", status=404, reason="no_route")),
    st.just(Request(b"DELETE", b"/read/e", status=405, reason="method_not_allowed")),
    st.just(Request(b"GET", b"/locked/f", status=401, reason="auth_missing")),
    PAYLOADS.map(with_length),
    st.lists(PAYLOADS.filter(bool), max_size=3).map(with_chunks),
)
LAST = st.sampled_from(
    [
        None,
        Request(b"GET", b"/open/last", b"Connection: close\r\n", sent_on=b"/last"),
        Request(b"GET", b"/open/g", b"X : 1\r\n", status=400, reason="bad_request"),
        Request(b"POST", b"/nowhere", b"Content-Length: 5\r\n", b"hello", status=404, reason="no_route"),
    ]
)


def echo(request: Message) -> bytes:
    answer = response(b"of " + request.target)
    return answer if request.method != b"HEAD" else answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


class Service:
    def __init__(self, gateway: Gateway, upstream: Upstream) -> None:
        self.gateway = gateway
        self.upstream = upstream
        self.before = 0  # requests at the upstream before this example


@pytest.fixture(scope="module", params=["fast", "h11"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Upstream(replying(echo)) as upstream:
        config = (
            configs.gateway(f'parser = "{request.param}"')
            + configs.jwt()
            + configs.upstream("service", upstream.target, "max_connections = 1")
            + configs.route("/open", "service", 'rewrite = "/"')
            + configs.route("/locked", "service", auth="jwt.main")
            + configs.route("/read", "service", 'methods = ["GET", "HEAD"]')
        )
        with running(tmp_path_factory.mktemp("pipelines"), config, {"JWT_SECRET": "s" * 32}) as gateway:
            yield Service(gateway, upstream)
            # Whatever was played, one connection served it all: none was in doubt. (One that carries a trailer is; that
            # of these bodies is no field for trailers, and is not sent on.)
            assert len(upstream.connections) == 1


def cut(octets: bytes, at: list[int]) -> list[bytes]:
    marks = [0, *sorted(mark % (len(octets) + 1) for mark in at), len(octets)]
    return [octets[start:end] for start, end in pairwise(marks) if start < end]


@settings(max_examples=25)
@given(st.lists(REQUESTS, min_size=1, max_size=8), LAST, st.lists(st.integers(0, 10_000), max_size=6))
def test_one_story(service: Service, requests: list[Request], last: Request | None, at: list[int]) -> None:
    if last is not None:
        requests = [*requests, last]
    gateway, upstream = service.gateway, service.upstream
    with gateway.connect() as sock:
        remote = "{}:{}".format(*sock.getsockname())
        for piece in cut(b"".join(request.octets for request in requests), at):
            sock.sendall(piece)
        stream = Stream.of(sock)
        responses = [read_response(stream, request.method) for request in requests]
        assert stream.unread == b""
        if last is not None:
            assert stream.rest() == b""
    lines = gateway.wait_lines(len(requests), remote=remote)
    arrived = upstream.requests[service.before :]
    service.before = len(upstream.requests)

    told = [(response.status, response.value(b"x-request-id")) for response in responses if response is not None]
    assert [status for status, _ in told] == [request.status for request in requests]
    assert [(line["status"], line["requestId"].encode()) for line in lines] == told

    assert [(line["method"], line["path"], line["reason"]) for line in lines] == [
        (request.method.decode(), request.target.partition(b"?")[0].decode(), request.reason) for request in requests
    ]
    assert [(request.method, request.target, request.body) for request in arrived] == [
        (request.method, request.sent_on, request.payload) for request in requests if request.sent_on
    ]
    assert [request.value(b"x-request-id") for request in arrived] == [
        line["requestId"].encode() for line in lines if line["upstream"] is not None
    ]
    assert [line["bytesIn"] for line in lines] == [len(request.payload) for request in requests]
    assert [line["bytesOut"] for line in lines] == [len(response.body) for response in responses if response]
