"""The client's address, when proxies may stand between.

The address of the socket's peer is a fact. All other addresses come from header fields, which are believed only if the
peer is in `trusted_proxies`. Then X-Forwarded-For is read from the right, where the nearest proxy has written, as long
as the addresses are those of trusted proxies. The first other address is the client's. (nginx does so with
`real_ip_recursive on`.) From the left one would read what the client itself has written.

An entry that is no address ends the walk, because no trusted proxy vouches for the entries left of it. An empty entry
says nothing (RFC 9110 section 5.6.1.2). The peer of a Unix socket has no address: all such peers are trusted, or none,
as with nginx's `set_real_ip_from unix:`.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from rawgate.config.model import Trusted

_REMEMBERED = 4096
"""Addresses that each look-up remembers; some 400 octets each."""
_HOST_BITS = 64

MOST_HOPS = 16
"""Entries of X-Forwarded-For that are read; if all are trusted proxies, the last one read is the client. Real chains
have one to four. nginx reads them all; a head of 16 KiB has room for two thousand."""

_PORT = re.compile(r"(?:\[([^\]]*)\]|([0-9.]+))(?::[0-9]{1,5})?").fullmatch


NOWHERE = b"unknown"
"""The forwarding fields' word for a peer without an address (RFC 7239 section 6.2)."""


class PeerAddress:
    """The address of the peer, of a proxy before it, or of the client.

    address  in its usual text form; an IPv4-mapped IPv6 address as IPv4
    octets   the same for a header field; NOWHERE for a Unix socket
    trusted  it is the address of a trusted proxy
    bucket   the key under which a limiter counts it: "ip:" and the address. Of IPv6 it is the /64, the smallest network
             that a customer gets (RFC 6177), or one customer could use up a limit 2**64 times
    """

    __slots__ = ("address", "bucket", "octets", "trusted")

    def __init__(self, address: str, octets: bytes, trusted: bool, bucket: str) -> None:
        self.address: Final = address
        self.octets: Final = octets
        self.trusted: Final = trusted
        self.bucket: Final = bucket


Admits = Callable[[str], bool]
"""A client's address → whether it may come in."""
PeerOf = Callable[[str], PeerAddress]
"""`peer.address` → the peer's address."""
ClientOf = Callable[[PeerAddress, dict[bytes, bytes]], PeerAddress]
"""`(trusted peer, parsed fields)` → the client's address."""


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    """Read an address with or without a port. None for all other text, also for a zone ("%eth0")."""
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
    # The text of an IPv6Network, which would cost ten times as much.
    return f"ip:{IPv6Address(int(address) >> _HOST_BITS << _HOST_BITS)}/64"


def compile_addresses(trusted: tuple[Trusted, ...], client_ip_header: str | None) -> tuple[PeerOf, ClientOf]:
    """The two look-ups for `gateway.trusted_proxies` and `gateway.client_ip_header`. Both remember a bounded number of
    addresses."""

    networks = [network for network in trusted if not isinstance(network, str)]
    nowhere = "unix" in trusted

    def read(text: str) -> PeerAddress | None:
        address = _parse(text)
        if address is None:
            return None
        is_trusted = any(address.version == network.version and address in network for network in networks)
        return PeerAddress(str(address), str(address).encode(), is_trusted, _bucket(address))

    # Called, not written as a decorator: mypyc ignores decorators of inner functions.
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


def compile_admits(allow: tuple[Trusted, ...], deny: tuple[Trusted, ...]) -> Admits | None:
    """Whether an address may come in: it is in no network of `deny`, and in one of `allow` if there are any. None if
    everybody may. It remembers a bounded number of addresses."""
    if not allow and not deny:
        return None

    def read(address: str) -> bool:
        return not _is_in(address, deny) and (not allow or _is_in(address, allow))

    return lru_cache(_REMEMBERED)(read)


def _is_in(text: str, networks: tuple[Trusted, ...]) -> bool:
    address = _parse(text)
    if address is None:
        return text in networks  # "unix"
    return any(
        not isinstance(network, str) and address.version == network.version and address in network
        for network in networks
    )
