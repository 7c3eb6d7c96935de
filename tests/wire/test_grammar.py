"""The shared patterns, against slow readings of the same rules."""

from hypothesis import given
from hypothesis import strategies as st

from rawgate.wire.grammar import FIELD_LINE, TOKEN, forbidden

_TCHARS = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_OCTETS = st.lists(
    st.sampled_from([b"a", b" ", b"\t", b":", b"\r\n", b"\r", b"\n", b"\x00", b"\x7f", b"\xff"]), max_size=12
)


def slowly(octets: bytes) -> str:
    """The first forbidden thing, octet by octet."""
    for at, octet in enumerate(octets):
        before, after = octets[at - 1 : at], octets[at + 1 : at + 2]
        if octet == 0x0D and after not in (b"\n", b""):
            return "a bare CR"
        if octet == 0x0D and octets[at + 2 : at + 3] in (b" ", b"\t") and octets[at + 2 :]:
            return "a folded line"
        if octet == 0x0A and before != b"\r":
            return "a bare LF"
        if (octet < 0x20 and octet not in b"\t\r\n") or octet == 0x7F:
            return "a control octet"
    return ""


@given(_OCTETS.map(b"".join))
def test_forbidden(octets: bytes) -> None:
    assert forbidden(octets, 0, len(octets)) == slowly(octets)


@given(_OCTETS.map(b"".join), st.integers(0, 12))
def test_forbidden_stops(octets: bytes, stop: int) -> None:
    assert forbidden(octets, 0, min(stop, len(octets))) == slowly(octets[:stop])


@given(st.binary(max_size=3))
def test_token(octets: bytes) -> None:
    assert bool(TOKEN.fullmatch(octets)) == (octets != b"" and set(octets) <= _TCHARS)


@given(_OCTETS.map(b"".join))
def test_field_line(value: bytes) -> None:
    found = FIELD_LINE.fullmatch(b"a:" + value)
    good = not set(value) & set(b"\r\n\x00\x7f")
    assert bool(found) == good
    if found:
        assert found.groups() == (b"a", value.strip(b" \t"))
