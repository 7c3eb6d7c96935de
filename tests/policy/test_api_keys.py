"""The text that lists API keys, and looking a key up."""

import gc
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.values import Alike
from rawgate.config.model import ApiKeys, Secret
from rawgate.message import Identity
from rawgate.policy.api_keys import ApiKeyTable, compile_table

if TYPE_CHECKING:
    from rawgate.errors import Problem

K1 = "k1-0123456789abcdef"
K2 = "k2:with/all+sorts=of~!\"#$%&'()*.<>?@[\\]^_`{|}"
BARE = "bare-0123456789abcdef"


def digest(key: str) -> str:
    return sha256(key.encode()).hexdigest()


def compiled(text: str | bytes, header: str = "x-api-key") -> tuple[ApiKeyTable | None, list[str]]:
    problems: list[Problem] = []
    warnings: list[Problem] = []
    value = text if isinstance(text, bytes) else text.encode()
    table = compile_table("partners", ApiKeys(header=header, keys=Secret("env:API_KEYS", value)), problems, warnings)
    assert all(found.path == ("api_keys", "partners", "keys") for found in (*problems, *warnings))
    assert (table is None) == bool(problems)
    return table, [found.message for found in (*problems, *warnings)]


def table_of(text: str) -> ApiKeyTable:
    table, _ = compiled(text)
    assert table is not None
    return table


def name_of(table: ApiKeyTable, key: str) -> str | None:
    found = table.lookup(key.encode())
    assert found is None or found.kind == "key"
    return None if found is None else found.name


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"one:{K1},two:{K2}", id="commas"),
        pytest.param(f"one:{K1}\ntwo:{K2}\n", id="lines"),
        pytest.param(f" one:{K1} ,\r\n\r\n ,, two:{K2}\r\n", id="blanks"),
        pytest.param(f"# partners\none:{K1}\n  # gone: three:{BARE}\ntwo:{K2}", id="comments"),
        pytest.param(f"one:sha256:{digest(K1)},two:SHA256:{digest(K2).upper()}", id="digests"),
    ],
)
def test_named_keys(text: str) -> None:
    table = table_of(text)
    assert name_of(table, K1) == "one"
    assert name_of(table, K2) == "two"
    assert name_of(table, BARE) is None


def test_bare_key_is_named_after_its_digest() -> None:
    assert name_of(table_of(BARE), BARE) == "key-" + digest(BARE)[:8]


def test_one_name_for_several_keys_is_a_rotation() -> None:
    table = table_of(f"one:{K1},one:{BARE}")
    assert name_of(table, K1) == name_of(table, BARE) == "one"


@pytest.mark.parametrize("key", ["", K1[:-1], K1 + "x", K1.upper(), K1 + " ", f"one:{K1}", digest(K1), "é"])
def test_what_is_no_key_is_nobody(key: str) -> None:
    assert name_of(table_of(f"one:{K1},two:sha256:{digest(K2)}"), key) is None


def test_any_octets_may_be_looked_up() -> None:
    assert table_of(BARE).lookup(bytes(range(256))) is None


