"""JSON Web Tokens. One verifier has one key set and one set of expected claims (RFC 7519, 7515, 8725).

    token ─▶ remembered? ─▶ three parts ─▶ header ─▶ signature ─▶ claims ─▶ valid now? ─▶ Identity
               yes: valid now? ─▶ Identity                        any step that fails ─▶ Reason

Rules that it keeps
- A key has one algorithm, and the token has no say in it; its header must only agree (RFC 8725 section 3.1). A token
  with another `alg`, also "none", has a signature that this verifier cannot accept: AUTH_BAD_SIGNATURE.
- The signature is checked before the claims, so a caller who cannot sign learns nothing about the expected claims.
- A token cannot make the gateway fetch or trust anything: `jku`, `x5u`, `jwk`, `typ` and `zip` are ignored, and `kid`
  is only compared.
- A forged token costs little more than a signature check, because no limit comes before this step. Of a header, which
  is not verified yet, only the values that are used are converted, and a header longer than HEADER is not read at all.
- A token has one spelling. Another text that decodes to the same octets is refused, or clients could get around the
  memory below and around deny-lists behind the gateway. (ECDSA alone gives two: see `algorithms`.)
- A refusal is a returned Reason. Exceptions of the JSON and signature libraries are caught where they are raised; no
  input of any size or depth makes `verify` raise.

Which key. Keys from `secret` and `public_key` have no names. A list of them is a rotation: they are tried in order, and
`kid` is ignored (issuers always send one, but there is nothing to compare it with). The same holds for a JWKS that
names none of its keys. In a JWKS with names the `kid` selects: an unknown one selects no key, and a token without one
is accepted only if the set holds a single key of its algorithm. Several keys with the same name are tried in order.

The memory. The signature check costs more than all other steps, and clients send a token many times. So a verified
token that comes again is remembered: whole token → identity, with the time until when it is valid, and the time since
when. Both are checked at each request, so a remembered token expires at its `exp`, whether or not it is still
remembered. The memory belongs to the key set: new keys come with an empty one.

This module is long, and one piece on purpose: it is all that stands between an unverified token and an identity, and
whoever audits that should find it in one place, in the order in which a token meets it.
"""

import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from math import inf, isnan, nan
from typing import Final
from unicodedata import category

from msgspec import Raw
from msgspec.json import Decoder
from mypy_extensions import i64

from rawgate.config.model import Jwt
from rawgate.errors import (
    AUTH_BAD_CLAIM,
    AUTH_BAD_SIGNATURE,
    AUTH_EXPIRED,
    AUTH_MALFORMED,
    AUTH_NOT_YET_VALID,
    AUTH_UNKNOWN_KEY,
    AUTH_WRONG_AUDIENCE,
    AUTH_WRONG_ISSUER,
    Reason,
)
from rawgate.message import NO_CLAIMS, Identity

Check = Callable[[bytes, bytes], bool]
"""(signing input, signature octets) → is it this key's signature."""

MEMORY = 16 * 1024 * 1024
"""Octets for the remembered tokens of one key set: about 20,000 tokens of 300 octets. Envoy's JWT cache has 100 tokens
by default, which is less than the clients of one busy gateway."""

TOKEN_MEMORABLE: Final = 8 * 1024
"""Octets. Longer tokens are verified but not remembered, so that a few of them cannot displace many others."""

ENTRY_OVERHEAD: Final = 448
"""Octets that an entry takes at most besides token and names, for its places in dict and queue and for its objects
(tracemalloc, after 20,000 to 60,000 tokens have come and gone)."""

VALUE: Final = 112
"""Octets that a value among the kept claims takes at most besides its text, with its place where it is held."""

OBJECT: Final = 192
"""Octets that an object among the kept claims takes at most besides its members."""

HEADER = 4096
"""Octets of the JSON of a header. Most have 30 to 100; some issuers add a chain of certificates (`x5c`)."""

SEEN: Final[i64] = 65_536
"""Tokens of which it is known that they came once, at most; an octet each. Among 20,000 new tokens a second, one that
comes again after a second is known four times in ten, after six seconds two times in ten."""

PLAIN: Final = 1024
"""Octets of claims that are decoded at once, whatever they are. Most tokens have 100 to 500."""

