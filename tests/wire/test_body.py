"""Bodies: the chunked reader against tables, against h11, and fed in every portioning."""

from collections.abc import Callable, Iterable

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rawgate.errors import ResponseError
from rawgate.message import CHUNKED, NO_BODY, UNTIL_CLOSE
from rawgate.wire import LAST_CHUNK, ChunkedBody, CountedBody, EndlessBody, body_reader, chunk, last_chunk

Cut = Callable[[bytes], list[list[bytes]]]
Read = tuple[bytes, bool, bytes, list[tuple[bytes, bytes]]]

END = b"0\r\n\r\n"


def read(portions: Iterable[bytes], octets: int = 4096, fields: int = 16) -> Read | None:
    """Payload, whether the body has ended, the octets behind it, and the trailers; None when it is refused."""
    body = ChunkedBody(ResponseError, octets, fields)
    payload, behind = b"", b""
    try:
        for portion in portions:
            if body.done:
                behind += portion
            else:
                payload += body.feed(portion)
                behind += body.rest
    except ResponseError:
        return None
    return payload, body.done, behind, list(body.trailers)


# octets → payload, trailers
ACCEPTED: dict[str, tuple[bytes, bytes, list[tuple[bytes, bytes]]]] = {
    "empty": (END, b"", []),
    "one chunk": (b"5\r\nhello\r\n" + END, b"hello", []),
    "two chunks": (b"5\r\nhello\r\n1\r\n!\r\n" + END, b"hello!", []),
    "upper and lower case": (b"A\r\n0123456789\r\na\r\n0123456789\r\n" + END, b"0123456789" * 2, []),
    "leading zeros": (b"0000000000000005\r\nhello\r\n000\r\n\r\n", b"hello", []),
    "CRLF as payload": (b"4\r\n\r\n\r\n\r\n" + END, b"\r\n\r\n", []),
    "extension": (b"5;name\r\nhello\r\n0;x\r\n\r\n", b"hello", []),
    "extension with value": (b"5;name=value;b=c\r\nhello\r\n" + END, b"hello", []),
    "extension with quoted value": (b'5;n="a;b\\"c \t\xe9=";m\r\nhello\r\n' + END, b"hello", []),
    "trailers": (b"0\r\nX-T: v\r\nx-u:\t w x \r\nX-V:\r\n\r\n", b"", [(b"X-T", b"v"), (b"x-u", b"w x"), (b"X-V", b"")]),
    "trailers that are not for trailers": (
        b"0\r\nContent-Length: 9\r\nX-T: v\r\nTransfer-Encoding: x\r\nhost: a\r\nSet-Cookie:\r\nAuthorization:\r\n\r\n",
        b"",
        [(b"X-T", b"v")],
    ),
}

# refused with the last octet, not before
REFUSED = {
    "sign": b"+5\r\n",
    "underscore": b"1_0\r\n",
    "not hex": b"G\r\n",
    "0x": b"0x5\r\n",
    "no size": b"\r\n",
    "blank ahead": b" 5\r\n",
    "blank behind": b"5 \r\n",
    "HTAB behind": b"5\t\r\n",
    "blank inside": b"5 5\r\n",
    "superscript": b"\xb2\r\n",
    "17 digits": b"00000000000000005\r\n",
    "bare CR behind a size": b"5\rh",
    "bare LF behind a size": b"5\n",
    "bare LF behind the last size": b"0\n",
    "bare LF behind data": b"5\r\nhello\n",
    "bare CR behind data": b"5\r\nhello\r0",
    "data too long": b"5\r\nhelloX",
    "extension without name": b"5;\r\n",
    "extension is no token": b"5;[=x\r\n",
    "extension without value": b"5;a=\r\n",
    "blank before an extension": b"5 ;a\r\n",
    "blank in an extension": b"5;a = b\r\n",
    "open quote": b'5;a="b\r\n',
    "two quoted values": b'5;a="b""c"\r\n',
    "bare LF in an extension": b"5;a\n",
    "bare CR in an extension": b"5;a\rb",
    "NUL in an extension": b"5;a\x00",
    "NUL in a quoted extension": b'5;a="\x00',
    "trailer with blank in its name": b"0\r\nX T: v\r\n\r\n",
    "trailer with blank before the colon": b"0\r\nX-T : v\r\n\r\n",
    "trailer without colon": b"0\r\nX-T\r\n\r\n",
    "trailer folded": b"0\r\nX-T: v\r\n ",
    "trailer folded at once": b"0\r\n ",
    "trailer with control octet": b"0\r\nX-T: \x01",
    "trailer with bare LF": b"0\r\nX-T: v\n",
    "bare LF ends the trailers": b"0\r\n\n",
}


