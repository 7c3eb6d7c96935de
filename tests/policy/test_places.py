"""Where a token may be besides Authorization, and that it goes no further."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.test_gate import request
from rawgate.policy.places import answer, compile_place, compile_strip


def outcome(place: str, *lines: bytes, query: bytes = b"") -> tuple[bytes | None, list[bytes], bytes]:
    """What is found; then the lines and the query that are sent on."""
    head = request(passthrough=[*lines])
    compiled = compile_place(place)
    strip = compile_strip((compiled,))
    assert compiled.find is not None
    assert strip is not None
    after, left = strip(head, query)
    assert len(after.passthrough) == len(head.passthrough)
    return compiled.find(head, query), [run[2:] for run in after.passthrough if run], left


@pytest.mark.parametrize(
    ("lines", "found", "left"),
    [
        ([b"Cookie: t=x.y.z"], b"x.y.z", []),
        ([b"Cookie: a=1; t=x; b=2"], b"x", [b"Cookie: a=1; b=2"]),
        ([b"cookie:t=x"], b"x", []),
        ([b'Cookie: t="x"; a=1'], b"x", [b"cookie: a=1".replace(b"c", b"C")]),
        ([b"Cookie: a=1", b"Cookie: t=x"], b"x", [b"Cookie: a=1"]),
        ([b"Cookie: t=x; t=x"], b"x", []),
        ([b"Cookie: t=x; t=y; a=1"], b"", [b"Cookie: a=1"]),
        ([b"Cookie: t=x", b"Cookie: t=y"], b"", []),
        ([b"Cookie: T=x; tt=y; a=t"], None, [b"Cookie: T=x; tt=y; a=t"]),
        ([b"Cookie: a=1;b=2"], None, [b"Cookie: a=1;b=2"]),
        ([b"X-Cookie: t=x"], None, [b"X-Cookie: t=x"]),
        ([b"Cookie: t"], b"", []),
        ([], None, []),
    ],
)
def test_a_cookie(lines: list[bytes], found: bytes | None, left: list[bytes]) -> None:
    assert outcome("cookie:t", *lines) == (found, left, b"")


@pytest.mark.parametrize(
    ("query", "found", "left"),
    [
        (b"?t=x.y.z", b"x.y.z", b""),
        (b"?a=1&t=x&b=%20", b"x", b"?a=1&b=%20"),
        (b"?%74=x&a", b"x", b"?a"),
        (b"?t=%78", b"x", b""),
        (b"?t=x&t=x", b"x", b""),
        (b"?t=x&t=y&a=1", b"", b"?a=1"),
        (b"?t=&a=1", b"", b"?a=1"),
        (b"?t", b"", b""),
        (b"?a=t&&", None, b"?a=t&&"),
        (b"?", None, b"?"),
        (b"", None, b""),
    ],
)
def test_a_parameter(query: bytes, found: bytes | None, left: bytes) -> None:
    assert outcome("query:t", query=query) == (found, [], left)


@pytest.mark.parametrize(
    ("lines", "found", "left"),
    [
        ([b"Sec-WebSocket-Protocol: bearer, x.y.z"], b"x.y.z", []),
        ([b"Sec-WebSocket-Protocol: chat, bearer, x, v2"], b"x", [b"Sec-WebSocket-Protocol: chat, v2"]),
        (
            [b"Sec-WebSocket-Protocol: bearer", b"Sec-WebSocket-Protocol: x, chat"],
            b"x",
            [b"Sec-WebSocket-Protocol: chat"],
        ),
        ([b"Sec-WebSocket-Protocol: chat,bearer"], b"", [b"Sec-WebSocket-Protocol: chat"]),
        ([b"Sec-WebSocket-Protocol: bearer, x, bearer, y"], b"", [b"Sec-WebSocket-Protocol: bearer, y"]),
        ([b"Sec-WebSocket-Protocol: chat"], None, [b"Sec-WebSocket-Protocol: chat"]),
        ([b"Sec-WebSocket-Protocol: Bearer, x"], None, [b"Sec-WebSocket-Protocol: Bearer, x"]),
        ([], None, []),
    ],
)
def test_the_protocols_of_a_websocket(lines: list[bytes], found: bytes | None, left: list[bytes]) -> None:
    assert outcome("subprotocol", *lines) == (found, left, b"")
    assert answer(request(passthrough=[*lines])) == (b"bearer" if found else b"")


def test_the_own_field_is_left_where_it_is() -> None:
    assert compile_strip((compile_place("header"),)) is None


@given(
    st.lists(
        st.sampled_from([b"t", b"%74", b"a", b"T", b"t=", b"a=t", b"t=secret", b"%74=secret", b"t=secret&x"]),
        max_size=6,
    )
)
def test_no_token_is_left_in_a_query(pieces: list[bytes]) -> None:
    _, _, left = outcome("query:t", query=b"?" + b"&".join(pieces) if pieces else b"")
    assert b"secret" not in left


@given(st.lists(st.sampled_from([b"bearer", b"secret", b"chat"]), max_size=5))
def test_a_token_that_is_found_is_not_sent_on(offers: list[bytes]) -> None:
    found, left, _ = outcome("subprotocol", b"Sec-WebSocket-Protocol: " + b", ".join(offers))
    if found == b"secret" and offers.count(b"secret") == 1:
        assert b"secret" not in b"".join(left)
