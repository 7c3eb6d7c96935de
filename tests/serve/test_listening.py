"""The queue of a listening socket ends before the socket is closed: who is in it is served, and nobody is reset."""

import contextlib
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from rawgate.config.model import Listen, listen_name
from rawgate.serve.listening import Addresses

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


def queue(sock: socket.socket) -> int:
    """How many wait to be accepted; they are accepted."""
    for count in range(100):
        try:
            connection, _ = sock.accept()
        except BlockingIOError:
            return count
        connection.close()
    raise AssertionError("more than came")


@pytest.mark.skipif(sys.platform != "linux", reason="the filter is Linux's")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_who_is_in_the_queue_stays_and_nobody_comes_into_it(host: str) -> None:
    with opened(Listen(host, 0), workers=2) as addresses:
        (address,) = addresses.open.values()
        before = [connected(address.sockets[0]) for _ in range(8)]
        addresses.stop_queueing(())
        after = [connecting(address.sockets[0]) for _ in range(8)]
        assert sum(map(queue, address.sockets)) == len(before)
        for client in (*before, *after):
            client.close()


def test_an_address_that_stays_goes_on() -> None:
    listen = Listen("127.0.0.1", 0)
    with opened(listen) as addresses:
        (address,) = addresses.open.values()
        addresses.stop_queueing([listen])
        with connecting(address.sockets[0]):
            assert queue(address.sockets[0]) == 1


def test_a_socket_that_was_handed_over_goes_on_with_its_queue() -> None:
    """systemd keeps it for the next start."""
    with socket.create_server(("127.0.0.1", 0)) as theirs:
        theirs.setblocking(False)
        listen = Listen("127.0.0.1", theirs.getsockname()[1])
        with opened(listen, handed=theirs.dup()) as addresses:
            addresses.stop_queueing(())
            with connecting(theirs):
                assert queue(theirs) == 1


def test_a_worker_leaves_it_to_its_supervisor() -> None:
    with opened(Listen("127.0.0.1", 0)) as addresses:
        (address,) = addresses.open.values()
        address.disown()
        addresses.stop_queueing(())
        with connecting(address.sockets[0]):
            assert queue(address.sockets[0]) == 1


def test_of_a_unix_socket_the_name_goes(tmp_path: Path) -> None:
    path = tmp_path / "g.sock"
    with opened(Listen(path=str(path))) as addresses:
        (address,) = addresses.open.values()
        with connecting(address.sockets[0]):
            addresses.stop_queueing(())
            assert not path.exists()
            assert queue(address.sockets[0]) == 1
