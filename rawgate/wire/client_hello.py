"""The first message of a TLS connection, as far as we have to look into it before OpenSSL does. Python's ssl has no way
to make OpenSSL refuse two kinds:

- One that offers protocols to speak inside (ALPN), and not HTTP/1.1, must get the alert `no_application_protocol` (RFC
  7301 section 3.2), as it does from nginx. OpenSSL would let it connect without a protocol, and the client would send
  HTTP/2 into the void.
- One by which the key would be agreed on in a finite field (RFC 7919). With ffdhe8192 that takes us 127 ms of CPU, with
  X25519 1.5 ms (OpenSSL 3.0), and the client nothing, as it may send any number: eight such clients a second keep a
  processor busy (CVE-2002-20001). Every client that is in use knows a curve.

The name in it (SNI) is read here too, since the contexts of certificates are chosen by us.

All else is OpenSSL's to judge: whatever is malformed here counts as a message without the extension.
"""

from typing import Final

_HANDSHAKE: Final = b"\x16"
_CLIENT_HELLO: Final = 1
_SERVER_NAME: Final = 0
_GROUPS: Final = 10
_ALPN: Final = 16
_KEY_SHARE: Final = 51
_CURVES: Final = frozenset((23, 24, 29))  # secp256r1, secp384r1, x25519: those that every OpenSSL has
_FINITE: Final = range(0x100, 0x200)
_RECORD: Final = 16 * 1024 + 256

NO_APPLICATION_PROTOCOL: Final = b"\x15\x03\x03\x00\x02\x02\x78"
"""A record with the fatal alert 120."""

HANDSHAKE_FAILURE: Final = b"\x15\x03\x03\x00\x02\x02\x28"
"""A record with the fatal alert 40."""

LARGEST: Final = 32 * 1024
"""Octets of a first message, at most. Those of browsers have two thousand."""


class ClientHello:
    """What a client offers.

    protocols    to speak inside; [] for none
    server_name  the host that it wants (SNI), any octets; b"" for none
    is_costly    its key would be agreed on in a finite field, or it is larger than LARGEST, and nobody knows
    """

    __slots__ = ("is_costly", "protocols", "server_name")

    def __init__(self, protocols: list[bytes], server_name: bytes, *, is_costly: bool) -> None:
        self.protocols: Final = protocols
        self.server_name: Final = server_name
        self.is_costly: Final = is_costly

    def __repr__(self) -> str:
        return f"<first message: {self.protocols}{', costly' if self.is_costly else ''}>"


def is_tls(octets: bytes) -> bool:
    """Whether a connection that begins so speaks TLS."""
    return octets[:1] == _HANDSHAKE


class ClientHelloReader:
    """Reads the first message of one connection. Each octet is looked at once, into however many records and pieces
    somebody has cut them.

    octets  all that came, for OpenSSL
    """

    __slots__ = ("_at", "_message", "octets")

    def __init__(self) -> None:
        self.octets = bytearray()
        self._message = bytearray()
        self._at = 0  # where the next record begins

    def feed(self, data: bytes) -> ClientHello | None:
        """What the client offers; nothing where this is not TLS. None: more octets are needed."""
        octets, message = self.octets, self._message
        octets += data
        while len(message) < 4 or len(message) < 4 + int.from_bytes(message[1:4], "big"):
            at = self._at
            header = bytes(octets[at : at + 5])
            length = int.from_bytes(header[3:5], "big")
            if at > LARGEST:
                return ClientHello([], b"", is_costly=True)
            if header[:1] not in (b"", _HANDSHAKE) or length > _RECORD:
                return _read(b"")
            if len(header) < 5 or len(octets) < at + 5 + length:
                return None
            message += octets[at + 5 : at + 5 + length]
            self._at = at + 5 + length
        return _read(bytes(message[4:]) if message[0] == _CLIENT_HELLO else b"")


def _read(hello: bytes) -> ClientHello:
    found = _extensions(hello)
    groups = _numbers(found.get(_GROUPS, b"")[2:])
    shares = [group for group in _shares(found.get(_KEY_SHARE, b"")[2:]) if group in _CURVES or group in _FINITE]
    # OpenSSL takes the client's first share of a group that it knows. Where there is none it asks for one of the first
    # group of its own that the client knows, and curves are first.
    is_costly = shares[0] in _FINITE if shares else not _CURVES & groups and any(group in _FINITE for group in groups)
    # A list with one name, whose kind is 0 (RFC 6066 section 3).
    name = found.get(_SERVER_NAME, b"")
    server_name = name[5:] if name[2:3] == b"\0" and len(name) == 5 + int.from_bytes(name[3:5], "big") else b""
    return ClientHello(_names(found.get(_ALPN, b"")[2:]), server_name, is_costly=is_costly)


def _extensions(hello: bytes) -> dict[int, bytes]:
    """Those of a ClientHello (RFC 8446 section 4.1.2): version and random, then three vectors, then extensions. One
    that is there twice makes it invalid."""
    at = 34
    for width in (1, 2, 1):
        at += width + int.from_bytes(hello[at : at + width], "big")
    end = min(at + 2 + int.from_bytes(hello[at : at + 2], "big"), len(hello))
    at += 2
    found = {}
    while at + 4 <= end:
        kind, size = int.from_bytes(hello[at : at + 2], "big"), int.from_bytes(hello[at + 2 : at + 4], "big")
        found[kind] = hello[at + 4 : at + 4 + size]
        at += 4 + size
    return found


def _numbers(octets: bytes) -> set[int]:
    """Of two octets each."""
    return {int.from_bytes(octets[at : at + 2], "big") for at in range(0, len(octets), 2)}


def _shares(octets: bytes) -> list[int]:
    """The groups of key shares, each of which has a length and so many octets behind it (section 4.2.8)."""
    found, at = [], 0
    while at + 4 <= len(octets):
        found.append(int.from_bytes(octets[at : at + 2], "big"))
        at += 4 + int.from_bytes(octets[at + 2 : at + 4], "big")
    return found


def _names(octets: bytes) -> list[bytes]:
    """Names, each behind its length."""
    found = []
    while octets and len(octets) > octets[0]:
        found.append(octets[1 : 1 + octets[0]])
        octets = octets[1 + octets[0] :]
    return found
