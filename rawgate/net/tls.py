"""TLS on a connection: between the loop's transport, which carries records, and the protocol, which sees octets.

To the loop's transport this is a protocol, and to the client's or the upstream's side it is a transport. OpenSSL does
the work, on two memory buffers (`ssl.MemoryBIO`): records go in and come out, and no socket is known to it.

asyncio and uvloop have TLS of their own. Both were measured beside this one (a small response over TLS 1.3; CPU time of
the server, uvloop 0.23, OpenSSL 3.0, all interpreted but uvloop's):

                      kept-alive request    handshake    idle connection    1 MiB down
    uvloop            10.6 µs               521 µs       43 KiB             1.17 ms
    asyncio           16.0 µs               586 µs       272 KiB            0.73 ms
    this              12.2 µs               566 µs       13 KiB             0.68 ms
    without TLS        6.9 µs                            1 KiB              0.34 ms

What decides is how a connection ends, which is part of what TLS says (RFC 8446 section 6.1, RFC 9112 section 9.8):

- Both of the others turn an end without a closure alert into an ordinary end, so a response that somebody cut off would
  pass for a whole one. Here it is a loss: `connection_lost` with an error, and no `eof_received`.
- Both send a closure alert whenever they close. Here a response that was cut short ends without one (`cut`).
- Neither can half-close. Here `write_eof` sends the alert and FIN, and reading goes on, as TLS 1.3 has it. A peer with
  TLS 1.2 answers with its own alert and ends.
- uvloop counts what it has not encrypted yet as written to nobody, so that `set_write_buffer_limits` and
  `get_write_buffer_size` say little about the peer. Here everything is encrypted at once, and the loop's transport
  buffers all that the kernel does not take.
"""

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from rawgate.message import Octets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

RECORD: Final = 16 * 1024
"""Octets of a record, at most (RFC 8446 section 5.1)."""

UNREAD: Final = 1024 * 1024
"""Octets that may wait for a peer that makes us respond by alerts and key updates, and does not read these. It is more
than a response leaves behind, since whoever writes one waits at `HIGH_WATER`."""


class Handshaker(Protocol):
    """Who waits for the end of a handshake."""

    def secured(self, transport: "TlsTransport") -> None:
        """The handshake is over. Give the transport its protocol: octets may follow at once."""

    def not_secured(self, error: Exception | None) -> None:
        """There will be no secure connection, and the transport is closed. error: why; None: it was closed."""


