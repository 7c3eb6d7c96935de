"""The queue of a listening socket ends before the socket is closed: who is in it is served, and nobody is reset."""

import contextlib
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from select import select

import pytest

from harness.upstream import has_ipv6
from rawgate.config.model import Listen, listen_name
from rawgate.serve.listening import Addresses

NEEDS_IPV6 = pytest.mark.skipif(not has_ipv6(), reason="this host has no IPv6")
PATIENCE = 10.0


@contextlib.contextmanager
def opened(listen: Listen, workers: int = 1, handed: socket.socket | None = None) -> Iterator[Addresses]:
    with closing(Addresses(workers, handed={} if handed is None else {listen_name(listen): handed})) as addresses:
        addresses.add([listen])
        yield addresses


def connecting(sock: socket.socket) -> socket.socket:
    """A client whose connection has been asked for, and may be there."""
    client = socket.socket(sock.family)
    client.setblocking(False)
    client.connect_ex(sock.getsockname())
    return client


def connected(sock: socket.socket) -> socket.socket:
    """A client whose connection is there."""
    client = socket.socket(sock.family)
    client.settimeout(PATIENCE)
    client.connect(sock.getsockname())
    return client


def queue(*sockets: socket.socket, awaited: int) -> int:
    """How many wait to be accepted; they are accepted. awaited: as many come, perhaps a moment later than their clients
    believe."""
    count = 0
    while count < awaited:
        ready, _, _ = select(sockets, [], [], PATIENCE)
        assert ready, f"only {count} came"
        count += sum(map(accepted, ready))
    return count + sum(map(accepted, sockets))


def accepted(sock: socket.socket) -> bool:
    """Whether there was one."""
    try:
        connection, _ = sock.accept()
    except BlockingIOError:
        return False
    connection.close()
    return True


@pytest.mark.skipif(sys.platform != "linux", reason="the filter is Linux's")
@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=NEEDS_IPV6)])
def test_who_is_in_the_queue_stays_and_nobody_comes_into_it(host: str) -> None:
    with opened(Listen(host, 0), workers=2) as addresses:
        (address,) = addresses.open.values()
        before = [connected(address.sockets[0]) for _ in range(8)]
        addresses.stop_queueing(())
        after = [connecting(address.sockets[0]) for _ in range(8)]
        assert queue(*address.sockets, awaited=len(before)) == len(before)
        for client in (*before, *after):
            client.close()


def test_an_address_that_stays_goes_on() -> None:
    listen = Listen("127.0.0.1", 0)
    with opened(listen) as addresses:
        (address,) = addresses.open.values()
        addresses.stop_queueing([listen])
        with connecting(address.sockets[0]):
            assert queue(address.sockets[0], awaited=1) == 1


def test_a_socket_that_was_handed_over_goes_on_with_its_queue() -> None:
    """systemd keeps it for the next start."""
    with socket.create_server(("127.0.0.1", 0)) as theirs:
        theirs.setblocking(False)
        listen = Listen("127.0.0.1", theirs.getsockname()[1])
        with opened(listen, handed=theirs.dup()) as addresses:
            addresses.stop_queueing(())
            with connecting(theirs):
                assert queue(theirs, awaited=1) == 1


def test_a_worker_leaves_it_to_its_supervisor() -> None:
    with opened(Listen("127.0.0.1", 0)) as addresses:
        (address,) = addresses.open.values()
        address.disown()
        addresses.stop_queueing(())
        with connecting(address.sockets[0]):
            assert queue(address.sockets[0], awaited=1) == 1


def test_of_a_unix_socket_the_name_goes(tmp_path: Path) -> None:
    path = tmp_path / "g.sock"
    with opened(Listen(path=str(path))) as addresses:
        (address,) = addresses.open.values()
        with connecting(address.sockets[0]):
            addresses.stop_queueing(())
            assert not path.exists()
            assert queue(address.sockets[0], awaited=1) == 1
