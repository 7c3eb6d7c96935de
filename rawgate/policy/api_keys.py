"""API keys: a secret in a header field identifies a caller by name.

The table holds SHA-256 digests only. The keys themselves are forgotten at load, so no log, dump or debugger can show
one. The look-up by digest also makes timing useless for guessing: how many octets two digests share says nothing about
their keys. There is no salt and no slow hash, because keys are random strings and not passwords that people chose; a
key that is short enough to guess gets a warning.

The keys are listed in a text: entries are separated by commas or line ends; a line that starts with # is a comment.

    name:KEY            a named key; the same name on several keys is a rotation
    name:sha256:HEX64   a named key, given by its digest
    KEY                 a key without a colon; its name is "key-" and the first 8 hex digits of its digest

A file whose name ends in .toml says more of each key, and never holds the key itself:

    [[keys]]
    name = "acme"
    sha256 = "HEX64"
    expires = 2027-01-01T00:00:00Z        # optional
    claims = { plan = "pro" }             # optional: what routes may ask for, as of a token's claims
"""

import tomllib
from collections.abc import Mapping
from datetime import UTC, date, datetime
from hashlib import sha256
from math import inf
from re import compile as pattern

from rawgate.config.lines import toml_lines
from rawgate.config.model import ApiKeys
from rawgate.errors import Problem
from rawgate.message import Identity

SHORTEST = 16
"""Characters; a shorter key gets a warning. 16 characters of base64 are 96 bits, too many to guess over a network."""

_QUOTES = ("'", '"', "`")

# Visible ASCII without the separators; a colon could only belong to a key that is written after a name.
_key = pattern(r"[!-+\--~]+").fullmatch
_name = pattern(r"[A-Za-z0-9._-]{1,64}").fullmatch
_digest = pattern(r"[0-9A-Fa-f]{64}").fullmatch
_labelled = pattern(r"(?i:sha256):").match
_other_hash = pattern(r"(?i:md5|sha-?[0-9]+|bcrypt|scrypt|argon2\w*|pbkdf2\w*)[:$]|\$[0-9a-z]+\$|\{[A-Z0-9]+\}").match
_assigned = pattern(r"[A-Za-z0-9._-]{1,64}=[^=]+").fullmatch
_joined = pattern(r"[^;]*;[A-Za-z0-9._-]{1,64}:.*").fullmatch


class ApiKeyTable:
    """The keys of one `[api_keys.NAME]`; `header` is the lower-cased name of the field that carries one. It knows no
    time: who looks up a key compares its `until`."""

    __slots__ = ("_names", "header")

    def __init__(self, header: bytes, names: dict[bytes, Identity]) -> None:
        self.header = header
        self._names = names

    def __repr__(self) -> str:
        return f"<{len(self._names)} keys in {self.header.decode()}>"

    @property
    def names(self) -> frozenset[str]:
        """The names of all keys."""
        return frozenset(identity.name for identity in self._names.values())

    @property
    def claims(self) -> list[Mapping[str, object]]:
        """The claims of each key."""
        return [identity.claims for identity in self._names.values()]

    @property
    def terms(self) -> frozenset[tuple[str, bytes, float]]:
        """Name, digest and end of each key."""
        return frozenset((identity.name, digest, identity.until) for digest, identity in self._names.items())

    def named(self, name: str) -> Identity | None:
        """The identity of that name that is good for longest, or None."""
        found = [identity for identity in self._names.values() if identity.name == name]
        return max(found, key=lambda identity: identity.until, default=None)

    def lookup(self, key: bytes) -> Identity | None:
        """The identity of a key (the whole value of the field), or None. An empty value is no key."""
        return self._names.get(sha256(key).digest()) if key else None


_OF_NO_KEY = frozenset(sha256(nothing).digest() for nothing in (b"", b"\n", b"\r\n", b" "))
"""What `printf %s "$KEY" | sha256sum`, or `echo`, makes of a variable that is not set."""


def _entries(text: str) -> list[str]:
    lines = [line.strip() for line in text.split("\n")]
    listed = [entry.strip() for line in lines if not line.startswith("#") for entry in line.split(",")]
    return [entry for entry in listed if entry]


def _read(entry: str) -> tuple[str, bytes] | str:
    """(name, digest), or the fault of the entry as the end of a sentence, which never repeats the entry."""
    name, colon, key = entry.partition(":")
    if not colon:
        key = name
        name = "key-" + sha256(key.encode()).hexdigest()[:8]
    if entry[0] in _QUOTES and entry[0] == entry[-1]:
        return "has quotes around it, which clients would have to send (expected none)"
    if not _name(name):
        return "has a name that is not 1-64 of A-Z a-z 0-9 . _ -"
    if name == "sha256":  # else a digest without a name would be read as a key
        return "has no name before sha256: (expected name:sha256:HEX64)"
    if colon and _labelled(key):
        found = _read_digest(key.partition(":")[2])
        return found if isinstance(found, str) else (name, found)
    if "\\n" in entry:
        return "holds a backslash and an n, where a line end or nothing was meant (expected one key on a line)"
    if " " in key or "\t" in key:
        return "has a key with a blank in it (expected commas or line ends between entries, and nothing else)"
    if not _key(key):
        return "has a key with characters other than visible ASCII"
    if key[0] in _QUOTES and key[0] == key[-1]:
        return "has a key with quotes around it, which clients would have to send (expected none)"
    return name, sha256(key.encode()).digest()