class TlsTransport:
    """One connection with TLS: a protocol below, a transport above. See `asyncio.Protocol`, `asyncio.Transport`.

    context     what the connection was made with
    tls         OpenSSL's view of the connection
    on_session  takes the session once, when the first octets have come: the tickets of TLS 1.3 come before these
    """

    __slots__ = (
        "_buffered",
        "_closing",
        "_cut",
        "_ended",
        "_handshaker",
        "_has_fin",
        "_incoming",
        "_loop",
        "_outgoing",
        "_protocol",
        "_raw",
        "_wrote_eof",
        "context",
        "on_session",
        "tls",
    )

    _raw: asyncio.Transport

    def __init__(
        self,
        context: ssl.SSLContext,
        handshaker: Handshaker,
        loop: asyncio.AbstractEventLoop,
        *,
        server_side: bool = True,
        server_name: str | None = None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        """server_name: for the certificate and for SNI, of a client. session: of an earlier connection."""
        self.context = context
        self._loop = loop
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side, server_name, session)
        self._handshaker: Handshaker | None = handshaker
        self._protocol: asyncio.Protocol | None = None
        self._buffered: asyncio.BufferedProtocol | None = None
        self._ended = False  # the peer's closure alert is here, or its end without one
        self._has_fin = False
        self._wrote_eof = False
        self._closing = False
        self._cut = False
        self.on_session: Callable[[ssl.SSLSession | None], None] | None = None

    # ── below: the loop's transport ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake; a server waits for the client's first octets."""
        self._raw = cast("asyncio.Transport", transport)
        if self.tls.server_side:
            return
        self._shake()

    def data_received(self, data: bytes) -> None:
        self._incoming.write(data)
        if self._handshaker is not None:
            self._shake()
        if self._handshaker is None and not self._ended:
            self._read()

    def eof_received(self) -> bool:
        """FIN. After the closure alert it says nothing new."""
        self._has_fin = True
        if self._handshaker is not None:
            self._give_up(ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "ended within the handshake"))
        elif not self._ended:
            self._read()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = self._ended = True
        if self._handshaker is not None:
            self._give_up(exc)
        elif self._protocol is not None:
            self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._protocol is not None:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        if self._protocol is not None:
            self._protocol.resume_writing()

    # ── above: the client's or the upstream's side ──

    def write(self, data: Octets) -> None:
        self.writelines((data,))

    def writelines(self, pieces: "Iterable[Octets]") -> None:
        if not self._closing and not self._wrote_eof:
            for piece in pieces:
                if piece:
                    self.tls.write(piece)
            self._send()

    def write_eof(self) -> None:
        if not self._closing and not self._wrote_eof:
            self._wrote_eof = True
            self._send_closure_alert()
            self._raw.write_eof()

    def can_write_eof(self) -> bool:
        return self._raw.can_write_eof()

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            if not self._wrote_eof:
                self._send_closure_alert()
            self._raw.close()

    def abort(self) -> None:
        self._closing = True
        self._raw.abort()

    def cut(self) -> None:
        """What was written is not all that the peer is due: this connection ends without a closure alert."""
        self._cut = True

    def is_closing(self) -> bool:
        return self._closing or self._raw.is_closing()

    def pause_reading(self) -> None:
        self._raw.pause_reading()

    def resume_reading(self) -> None:
        self._raw.resume_reading()
        if self._incoming.pending and not self._closing:
            self._loop.call_soon(self._read)

    def is_reading(self) -> bool:
        return self._raw.is_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._raw.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return self._raw.get_write_buffer_size()

    @property
    def unread(self) -> int:
        """Octets that have come, and that are not decrypted yet."""
        return self._incoming.pending

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self._raw.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = cast("asyncio.Protocol", protocol)
        self._buffered = cast("asyncio.BufferedProtocol", protocol) if hasattr(protocol, "get_buffer") else None

    def opened(self, records: bytes) -> bytes | None:
        """The octets in records that were read from the socket past the loop. None: only records of the protocol
        itself, such as session tickets; b"": the end, or a fault."""
        self._incoming.write(records)
        pieces, ended, error = self._open()
        return b"".join(pieces) if pieces or ended or error is not None else None

    # ── records ──

    def _shake(self) -> None:
        """One step of the handshake."""
        handshaker = self._handshaker
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            self._send()
            return
        except ssl.SSLError as error:
            # OpenSSL has left an alert that tells the peer why.
            self._send()
            self._give_up(error)
            return
        self._send()
        self._handshaker = None
        if handshaker is not None:
            handshaker.secured(self)

    def _read(self) -> None:
        """Decrypt what has come, and hand it on. What a reader that has paused meanwhile does not take stays here: its
        buffer may be smaller than what the loop reads at once."""
        while self._incoming.pending and not self._ended and not self._closing and self._raw.is_reading():
            if not self._hand_on():
                break
        if self._outgoing.pending:
            self._send()
            if self._raw.get_write_buffer_size() > UNREAD:
                self.abort()
        if self._has_fin and not self._incoming.pending and not self._ended:
            self._ended = True
            # What came may be a part of what was sent.
            self._give_up(ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "ended without a closure alert"))

    def _hand_on(self) -> bool:
        """As much as the reader takes at once. False: what is left is a part of a record, or there is an end."""
        buffered = self._buffered
        if buffered is not None:
            view = cast("memoryview", buffered.get_buffer(-1))
            came, ended, error = self._open_into(view)
            if came:
                buffered.buffer_updated(came)
            goes_on = came + RECORD > len(view)
        else:
            pieces, ended, error = self._open()
            goes_on = False
            if pieces and self.on_session is not None:
                self.on_session(self.tls.session)
                self.on_session = None
            if pieces and self._protocol is not None:
                self._protocol.data_received(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if error is not None:
            self._ended = True
            self._give_up(error)
        elif ended and not self._ended:
            self._ended = True
            if self._protocol is not None and not self._protocol.eof_received():
                self.close()
        return goes_on

    def _open(self) -> tuple[list[bytes], bool, Exception | None]:
        """Octets, whether the closure alert is behind them, and what is wrong behind them."""
        pieces: list[bytes] = []
        try:
            while self._incoming.pending:
                piece = self.tls.read(RECORD)
                if not piece:
                    return pieces, True, None
                pieces.append(piece)
        except ssl.SSLWantReadError:
            pass  # part of a record
        except ssl.SSLZeroReturnError:
            return pieces, True, None
        except ssl.SSLError as error:
            return pieces, False, error
        return pieces, False, None

    def _open_into(self, view: memoryview) -> tuple[int, bool, Exception | None]:
        """The same, into a view, as far as whole records are sure to fit. Returns how many octets it was."""
        came = 0
        # Typeshed says that it takes a bytearray and returns bytes, and compiled code would insist on both.
        read: Any = self.tls.read
        try:
            while self._incoming.pending and came + RECORD <= len(view):
                octets: int = read(RECORD, view[came:])
                if not octets:
                    return came, True, None
                came += octets
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            return came, True, None
        except ssl.SSLError as error:
            return came, False, error
        return came, False, None

    def _send(self) -> None:
        """Send what OpenSSL has to say: parts of the handshake, alerts, key updates."""
        if self._outgoing.pending and not self._raw.is_closing():
            self._raw.write(self._outgoing.read())

    def _send_closure_alert(self) -> None:
        if self._cut or self._handshaker is not None:
            return
        # It complains that the peer's alert is not here. We do not wait for that: RFC 8446 section 6.1.
        with contextlib.suppress(ssl.SSLError):
            self.tls.unwrap()
        self._send()

    def _give_up(self, error: Exception | None) -> None:
        """End the connection for an error of the peer's. During the handshake an alert may be on its way."""
        handshaker, self._handshaker = self._handshaker, None
        if handshaker is None:
            if not self._closing:
                self._cut = True
                self._lose(error)
            return
        if not self._closing:
            self._closing = True
            self._raw.close()
        handshaker.not_secured(error)

    def _lose(self, error: Exception | None) -> None:
        """Tell the protocol now: the loop would tell it of an end without an error."""
        protocol, self._protocol = self._protocol, None
        # Where the records were at fault, OpenSSL has left an alert that says so.
        self._send()
        self._closing = True
        if protocol is not None:
            protocol.connection_lost(error)
        self._raw.abort()
