"""Who is at the other end, when proxies may stand between.

The socket's peer is a fact. All else about a client's address is hearsay, believed only from a peer in
`trusted_proxies`: then X-Forwarded-For is walked from the right, the end that the nearest proxy wrote, for as long as
the address found is itself a trusted proxy's. The first that is not is the client. Walking from the left would take
whatever the client wrote there.

An entry that is no address stops the walk: what stands left of it was vouched for by nobody. An empty one says nothing
(RFC 9110 section 5.6.1.2).
A Unix socket's peer has no address: all of them are trusted, or none.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from rawgate.config.model import Trusted

_REMEMBERED = 4096
_HOST_BITS = 64

MOST_HOPS = 16
"""Trusted proxies that a request may have passed: the last of them is then taken for the client."""

_PORT = re.compile(r"(?:\[([^\]]*)\]|([0-9.]+))(?::[0-9]{1,5})?").fullmatch


NOWHERE = b"unknown"
"""RFC 7239 section 6.2."""


class PeerAddress:
    """One address on the way.

    address  its usual text form; an IPv4-mapped IPv6 address as IPv4
    octets   the same for a header field; NOWHERE for a Unix socket
    trusted  whether it is a trusted proxy's
    bucket   whom a limiter counts: "ip:" and the address, of IPv6 the /64, which is what one customer commonly has
    """

    __slots__ = ("address", "bucket", "octets", "trusted")

    def __init__(self, address: str, octets: bytes, trusted: bool, bucket: str) -> None:
        self.address: Final = address
        self.octets: Final = octets
        self.trusted: Final = trusted
        self.bucket: Final = bucket


PeerOf = Callable[[str], PeerAddress]
"""`peer.address` → the peer's address."""
ClientOf = Callable[[PeerAddress, dict[bytes, bytes]], PeerAddress]
"""`(trusted peer, parsed fields)` → the client's address."""


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    """An address, with a port or not; None for anything else, zones ("%eth0") included."""
    text = text.strip(" \t")
    ported = _PORT(text)
    if ported is not None:
        text = ported[1] or ported[2] or ""
    if "%" in text:
        return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _bucket(address: IPv4Address | IPv6Address) -> str:
    if isinstance(address, IPv4Address):
        return f"ip:{address}"
    # As an IPv6Network would say it, for a tenth of its price.
    return f"ip:{IPv6Address(int(address) >> _HOST_BITS << _HOST_BITS)}/64"


def compile_addresses(trusted: tuple[Trusted, ...], client_ip_header: str | None) -> tuple[PeerOf, ClientOf]:
    """The two questions about addresses, with `gateway.trusted_proxies` and `gateway.client_ip_header` built in.
    Both remember a bounded number of addresses."""

    networks = [network for network in trusted if not isinstance(network, str)]
    nowhere = "unix" in trusted

    def read(text: str) -> PeerAddress | None:
        address = _parse(text)
        if address is None:
            return None
        is_trusted = any(address.version == network.version and address in network for network in networks)
        return PeerAddress(str(address), str(address).encode(), is_trusted, _bucket(address))

    # Not as decorators: those of inner functions are passed over when this is compiled ahead of time.
    listed = lru_cache(_REMEMBERED)(read)
    peer_of = lru_cache(_REMEMBERED)(
        lambda address: listed(address) or PeerAddress(address, NOWHERE, nowhere and address == "unix", f"ip:{address}")
    )

    def walk(peer: PeerAddress, parsed: dict[bytes, bytes]) -> PeerAddress:
        client = peer
        for entry in reversed(parsed.get(b"x-forwarded-for", b"").rsplit(b",", MOST_HOPS)[-MOST_HOPS:]):
            if not entry.strip():
                continue
            address = listed(entry.decode("latin-1"))
            if address is None:
                break
            client = address
            if not address.trusted:
                break
        return client

    if client_ip_header is None:
        return peer_of, walk
    name = client_ip_header.lower().encode()

    def named(peer: PeerAddress, parsed: dict[bytes, bytes]) -> PeerAddress:
        return listed(parsed.get(name, b"").decode("latin-1")) or peer

    return peer_of, named
