"""Many large uploads at once to services that take them slowly: each arrives as it was sent.

All client connections of a process read large bodies into the same place (`net.buffered_reading`): here one's octets
must never come into another's body, whoever is slow.
"""

import hashlib
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from random import Random
from threading import Thread

import pytest

from harness import configs
from harness.gateway import PATIENCE, Gateway, running
from harness.wire_reader import Stream, read_response

pytestmark = pytest.mark.process

CLIENTS = 8
SIZES = (130_000, 128 * 1024, 700_000, 9_000_000)
"""The largest is more than the kernel keeps of what is sent: only then does anything have to wait in the gateway."""


def serve(listener: socket.socket) -> None:
    """Answer each request, one a connection, with the SHA-256 of its body, which is taken in small pieces."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        Thread(target=digest, args=(connection,), daemon=True).start()


def digest(connection: socket.socket) -> None:
    with connection, connection.makefile("rb") as octets:
        left = 0
        while (line := octets.readline()) not in (b"\r\n", b""):
            if line.lower().startswith(b"content-length:"):
                left = int(line.partition(b":")[2])
        found = hashlib.sha256()
        while left and (piece := octets.read(min(left, 4096))):
            found.update(piece)
            left -= len(piece)
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 64\r\n\r\n")
        connection.sendall(found.hexdigest().encode())


def upload(gateway: Gateway, seed: int) -> list[bool]:
    """Bodies of all sizes on one connection: whether each arrived as it was sent."""
    chance = Random(seed)  # noqa: S311 - repeatable on purpose
    outcomes = []
    with gateway.connect() as client:
        stream = Stream.of(client)
        for size in chance.sample(SIZES, len(SIZES)):
            body = chance.randbytes(size)
            client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
            client.sendall(body)
            answer = read_response(stream)
            assert answer is not None
            outcomes.append(answer.body == hashlib.sha256(body).hexdigest().encode())
    return outcomes


def test_each_upload_arrives_as_it_was_sent(tmp_path: Path) -> None:
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=64))
        # Small, so that the gateway's own writes do not go through in one piece. Accepted connections inherit it.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
        accepting = Thread(target=serve, args=(listener,), daemon=True)
        accepting.start()
        target = "http://127.0.0.1:{}".format(*listener.getsockname()[1:])
        gateway = stack.enter_context(
            running(tmp_path, configs.one_route(target, upstream_has=['response_timeout = "60s"']))
        )
        with ThreadPoolExecutor(CLIENTS) as pool:
            outcomes = list(pool.map(lambda seed: upload(gateway, seed), range(CLIENTS), timeout=PATIENCE * 4))
        assert outcomes == [[True] * len(SIZES)] * CLIENTS
        listener.shutdown(socket.SHUT_RDWR)