OBJECTS: Final = 256
"""Opening braces in a header or in claims. The search for duplicate members takes time for each object: six thousand
empty ones take as long as ten requests. Tokens with an object for each role or permission stay well below."""

HEADERS = 64
"""Header parts that are remembered. The tokens of an issuer share a few headers, one for each key."""

SUBJECT: Final = 255
"""Octets of a `sub` in UTF-8. OpenID Connect Core section 2 allows 255 characters of ASCII."""

DATE: Final = 2**53
"""Seconds; a date beyond is refused. Up to here a JSON number is exact as an IEEE double (RFC 8259 section 6)."""


class Reading:
    """The contents of a token, whether or not it is valid. Nothing of it may be trusted.

    header, claims  their members, of the claims at least those that `verify` reads; None if they are no JSON object in
                    base64url
    candidates      number of keys that the header may mean
    signer          position, in the order of the configuration, of the key that made the signature; None: no candidate
                    did
    """

    __slots__ = ("candidates", "claims", "header", "signer")

    def __init__(
        self, header: dict[str, object] | None, claims: dict[str, object] | None, candidates: int, signer: int | None
    ) -> None:
        self.header: Final = header
        self.claims: Final = claims
        self.candidates: Final = candidates
        self.signer: Final = signer


class TokenMemory:
    """Whole verified token → Identity, at most `capacity` octets. The oldest entry is forgotten first.

    The order is that of insertion, not of use, so a look-up changes nothing and costs one hash; a token in steady use
    that is forgotten is verified once more. The order is kept in a queue of its own, because a dict whose first entry
    is removed again and again searches an ever longer run of holes, and an OrderedDict takes half as long again.

    A token is remembered when it comes again. So a flood of tokens that come once each neither takes memory nor makes
    the gateway forget those in use. What has come once is a mark of eight bits in a place among `SEEN`, which another
    token may take; one new token in 255 finds its mark there by chance. Alone, a token is verified twice before it is
    remembered. Among 20,000 in use, about as many as have room, it is 2.4 times on average, and more than eight times
    for one in a hundred; among 200,000, four to eleven times on average.
    """

    __slots__ = ("_coin", "_identities", "_order", "_seen", "capacity", "octets", "recall")

    def __init__(self, capacity: int) -> None:
        self._identities: dict[bytes, Identity] = {}
        self._order: deque[bytes] = deque()
        self._seen = bytearray(SEEN)
        self._coin: i64 = 0
        self.capacity = capacity
        self.octets = 0
        self.recall: Callable[[bytes], Identity | None] = self._identities.get

    def __len__(self) -> int:
        return len(self._identities)

    def __repr__(self) -> str:
        return f"<{len(self)} tokens, {self.octets} of {self.capacity} octets>"

    def keep(self, token: bytes, identity: Identity) -> None:
        """Remember a token that is not remembered yet, unless it comes for the first time."""
        if len(token) > TOKEN_MEMORABLE or not self._comes_again(token):
            return
        self._identities[token] = identity
        self._order.append(token)
        self.octets += self._cost(token, identity)
        while self.octets > self.capacity:
            oldest = self._order.popleft()
            self.octets -= self._cost(oldest, self._identities.pop(oldest))

    def _comes_again(self, token: bytes) -> bool:
        """Whether the token has come before, as far as is known."""
        known: i64 = hash(token)
        place: i64 = known % SEEN
        mark: i64 = (known >> 32) % 255 + 1
        there: i64 = self._seen[place]
        if there == mark:
            return True
        # Half of the time a mark that is there (0: none) stays. Else two tokens of one place that take turns would hide
        # each other for ever. The upper half of a linear congruential generator is random enough for that.
        self._coin = (self._coin * 25_173 + 13_849) % 65_536
        if there == 0 or self._coin >= 32_768:
            self._seen[place] = mark
        return False

    @staticmethod
    def _cost(token: bytes, identity: Identity) -> int:
        # A str may take four octets a character, and the bucket has the name, too.
        octets = len(token) + 8 * len(identity.name) + ENTRY_OVERHEAD
        return octets + _octets_at_most(identity.claims) if identity.claims else octets


