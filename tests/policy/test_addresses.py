"""Client addresses behind trusted proxies."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rawgate.policy.addresses import compile_addresses

TRUSTED = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
peer_of, client_of = compile_addresses(TRUSTED, None)
_, named_client_of = compile_addresses(TRUSTED, "CF-Connecting-IP")
PROXY = peer_of("10.0.0.1")


@pytest.mark.parametrize(
    ("address", "text", "trusted", "bucket"),
    [
        ("192.0.2.7", "192.0.2.7", False, "ip:192.0.2.7"),
        ("10.1.2.3", "10.1.2.3", True, "ip:10.1.2.3"),
        ("2001:db8:0:1:2:3:4:5", "2001:db8:0:1:2:3:4:5", False, "ip:2001:db8:0:1::/64"),
        ("2001:DB8::1", "2001:db8::1", False, "ip:2001:db8::/64"),
        ("fd00::1", "fd00::1", True, "ip:fd00::/64"),
        ("::ffff:10.0.0.9", "10.0.0.9", True, "ip:10.0.0.9"),
        ("unix", "unix", False, "ip:unix"),
    ],
)
def test_peers(address: str, text: str, trusted: bool, bucket: str) -> None:
    sender = peer_of(address)
    assert (sender.address, sender.trusted, sender.bucket) == (text, trusted, bucket)


def test_a_unix_socket_has_no_address_to_tell() -> None:
    assert peer_of("unix").octets == b"unknown"


@pytest.mark.parametrize(
    ("forwarded_for", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("203.0.113.9, 192.0.2.7", "192.0.2.7"),
        ("192.0.2.7, 10.0.0.2", "192.0.2.7"),
        ("192.0.2.7,10.0.0.2 ,\t10.0.0.3", "192.0.2.7"),
        ("10.9.9.9, 10.0.0.2", "10.9.9.9"),
        ("spoofed, 192.0.2.7", "192.0.2.7"),
        ("192.0.2.7, garbage, 10.0.0.2", "10.0.0.2"),
        ("garbage", "10.0.0.1"),
        ("", "10.0.0.1"),
        ("192.0.2.7,", "192.0.2.7"),
        (",", "10.0.0.1"),
        ("203.0.113.9, 192.0.2.7, , 10.0.0.2,\t, ", "192.0.2.7"),
        ("192.0.2.7:51000", "192.0.2.7"),
        ("[2001:db8::7]:51000", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("2001:db8::7", "2001:db8::7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "10.0.0.1"),
        ("unknown", "10.0.0.1"),
        ("0300.0.2.7", "10.0.0.1"),
        ("192.0.2.7, \u00b2.0.0.1", "10.0.0.1"),
    ],
)
def test_the_walk_starts_at_the_right_and_stops_at_the_first_stranger(forwarded_for: str, client: str) -> None:
    assert client_of(PROXY, {b"x-forwarded-for": forwarded_for.encode("latin-1")}).address == client


def test_without_the_field_the_proxy_is_the_client() -> None:
    assert client_of(PROXY, {}) == PROXY


@pytest.mark.parametrize(
    ("value", "client"), [("192.0.2.7", "192.0.2.7"), ("", "10.0.0.1"), ("192.0.2.7, 192.0.2.8", "10.0.0.1")]
)
def test_a_named_field_replaces_the_walk(value: str, client: str) -> None:
    parsed = {b"x-forwarded-for": b"203.0.113.9", b"cf-connecting-ip": value.encode()}
    assert named_client_of(PROXY, parsed).address == client


@given(st.binary(max_size=60))
def test_no_value_raises(value: bytes) -> None:
    assert client_of(PROXY, {b"x-forwarded-for": value}).bucket.startswith("ip:")


@given(st.lists(st.ip_addresses(v=4).map(str), max_size=4), st.ip_addresses(v=4, network="192.0.2.0/24").map(str))
def test_what_a_client_writes_never_moves_it(spoofed: list[str], real: str) -> None:
    field = ", ".join([*spoofed, real, "10.0.0.2"]).encode()
    assert client_of(PROXY, {b"x-forwarded-for": field}).address == real
