"""What field lines mean, where a table of heads would say it less plainly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rawgate.wire.fields import (
    LONG_NAME,
    NOT_A_NAME,
    PASSES,
    REMOVABLE,
    FieldNames,
    content_length_fault,
    members,
    read_length,
)

ODD = [octet.encode() for octet in "!#$%&'*+.^_`|~"]
"""What a field name may hold besides letters, digits and "-" (RFC 9110 section 5.6.2)."""


def meaning(names: FieldNames, spelling: bytes) -> bytes:
    return names.look_up(spelling).name


def test_field_names_stay_bounded_and_right() -> None:
    names = FieldNames(frozenset((b"host",)))
    for number in range(10_000):
        assert meaning(names, b"X-%d" % number) == PASSES
    assert meaning(names, b"hOST") == b"host"
    assert len(names.known) <= 4096


def test_watched_names_are_told_apart_in_any_spelling() -> None:
    names = FieldNames(frozenset((b"host",)), frozenset((b"x-debug", b"x_team", b"x-forwarded-*")))
    removable = [b"X-Debug", b"x_debug", b"X-TEAM", b"x_team", b"X-Forwarded-Anything", b"x_forwarded_for"]
    removable += [b"X" + octet + b"Debug" for octet in ODD] + [b"X.Forwarded~For", b"X-Forwarded*"]
    assert {meaning(names, spelling) for spelling in removable} == {REMOVABLE}
    assert {meaning(names, spelling) for spelling in (b"X-Debugger", b"X-Forwarded", b"XDebug", b"Accept")} == {PASSES}
    assert meaning(names, b"Host") == b"host"


def test_names_that_the_fast_lane_leaves_alone() -> None:
    parsed = frozenset((b"host", b"upgrade"))
    names = FieldNames(parsed, frozenset((b"x-debug",)), frozenset((b"upgrade",)), aliased=frozenset((b"x-a",)))
    odd = [b"", b" ", b"a:b", b"a b", b" a", b"a\r", b"\xe9", b"X_A", b"x.a", b"Upgrade", b"upgrade"]
    odd += [b"X" + octet + b"A" for octet in ODD]
    assert {meaning(names, spelling) for spelling in odd} == {NOT_A_NAME}
    assert not names.known
    assert [meaning(names, name) for name in (b"HOST", b"X-Debug", b"X_B")] == [b"host", REMOVABLE, PASSES]
    assert meaning(FieldNames(parsed), b"X_A") == PASSES


def test_long_names_are_read_and_not_remembered() -> None:
    names = FieldNames(frozenset((b"host",)), frozenset((b"x-*",)))
    assert [meaning(names, name) for name in (b"a" * 65, b"X-" + b"a" * 9000, b"a" * 64)] == [
        PASSES,
        REMOVABLE,
        PASSES,
    ]
    assert list(names.known) == [b"a" * 64]


_SOME_NAMES = st.frozensets(st.from_regex(rb"[a-z0-9-]{1,3}|[a-c]{61,66}", fullmatch=True), max_size=3)


@given(
    _SOME_NAMES,
    _SOME_NAMES | st.frozensets(st.from_regex(rb"[a-z0-9_-]{0,3}\*", fullmatch=True)),
    _SOME_NAMES,
    _SOME_NAMES,
    st.from_regex(rb"[A-Za-z0-9-]{1,4}|[A-Ca-c]{61,66}", fullmatch=True),
)
def test_a_name_that_is_not_looked_up_passes(
    parsed: frozenset[bytes],
    removable: frozenset[bytes],
    h11_only: frozenset[bytes],
    aliased: frozenset[bytes],
    spelling: bytes,
) -> None:
    names = FieldNames(parsed, removable, h11_only, aliased)
    looked_up = names.shapes[min(len(spelling), LONG_NAME) * 32 + (spelling[0] & 31)]
    assert looked_up or meaning(names, spelling) == PASSES


def test_most_names_are_not_looked_up() -> None:
    names = FieldNames(frozenset((b"host", b"x-request-id")))
    assert sum(names.shapes) == 2


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"", []),
        (b" ,\t,", []),
        (b"Close", [b"close"]),
        (b"a , B,\tc", [b"a", b"b", b"c"]),
        (b"a b", None),
        (b"a;b", None),
        (b"\xe9", None),
        (b"a\x0b", None),
    ],
)
def test_members(value: bytes, expected: list[bytes] | None) -> None:
    assert members(value) == expected


@pytest.mark.parametrize(
    ("values", "good"),
    [
        ([], True),
        ([b"5"], True),
        ([b"5", b"5, 5"], True),
        ([b"5", b"6"], False),
        ([b"5, 05"], False),
        ([b"5,"], False),
        ([b""], False),
        ([b"5\x0b"], False),
    ],
)
def test_content_length(values: list[bytes], good: bool) -> None:
    assert (content_length_fault(values) is None) is good


@given(st.integers(0, 10**25), st.integers(0, 30))
def test_read_length(number: int, zeros: int) -> None:
    assert read_length(b"0" * zeros + b"%d" % number) == (number if number < 10**19 else None)


def test_a_length_may_have_more_zeros_than_python_takes_digits() -> None:
    assert read_length(b"0" * 5000) == 0
    assert read_length(b"0" * 5000 + b"7") == 7
