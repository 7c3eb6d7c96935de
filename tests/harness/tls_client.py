"""A client of TLS that sees what others hide: whether a closure alert came, and in what order things end.

It works on OpenSSL's memory buffers and a blocking socket, and shares no code with rawgate.
"""

import contextlib
import socket
import ssl
from typing import Self

ALERT, FIN, RESET, SILENT = "alert", "fin", "reset", "silent"
"""How the peer ended: by a closure alert, by FIN without one, by a reset, or not within the socket's timeout."""


class TlsClient:
    """One connection.

    ended   "" while the peer sends, else ALERT, FIN, RESET or SILENT
    alert   the fatal alert that the peer sent, as OpenSSL names it, or ""
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, name: str = "api.test") -> None:
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self.ended = ""
        self.alert = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def handshake(self) -> Self:
        """Raises ssl.SSLError, or ConnectionError when the peer ends instead."""
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                if not self._receive():
                    raise ConnectionError(self.ended) from None
            else:
                self._flush()
                return self

    def send(self, octets: bytes) -> None:
        self.tls.write(octets)
        self._flush()

    def send_alert(self) -> None:
        """The closure alert, without FIN."""
        with contextlib.suppress(ssl.SSLError):
            self.tls.unwrap()
        self._flush()

    def send_fin(self) -> None:
        """FIN, without a closure alert."""
        self._sock.shutdown(socket.SHUT_WR)

    def receive(self) -> bytes:
        """The next octets; b"" at the end."""
        while not self.ended:
            try:
                octets = self.tls.read(65536)
            except ssl.SSLWantReadError:
                self._receive()
            except ssl.SSLZeroReturnError:
                self.ended = ALERT
            except ssl.SSLError as error:
                self.ended, self.alert = RESET, error.reason or ""
            else:
                if octets:
                    return octets
                self.ended = ALERT
        return b""

    def until(self, mark: bytes) -> bytes:
        """Octets up to a mark, and those that came along with it."""
        found = b""
        while mark not in found and (octets := self.receive()):
            found += octets
        return found

    def rest(self) -> bytes:
        """All octets to the end."""
        return b"".join(iter(self.receive, b""))

    def after_alert(self) -> str:
        """How the connection ends behind the closure alert."""
        self.ended = ""
        while not self.ended and self._receive():
            pass
        return self.ended

    # ── as a socket, for those that know no TLS ──

    def sendall(self, octets: bytes) -> None:
        self.send(octets)

    def shutdown(self, how: int) -> None:
        """The end of what is sent: the closure alert is to TLS what FIN is to TCP."""
        self.send_alert()

    def recv(self, size: int) -> bytes:
        """At least one octet; b"" after a closure alert alone. Any other end raises, so none looks like a whole
        stream."""
        octets = self.receive()
        if octets or self.ended == ALERT:
            return octets
        raise TimeoutError if self.ended == SILENT else ConnectionResetError(self.ended)

    def _receive(self) -> bool:
        try:
            records = self._sock.recv(65536)
        except TimeoutError:
            self.ended = SILENT
        except OSError:
            self.ended = RESET
        else:
            self._incoming.write(records)
            if not records:
                self.ended = FIN
        return not self.ended

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._sock.sendall(self._outgoing.read())
