"""The test bed does what it is told: each conduct as a client sees it, on an open connection and on a new one."""

import socket
from collections.abc import Iterator

import pytest

from harness.upstreams import Upstreams

pytestmark = pytest.mark.process

PATIENCE = 20.0
A_WHILE = 0.2
"""Seconds in which loopback would have answered."""

RESET, CLOSED, NOTHING, REFUSED = "reset", "closed", "nothing", "refused"
UP = "200 0"
"""A status and the number of the target that responds."""


@pytest.fixture(scope="module")
def process() -> Iterator[Upstreams]:
    with Upstreams(2) as bed:
        yield bed


@pytest.fixture
def bed(process: Upstreams) -> Upstreams:
    process.reset()
    return process


def connect(bed: Upstreams, number: int = 0, timeout: float = PATIENCE) -> socket.socket:
    return socket.create_connection(("127.0.0.1", bed.ports[number]), timeout)


def send(sock: socket.socket, path: str = "/work/1", body: bytes = b"") -> None:
    line = (
        f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}" if body else f"GET {path} HTTP/1.1\r\nHost: h"
    )
    sock.sendall(line.encode() + b"\r\n\r\n" + body)


def receive(sock: socket.socket) -> str:
    """The status, the target and what else is worth a word; or how the connection ended."""
    got = b""
    try:
        while not got.endswith(b"ok\n"):
            data = sock.recv(4096)
            if not data:
                return f"cut {got[-1:].decode()}" if got else CLOSED
            got += data
    except ConnectionResetError:
        return RESET
    except TimeoutError:
        return NOTHING
    fields = dict(line.split(": ") for line in got.decode().split("\r\n")[1:-2])
    return " ".join([got[9:12].decode(), fields["X-Target"], *(["closing"] if "Connection" in fields else [])])


def fresh(bed: Upstreams, timeout: float = PATIENCE) -> str:
    """What a new connection brings."""
    try:
        with connect(bed, timeout=timeout) as sock:
            send(sock)
            return receive(sock)
    except ConnectionRefusedError:
        return REFUSED
    except ConnectionError:
        return RESET
    except TimeoutError:
        return NOTHING


@pytest.mark.parametrize(
    ("changes", "on_an_open_one", "on_a_new_one"),
    [
        ({}, UP, UP),
        ({"answer": 503}, "503 0", "503 0"),
        ({"closing": True}, "200 0 closing", "200 0 closing"),
        ({"answer": "close"}, CLOSED, CLOSED),
        ({"answer": "reset"}, RESET, RESET),
        ({"answer": "cut"}, "cut o", "cut o"),
        ({"accept": "close"}, UP, CLOSED),
        ({"accept": "reset"}, UP, RESET),
        ({"network": "down"}, RESET, REFUSED),
        ({"network": "leaving"}, CLOSED, REFUSED),
    ],
    ids=str,
)
def test_conduct(bed: Upstreams, changes: dict[str, object], on_an_open_one: str, on_a_new_one: str) -> None:
    with connect(bed) as sock:
        send(sock)
        assert receive(sock) == UP
        bed.tell(0, **changes)
        # One that was closed before can be told so by an empty read only: writing to it first would bring a reset.
        if changes.get("network", "up") == "up":
            send(sock)
        assert receive(sock) == on_an_open_one
    # A connection that is closed with octets unread is reset.
    found = fresh(bed)
    assert found == on_a_new_one or (found, on_a_new_one) == (RESET, CLOSED)
    bed.tell(0, network="up", accept="serve", answer=200, closing=False)
    assert fresh(bed) == UP


@pytest.mark.parametrize(
    ("changes", "on_an_open_one"),
    [({"network": "silent"}, NOTHING), ({"answer": "nothing"}, NOTHING), ({"accept": "hold"}, UP)],
    ids=str,
)
def test_silence(bed: Upstreams, changes: dict[str, object], on_an_open_one: str) -> None:
    with connect(bed) as sock:
        send(sock)
        assert receive(sock) == UP
        bed.tell(0, **changes)
        sock.settimeout(A_WHILE)
        send(sock)
        assert receive(sock) == on_an_open_one
        assert fresh(bed, A_WHILE) == NOTHING
    bed.tell(0, network="up", accept="serve", answer=200)
    assert fresh(bed) == UP


def test_who_leaves_ends_what_it_has(bed: Upstreams) -> None:
    bed.tell(0, times=((1.0, A_WHILE, 0.0),))
    with connect(bed) as busy, connect(bed) as idle:
        send(busy)
        bed.wait_arrivals(0, 1)
        bed.tell(0, network="leaving")
        assert receive(idle) == CLOSED
        assert receive(busy) == "200 0 closing"
        assert receive(busy) == CLOSED
    bed.wait_empty(0)


def test_what_is_seen(bed: Upstreams) -> None:
    bed.tell(1, ready=False, times=((0.5, 0.001, 0.5), (0.5, 0.002, 0.5)), workers=1, cold=2.0, warm_up=1.0)
    with connect(bed, 1) as one, connect(bed, 1) as two:
        send(one, "/work/1", b"body")
        send(two, "/work/2")
        assert [receive(one), receive(two)] == ["200 1", "200 1"]
        send(one, "/health")
        assert receive(one) == "503 1"
        send(one, "/work/2")
        assert receive(one) == "200 1"
    none, seen = bed.seen()
    assert (none.arrivals, none.connections) == ([], 0)
    assert {(one.method, one.path) for one in seen.arrivals} == {("POST", "/work/1"), ("GET", "/work/2")}
    assert [seen.count(f"/work/{number}") for number in range(3)] == [0, 1, 2]
    assert [one.at for one in seen.arrivals] == sorted(one.at for one in seen.arrivals)
    assert seen.peak in (1, 2)
    assert (seen.connections, seen.checks) == (2, 1)
    bed.reset()
    assert bed.seen()[1].arrivals == []
