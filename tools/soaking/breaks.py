"""Connections, uploads and responses that break off. Each function plays one batch and returns its size."""

import contextlib
import socket
import struct

BATCH = 50
"""Connections in a batch, all open at the same time."""

_RESET = struct.pack("ii", 1, 0)
ABORTED = (
    b"",
    b"GET /quick HTTP/1.1\r\nHost: a.te",
    b"GET /quick HTTP/1.1\r\nHost: a.test\r\n\r\n",
    b"GET /quick HTTP/1.1\r\nHost: a.test\r\n\r\n" * 4,
    b"GET /patient/large HTTP/1.1\r\nHost: a.test\r\n\r\n",
)
"""What a client sends before it resets the connection."""

UPLOAD = b"POST /quick HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000\r\n\r\n" + bytes(65536)
RESETS = (b"before", b"head", b"body")


def _connect(port: int) -> list[socket.socket]:
    return [socket.create_connection(("127.0.0.1", port), 10) for _ in range(BATCH)]


def _reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    sock.close()


def aborted(port: int) -> int:
    """Connections that the client resets: at once, within a head, before a response, during one."""
    sockets = _connect(port)
    for number, sock in enumerate(sockets):
        sock.sendall(ABORTED[number % len(ABORTED)])
    for sock in sockets:
        _reset(sock)
    return len(sockets)


def uploads(port: int) -> int:
    """Uploads that the client ends in the middle, in turn with a reset and with FIN."""
    sockets = _connect(port)
    for sock in sockets:
        sock.sendall(UPLOAD)
    for number, sock in enumerate(sockets):
        if number % 2:
            _reset(sock)
        else:
            sock.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                sock.recv(4096)
            sock.close()
    return len(sockets)


def upstream_resets(port: int) -> int:
    """Requests whose upstream resets its connection: the client gets a 502, or half a response and a reset."""
    sockets = _connect(port)
    for number, sock in enumerate(sockets):
        sock.sendall(b"GET /reset/%b HTTP/1.1\r\nHost: a.test\r\n\r\n" % RESETS[number % len(RESETS)])
    for sock in sockets:
        with contextlib.suppress(ConnectionResetError):
            sock.recv(4096)
        _reset(sock)
    return len(sockets)