@pytest.mark.parametrize("behind", [b"", b"\r\nGET / HTTP/1.1\r\n\x00"], ids=["alone", "trailing"])
@pytest.mark.parametrize(("octets", "payload", "trailers"), ACCEPTED.values(), ids=ACCEPTED.keys())
def test_accepted(
    octets: bytes, payload: bytes, trailers: list[tuple[bytes, bytes]], behind: bytes, portionings: Cut
) -> None:
    for portions in portionings(octets + behind):
        assert read(portions) == (payload, True, behind, trailers)


@pytest.mark.parametrize("octets", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_a_body_is_not_done_before_its_last_octet(octets: tuple[bytes, bytes, object]) -> None:
    outcome = read([octets[0][:-1]])
    assert outcome == (octets[1], False, b"", [])


@pytest.mark.parametrize("octets", REFUSED.values(), ids=REFUSED.keys())
def test_refused(octets: bytes, portionings: Cut) -> None:
    assert read([octets[:-1]]) is not None
    for portions in portionings(octets + END):
        assert read(portions) is None


def test_size_line_limit(portionings: Cut) -> None:
    longest = b"1;" + b"a" * (4096 - 4) + b"\r\n"
    for at in (1, 100, 4094, 4095):
        assert read([longest[:at], longest[at:] + b"x\r\n" + END]) == (b"x", True, b"", [])
    assert read([longest + b"x\r\n" + END]) == (b"x", True, b"", [])
    longer = b"1;a" + longest[2:]
    for at in (1, 100, 4095, 4096):
        assert read([longer[:at], longer[at:]]) is None
    assert read([b"1;" + b"a" * 4094]) is None


def test_extensions_may_not_outweigh_the_body() -> None:
    extension = b";" + b"a" * 1023
    line = b"1" + extension + b"\r\nx\r\n"
    assert read([line * 30 + END]) == (b"x" * 30, True, b"", [])
    assert read([line * 31]) is None
    heavy = b"400" + extension + b"\r\n" + b"x" * 1024 + b"\r\n"
    assert read([heavy * 40 + END]) == (b"x" * 40960, True, b"", [])
    assert read([b"1;a\r\nx\r\n" * 504 + END]) is not None
    assert read([b"1;a\r\nx\r\n" * 505 + END]) is None


def test_a_client_may_not_send_all_in_crumbs() -> None:
    assert read([b"1\r\nx\r\n" * 4680 + END]) is not None
    assert read([b"1\r\nx\r\n" * 4681 + END]) is None
    assert read([b"8\r\n12345678\r\n" * 100_000 + END]) is not None
    paid = b"5000\r\n" + b"x" * 0x5000 + b"\r\n"
    assert read([paid, b"1\r\nx\r\n" * 7000, END]) is not None


PADDED = [b"5 \r\n", b"5\t  \r\n", b"5 ;a\r\n", b"5; a = b \r\n", b'5 ; a=" " ; c\t\r\n']


@pytest.mark.parametrize("line", PADDED)
def test_a_service_may_pad_its_sizes(line: bytes, portionings: Cut) -> None:
    octets = line + b"hello\r\n0  \r\n\r\nrest"
    assert read([octets]) is None
    for portions in portionings(octets):
        body = body_reader(CHUNKED, ResponseError, strict=False)
        payload = b"".join(bytes(body.feed(portion)) for portion in portions if not body.done)
        assert (payload, body.done) == (b"hello", True)


@pytest.mark.parametrize("line", [b" 5\r\n", b"5\v\r\n", b"5 5\r\n", b"5 \n", b"5 ;\r\n", b"5 \r\n "])
def test_but_not_write_nonsense(line: bytes) -> None:
    with pytest.raises(ResponseError):
        body_reader(CHUNKED, ResponseError, strict=False).feed(line + b"hello\r\n")


def test_a_service_may_stream_letter_by_letter() -> None:
    body = body_reader(CHUNKED, ResponseError, strict=False)
    assert body.feed(b"1\r\nx\r\n" * 100_000 + END) == b"x" * 100_000
    assert body.done


def test_trailer_limits(portionings: Cut) -> None:
    octets = b"0\r\nA: 1\r\nB: 2\r\n\r\n"
    size = len(octets) - len(b"0\r\n")
    for portions in portionings(octets):
        assert read(portions, size, 2) is not None
        assert read(portions, size - 1, 2) is None
        assert read(portions, size, 1) is None


def test_trailers_do_not_wait_for_their_end() -> None:
    assert read([b"0\r\nA: " + b"1" * 4096]) is None


def test_many_small_chunks_come_out_as_one_payload() -> None:
    body = ChunkedBody(ResponseError, 100, 10, strict=False)
    assert body.feed(b"1\r\nx\r\n" * 10_000 + b"2\r\ny") == b"x" * 10_000 + b"y"
    assert body.feed(b"z\r\n" + END + b"rest") == b"z"
    assert (body.done, body.rest) == (True, b"rest")


def test_payload_inside_one_chunk_is_not_copied() -> None:
    body = ChunkedBody(ResponseError, 100, 10)
    body.feed(b"fffff\r\n")
    data = bytes(1000)
    assert body.feed(data) is data


@pytest.mark.parametrize("name", ["done", "rest", "trailers"])
def test_the_three_readers_have_one_interface(name: str) -> None:
    readers = [body_reader(body, ResponseError) for body in (NO_BODY, 3, CHUNKED, UNTIL_CLOSE)]
    assert [type(reader) for reader in readers] == [CountedBody, CountedBody, ChunkedBody, EndlessBody]
    assert [getattr(reader, name) for reader in readers[1:]] == [{"done": False, "rest": b"", "trailers": ()}[name]] * 3


def test_no_body_is_done_at_once() -> None:
    assert body_reader(NO_BODY, ResponseError).done


@given(st.binary(min_size=1), st.binary(), st.integers(1, 5))
def test_counted(payload: bytes, behind: bytes, step: int) -> None:
    body = CountedBody(len(payload))
    data = payload + behind
    taken, index = b"", 0
    while not body.done:
        taken += body.feed(data[index : index + step])
        index += step
    assert taken == payload
    assert body.rest + data[index:] == behind


def test_behind_a_counted_body_there_is_no_payload() -> None:
    body = CountedBody(2)
    assert body.feed(b"ok") == b"ok"
    assert body.feed(b"GET /") == b""
    assert (body.done, body.rest) == (True, b"GET /")


def test_counted_payload_is_not_copied() -> None:
    body = CountedBody(10)
    first, last = b"a" * 4, b"b" * 6
    assert body.feed(first) is first
    assert body.feed(last) is last
    assert (body.done, body.rest) == (True, b"")


def test_endless() -> None:
    body = EndlessBody()
    data = b"anything"
    assert body.feed(data) is data
    assert not body.done


# h11 as the oracle: what this reader accepts, h11 accepts with the same octets


def read_with_h11(octets: bytes) -> tuple[bytes, bool, bytes]:
    connection = h11.Connection(h11.SERVER, 1 << 20)
    connection.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + octets)
    assert isinstance(connection.next_event(), h11.Request)
    payload = b""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Data):
            payload += event.data
        else:
            return payload, isinstance(event, h11.EndOfMessage), connection.trailing_data[0]


