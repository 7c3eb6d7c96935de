"""The first message of a TLS connection, as far as we have to look into it before OpenSSL does: which protocols the
client offers to speak inside (ALPN).

A client that offers some, and not HTTP/1.1, must get the alert `no_application_protocol` (RFC 7301 section 3.2), as it
does from nginx. Python's ssl would let it connect without a protocol, and it would send HTTP/2 into the void.

All else is OpenSSL's to judge: whatever is malformed here counts as a message without the extension.
"""

from typing import Final

_HANDSHAKE: Final = b"\x16"
_CLIENT_HELLO: Final = 1
_ALPN: Final = 16
_RECORD: Final = 16 * 1024 + 256

NO_APPLICATION_PROTOCOL: Final = b"\x15\x03\x03\x00\x02\x02\x78"
"""A record with the fatal alert 120."""

LARGEST: Final = 32 * 1024
"""Octets of a first message that are waited for here; of a larger one nothing is known, and OpenSSL has its say. Those
of browsers have two thousand."""


def is_tls(octets: bytes) -> bool:
    """Whether a connection that begins so speaks TLS."""
    return octets[:1] == _HANDSHAKE


def offered_protocols(octets: bytes) -> list[bytes] | None:
    """The protocols that a client's first octets offer; [] when they offer none, or are not TLS. None: more octets are
    needed."""
    message = b""
    at = 0
    while len(message) < 4 or len(message) < 4 + int.from_bytes(message[1:4], "big"):
        header = octets[at : at + 5]
        length = int.from_bytes(header[3:5], "big")
        if header[:1] not in (b"", _HANDSHAKE) or at > LARGEST or length > _RECORD:
            return []
        if len(header) < 5 or len(octets) < at + 5 + length:
            return None
        message += octets[at + 5 : at + 5 + length]
        at += 5 + length
    return _protocols(message[4:]) if message[0] == _CLIENT_HELLO else []


def _protocols(hello: bytes) -> list[bytes]:
    """ALPN of a ClientHello (RFC 8446 section 4.1.2): version and random, then three vectors, then extensions."""
    at = 34
    for width in (1, 2, 1):
        at += width + int.from_bytes(hello[at : at + width], "big")
    end = at + 2 + int.from_bytes(hello[at : at + 2], "big")
    at += 2
    while at + 4 <= min(end, len(hello)):
        kind, size = int.from_bytes(hello[at : at + 2], "big"), int.from_bytes(hello[at + 2 : at + 4], "big")
        if kind == _ALPN:
            return list(_names(hello[at + 6 : at + 4 + size]))
        at += 4 + size
    return []


def _names(octets: bytes) -> list[bytes]:
    """Names, each behind its length."""
    found = []
    while octets and len(octets) > octets[0]:
        found.append(octets[1 : 1 + octets[0]])
        octets = octets[1 + octets[0] :]
    return found
