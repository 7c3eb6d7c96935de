"""The PROXY protocol, versions 1 and 2: who the client is, said by a proxy in front before anything else is sent.

HAProxy's specification (proxy-protocol.txt, 2.2 of 2020) is what both versions follow. The header is trusted, so it is
read strictly: what is not a header to the last octet is malformed, and the connection must be closed.
"""

import re
from ipaddress import IPv4Address, IPv6Address
from typing import Final

SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
"""How version 2 begins."""

LARGEST: Final = 4096
"""Octets of a header, as in nginx. Version 1 has 107 at most; version 2 may carry extensions, which are skipped."""

_LONGEST_LINE: Final = 107
_LINE: Final = re.compile(rb"PROXY (TCP4|TCP6) ([!-~]{1,39}) ([!-~]{1,39}) ([0-9]{1,5}) ([0-9]{1,5})")
_UNKNOWN: Final = re.compile(rb"PROXY UNKNOWN(?: [^\r\n]*)?")
_FIXED: Final = 16
_PROXY: Final = 0x21
_LOCAL: Final = 0x20
_FAMILIES: Final = {0x00: 0, 0x11: 4, 0x21: 16, 0x31: 0}
"""Family and transport → octets of an address that says who the client is: none where it is unspecified, or a Unix
socket of the proxy's. Datagrams cannot come over a connection."""
_LENGTHS: Final = {0x00: 0, 0x11: 12, 0x21: 36, 0x31: 216}


class ProxyError(Exception):
    """What came is no header of the PROXY protocol. The text says why."""


class Origin:
    """Who a proxy speaks for. address: "" when it speaks for itself, or does not know: then who connected counts."""

    __slots__ = ("address", "port")

    def __init__(self, address: str = "", port: int = 0) -> None:
        self.address: Final = address
        self.port: Final = port


class ProxyReader:
    """Reads one header, in whatever pieces it comes.

    rest  what came behind it
    """

    __slots__ = ("_held", "rest")

    def __init__(self) -> None:
        self._held = b""
        self.rest = b""

    @property
    def started(self) -> bool:
        """Whether any octet has come."""
        return bool(self._held)

    def feed(self, data: bytes) -> Origin | None:
        """None: the header is not whole yet. Raises ProxyError."""
        self._held = held = self._held + data
        if held.startswith(SIGNATURE[: len(held)]):
            return self._second(held)
        if held.startswith(b"PROXY "[: len(held)]):
            return self._first(held)
        raise ProxyError("the PROXY header is missing")

    def _first(self, held: bytes) -> Origin | None:
        line, end, _ = held[:_LONGEST_LINE].partition(b"\r\n")
        if not end:
            if len(held) >= _LONGEST_LINE or b"\n" in line or b"\r" in line[:-1]:
                raise ProxyError("the PROXY line has no end")
            return None
        self.rest = held[len(line) + 2 :]
        if _UNKNOWN.fullmatch(line):
            return Origin()
        found = _LINE.fullmatch(line)
        if found is None:
            raise ProxyError("the PROXY line is malformed")
        family, source, target, port, target_port = found.groups()
        address = _address(source.decode(), family)
        _address(target.decode(), family)
        _port(target_port)
        return Origin(address, _port(port))

    def _second(self, held: bytes) -> Origin | None:
        if len(held) < _FIXED:
            return None
        command, family = held[12], held[13]
        length = int.from_bytes(held[14:16], "big")
        if command not in (_PROXY, _LOCAL):
            raise ProxyError("the PROXY header has an unknown version or command")
        if length > LARGEST - _FIXED:
            raise ProxyError(f"the PROXY header is larger than {LARGEST} octets")
        if command == _PROXY and family not in _FAMILIES:
            raise ProxyError("the PROXY header has an unknown family")
        if command == _PROXY and length < _LENGTHS[family]:
            raise ProxyError("the PROXY header is too short for its addresses")
        if len(held) < _FIXED + length:
            return None
        self.rest = held[_FIXED + length :]
        size = _FAMILIES[family] if command == _PROXY else 0
        if not size:
            return Origin()
        source, port = held[_FIXED : _FIXED + size], held[_FIXED + 2 * size : _FIXED + 2 * size + 2]
        return Origin(_usual(IPv4Address(source) if size == 4 else IPv6Address(source)), int.from_bytes(port, "big"))


def _usual(address: IPv4Address | IPv6Address) -> str:
    """The usual text form: of an IPv4-mapped IPv6 address that of IPv4."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def _address(text: str, family: bytes) -> str:
    """An address in its usual text form. A zone has no meaning here."""
    try:
        if "%" in text:
            raise ValueError(text)
        return _usual(IPv4Address(text) if family == b"TCP4" else IPv6Address(text))
    except ValueError:
        raise ProxyError("the PROXY line has a malformed address") from None


def _port(digits: bytes) -> int:
    number = int(digits)
    if number > 65535 or (digits[:1] == b"0" and number):
        raise ProxyError("the PROXY line has a malformed port")
    return number
