"""A client that is told no while it is still sending: it gets the whole answer, then the end of the connection, and
what it sent behind its request head is nobody's next request.

Closing a socket with unread octets makes the kernel send a reset, which may overtake the answer. So the gateway sends
the answer and FIN, and reads on for a while.
"""

import http.client
import json
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness import configs
from harness.gateway import Gateway, running
from harness.upstream import OK, Upstream, replying
from harness.wire_reader import FIN, Message, Stream, read_response

pytestmark = pytest.mark.process

MIB = 1024 * 1024
LARGE = 32 * MIB
"""Far more than socket buffers hold: a client that sends it all is read to the end, or stuck."""


# status, reason, target, further field lines
REFUSALS = [
    (401, "auth_missing", "/locked", ()),
    (404, "no_route", "/nowhere", ()),
    (405, "method_not_allowed", "/read", ()),
    (413, "body_too_large", "/small", ()),
    (417, "expectation_failed", "/small", ("Expect: 200-ok",)),
    (429, "rate_limited", "/limited", ()),
    (400, "bad_request", "/small", ("X-A : 1",)),
    (431, "head_too_large", "/small", ("X-A: " + "a" * 5000,)),
]


class Served:
    def __init__(self, gateway: Gateway, upstream: Upstream) -> None:
        self.gateway = gateway
        self.upstream = upstream


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream(replying(OK)))
        text = (
            configs.gateway('limits = { body = "1KiB", head = "4KiB" }', 'timeouts = { drain = "1s" }')
            + configs.api_keys("main", "x-key", "KEYS")
            + configs.upstream("a", upstream.target)
            + configs.route("/locked", "a", 'body = "64MiB"', auth="api_keys.main")
            + configs.route("/limited", "a", 'rate_limit = { max = 1, window = "1h" }', 'body = "64MiB"')
            + configs.route("/read", "a", 'methods = ["GET"]')
            + configs.route("/small", "a")
        )
        env = {"KEYS": "me:a-key-of-the-tests"}
        gateway = stack.enter_context(running(tmp_path_factory.mktemp("lingering"), text, env))
        with gateway.connect() as sock:  # uses up what /limited lets through
            sock.sendall(b"GET /limited HTTP/1.1\r\nHost: h\r\n\r\n")
            assert answer(Stream.of(sock)).status == 200
        yield Served(gateway, upstream)


def answer(stream: Stream) -> Message:
    message = read_response(stream)
    assert message is not None
    return message


@pytest.mark.parametrize("framing", ["counted", "chunked"])
@pytest.mark.parametrize(("status", "reason", "target", "fields"), REFUSALS, ids=[each[1] for each in REFUSALS])
def test_who_sends_all_before_it_reads_is_told(
    served: Served, status: int, reason: str, target: str, fields: tuple[str, ...], framing: str
) -> None:
    length = "Transfer-Encoding: chunked" if framing == "chunked" else f"Content-Length: {LARGE}"
    begun = framing == "chunked" and reason == "body_too_large"  # it shows only on the way
    before = len(served.upstream.requests)
    with served.gateway.connect() as sock:
        stream = Stream.of(sock)
        sock.sendall("\r\n".join([f"POST {target} HTTP/1.1", "Host: h", length, *fields, "", ""]).encode())
        if framing == "chunked":
            sock.sendall(b"%x\r\n" % LARGE)
        sock.sendall(bytes(LARGE))
        told = answer(stream)
        assert told.status == status
        assert told.value(b"connection") == b"close"
        assert json.loads(told.body)["status"] == status
        assert stream.rest() == b""
        assert stream.ended == FIN
        line = served.gateway.line(remote="{}:{}".format(*sock.getsockname()))
    assert (line["status"], line["reason"]) == (status, reason)
    assert len(served.upstream.requests) == before + begun


def test_what_is_sent_behind_a_refused_head_is_no_request(served: Served) -> None:
    """Its body would be one, read by somebody who forgot about the head."""
    before = len(served.upstream.requests)
    inner = b"GET /small/hidden HTTP/1.1\r\nHost: h\r\n\r\n"
    with served.gateway.connect() as sock:
        stream = Stream.of(sock)
        sock.sendall(b"POST /locked HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % (len(inner) * 1000))
        for _ in range(1000):
            sock.sendall(inner)
        sock.shutdown(socket.SHUT_WR)
        assert answer(stream).status == 401
        assert stream.rest() == b""
        assert stream.ended == FIN
    assert len(served.upstream.requests) == before


@pytest.mark.parametrize(("target", "status"), [("/locked", "401"), ("/small", "413"), ("/nowhere", "404")])
@pytest.mark.parametrize("expect", [True, False], ids=["waits for 100", "sends at once"])
def test_curl_is_told(
    served: Served, tmp_path: Path, program: Callable[[str], str], target: str, status: str, expect: bool
) -> None:
    upload, body = tmp_path / "upload", tmp_path / "body"
    upload.write_bytes(bytes(LARGE))
    host, port = served.gateway.address
    command = [program("curl"), "--silent", "--show-error", "--max-time", "20", "--upload-file", str(upload)]
    command += ["--output", str(body), "--write-out", "%{http_code}", f"http://{host}:{port}{target}"]
    if not expect:
        command += ["--header", "Expect:"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (status, "")
    assert json.loads(body.read_text())["status"] == int(status)


def test_a_client_that_never_looks_up_while_it_sends_is_told(served: Served) -> None:
    """http.client, and what is built on it, reads nothing before its last octet is out: a reset would be an error."""
    connection = http.client.HTTPConnection(*served.gateway.address, timeout=20)
    try:
        connection.request("POST", "/locked", bytes(LARGE))
        told = connection.getresponse()
        assert told.status == 401
        assert json.loads(told.read())["reason"] == "auth_missing"
    finally:
        connection.close()
