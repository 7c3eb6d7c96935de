"""The PROXY protocol: every header that the specification allows, in any pieces, and nothing else."""

from ipaddress import IPv4Address, IPv6Address
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rawgate.wire.proxy import LARGEST, SIGNATURE, Origin, ProxyError, ProxyReader

PORTS = st.integers(0, 65535)


def line(family: str, source: str, port: int) -> bytes:
    target = "10.0.0.1" if family == "TCP4" else "2001:db8::1"
    return f"PROXY {family} {source} {target} {port} 443\r\n".encode()


def second(family: int, addresses: bytes, command: int = 0x21, extensions: bytes = b"") -> bytes:
    body = addresses + extensions
    return SIGNATURE + bytes((command, family)) + len(body).to_bytes(2, "big") + body


V4 = IPv4Address("192.0.2.7").packed + IPv4Address("10.0.0.1").packed + (50412).to_bytes(2, "big") + b"\x01\xbb"
V6 = IPv6Address("2001:db8::7").packed + IPv6Address("::1").packed + (50412).to_bytes(2, "big") + b"\x01\xbb"


def read(octets: bytes, *cuts: int) -> tuple[Origin | None, bytes]:
    """What a reader finds in octets that come in pieces, and what is left; all pieces are fed, as on a connection."""
    reader = ProxyReader()
    places = sorted({0, *(cut for cut in cuts if cut < len(octets)), len(octets)})
    for start, end in pairwise(places):
        origin = reader.feed(octets[start:end])
        if origin is not None:
            return origin, reader.rest + octets[end:]
    return None, b""


@pytest.mark.parametrize(
    ("header", "address", "port"),
    [
        (line("TCP4", "192.0.2.7", 50412), "192.0.2.7", 50412),
        (line("TCP6", "2001:DB8:0::7", 0), "2001:db8::7", 0),
        (line("TCP6", "::ffff:192.0.2.7", 65535), "192.0.2.7", 65535),
        (b"PROXY UNKNOWN\r\n", "", 0),
        (b"PROXY UNKNOWN ffff:f...f:ffff 1 2 3\r\n", "", 0),
        (second(0x11, V4), "192.0.2.7", 50412),
        (second(0x21, V6), "2001:db8::7", 50412),
        (second(0x21, IPv6Address("::ffff:192.0.2.7").packed + V6[16:]), "192.0.2.7", 50412),
        (second(0x11, V4, extensions=b"\x03\x00\x04abcd"), "192.0.2.7", 50412),
        (second(0x11, V4, command=0x20), "", 0),  # LOCAL: the proxy speaks for itself
        (second(0x00, b"", command=0x20), "", 0),
        (second(0x00, b"\x00\x01"), "", 0),
        (second(0x31, bytes(216)), "", 0),
    ],
)
def test_header_in_any_pieces(header: bytes, address: str, port: int) -> None:
    for cut in range(1, len(header) + 4):
        origin, rest = read(header + b"GET", cut)
        assert origin is not None
        assert (origin.address, origin.port, rest) == (address, port, b"GET")
    for cut in range(len(header)):
        assert read(header[:cut]) == (None, b"")


@pytest.mark.parametrize(
    "octets",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01",
        b"PROXI",
        b"proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
        b"PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
        b"PROXY TCP4 1.2.3.4\r1.2.3.4 1 2\r\n",
        b"PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.999 1 2\r\n",
        b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY UNKNOWN" + b"x" * 200,
        b"PROXY UNKNOWNX\r\n",
        b"\r\n\r\n\x00\r\nQUIX",
        second(0x11, V4, command=0x11),  # version 1 in the second form
        second(0x11, V4, command=0x22),
        second(0x12, V4),  # datagrams
        second(0x41, V4),
        second(0x11, V4[:-1]),
        second(0x21, V4),
        second(0x31, bytes(215)),
        second(0x11, V4, extensions=bytes(LARGEST)),
    ],
)
def test_anything_else_is_refused(octets: bytes) -> None:
    with pytest.raises(ProxyError):
        read(octets)
    with pytest.raises(ProxyError):
        read(octets, *range(len(octets)))


@given(address=st.ip_addresses(v=4) | st.ip_addresses(v=6), port=PORTS, cut=st.integers(0, 120), rest=st.binary())
def test_both_forms_say_the_same(address: IPv4Address | IPv6Address, port: int, cut: int, rest: bytes) -> None:
    is_v4 = isinstance(address, IPv4Address)
    packed = address.packed + bytes(len(address.packed)) + port.to_bytes(2, "big") + b"\x01\xbb"
    first, _ = read(line("TCP4" if is_v4 else "TCP6", str(address), port) + rest, cut)
    other, left = read(second(0x11 if is_v4 else 0x21, packed) + rest, cut)
    assert first is not None
    assert other is not None
    assert (first.address, first.port) == (other.address, other.port)
    assert left == rest


@given(st.binary(max_size=300), st.integers(0, 300))
def test_pieces_do_not_matter(octets: bytes, cut: int) -> None:
    def outcome(*cuts: int) -> object:
        try:
            origin, rest = read(octets, *cuts)
        except ProxyError:
            return "refused"
        return origin and (origin.address, origin.port, rest)

    assert outcome() == outcome(cut)
