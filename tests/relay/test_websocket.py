"""Where a WebSocket stands, whatever pieces its octets come in; and close frames that others can read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection
from wsproto.frame_protocol import Opcode

from rawgate.relay.websocket import GOING_AWAY, POLICY_VIOLATION, SERVICE_RESTART, Frames, close_frame

SIZES = (0, 1, 125, 126, 127, 65535, 65536, 70000)
OPCODES = [code for code in Opcode if code is not Opcode.CLOSE]


def frame(opcode: int, size: int, *, masked: bool, final: bool = True) -> bytes:
    """As RFC 6455 section 5.2 has it."""
    mask = 0x80 if masked else 0
    if size < 126:
        length = bytes((mask | size,))
    else:
        length = bytes((mask | (126 if size < 65536 else 127),)) + size.to_bytes(2 if size < 65536 else 8, "big")
    return (
        bytes((opcode | (0x80 if final else 0),)) + length + (b"\x88\x81\x89\x8a" if masked else b"") + b"\x88" * size
    )


FRAMES = st.builds(frame, st.sampled_from(OPCODES), st.sampled_from(SIZES), masked=st.booleans(), final=st.booleans())


@given(st.lists(FRAMES, min_size=1, max_size=4), st.data())
def test_it_is_known_whether_the_stream_stands_between_frames(frames: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(frames)
    ends = {sum(map(len, frames[:count])) for count in range(len(frames) + 1)}
    cuts = data.draw(st.lists(st.integers(0, len(stream)) | st.sampled_from(sorted(ends)), max_size=12))
    seen, before = Frames(), 0
    assert seen.is_between()
    for at in (*sorted(cuts), len(stream)):
        seen.feed(stream[before:at])
        before = at
        assert seen.is_between() is (at in ends), at


@pytest.mark.parametrize("masked", [False, True])
def test_octet_by_octet(masked: bool) -> None:
    seen = Frames()
    stream = frame(2, 3, masked=masked) + frame(9, 130, masked=masked)
    told = []
    for at in range(len(stream)):
        seen.feed(stream[at : at + 1])
        told.append(seen.is_between())
    first = len(frame(2, 3, masked=masked))
    assert [at for at, between in enumerate(told, 1) if between] == [first, len(stream)]


@pytest.mark.parametrize("begin", [b"\x88\x00", b"\x83\x00", b"\x8f\x00", b"HTTP/1.1"])
def test_nothing_is_put_in_behind_a_close_frame_or_into_something_else(begin: bytes) -> None:
    seen = Frames()
    seen.feed(frame(1, 2, masked=False) + begin)
    assert seen.over
    seen.feed(frame(1, 2, masked=False))
    assert not seen.is_between()


@pytest.mark.parametrize("code", [GOING_AWAY, POLICY_VIOLATION, SERVICE_RESTART])
@pytest.mark.parametrize("key", [b"", b"\x00\x01\xfe\xff"])
def test_others_read_the_close_frame(code: int, key: bytes) -> None:
    reader = Connection(ConnectionType.SERVER if key else ConnectionType.CLIENT)
    reader.receive_data(close_frame(code, "It is over.", key))
    assert list(reader.events()) == [CloseConnection(code=code, reason="It is over.")]
