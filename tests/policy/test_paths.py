"""Paths: a table of readings and refusals, and what holds for all of them."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.values import Alike
from rawgate.policy.paths import ENCODED_SLASH, Normalise, compile_normaliser, configured_path, match_key, sendable

TABLE = Path(__file__).parent.parent / "cases" / "paths.jsonl"
ROWS = [json.loads(line) for line in TABLE.read_text().splitlines()]
READ = [row for row in ROWS if "path" in row]
REFUSED = [row for row in ROWS if "path" not in row]

merging = compile_normaliser(merge_slashes=True)
keeping = compile_normaliser(merge_slashes=False)

targets = st.lists(
    st.sampled_from(
        [
            "/",
            "//",
            ".",
            "..",
            "a",
            "B",
            ";",
            "%2e",
            "%2E",
            "%2F",
            "%5c",
            "%41",
            "%c3",
            "%3b",
            "%25",
            "?",
            "%",
            "@",
            "\\",
            "#",
        ]
    )
).map(lambda pieces: "/" + "".join(pieces)) | st.text(st.characters(max_codepoint=255)).map(lambda text: "/" + text)


@pytest.mark.parametrize("octet", range(256))
def test_octets_that_no_target_may_hold(octet: int) -> None:
    """Wherever it stands: none of these needs the long way to be found."""
    odd = not 0x20 < octet < 0x7F or octet in b"#"
    for target in (b"/a%cb", b"/%c", b"/a/%c/", b"/?%c", b"/a?b=%c&c"):
        for normalise in (merging, keeping):
            normal = normalise(target % octet)
            query = b"?" in target
            assert (normal.path == b"") == (odd or (not query and octet in b"\\%")), (target, normal)


@pytest.mark.parametrize("row", READ, ids=lambda row: row["id"])
def test_reads(row: dict[str, str]) -> None:
    normal = merging(row["target"].encode("latin-1"))
    assert (normal.path, normal.query) == (row["path"].encode(), row.get("query", "").encode())
    assert normal.key == row.get("key", row["path"]).encode("latin-1")
    assert normal.plain_key == row.get("plain_key", row.get("key", row["path"])).encode("latin-1")
    assert row["flaw"] in normal.flaw if "flaw" in row else normal.flaw == ""


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row["id"])
@pytest.mark.parametrize("normalise", [merging, keeping], ids=["merging", "keeping"])
def test_refuses(row: dict[str, str], normalise: Normalise) -> None:
    normal = normalise(row["target"].encode("latin-1"))
    assert normal.path == b""
    assert row["flaw"] in normal.flaw


@pytest.mark.parametrize("row", READ, ids=lambda row: row["id"])
def test_keeps_slashes_when_told_to(row: dict[str, str]) -> None:
    assert keeping(row["target"].encode()).path == row.get("kept", row["path"]).encode()


@given(targets)
def test_normalising_twice_changes_nothing(target: str) -> None:
    for normalise in (merging, keeping):
        once = normalise(target.encode("latin-1"))
        if once.path:
            assert normalise(once.path + once.query) == Alike(once)


@given(targets)
def test_a_short_target_is_read_like_a_long_one(target: str) -> None:
    """A long query keeps a target from the walk that short ones take."""
    octets = target.encode("latin-1")
    mark = b"&" if b"?" in octets else b"?"
    more = mark + b"a" * 200
    for normalise in (merging, keeping):
        short, long = normalise(octets), normalise(octets + more)
        assert (short.path, short.key, short.flaw, short.plain_key) == (long.path, long.key, long.flaw, long.plain_key)
        assert not short.path or short.query + more == long.query


@given(targets)
def test_what_is_normal_can_be_sent(target: str) -> None:
    normal = merging(target.encode("latin-1"))
    assert not normal.path or sendable(normal.path)
    assert bool(normal.path) or bool(normal.flaw)


@given(targets)
def test_no_dot_segment_survives(target: str) -> None:
    normal = merging(target.encode("latin-1"))
    assert not {b".", b".."} & set(normal.path.split(b"/"))
    # Nor does one appear when a reader decodes once more, slashes included.
    if normal.flaw != ENCODED_SLASH:
        assert not {b".", b".."} & set(normal.key.split(b"/"))


def test_exactly_the_unreserved_octets_are_decoded() -> None:
    """RFC 3986 section 2.3, against every octet that may be encoded."""
    unreserved = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
    for octet in set(range(0x20, 0x100)) - {0x7F}:
        for digits in (b"%%%02x" % octet, b"%%%02X" % octet):
            sent = bytes((octet,)) if octet in unreserved else digits
            assert merging(b"/a" + digits).path == b"/a" + sent


@given(targets)
def test_the_query_is_untouched(target: str) -> None:
    octets = target.encode("latin-1")
    normal = merging(octets)
    assert not normal.path or normal.query == octets[len(octets.partition(b"?")[0]) :]


@pytest.mark.parametrize(
    ("path", "fine"),
    [
        ("/", True),
        ("/a//b", True),
        ("/%7E", True),
        ("/a%2Fb", True),
        ("//a", False),
        ("", False),
        ("a", False),
        ("/a?b", False),
        ("/a#b", False),
        ("/a b", False),
        ("/a\r\nX: y", False),
        ("/a/../b", False),
        ("/a/%2e%2E", False),
        ("/a/..;/b", False),
        ("/a/%2e.;b", False),
        ("/a/.", False),
        ("/a%", False),
        ("/a%00", False),
        ("/\u00e9", False),
    ],
)
def test_sendable(path: str, fine: bool) -> None:
    assert sendable(path.encode()) is fine


def test_a_path_in_need_of_reading_is_bounded() -> None:
    assert merging(b"/a%20" * 256).path
    assert "segments" in merging(b"/a%20" * 257).flaw
    assert merging(b"/" + b"%20" * 1024).path
    assert "encoded octets" in merging(b"/" + b"%41" * 1025).flaw


@given(targets)
def test_a_key_has_no_parameters_and_is_found_again(target: str) -> None:
    normal = merging(target.encode("latin-1"))
    assert b";" not in normal.key
    assert normal.key == normal.plain_key or b";" in normal.plain_key


def test_configured_path_encodes_what_is_not_ascii() -> None:
    assert configured_path("/caf\u00e9/\U0001f600") == b"/caf%C3%A9/%F0%9F%98%80"


def test_spellings_of_one_path_have_one_key() -> None:
    assert match_key(b"/%c3%A9%40b%2f") == match_key(b"/%C3%a9@b%2F")