def _read_digest(text: str) -> bytes | str:
    """The digest, or its fault as the end of a sentence."""
    if not _digest(text):
        return "has no 64 hex digits after sha256:"
    return _good_digest(text)


def _good_digest(text: str) -> bytes | str:
    """The digest that 64 hex digits stand for, or its fault as the end of a sentence."""
    digest = bytes.fromhex(text)
    return (
        "is the digest of no key at all (was the variable set whose digest was taken?)"
        if digest in _OF_NO_KEY
        else digest
    )


_MEMBERS = ("name", "sha256", "expires", "claims")


def _read_toml(text: bytes, names: dict[bytes, Identity]) -> list[str]:
    """Read a keys file into `names`. Returns its faults, each LINE: and a sentence that counts the entries from 1; of
    what is no TOML, the parser's own words say where."""
    try:
        document = tomllib.loads(text.decode())
        lines = toml_lines(text.decode())
    except (ValueError, RecursionError) as error:
        return [f" this is no TOML: {error}"]
    entries = document.get("keys")
    if not isinstance(entries, list) or not entries or len(document) > 1:
        return [" this is no keys file (expected [[keys]], once for each key, and nothing else)"]
    faults = []
    for position, entry in enumerate(entries, 1):
        line = lines.get(("keys", position - 1), 1)
        found = _read_table(entry) if isinstance(entry, dict) else "is not a table"
        if isinstance(found, str):
            faults.append(f"{line}: entry {position} {found}")
        elif found[0] in names:
            faults.append(f"{line}: entry {position} is the key of an earlier entry")
        else:
            names[found[0]] = found[1]
    return faults


def _read_table(entry: dict[str, object]) -> tuple[bytes, Identity] | str:
    """(digest, identity), or the fault of the entry as the end of a sentence."""
    unknown = next((member for member in entry if member not in _MEMBERS), None)
    if unknown is not None:
        # Its value may be the key itself.
        return f"has {unknown[:40]!r}, which is no member of a key (expected name, sha256, expires and claims)"
    name, digest, claims = entry.get("name"), entry.get("sha256"), entry.get("claims", {})
    if not isinstance(name, str) or not _name(name):
        return "has a name that is not 1-64 of A-Z a-z 0-9 . _ -"
    if not isinstance(digest, str):
        return "has no sha256 (expected 64 hex digits)"
    if not _digest(digest):
        return "has a sha256 that is not 64 hex digits (expected those alone, without sha256: before them)"
    octets = _good_digest(digest)
    if isinstance(octets, str):
        return octets
    until = _until(entry.get("expires", inf))
    if isinstance(until, str):
        return until
    if not isinstance(claims, dict):
        return "has claims that are no table"
    return octets, Identity("key", name, until, claims)


def _until(expires: object) -> float | str:
    """From when on a key is no longer good, in Unix seconds; or what is wrong with it. A date is the start of that day,
    in UTC."""
    if expires == inf:
        return inf
    if isinstance(expires, datetime):
        # Without offset it would mean another moment on another host.
        return expires.timestamp() if expires.tzinfo is not None else "expires at a time without offset (expected …Z)"
    if isinstance(expires, date):
        return datetime(expires.year, expires.month, expires.day, tzinfo=UTC).timestamp()
    return "expires at no date (expected one such as 2027-01-01 or 2027-01-01T00:00:00Z)"


def _doubt(entry: str) -> str:
    """What is suspicious about an entry that can be read, or ""."""
    name, colon, key = entry.partition(":")
    if _labelled(key):
        return ""
    if _other_hash(key):
        return "looks like a digest, and clients would have to send it as it is (only sha256: stands for a digest)"
    if _joined(key):
        return "has a semicolon in its key, and clients would have to send all of it (entries are separated by commas)"
    if not colon and _assigned(entry):
        return "has no colon, and clients would have to send all of it (did you mean name:KEY?)"
    key = key if colon else name
    if len(key) >= SHORTEST:
        return ""
    return f"has a key of {len(key)} characters, which can be guessed (expected at least {SHORTEST})"


def compile_table(name: str, spec: ApiKeys, problems: list[Problem], warnings: list[Problem]) -> ApiKeyTable | None:
    """The table of `[api_keys.NAME]`, or None. Faults are appended to `problems`; keys that are weak or look like
    something else to `warnings`. Both count the entries from 1."""
    path = ("api_keys", name, "keys")
    names: dict[bytes, Identity] = {}
    faults: list[str] = []
    if spec.keys.source.endswith(".toml"):
        file = spec.keys.source.removeprefix("file:")
        faults += [f"{file}:{fault}" for fault in _read_toml(spec.keys.value, names)]
        problems.extend(Problem(path, fault) for fault in faults)
        return None if faults else ApiKeyTable(spec.header.lower().encode(), names)
    for position, entry in enumerate(_entries(spec.keys.value.decode(errors="replace")), 1):
        found = _read(entry)
        if isinstance(found, str):
            faults.append(f"entry {position} {found}")
        elif found[1] in names:
            faults.append(f"entry {position} is the key of an earlier entry")
        else:
            names[found[1]] = Identity("key", found[0])
            if doubt := _doubt(entry):
                warnings.append(Problem(path, f"entry {position} {doubt}"))
    if not names and not faults:
        faults.append("no key is listed (expected name:KEY, name:sha256:HEX64 or KEY)")
    problems.extend(Problem(path, fault) for fault in faults)
    return None if faults else ApiKeyTable(spec.header.lower().encode(), names)
