"""What a client of TLS offers to speak, read from first messages that OpenSSL wrote."""

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rawgate.wire.client_hello import is_tls, offered_protocols


def hello(*protocols: str, name: str = "api.test") -> bytes:
    """The first octets of a client that offers these protocols."""
    context = ssl.create_default_context()
    if protocols:
        context.set_alpn_protocols(list(protocols))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("protocols", [(), ("http/1.1",), ("h2",), ("h2", "http/1.1"), ("a" * 255, "b")])
def test_offer_in_any_pieces(protocols: tuple[str, ...]) -> None:
    octets = hello(*protocols)
    assert is_tls(octets)
    expected = [name.encode() for name in protocols]
    assert offered_protocols(octets) == expected
    assert offered_protocols(octets + b"more") == expected
    assert {offered_protocols(octets[:cut]) is None for cut in range(len(octets))} == {True}


def test_offer_in_more_records_than_one() -> None:
    octets = hello("h2")
    message, record = octets[5:], octets[:3]
    for size in (1, 4, 100):
        pieces = [message[at : at + size] for at in range(0, len(message), size)]
        split = b"".join(record + len(piece).to_bytes(2, "big") + piece for piece in pieces)
        assert offered_protocols(split) == [b"h2"]


@pytest.mark.parametrize(
    "octets",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x15\x03\x01\x00\x02\x02\x28",
        b"\x16\x03\x01\xff\xff",
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",  # another message than a first one
        b"\x16\x03\x01\x00\x04\x01\x00\x00\x00",
        b"\x16\x03\x01\x00\x06\x01\x00\x00\x02\x03\x03",
        b"\x16\x03\x01\x00\x01\x01\x17",
    ],
)
def test_nothing_is_offered(octets: bytes) -> None:
    assert offered_protocols(octets) == []


def test_what_never_ends_is_left_to_openssl() -> None:
    record = b"\x16\x03\x01\x40\x00" + b"\x01\xff\xff\xff" + bytes(16380)
    assert offered_protocols(record) is None
    assert offered_protocols(record * 4) == []


@given(st.binary(max_size=200), st.integers(0, 500), st.binary(max_size=3))
def test_any_octets_have_an_answer(octets: bytes, at: int, change: bytes) -> None:
    changed = bytearray(hello("h2"))
    changed[at : at + len(change)] = change
    for tried in (octets, b"\x16\x03\x01" + octets, bytes(changed)):
        found = offered_protocols(tried)
        assert found is None or all(isinstance(name, bytes) for name in found)
