"""Which request fields a record has: found among parsed and unparsed lines alike, and cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rawgate.message import Peer, RequestHead
from rawgate.net.logged_fields import CERTIFICATE, VALUE_LIMIT, logged_fields
from rawgate.wire import RequestReader, RequestRules

PEER = Peer("127.0.0.1", "127.0.0.1:1")


def head(*lines: bytes, wanted: frozenset[bytes] = frozenset(), fast: bool = True) -> RequestHead:
    reader = RequestReader(RequestRules(16384, 100, 8192, wanted, frozenset(), fast))
    found = reader.feed(b"".join(line + b"\r\n" for line in (b"GET / HTTP/1.1", b"Host: h", *lines, b"")))
    assert found is not None
    return found


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("wanted", [frozenset[bytes](), frozenset({b"x-a", b"x-b"})])
def test_found_wherever_they_stand(wanted: frozenset[bytes], fast: bool) -> None:
    one = head(b"X-A:  one ", b"X-AA: no", b"Y: X-B: no", b"x-b: two", b"X-a: three", wanted=wanted, fast=fast)
    assert logged_fields(one, (b"x-a", b"x-b", b"x-c"), PEER) == {"x-a": "one, three", "x-b": "two"}


def test_none_of_them() -> None:
    assert logged_fields(head(b"X-A: 1", b"X-Empty:"), (b"x-b", b"x-empty"), PEER) is None


def test_values_are_cut_and_any_octet_has_a_place() -> None:
    value = b"\xff" * 1000
    assert logged_fields(head(b"X-A: " + value), (b"x-a",), PEER) == {"x-a": "\xff" * VALUE_LIMIT}


def test_name_of_a_certificate() -> None:
    shown = Peer("127.0.0.1", "127.0.0.1:1", "https", "CN=" + "é" * 999)
    one, names = head(b"Certificate.Name: no", b"X-A: 1", fast=False), (b"x-a", CERTIFICATE)
    assert logged_fields(one, names, shown) == {"x-a": "1", "certificate.name": "CN=" + "é" * (VALUE_LIMIT - 3)}
    assert logged_fields(one, names, PEER) == {"x-a": "1"}


NAMES = st.sampled_from(["x-a", "X-A", "x-b", "x-ab", "ax-a", "Via"])
VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=9)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=8), st.booleans(), st.sets(st.sampled_from([b"x-a", b"via"])))
def test_as_a_plain_walk_finds_them(lines: list[tuple[str, str]], fast: bool, wanted: set[bytes]) -> None:
    one = head(*(f"{name}: {value}".encode() for name, value in lines), wanted=frozenset(wanted), fast=fast)
    expected = {
        name: ", ".join(value for given, value in lines if given.lower() == name)
        for name in ("x-a", "x-b", "via")
        if any(given.lower() == name for given, _ in lines)
    }
    assert (logged_fields(one, (b"x-a", b"x-b", b"via"), PEER) or {}) == expected
