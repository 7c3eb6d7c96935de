"""The PROXY protocol through the real process: whose requests these are, and who is turned away."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv6Address
from pathlib import Path

import pytest

from harness.certificates import Authority
from harness.configs import one_route
from harness.gateway import Gateway, running
from harness.tls_client import ALERT, TlsClient
from harness.upstream import OK, Upstream, replying
from rawgate.wire.proxy import SIGNATURE

pytestmark = pytest.mark.process

LAST = b"GET /%b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
V6 = IPv6Address("2001:db8::7").packed + bytes(16) + (50412).to_bytes(2, "big") + bytes(2)
HEADERS = [
    (b"PROXY TCP4 192.0.2.7 10.0.0.1 50412 443\r\n", "192.0.2.7:50412"),
    (SIGNATURE + b"\x21\x21\x00\x24" + V6, "[2001:db8::7]:50412"),
    (b"PROXY UNKNOWN\r\n", ""),
    (SIGNATURE + b"\x20\x00\x00\x00", ""),
]


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream(replying(OK)) as one:
        yield one


@pytest.fixture(scope="module")
def gateway(authority: Authority, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Plain at the first address, TLS at the second. A client may have two connections at once; the proxy itself may
    have any number."""
    folder = tmp_path_factory.mktemp("proxy")
    authority.issue("api.test").write(folder, "api")
    text = behind_a_proxy(upstream.target, "", ', tls = "public"') + "[gateway.limits]\nper_address = 2\n"
    text += '[tls.public]\ncertificates = [{ chain = "file:api.pem", key = "file:api.key" }]\n'
    with running(folder, text) as one:
        yield one


def behind_a_proxy(target: str, *listeners: str) -> str:
    """A configuration with listeners, which have these further members. 127.0.0.1 is a trusted proxy, and 127.0.0.2 is
    not."""
    entries = [f'{{ address = "127.0.0.1:0", proxy_protocol = true{members} }}' for members in listeners]
    return one_route(target, gateway_has=('trusted_proxies = ["127.0.0.1"]',)).replace(
        'listen = ["127.0.0.1:0"]', f"listen = [{', '.join(entries)}]"
    )


def ended(sock: socket.socket) -> bool:
    """Whether the gateway ends the connection without a word; it may be by a reset, since octets are left unread."""
    try:
        return sock.recv(65536) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize(("number", "header", "remote"), [(at, *header) for at, header in enumerate(HEADERS)])
@pytest.mark.parametrize("in_pieces", [False, True])
def test_the_client_behind(
    gateway: Gateway, upstream: Upstream, number: int, header: bytes, remote: str, in_pieces: bool
) -> None:
    path = b"plain-%d-%d" % (number, in_pieces)
    with gateway.connect() as sock:
        own = f"127.0.0.1:{sock.getsockname()[1]}"
        for piece in [bytes((octet,)) for octet in header + LAST % path] if in_pieces else [header + LAST % path]:
            sock.sendall(piece)
        assert sock.recv(65536).startswith(b"HTTP/1.1 200 ")
    line = gateway.line(path="/" + path.decode())
    assert line["remote"] == (remote or own)
    request = next(one for one in upstream.requests if path in one.start)
    assert (
        request.value(b"x-forwarded-for")
        == line["clientId"].encode()
        == (remote or own).rpartition(":")[0].strip("[]").encode()
    )


@pytest.mark.parametrize(("number", "header", "remote"), [(at, *header) for at, header in enumerate(HEADERS)])
def test_the_client_behind_before_tls(
    gateway: Gateway, authority: Authority, number: int, header: bytes, remote: str
) -> None:
    path = b"tls-%d" % number
    with socket.create_connection(gateway.addresses[1], 20) as sock:
        own = f"127.0.0.1:{sock.getsockname()[1]}"
        sock.sendall(header)
        with TlsClient(sock, authority.client_context()).handshake() as one:
            one.send(LAST % path)
            assert one.rest().startswith(b"HTTP/1.1 200 ")
            assert one.ended == ALERT
    assert gateway.line(path="/" + path.decode())["remote"] == (remote or own)


@pytest.mark.parametrize(
    ("octets", "told"),
    [
        (b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n", "the PROXY header is missing"),
        (b"\x16\x03\x01\x02\x00", "the PROXY header is missing"),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", "the PROXY line is malformed"),
        (SIGNATURE + b"\x31\x11\x00\x00", "the PROXY header has an unknown version or command"),
    ],
)
def test_malformed_or_missing_is_closed_and_told(gateway: Gateway, octets: bytes, told: str) -> None:
    with gateway.connect() as sock:
        sock.sendall(octets)
        assert ended(sock)
    with gateway.connect() as sock:
        sock.sendall(b"PROXY TCP4 1.2")
        sock.shutdown(socket.SHUT_WR)
        assert ended(sock)
    assert gateway.wait(lambda: any("PROXY" in line or "more since" in line for line in gateway.said))
    assert not gateway.lines(path="/x")


def test_others_may_not_speak_it(gateway: Gateway) -> None:
    with gateway.connect(source="127.0.0.2") as sock:
        assert ended(sock)
    assert not gateway.lines(remote="127.0.0.2")


def test_limit_per_address_counts_clients(gateway: Gateway) -> None:
    """Three connections of one client are one too many; those of others come over the same proxy."""
    header = b"PROXY TCP4 192.0.2.%d 10.0.0.1 1 443\r\n"
    open_ = [gateway.connect() for _ in range(5)]
    try:
        for sock, client in zip(open_, (1, 1, 2, 3, 1), strict=True):
            sock.sendall(header % client + b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
            status = b"503" if sock is open_[-1] else b"200"
            assert sock.recv(65536).startswith(b"HTTP/1.1 " + status)
    finally:
        for sock in open_:
            sock.close()


def test_a_header_that_never_ends(tmp_path: Path, upstream: Upstream) -> None:
    text = behind_a_proxy(upstream.target, "") + '[gateway.timeouts]\nhead = "100ms"\n'
    with running(tmp_path, text) as gateway, gateway.connect() as sock:
        with suppress(OSError):  # it may have ended already, on a machine that stood still
            sock.sendall(b"PROXY TCP4 ")
        assert ended(sock)
