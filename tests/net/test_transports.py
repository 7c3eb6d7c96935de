"""What is asked of a transport, with sockets of the system: loopback, both kinds."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import cast

import pytest

from harness.fake_loop import FakeLoop, FakeTransport
from rawgate.net.transports import UNIX, peer_of, write_backlog


class Nobody(asyncio.Protocol):
    """Takes what a transport has to say."""


@pytest.fixture(params=[socket.AF_INET, socket.AF_UNIX], ids=["tcp", "unix"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a connection, ours first; the other has little room for what it does not read."""
    with contextlib.ExitStack() as stack:
        if request.param == socket.AF_UNIX:
            ours, theirs = socket.socketpair()
        else:
            listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            ours = socket.create_connection(listening.getsockname())
            theirs, _ = listening.accept()
        stack.enter_context(ours)
        stack.enter_context(theirs)
        ours.setblocking(False)
        yield ours, theirs


def transport(sock: socket.socket) -> FakeTransport:
    made = FakeTransport(FakeLoop(), Nobody())
    made.get_extra_info = lambda name, default=None: sock  # type: ignore[method-assign]
    return made


def test_what_the_kernel_holds_is_unsent_until_the_peer_takes_it(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    end = transport(ours)
    assert write_backlog(end) == 0
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            sent += ours.send(bytes(65536))
    before = write_backlog(end)
    assert before > 65536
    end.backlog = 1000
    assert write_backlog(end) == before + 1000
    theirs.settimeout(10)
    while sent:
        sent -= len(theirs.recv(65536))
    # All of it was read, and so it was acknowledged; on loopback that has happened by then, or does so at once.
    assert any(write_backlog(end) == 1000 for _ in range(100_000))


def test_a_socket_that_is_gone_holds_nothing() -> None:
    sock = socket.socket()
    sock.close()
    end = transport(sock)
    end.backlog = 5
    assert write_backlog(end) == 5
    assert write_backlog(transport(cast("socket.socket", None))) == 0


def test_who_is_at_the_other_end(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    names = {"socket": ours, "peername": ours.getpeername()}
    end = transport(ours)
    end.get_extra_info = lambda name, default=None: names.get(name, default)  # type: ignore[method-assign]
    peer = peer_of(end)
    if ours.family == socket.AF_UNIX:
        assert peer == UNIX
    else:
        assert peer is not None
        assert (peer.address, peer.text) == ("127.0.0.1", f"127.0.0.1:{theirs.getsockname()[1]}")
        # Reset before it was accepted: the socket has no peer.
        names["peername"] = None
        assert peer_of(end) is None