def _octets_at_most(claims: Mapping[str, object]) -> int:
    """Octets that kept claims take at most: up to twenty times as many as their text, since an empty list, two octets
    of JSON, takes more than 64. The same at each call, unlike `sys.getsizeof`: a text may get its UTF-8 later."""
    octets = 0
    left: list[object] = [claims]
    while left:
        value = left.pop()
        octets += VALUE
        if isinstance(value, str):
            octets += len(value) if value.isascii() else 8 * len(value)
        elif isinstance(value, list):
            left.extend(value)
        elif isinstance(value, dict):
            octets += OBJECT
            left.extend(value)
            left.extend(value.values())
        elif isinstance(value, int):
            octets += value.bit_length() // 7
    return octets


# Base64url (RFC 4648 section 5), without padding (RFC 7515 section 2). A table turns its alphabet into the standard one
# and every other octet into NUL.

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_STANDARD = _ALPHABET.replace(b"-_", b"+/")
_TO_STANDARD: Final = bytes(dict(zip(_ALPHABET, _STANDARD, strict=True)).get(octet, 0) for octet in range(256))
_NUL: Final = 0
# By length modulo 4: the characters that may come last, which are those whose unused low bits are zero (RFC 4648
# section 3.5), and what the decoder needs behind the text: padding, and the end of a JSON string. msgspec decodes one
# in three quarters of the time that `binascii` takes. No text has a length of 1 modulo 4.
_LAST: Final = tuple(
    bytes(octet in last for octet in range(256)) for last in (_STANDARD, b"", _STANDARD[::16], _STANDARD[::4])
)
_END: Final = (b'"', b"", b'=="', b'="')
_decode_octets: Final[Callable[[bytes], bytes]] = Decoder(bytes).decode


def _octets(text: bytes) -> bytes | None:
    """Decode a part of a token. None if it is empty, holds another character or is not the one spelling of its
    octets."""
    standard = text.translate(_TO_STANDARD)
    rest = len(standard) & 3
    if not standard or not _LAST[rest][standard[-1]] or _NUL in standard:
        return None
    return _decode_octets(b'"%b%b' % (standard, _END[rest]))


# JSON (RFC 8259), strict where RFCs allow a choice: UTF-8 only (RFC 8725 section 3.7), no duplicate members (RFC 7515
# section 4, RFC 7519 section 4), no NaN or Infinity.


def _unique(members: list[tuple[str, object]]) -> dict[str, object]:
    table = dict(members)
    if len(table) != len(members):
        raise ValueError("duplicate member")
    return table


# The hook: msgspec itself takes 12 µs for a number such as 1e308, Python 0.1.
_decode: Final[Callable[[bytes], object]] = Decoder(float_hook=float).decode
_split_object: Callable[[bytes], dict[str, Raw]] = Decoder(dict[str, Raw]).decode
_decode_text: Callable[[Raw], str] = Decoder(str).decode
# Numbers stay text: converting a thousand of them would take longer than ten requests.
_look_for_duplicates = json.JSONDecoder(object_pairs_hook=_unique, parse_float=str, parse_int=str).decode


def _json_object(text: bytes | None) -> dict[str, object] | None:
    """The members of a JSON object; None for all other text, however long or deep.

    msgspec reads four times as fast as the standard library, but silently keeps the last of two members with one name.
    An object of n members has n - 1 commas and one brace. More of them come from lists, objects or strings inside, or
    from a duplicate; only then does the standard library read the text again, which finds duplicates.
    """
    if text is None:
        return None
    try:
        value = _decode(text)
        if type(value) is not dict:
            return None
        if _may_repeat(text, len(value)):
            _look_for_duplicates(text.decode())
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors too
        return None
    return value


def _may_repeat(text: bytes, members: int) -> bool:
    """Whether a JSON object that gave this many members may have held duplicates."""
    return text.count(b",") + text.count(b"{") != members


def _members(text: bytes) -> dict[str, Raw] | None:
    """The members of a JSON object with their values unconverted. None for all other text, and for more than OBJECTS
    objects."""
    if text.count(b"{") > OBJECTS:
        return None
    try:
        members = _split_object(text)
        # msgspec checks only converted values for UTF-8.
        if not text.isascii() or (_may_repeat(text, len(members)) and not _is_flat_and_whole(text, members)):
            _look_for_duplicates(text.decode())
    except (ValueError, RecursionError):
        return None
    return members


def _is_flat_and_whole(text: bytes, members: dict[str, Raw]) -> bool:
    """Whether these members, written without blanks, make up the whole text, and no value is an object."""
    size = sum(map(len, members)) + sum(map(len, members.values()))
    # Each member has two quotes, a colon, and a comma or a brace behind it; one brace stands before all.
    return text.count(b"{") == 1 and size + 4 * len(members) + 1 == len(text)