_SIZES = st.integers(0, 40).map(lambda size: b"%x" % size) | st.sampled_from(
    [b"05", b"A", b"a", b"G", b"5 ", b"", b"-1"]
)
_EXTENSIONS = st.sampled_from([b"", b"", b"", b";a", b";a=b", b';a="b;c"', b";", b" ;a", b";a\n", b";a=\x00", b";a b"])
_ENDS = st.sampled_from([b"\r\n"] * 8 + [b"\n", b"\r", b"", b"XY"])
_PIECES = st.builds(
    lambda size, extension, end, payload, after: size + extension + end + payload + after,
    _SIZES,
    _EXTENSIONS,
    _ENDS,
    st.binary(max_size=12),
    _ENDS,
)
_GOOD = st.binary(min_size=1, max_size=40).map(chunk)
_TAILS = st.sampled_from(
    [END, b"0\r\nA: b\r\n\r\n", b"0;x\r\nA:\t b \r\nC:\r\n\r\n", b"0\r\n\n", b"0\r\nA b: c\r\n\r\n", b""]
)


@given(st.lists(_GOOD | _PIECES, max_size=6).map(b"".join), _TAILS, st.binary(max_size=8), st.integers(1, 9))
@example(b"", END, b"", 1)
def test_what_it_accepts_h11_accepts_with_the_same_octets(body: bytes, tail: bytes, behind: bytes, step: int) -> None:
    octets = body + tail + behind
    whole = read([octets])
    assert read([octets[at : at + step] for at in range(0, len(octets), step)]) == whole
    if whole is not None and whole[1]:
        assert read_with_h11(octets) == whole[:3]


@given(
    st.lists(st.binary(min_size=1, max_size=300), max_size=8),
    st.lists(
        st.tuples(st.from_regex(rb"[A-Za-z]{1,8}-T", fullmatch=True), st.sampled_from([b"", b"v", b"a b"])), max_size=4
    ),
    st.binary(max_size=20),
    st.integers(1, 50),
)
def test_what_is_written_is_read(
    payloads: list[bytes], trailers: list[tuple[bytes, bytes]], behind: bytes, step: int
) -> None:
    octets = b"".join(map(chunk, payloads)) + (last_chunk(trailers) if trailers else LAST_CHUNK)
    data = octets + behind
    portions = [data[at : at + step] for at in range(0, len(data), step)]
    assert read(portions) == (b"".join(payloads), True, behind, trailers)
    assert read_with_h11(octets) == (b"".join(payloads), True, b"")
