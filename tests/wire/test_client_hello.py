"""What a client of TLS offers to speak, read from first messages that OpenSSL wrote."""

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rawgate.wire.client_hello import ClientHello, ClientHelloReader, is_tls


def first_message(octets: bytes) -> ClientHello | None:
    return ClientHelloReader().feed(octets)


def offered_protocols(octets: bytes) -> list[bytes] | None:
    found = first_message(octets)
    return None if found is None else found.protocols


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


def test_the_name_that_is_asked_for() -> None:
    octets = hello("h2", name="api.test")
    for name in (b"api.test", b"\xff\x00\n.[]()"):
        found = first_message(octets.replace(b"api.test", name))
        assert found is not None
        assert found.server_name == name
    broken = first_message(octets.replace(b"\x00\x0b\x00\x00\x08api", b"\x00\x0b\x00\x00\x09api"))
    assert broken is not None
    assert broken.server_name == b""
    address = first_message(hello(name="127.0.0.1"))
    assert address is not None
    assert address.server_name == b""


def test_what_never_ends_is_too_large() -> None:
    record = b"\x16\x03\x01\x40\x00" + b"\x01\xff\xff\xff" + bytes(16380)
    assert first_message(record) is None
    found = first_message(record * 4)
    assert found is not None
    assert found.is_costly


def test_octet_by_octet() -> None:
    octets, reader = hello("h2", "http/1.1"), ClientHelloReader()
    found = [reader.feed(octets[at : at + 1]) for at in range(len(octets))]
    assert set(found[:-1]) == {None}
    assert found[-1] is not None
    assert found[-1].protocols == [b"h2", b"http/1.1"]
    assert reader.octets == octets


def extension(kind: int, *numbers: int, each: bytes = b"") -> bytes:
    """One with a list of numbers, each followed by the same octets."""
    body = b"".join(number.to_bytes(2, "big") + each for number in numbers)
    return b"".join((kind.to_bytes(2, "big"), (len(body) + 2).to_bytes(2, "big"), len(body).to_bytes(2, "big"), body))


P256, X25519, X448, BRAINPOOL, FFDHE2048, FFDHE8192, HYBRID, GREASE = 23, 29, 30, 26, 256, 260, 0x11EC, 0x2A2A


@pytest.mark.parametrize(
    ("groups", "shares", "is_costly"),
    [
        ([], [], False),
        ([P256], [], False),
        ([BRAINPOOL], [], False),
        ([FFDHE2048], [], True),
        ([X448, FFDHE8192], [], True),
        ([FFDHE8192, P256], [], False),  # we ask for P-256
        ([X25519, FFDHE8192], [X25519], False),
        ([X25519, FFDHE8192], [FFDHE8192], True),
        ([X25519, FFDHE8192], [X25519, FFDHE8192], False),
        ([X25519, FFDHE8192], [GREASE, HYBRID, X25519], False),
        ([X25519, X448, FFDHE8192], [X448, FFDHE8192], True),  # not every OpenSSL has X448
        ([GREASE, HYBRID, X25519], [GREASE, HYBRID], False),
    ],
)
def test_keys_in_finite_fields_are_costly(groups: list[int], shares: list[int], is_costly: bool) -> None:
    extensions = b"".join((extension(10, *groups) if groups else b"", extension(51, *shares, each=b"\x00\x03abc")))
    body = bytes(34) + b"\x00" + b"\x00\x02\x13\x01" + b"\x01\x00" + len(extensions).to_bytes(2, "big") + extensions
    octets = b"\x16\x03\x01" + (len(body) + 4).to_bytes(2, "big") + b"\x01" + len(body).to_bytes(3, "big") + body
    found = first_message(octets)
    assert found is not None
    assert found.is_costly is is_costly


def test_what_openssl_sends_is_not_costly() -> None:
    found = first_message(hello())
    assert found is not None
    assert not found.is_costly


@given(st.binary(max_size=200), st.integers(0, 500), st.binary(max_size=3))
def test_any_octets_have_an_answer(octets: bytes, at: int, change: bytes) -> None:
    changed = bytearray(hello("h2"))
    changed[at : at + len(change)] = change
    for tried in (octets, b"\x16\x03\x01" + octets, bytes(changed)):
        found = offered_protocols(tried)
        assert found is None or all(isinstance(name, bytes) for name in found)