_USED: Final = ("sub", "iss", "aud", "exp", "nbf", "iat")


def _plain_claims(text: bytes) -> dict[str, object] | None:
    """All members of a payload that is short and has no object inside, as most are. None: it is not of that form, has a
    fault or might have one, so it must be read with care.

    Decoding it at once takes half as long. As in `_json_object`, commas tell of a duplicate member: n members have
    n - 1, and a list of n values has n - 1.
    """
    if len(text) > PLAIN or text.rfind(b"{") != 0:
        return None
    try:
        claims = _decode(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(claims, dict):
        return None
    commas = len(claims) - 1
    for value in claims.values():
        if isinstance(value, list) and value:
            commas += len(value) - 1
    return claims if text.count(b",") == commas else None


def _claims(text: bytes | None, used: tuple[str, ...] = _USED) -> dict[str, object] | None:
    """The members of a payload that are used, and maybe others. NaN, which no claim may be, stands for a value that
    cannot be converted: a number beyond all bounds."""
    if text is None:
        return None
    plain = _plain_claims(text)
    if plain is not None:
        return plain
    members = _members(text)
    if members is None:
        return None
    try:
        return {name: _decode(members[name]) for name in used if name in members}
    except (ValueError, RecursionError):
        return {name: _converted(members[name]) for name in used if name in members}


def _converted(value: Raw) -> object:
    try:
        return _decode(value)
    except (ValueError, RecursionError):
        return nan


def _text(value: Raw | None) -> str | None:
    """A JSON string; None for all other values."""
    if value is None:
        return None
    try:
        return _decode_text(value)
    except ValueError:
        return None


def _date(value: object) -> float:
    """A NumericDate as Unix seconds; NaN for all other values, among them bools, strings and numbers beyond DATE."""
    if isinstance(value, int):
        if not isinstance(value, bool) and -DATE <= value <= DATE:
            return float(value)
    elif isinstance(value, float) and -DATE <= value <= DATE:
        return value
    return nan


_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
"""General categories (Unicode section 4.5) of invisible characters and of those that change how others look: control
and format characters, surrogates, separators of lines and paragraphs."""


def _hides(sub: str) -> bool:
    return any(category(character) in _HIDDEN for character in sub)


def _is_fit(sub: str) -> bool:
    """Whether a subject may stand in a header field and in a log: 1 to 255 octets, no control or format character, no
    blank at either end."""
    return (
        0 < len(sub) <= SUBJECT
        and (sub.isprintable() or not _hides(sub))  # the first test is quick and decides nearly all
        and not sub[0].isspace()
        and not sub[-1].isspace()
        and (sub.isascii() or len(sub.encode()) <= SUBJECT)
    )


def _unfit(sub: str) -> str:
    """The fault of a subject that is not fit."""
    if not sub:
        return "sub is empty"
    if _hides(sub):
        return "sub holds a control or format character"
    if sub[0].isspace() or sub[-1].isspace():
        return "sub begins or ends with a blank"
    return f"sub has more than {SUBJECT} octets"


def subject_of(claims: Mapping[str, object]) -> str | Reason:
    """The `sub` of verified claims, "" if there is none; or the reason that refuses it."""
    if "sub" not in claims:
        return ""
    sub = claims["sub"]
    if not isinstance(sub, str):
        return AUTH_BAD_CLAIM.because("sub is not text")
    return sub if _is_fit(sub) else AUTH_BAD_CLAIM.because(_unfit(sub))


def _is_audiences(aud: object) -> bool:
    """Whether an `aud` is text or a list of texts (RFC 7519 section 4.1.3)."""
    return isinstance(aud, str) or (isinstance(aud, list) and all(isinstance(audience, str) for audience in aud))


class KeySet:
    """The keys of a verifier, and what is remembered of the tokens that they signed.

    algorithms  those that a token may name
    keys        (kid or None, algorithm, check) for each, in the order to try; every algorithm is among `algorithms`
    known       header parts of tokens with a good signature → the keys that they select
    """

    __slots__ = ("_all", "_fitting", "_named", "algorithms", "known", "memory")

    def __init__(self, algorithms: Sequence[str], keys: Sequence[tuple[str | None, str, Check]]) -> None:
        self.algorithms: Final = tuple(algorithms)
        self._all = tuple(check for _, _, check in keys)
        self._fitting: dict[str, tuple[Check, ...]] = {}
        self._named: dict[str, dict[str, tuple[Check, ...]]] = {}
        for name, algorithm, check in keys:
            self._fitting[algorithm] = (*self._fitting.get(algorithm, ()), check)
            if name is not None:
                fitting = self._named.setdefault(name, {})
                fitting[algorithm] = (*fitting.get(algorithm, ()), check)
        self.known: Final[dict[bytes, tuple[Check, ...]]] = {}
        self.memory: Final = TokenMemory(MEMORY)

    @property
    def names(self) -> list[str]:
        """The names of its keys, in order."""
        return [*self._named]

    def count(self, algorithm: str) -> int:
        """How many of its keys have this algorithm."""
        return len(self._fitting.get(algorithm, ()))

    def position(self, check: Check) -> int:
        """The place of a key among all of them."""
        return self._all.index(check)

    def select(self, part: bytes) -> tuple[Check, ...] | Reason:
        """The keys with which a token with this header may be signed."""
        octets = _octets(part)
        if octets is None or len(octets) > HEADER:
            return AUTH_MALFORMED
        header = _members(octets)
        if header is None:
            return AUTH_MALFORMED
        algorithm = _text(header.get("alg"))
        if algorithm is None:  # it is required (RFC 7515 section 4.1.1)
            return AUTH_MALFORMED
        # No extension is understood, so any `crit` is refused, the empty one too (RFC 7515 section 4.1.11), and so is
        # a `b64` that changes what was signed (RFC 7797 section 7: never in a JWT).
        if "crit" in header or ("b64" in header and bytes(header["b64"]) != b"true"):
            return AUTH_MALFORMED
        if algorithm not in self.algorithms:  # case-sensitive
            return AUTH_BAD_SIGNATURE
        return self._select_by_name(header, algorithm)

    def _select_by_name(self, header: dict[str, Raw], algorithm: str) -> tuple[Check, ...] | Reason:
        fitting = self._fitting.get(algorithm, ())
        if "kid" not in header:
            return fitting if len(fitting) == 1 or (fitting and not self._named) else AUTH_UNKNOWN_KEY
        name = _text(header["kid"])
        if name is None:  # RFC 7515 section 4.1.4
            return AUTH_MALFORMED
        if not self._named:
            return fitting or AUTH_UNKNOWN_KEY
        known = self._named.get(name)
        # A key has one algorithm, whatever a token says of it (RFC 8725 section 3.1).
        return AUTH_UNKNOWN_KEY if known is None else known.get(algorithm, AUTH_BAD_SIGNATURE)

    def remember_header(self, part: bytes, checks: tuple[Check, ...]) -> None:
        """Remember the header of a token with a good signature. So only the holder of a key can fill this memory."""
        if len(self.known) == HEADERS:
            self.known.clear()
        self.known[part] = checks


class JwtVerifier:
    """Verifies the tokens of one `[jwt.NAME]`, by the keys of a set that `replace` may change. `kept`:
    names of the claims that identities have."""

    __slots__ = (
        "_any_audience",
        "_audiences",
        "_issuers",
        "_kept",
        "_leeway",
        "_recall",
        "_require_exp",
        "_used",
        "keys",
    )

    def __init__(self, spec: Jwt, keys: KeySet, kept: tuple[str, ...] = ()) -> None:
        self._kept = kept
        self._used = (*_USED, *(name for name in kept if name not in _USED))
        self._issuers = spec.issuer
        self._audiences = frozenset(spec.audience)
        self._any_audience = "*" in spec.audience
        self._leeway = spec.leeway
        self._require_exp = spec.require_exp
        self.keys = keys
        self._recall = keys.memory.recall

    def replace(self, keys: KeySet) -> None:
        """Verify by these keys from now on. Nothing is remembered of the tokens that others signed."""
        self.keys = keys
        self._recall = keys.memory.recall

    def verify(self, token: bytes, wall: float) -> Identity | Reason:
        """The identity that the token proves at `wall` (Unix seconds), or the reason of the refusal.

        The identity of a token without `sub` has an empty name. Never raises.
        """
        identity = self._recall(token)
        if identity is None:
            found = self._examine(token)
            if not isinstance(found, Identity):
                return found
            identity = found
            # An expired token still has a good signature, so expired tokens could fill the memory.
            if found.since <= wall < found.until:
                self.keys.memory.keep(token, found)
        if identity.since <= wall < identity.until:
            return identity
        return AUTH_EXPIRED if wall >= identity.until else AUTH_NOT_YET_VALID

    def read(self, token: bytes) -> Reading:
        """The contents of a token and the key that signed it, whether or not `verify` accepts it. For people, never for
        decisions."""
        parts = token.split(b".", 3)
        header, payload, signature = (_octets(part) for part in (*parts, b"", b"", b"")[:3])
        selected = self.keys.select(parts[0])
        candidates = () if isinstance(selected, Reason) else selected
        signed = token.rpartition(b".")[0]
        signer = next((check for check in candidates if check(signed, signature or b"")), None)
        return Reading(
            _json_object(header),
            _claims(payload),
            len(candidates),
            None if signer is None else self.keys.position(signer),
        )

    def _examine(self, token: bytes) -> Identity | Reason:
        """Verify all of a token that does not depend on the time (RFC 7519 section 7.2)."""
        # Three parts in base64url with dots between them (RFC 7515 section 7.1). With one dot more, the second part has
        # it and is no base64url; with one less, that part is empty.
        signed, _, signature = token.rpartition(b".")
        header, _, middle = signed.partition(b".")
        payload = _octets(middle)
        if payload is None:
            return AUTH_MALFORMED
        keys = self.keys
        known = keys.known.get(header)
        checks = keys.select(header) if known is None else known
        if not isinstance(checks, tuple):
            return checks
        octets = _octets(signature)
        if octets is None:
            return AUTH_MALFORMED
        for check in checks:
            if check(signed, octets):
                if known is None:
                    keys.remember_header(header, checks)
                return self._admit(payload)
        return AUTH_BAD_SIGNATURE

    def _admit(self, payload: bytes) -> Identity | Reason:
        """Verify the claims of a token with a good signature (RFC 7519 section 4.1)."""
        claims = _claims(payload, self._used)
        if claims is None:
            return AUTH_MALFORMED
        subject = subject_of(claims)
        if not isinstance(subject, str):
            return subject
        if self._issuers and claims.get("iss") not in self._issuers:
            is_other = isinstance(claims.get("iss", ""), str)
            return AUTH_WRONG_ISSUER if is_other else AUTH_BAD_CLAIM.because("iss is not text")
        if "aud" in claims and not _is_audiences(claims["aud"]):
            return AUTH_BAD_CLAIM.because("aud is neither text nor a list of texts")
        if not self._is_audience(claims):
            return AUTH_WRONG_AUDIENCE
        return self._within(claims, subject)

    def _is_audience(self, claims: dict[str, object]) -> bool:
        """Whether the token is for us. A verifier that is not in `aud` must refuse the token (section 4.1.3)."""
        if "aud" not in claims:
            return self._any_audience or not self._audiences
        aud = claims["aud"]
        if isinstance(aud, str):
            return aud != "" if self._any_audience else aud in self._audiences
        return isinstance(aud, list) and (any(aud) if self._any_audience else not self._audiences.isdisjoint(aud))

    def _within(self, claims: dict[str, object], subject: str) -> Identity | Reason:
        """The time from `exp` and `nbf` (sections 4.1.4 to 4.1.6). null is not the same as absent: it is a value that
        is no date."""
        since, until = -inf, inf
        if "exp" in claims:
            exp = _date(claims["exp"])
            if exp <= 0:
                return AUTH_EXPIRED  # whatever the leeway
            until = exp + self._leeway
        elif self._require_exp:
            return AUTH_MALFORMED.because("exp is missing")
        if "nbf" in claims:
            since = _date(claims["nbf"]) - self._leeway
        if isnan(until) or isnan(since) or ("iat" in claims and isnan(_date(claims["iat"]))):
            unfit = "exp" if isnan(until) else "nbf" if isnan(since) else "iat"
            return AUTH_BAD_CLAIM.because(f"{unfit} is not a number of seconds")
        kept = {name: claims[name] for name in self._kept if name in claims and claims[name] == claims[name]}
        return Identity("sub", subject, until, kept or NO_CLAIMS, since=since)
