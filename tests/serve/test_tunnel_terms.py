"""Which tunnels go on at a reload: those that the new configuration would let in as well."""

import json
from base64 import urlsafe_b64encode
from hashlib import sha256
from pathlib import Path

import pytest

from harness import configs
from rawgate.serve.load import load_gate
from rawgate.serve.tunnel_terms import TunnelTerms, tunnel_terms

OLD, NEW = ("0123456789abcdef" * 2, "fedcba9876543210" * 2)
ENVIRON = {"OLD": OLD, "NEW": NEW, "JWT_SECRET": OLD}
KEY, OTHER = (sha256(text.encode()).hexdigest() for text in ("a key", "another key"))
RSA = {
    "kty": "RSA",
    "e": "AQAB",
    "n": urlsafe_b64encode((1 << 2047 | 1).to_bytes(256, "big")).decode()[:-2],
    "kid": "a",
}


def keys(*digests: str, name: str = "acme", expires: str = "2999-01-01") -> str:
    entries = [f'[[keys]]\nname = "{name}"\nsha256 = "{digest}"\nexpires = {expires}\n' for digest in digests]
    return "".join(entries)


BASE = (
    configs.gateway()
    + configs.jwt('issuer = ["https://a.test", "https://b.test"]', 'audience = "x"')
    + '[jwt.rsa]\nalgorithm = "RS256"\njwks = "file:set.json"\n'
    + '[api_keys.partners]\nheader = "x-key"\nkeys = "file:keys.toml"\n'
    + configs.upstream("one", "http://127.0.0.1:1")
    + configs.upstream("two", "http://127.0.0.1:2")
    + configs.route("/chat", "one", 'host = "h.test"', auth="jwt.main")
    + configs.route("/feed", "one", auth="api_keys.partners")
    + configs.route("/rsa", "one", auth="jwt.rsa")
)


def terms(
    folder: Path,
    text: str = BASE,
    listed: str = keys(KEY, OTHER),
    published: tuple[dict[str, str], ...] = (RSA, {**RSA, "kid": "b"}),
) -> TunnelTerms:
    (folder / "keys.toml").write_text(listed)
    (folder / "set.json").write_text(json.dumps({"keys": published}))
    path = folder / "rawgate.toml"
    path.write_text(text)
    return tunnel_terms(load_gate(path, ENVIRON, new_id=lambda: "0" * 32, date=lambda: b""))


def still_in(before: TunnelTerms, after: TunnelTerms) -> list[str]:
    """The routes whose tunnels go on."""
    clients = {"h.test/chat": "alice", "/feed": "acme", "/rsa": "alice"}
    return [route for route, client in clients.items() if before.hold_in(after, route, client)]


CHAT, FEED, RSA_ROUTE = ALL = ["h.test/chat", "/feed", "/rsa"]


@pytest.mark.parametrize(
    ("old", "new", "stay"),
    [
        ("", "", ALL),
        ('prefix = "/chat"', 'prefix = "/talk"', [FEED, RSA_ROUTE]),
        ('host = "h.test"', 'name = "h.test/chat"\nhost = "i.test"', [FEED, RSA_ROUTE]),
        ('host = "h.test"', 'host = "h.test"\nmethods = ["GET"]', [FEED, RSA_ROUTE]),
        ('host = "h.test"', 'host = "h.test"\nmatch = { scheme = "https" }', [FEED, RSA_ROUTE]),
        ('host = "h.test"', 'host = "h.test"\nupgrade = []', [FEED, RSA_ROUTE]),
        ('host = "h.test"', 'host = "h.test"\nrequire = { role = "admin" }', [FEED, RSA_ROUTE]),
        ('host = "h.test"', 'host = "h.test"\nallow = ["10.0.0.0/8"]', [FEED, RSA_ROUTE]),
        ('host = "h.test"', 'host = "h.test"\ndeny = ["10.0.0.0/8"]', [FEED, RSA_ROUTE]),
        ('upstream = "one"\nauth = "jwt.main"', 'upstream = "two"\nauth = "jwt.main"', [FEED, RSA_ROUTE]),
        ('upstream = "one"\nauth = "jwt.main"', 'upstream = "one"\nauth = "none"', [FEED, RSA_ROUTE]),
        ('upstream = "one"\nauth = "jwt.main"', 'respond = {}\nauth = "jwt.main"', [FEED, RSA_ROUTE]),
        # What lets nobody else in, and what is added.
        ('host = "h.test"', 'host = "h.test"\nname = "chat"', ALL),
        ('host = "h.test"', 'host = "h.test"\nrate_limit = { max = 1, window = "1m" }', ALL),
        ('host = "h.test"', 'host = "h.test"\nrewrite = "/v2"\nresponse_timeout = "1s"', ALL),
        ('"http://127.0.0.1:1"', '"http://127.0.0.1:3"', ALL),
        ('"env:JWT_SECRET"', '["env:JWT_SECRET", "env:NEW"]', ALL),
        ('"env:JWT_SECRET"', '"env:NEW"', [FEED, RSA_ROUTE]),
        ('"https://b.test"]', '"https://b.test", "https://c.test"]', ALL),
        (', "https://b.test"]', "]", [FEED, RSA_ROUTE]),
        ('audience = "x"', 'audience = "y"', [FEED, RSA_ROUTE]),
    ],
)
def test_what_ends_a_tunnel_is_that_it_would_not_be_let_in(tmp_path: Path, old: str, new: str, stay: list[str]) -> None:
    assert old in BASE
    before = terms(tmp_path)
    assert still_in(before, terms(tmp_path, BASE.replace(old, new, 1) if old else BASE)) == stay


@pytest.mark.parametrize(
    ("listed", "stay"),
    [
        (keys(OTHER, KEY), ALL),
        (keys(KEY, OTHER) + keys("ab" * 32, name="new"), ALL),
        (keys(KEY, OTHER, "ab" * 32), ALL),
        (keys(KEY), [CHAT, RSA_ROUTE]),
        (keys(KEY, OTHER, name="other"), [CHAT, RSA_ROUTE]),
        (keys(KEY, OTHER, expires="2998-01-01"), [CHAT, RSA_ROUTE]),
    ],
)
def test_a_key_that_is_taken_out_ends_the_tunnels_of_its_client(tmp_path: Path, listed: str, stay: list[str]) -> None:
    before = terms(tmp_path)
    assert still_in(before, terms(tmp_path, listed=listed)) == stay


def test_a_published_key_that_is_taken_out_ends_tunnels(tmp_path: Path) -> None:
    before = terms(tmp_path)
    more = terms(tmp_path, published=(RSA, {**RSA, "kid": "b"}, {**RSA, "kid": "c"}))
    assert (still_in(before, more), still_in(more, before)) == (ALL, [CHAT, FEED])