def test_header_is_lower_case_octets() -> None:
    table, _ = compiled(BARE, "X-Partner-Key")
    assert table is not None
    assert table.header == b"x-partner-key"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        pytest.param("one:", "other than visible ASCII", id="no-key"),
        pytest.param(f":{K1}", "has a name", id="no-name"),
        pytest.param(f"a b:{K1}", "has a name", id="blank-in-name"),
        pytest.param(f"é:{K1}", "has a name", id="name-not-ascii"),
        pytest.param("n" * 65 + ":" + K1, "has a name", id="long-name"),
        pytest.param(f"one: {K1}", "a key with a blank in it", id="blank-before-key"),
        pytest.param(f"two:{K1} # ours", "a key with a blank in it", id="comment-behind-it"),
        pytest.param(f"two:{K1}\\n", "a backslash and an n", id="line-end-written-out"),
        pytest.param(f"two:{K1}\\nthree:{K2}", "a backslash and an n", id="line-end-written-out-between"),
        pytest.param("one:é" + K1, "other than visible ASCII", id="key-not-ascii"),
        pytest.param("one:\x7f" + K1, "other than visible ASCII", id="key-with-control"),
        pytest.param("one:sha256:abc", "64 hex digits", id="short-digest"),
        pytest.param("one:sha256:" + "g" * 64, "64 hex digits", id="no-hex"),
        pytest.param("one:sha256:" + "a" * 65, "64 hex digits", id="long-digest"),
        pytest.param(f"sha256:{digest(K1)}", "no name before sha256:", id="digest-without-name"),
        pytest.param(f'"two:{K1}"', "quotes around it", id="quoted"),
        pytest.param(f"two:'{K1}'", "quotes around it", id="quoted-key"),
        pytest.param(f"two:{BARE}", "earlier entry", id="twice"),
        pytest.param(BARE, "earlier entry", id="twice-bare"),
        pytest.param(f"two:sha256:{digest(BARE)}", "earlier entry", id="twice-as-digest"),
    ],
)
def test_bad_entry(entry: str, said: str) -> None:
    table, messages = compiled(f"one:{BARE},{entry}")
    assert table is None
    (message,) = messages
    assert message.startswith("entry 2 ")
    assert said in message
    assert K1 not in message


def test_octets_that_are_not_utf8_are_reported() -> None:
    _, (message,) = compiled(b"one:\xff" + K1.encode())
    assert "visible ASCII" in message


def test_all_bad_entries_are_reported() -> None:
    _, messages = compiled(f"a:\u00e9,b:{K1},c:\u00e9")
    assert [message.split()[1] for message in messages] == ["1", "3"]


def test_short_keys_are_doubtful() -> None:
    table, messages = compiled(f"a:{'x' * 12},b:{'y' * 15},{'z' * 16},c:sha256:{digest('short')}")
    assert table is not None
    assert name_of(table, "x" * 12) == "a"
    assert name_of(table, "short") == "c"
    assert messages == [
        "entry 1 has a key of 12 characters, which can be guessed (expected at least 16)",
        "entry 2 has a key of 15 characters, which can be guessed (expected at least 16)",
    ]


@pytest.mark.parametrize(
    ("entry", "doubt"),
    [
        (f"two:sha512:{'a' * 128}", "looks like a digest"),
        ("two:$2y$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy", "looks like a digest"),
        ("two:$argon2id$v=19$abcdefghijkl", "looks like a digest"),
        ("two:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "looks like a digest"),
        (f"two:{K1};three:{K1}", "has a semicolon in its key"),
        (f"two={K1}", "has no colon"),
        (f"{K1}==", ""),
        (f"two:{K1}=x;y", ""),
    ],
)
def test_entries_that_look_like_something_else_are_doubtful(entry: str, doubt: str) -> None:
    table, messages = compiled(f"one:{BARE}\n{entry}")
    assert table is not None
    assert name_of(table, BARE) == "one"
    assert [message.startswith(f"entry 2 {doubt}") for message in messages] == [True] * bool(doubt)
    assert not any(K1 in message for message in messages)


@pytest.mark.parametrize("text", ["", " \n", ",,", "# only a comment"])
def test_no_key_at_all(text: str) -> None:
    _, (message,) = compiled(text)
    assert message.startswith("no key is listed")


def test_table_holds_no_key_in_clear() -> None:
    table = table_of(f"one:{K1},{BARE}")
    seen: list[object] = [table]
    for held in seen:
        if not isinstance(held, type):
            seen.extend(gc.get_referents(held))
    assert any(isinstance(held, bytes) and held == sha256(K1.encode()).digest() for held in seen)
    assert not any(secret in str(held) for held in seen for secret in (K1, BARE))
    assert repr(table) == "<2 keys in x-api-key>"


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters=","), min_size=16, max_size=80))
def test_every_visible_key_is_found_and_only_it(key: str) -> None:
    table, _ = compiled(f"n:{key}")
    if key.lower().startswith("sha256:") or "\\n" in key or (key[0] == key[-1] and key[0] in "'\"`"):
        return
    assert table is not None
    assert table.lookup(key.encode()) == Alike(Identity("key", "n"))
    assert table.lookup(key.encode() + b"!") is None


