"""TLS between two ends in memory: readers that take little at a time, ends of every kind, octets read past the loop."""

import asyncio
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from harness.certificates import Authority, server_context
from rawgate.net.tls import RECORD, TlsTransport
from rawgate.net.transports import buffered, protocol_of, read_unasked, tls_of


class Wire:
    """A transport of the loop's, as far as TLS needs one. What is written waits until `deliver`."""

    def __init__(self) -> None:
        self.sent = bytearray()
        self.reads = True
        self.wrote_eof = self.closed = self.aborted = False

    def write(self, data: bytes) -> None:
        assert data
        assert not self.wrote_eof
        self.sent += data

    def write_eof(self) -> None:
        self.wrote_eof = True

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return self.closed or self.aborted

    def is_reading(self) -> bool:
        return self.reads and not self.is_closing()

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: object = None) -> object:
        return default

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True


class Reader:
    """A protocol that keeps what comes."""

    def __init__(self) -> None:
        self.came: list[bytes] = []
        self.ended = False
        self.lost: list[Exception | None] = []

    def data_received(self, data: bytes) -> None:
        self.came.append(data)

    def eof_received(self) -> bool:
        self.ended = True
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.append(error)


class PieceReader(Reader):
    """The same with a buffer of its own; it pauses after each piece if it is told to."""

    def __init__(self, octets: int, after: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self._view = memoryview(bytearray(octets))
        self._after = after

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view

    def buffer_updated(self, count: int) -> None:
        self.came.append(bytes(self._view[:count]))
        self._after()


class Side:
    """One end: its transport, the wire below, and who reads."""

    def __init__(self, context: ssl.SSLContext, loop: asyncio.AbstractEventLoop, name: str | None = None) -> None:
        self.failed: list[Exception | None] = []
        self.reader = Reader()
        self.wire = Wire()
        self.tls = TlsTransport(context, self, loop, server_side=name is None, server_name=name)

    def secured(self, transport: TlsTransport) -> None:
        transport.set_protocol(protocol_of(cast("Any", self.reader)))

    def not_secured(self, error: Exception | None) -> None:
        self.failed.append(error)

    def read_by(self, reader: Reader) -> None:
        self.reader = reader
        self.tls.set_protocol(protocol_of(cast("Any", reader)))

    def takes(self, other: "Side", size: int = 1 << 20) -> None:
        """What the other side has sent, in pieces of this size."""
        octets = bytes(other.wire.sent)
        other.wire.sent.clear()
        for at in range(0, len(octets), size):
            self.tls.data_received(octets[at : at + size])


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    one = asyncio.new_event_loop()
    yield one
    one.close()


@pytest.fixture
def sides(authority: Authority, loop: asyncio.AbstractEventLoop, tmp_path: Path) -> tuple[Side, Side]:
    """Client and server, after the handshake."""
    server = Side(server_context(authority.issue("a.test"), tmp_path), loop)
    client = Side(authority.client_context(), loop, "a.test")
    for side in (server, client):
        side.tls.connection_made(cast("asyncio.Transport", side.wire))
    server.takes(client, 1)
    client.takes(server, 100)
    server.takes(client)
    client.takes(server)
    assert server.failed == client.failed == []
    return client, server


def turn(loop: asyncio.AbstractEventLoop) -> None:
    """One turn of the loop."""
    loop.call_soon(loop.stop)
    loop.run_forever()


@pytest.mark.parametrize("size", [1, 7, 20000, 1 << 20])
def test_octets_in_any_pieces(sides: tuple[Side, Side], size: int) -> None:
    client, server = sides
    octets = bytes(range(256)) * (4 if size == 1 else 400)
    client.tls.write(memoryview(octets))
    client.tls.write(b"")
    server.takes(client, size)
    assert b"".join(server.reader.came) == octets
    if size == 1 << 20:
        assert len(server.reader.came) == 1


@pytest.mark.parametrize("octets", [RECORD, 2 * RECORD + 1, 64 * 1024])
def test_small_buffers_that_pause(sides: tuple[Side, Side], loop: asyncio.AbstractEventLoop, octets: int) -> None:
    """What does not fit waits, decrypted or not, until reading is resumed; FIN waits behind it."""
    client, server = sides
    sent = bytes(range(256)) * 1024
    reader = PieceReader(octets, server.tls.pause_reading)
    server.read_by(reader)
    client.tls.write(sent)
    client.tls.write_eof()
    server.takes(client)
    server.tls.eof_received()
    assert (len(reader.came), reader.ended) == (1, False)
    left = len(sent) - len(reader.came[0])
    assert left <= buffered(cast("asyncio.Transport", server.tls)) + octets <= left + octets + len(sent) // 100
    for _ in range(len(sent) // RECORD):
        server.tls.resume_reading()
        turn(loop)
    assert b"".join(reader.came) == sent
    assert all(len(piece) <= octets for piece in reader.came)
    assert reader.ended
    assert reader.lost == []


def test_reader_is_changed_between_pieces(sides: tuple[Side, Side]) -> None:
    client, server = sides
    after = Reader()
    server.read_by(PieceReader(RECORD, lambda: server.read_by(after)))
    client.tls.write(b"x" * (3 * RECORD))
    server.takes(client)
    assert sum(map(len, after.came)) == 2 * RECORD


def test_an_end_without_an_alert_is_a_loss(sides: tuple[Side, Side]) -> None:
    client, server = sides
    client.tls.write(b"octets")
    server.takes(client)
    assert server.tls.eof_received()
    assert not server.reader.ended
    assert [type(error) for error in server.reader.lost] == [ssl.SSLEOFError]
    assert server.wire.aborted
    server.tls.connection_lost(None)
    assert len(server.reader.lost) == 1


def test_half_closes(sides: tuple[Side, Side]) -> None:
    client, server = sides
    client.tls.write_eof()
    client.tls.write(b"too late")
    assert client.wire.wrote_eof
    server.takes(client)
    assert server.reader.ended
    assert not server.tls.is_closing()
    server.tls.write(b"still")
    server.tls.close()
    client.takes(server)
    assert client.reader.came == [b"still"]
    assert client.reader.ended
    assert server.wire.closed


@pytest.mark.parametrize("ending", ["close", "write_eof"])
def test_a_cut_has_no_alert(sides: tuple[Side, Side], ending: str) -> None:
    client, server = sides
    server.tls.write(b"half")
    server.tls.cut()
    getattr(server.tls, ending)()
    client.takes(server)
    client.tls.eof_received()
    assert client.reader.came == [b"half"]
    assert not client.reader.ended
    assert [type(error) for error in client.reader.lost] == [ssl.SSLEOFError]


def test_octets_behind_the_alert_are_nobodys(sides: tuple[Side, Side]) -> None:
    client, server = sides
    client.tls.write_eof()
    server.takes(client)
    server.tls.data_received(b"\x17\x03\x03\x00\x05hello")
    assert server.reader.came == []


def test_a_forged_record_is_a_loss(sides: tuple[Side, Side]) -> None:
    client, server = sides
    client.tls.write(b"good")
    client.wire.sent += b"\x17\x03\x03\x00\x20" + bytes(32)
    server.takes(client)
    assert server.reader.came == [b"good"]
    assert isinstance(server.reader.lost[0], ssl.SSLError)
    assert not server.reader.ended
    client.takes(server)
    assert client.reader.lost  # the alert says so


def test_reads_past_the_loop(sides: tuple[Side, Side]) -> None:
    """Records without octets are nothing; octets and the end are told apart."""
    client, server = sides
    assert server.tls.opened(b"") is None
    client.tls.write(b"octets")
    assert server.tls.opened(bytes(client.wire.sent)) == b"octets"
    client.wire.sent.clear()
    client.tls.write_eof()
    assert server.tls.opened(bytes(client.wire.sent)) == b""


def test_it_is_found_behind_a_transport(sides: tuple[Side, Side]) -> None:
    client, _ = sides
    assert tls_of(cast("asyncio.Transport", client.tls)) is client.tls
    assert tls_of(cast("asyncio.Transport", client.wire)) is None
    assert read_unasked(cast("asyncio.Transport", client.tls)) is None


@pytest.mark.parametrize("how", ["fin", "lost", "closed"])
def test_a_handshake_that_ends(authority: Authority, loop: asyncio.AbstractEventLoop, tmp_path: Path, how: str) -> None:
    server = Side(server_context(authority.issue("a.test"), tmp_path), loop)
    server.tls.connection_made(cast("asyncio.Transport", server.wire))
    server.tls.data_received(b"\x16\x03\x01")
    if how == "fin":
        server.tls.eof_received()
        assert server.wire.closed
    elif how == "closed":
        server.tls.close()
        assert server.wire.closed
    server.tls.connection_lost(ConnectionResetError() if how == "lost" else None)
    assert len(server.failed) == 1
    assert server.wire.sent == b""
