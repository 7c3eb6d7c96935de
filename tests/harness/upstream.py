"""Upstreams for tests: raw TCP servers in threads, which play a script and keep what arrived.

    with Upstream(replying(OK)) as users:
        … targets = ["http://127.0.0.1:{users.port}"] …
    assert [request.target for request in users.requests] == [b"/"]

A script is a function that plays one connection: it reads requests, sends octets, closes or resets. It runs in a thread
of its own. When it returns, the connection is closed. `stop` raises what a script raised, except for errors that mean
that the gateway closed the connection: a script need not expect them.
"""

import contextlib
import socket
import ssl
import struct
from collections.abc import Callable
from threading import Condition, Thread
from typing import Self

from harness.wire_reader import Cut, Message, Stream, read_body, read_request_head

PATIENCE = 20.0
"""Seconds without an octet after which a connection counts as silent (`wire_reader.SILENT`)."""


def response(body: bytes = b"ok", *fields: str, status: str = "200 OK") -> bytes:
    """A response with a Content-Length: `response(b"hello", "X-A: 1")`."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


OK = response()


class Connection:
    """The upstream's end of one connection.

    requests  read so far, the last one perhaps incomplete
    stream    see `wire_reader.Stream`; `stream.octets` is all that arrived, `stream.ended` how it ended
    """

    def __init__(self, upstream: "Upstream", sock: socket.socket) -> None:
        self._upstream = upstream
        self.sock = sock
        self.stream = Stream.of(sock)
        self.requests: list[Message] = []

    def secure(self, context: ssl.SSLContext) -> None:
        """The server's handshake. An end without a closure alert counts as a reset."""
        self.sock = context.wrap_socket(self.sock, server_side=True, suppress_ragged_eofs=False)
        self.stream = Stream.of(self.sock)

    def head(self) -> Message | None:
        """The next request without its body; None when the gateway closes."""
        message = read_request_head(self.stream)
        if message is not None:
            with self._upstream.news:
                self.requests.append(message)
                self._upstream.requests.append(message)
                self._upstream.news.notify_all()
        return message

    def request(self) -> Message | None:
        """The next request, whole; None when the gateway closes. A request that asks for it gets its 100 (Continue)."""
        message = self.head()
        if message is None:
            return None
        if message.value(b"expect") is not None:
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            return read_body(self.stream, message)
        finally:
            self._upstream.notify()

    def send(self, *pieces: bytes) -> None:
        """Send each piece in a segment of its own (TCP_NODELAY)."""
        for piece in pieces:
            self.sock.sendall(piece)

    def send_eof(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def wait_end(self) -> str:
        """Read until the gateway ends the connection, or is silent for too long. Returns how it ended
        (`wire_reader`)."""
        self.stream.rest()
        self._upstream.notify()
        return self.stream.ended

    def reset(self) -> None:
        """End with a TCP reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def end(self) -> None:
        """Shut the connection down, which wakes a thread that reads or writes."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)


Script = Callable[[Connection], object]


class Upstream:
    """A listening server whose connections are played by `script`.

    connections  in the order in which they came
    requests     of all connections, in the order of their heads
    """

    def __init__(
        self,
        script: Script,
        patience: float = PATIENCE,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """tls: it speaks TLS. A port that it chooses itself stays its own after `close`, until `stop` or the end of the
        block: a test that has it gone may not meet the server of another test there."""
        self.script = script
        self.connections: list[Connection] = []
        self.requests: list[Message] = []
        self.failures: list[BaseException] = []
        self.news = Condition()
        self._patience = patience
        self._tls = tls
        self._threads: list[Thread] = []
        self._claim = _claimed(_family(host)) if port == 0 else None
        port = port if self._claim is None else self._claim.getsockname()[1]
        self._socket = socket.create_server((host, port), backlog=1024, family=_family(host))
        self.port: int = self._socket.getsockname()[1]
        authority = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        self.target = f"{'http' if tls is None else 'https'}://{authority}"
        self._accepting = Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._give_up()
        if kind is None:
            self._raise_failure()

    def stop(self) -> None:
        """Close everything; raises what a script raised."""
        self._give_up()
        self._raise_failure()

    def _give_up(self) -> None:
        self.close()
        if self._claim is not None:
            self._claim.close()

    def close(self) -> None:
        """Stop listening and end all connections."""
        with contextlib.suppress(OSError):
            # On Linux this wakes the thread in accept().
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._accepting.join(self._patience)
        for connection in self.connections:
            connection.end()
        # Threads are daemons and each wait has a limit: a script that hangs does not block the tests after it.
        for thread in self._threads:
            thread.join(self._patience)

    def notify(self) -> None:
        with self.news:
            self.news.notify_all()

    def wait(self, look: Callable[[], object], what: str = "a condition") -> None:
        """Wait until `look()` is true. It is called whenever something arrives."""
        with self.news:
            if not self.news.wait_for(look, self._patience):
                raise AssertionError(f"{what} did not come; requests: {self.requests[-5:]}")

    def wait_requests(self, count: int) -> list[Message]:
        """Wait for `count` requests, and return all."""
        self.wait(lambda: len(self.requests) >= count, f"{count} requests")
        return self.requests

    def _raise_failure(self) -> None:
        if self.failures:
            raise self.failures[0]

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._socket.accept()
            except OSError:
                return
            sock.settimeout(self._patience)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(self, sock)
            thread = Thread(target=self._play, args=(connection,), daemon=True)
            with self.news:
                self.connections.append(connection)
                self._threads.append(thread)
                self.news.notify_all()
            thread.start()

    def _play(self, connection: Connection) -> None:
        try:
            if self._tls is not None:
                connection.secure(self._tls)
            self.script(connection)
        except (OSError, Cut):
            pass
        except Exception as error:  # noqa: BLE001 - raised again where the test sees it
            self.failures.append(error)
        finally:
            connection.sock.close()
            self.notify()


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def replying(answer: bytes | Callable[[Message], bytes]) -> Script:
    """A script that responds to every request, until the gateway closes the connection."""

    def script(connection: Connection) -> None:
        while (request := connection.request()) is not None:
            connection.send(answer if isinstance(answer, bytes) else answer(request))

    return script


def once(*pieces: bytes, close: bool = True) -> Script:
    """A script that reads one request, sends the pieces, then closes, or waits for the gateway to close."""

    def script(connection: Connection) -> None:
        if connection.request() is not None:
            connection.send(*pieces)
            if not close:
                connection.wait_end()

    return script


def silent(connection: Connection) -> None:
    """A script that reads everything and never responds."""
    connection.wait_end()


_claims: list[socket.socket] = []


def has_ipv6() -> bool:
    """Whether this host has IPv6, at least for itself: many containers have none."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def free_port(*, datagrams: bool = False) -> int:
    """A port on which nothing listens, for a server that the caller starts, or for none. It stays claimed until this
    process ends: see `_claimed`. datagrams: for UDP as well."""
    for _ in range(100):
        claim = _claimed()
        port: int = claim.getsockname()[1]
        if datagrams:
            # At an address that no test uses: what is sent to the others must not come here.
            other = socket.socket(type=socket.SOCK_DGRAM)
            try:
                other.bind(("127.255.255.254", port))
            except OSError:
                claim.close()
                other.close()
                continue
            _claims.append(other)
        _claims.append(claim)
        return port
    raise AssertionError("no port is free for both")


def _claimed(family: socket.AddressFamily = socket.AF_INET) -> socket.socket:
    """A socket that is bound to a free port, and does not listen: it keeps the kernel from giving the port to anybody
    who asks for any, and lets in whoever asks for this one with SO_REUSEADDR, as servers do."""
    claim = socket.socket(family)
    claim.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    claim.bind(("", 0))
    return claim