@given(st.binary(max_size=120))
def test_no_text_raises(text: bytes) -> None:
    compiled(text)


@pytest.mark.parametrize("nothing", ["", "\n", " ", "\r\n"])
def test_the_digest_of_no_key_is_refused(nothing: str) -> None:
    table, told = compiled(f"a:sha256:{digest(nothing)}")
    assert table is None
    assert "is the digest of no key at all" in told[0]


def test_an_empty_value_is_no_key() -> None:
    table = ApiKeyTable(b"x-key", {sha256(b"").digest(): Identity("key", "nobody")})
    assert table.lookup(b"") is None


# A keys file


def filed(text: str) -> tuple[ApiKeyTable | None, list[str]]:
    problems: list[Problem] = []
    spec = ApiKeys(header="x-api-key", keys=Secret("file:keys.toml", text.encode()))
    table = compile_table("partners", spec, problems, [])
    return table, [found.message for found in problems]


def test_a_keys_file() -> None:
    table, faults = filed(
        f"""
        [[keys]]
        name = "acme"
        sha256 = "{digest(K1)}"
        expires = 2027-01-01T01:00:00+01:00
        claims = {{ plan = "pro", scope = "read write" }}

        [[keys]]
        name = "globex"
        sha256 = "{digest(K2).upper()}"
        expires = 2027-01-02

        [[keys]]
        name = "acme"
        sha256 = "{digest(BARE)}"
        """
    )
    assert faults == []
    assert table is not None
    first, second, third = (table.lookup(key.encode()) for key in (K1, K2, BARE))
    claims = {"plan": "pro", "scope": "read write"}
    assert first == Alike(Identity("key", "acme", 1_798_761_600.0, claims))
    assert second == Alike(Identity("key", "globex", 1_798_761_600.0 + 86400, {}))
    assert third == Alike(Identity("key", "acme", claims={}))
    assert table.named("acme") is third
    assert table.named("none") is None


KEY = f'[[keys]]\nname = "a"\nsha256 = "{digest(K1)}"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x", " this is no TOML: "),
        ("", " this is no keys file"),
        ("keys = 1", " this is no keys file"),
        (KEY + "[x]", " this is no keys file"),
        (KEY + KEY, "4: entry 2 is the key of an earlier entry"),
        (KEY + 'key = "hunter2"', "1: entry 1 has 'key', which is no member of a key"),
        ('[[keys]]\nname = "a b"', "1: entry 1 has a name that is not 1-64 of"),
        ('[[keys]]\nname = "a"', "1: entry 1 has no sha256"),
        ('[[keys]]\nname = "a"\nsha256 = "ab"', "1: entry 1 has a sha256 that is not 64 hex digits (expected"),
        (f'[[keys]]\nname = "a"\nsha256 = "{digest("")}"', "1: entry 1 is the digest of no key at all"),
        (KEY + "expires = 2027-01-01T00:00:00", "1: entry 1 expires at a time without offset"),
        (KEY + 'expires = "soon"', "1: entry 1 expires at no date"),
        (KEY + "claims = 1", "1: entry 1 has claims that are no table"),
    ],
)
def test_what_is_wrong_with_a_keys_file(text: str, said: str) -> None:
    table, (fault,) = filed(text)
    assert table is None
    assert fault.startswith(f"keys.toml:{said}")
    assert "hunter2" not in fault
