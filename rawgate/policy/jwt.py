"""JSON Web Tokens. One verifier has one key set, one algorithm and one set of expected claims (RFC 7519, 7515, 8725).

    token ─▶ remembered? ─▶ three parts ─▶ header ─▶ signature ─▶ claims ─▶ valid now? ─▶ Identity
               yes: valid now? ─▶ Identity                        any step that fails ─▶ Reason

Rules that it keeps
- The verifier determines the algorithm, not the token; the header must only agree (RFC 8725 section 3.1). A token with
  another `alg`, also "none", has a signature that this verifier cannot accept: AUTH_BAD_SIGNATURE.
- The signature is checked before the claims, so a caller who cannot sign learns nothing about the expected claims.
- A token cannot make the gateway fetch or trust anything: `jku`, `x5u`, `jwk`, `typ` and `zip` are ignored, and `kid`
  is only compared.
- A forged token costs little more than a signature check, because no limit comes before this step. Of a header, which
  is not verified yet, only the values that are used are converted, and a header longer than HEADER is not read at all.
- A token has one spelling. Another text that decodes to the same octets is refused, or clients could get around the
  memory below and around deny-lists behind the gateway.
- A refusal is a returned Reason. Exceptions of the JSON and signature libraries are caught where they are raised; no
  input of any size or depth makes `verify` raise.

Which key. Keys from `secret` and `public_key` have no names. A list of them is a rotation: they are tried in order, and
`kid` is ignored (issuers always send one, but there is nothing to compare it with). The same holds for a JWKS that
names none of its keys. In a JWKS with names the `kid` selects: an unknown one selects no key, and a token without one
is accepted only if the set holds a single key. Several keys with the same name are tried in order.

The memory. The signature check costs more than all other steps, and clients send a token many times, so verified tokens
are remembered: whole token → identity, with the time until when it is valid, and the time since when. Both are checked
at each request, so a remembered token expires at its `exp`, whether or not it is still remembered. The memory belongs
to the verifier: new keys come with a new verifier and an empty memory.

This module is long, and one piece on purpose: it is all that stands between an unverified token and an identity, and
whoever audits that should find it in one place, in the order in which a token meets it.
"""

import json
from binascii import a2b_base64, unhexlify
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from hmac import compare_digest
from math import inf, isnan, nan
from re import DOTALL
from re import compile as pattern
from typing import Final
from unicodedata import category

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from msgspec import Raw
from msgspec.json import Decoder

from rawgate.config.model import Jwt, Secret
from rawgate.errors import (
    AUTH_BAD_CLAIM,
    AUTH_BAD_SIGNATURE,
    AUTH_EXPIRED,
    AUTH_MALFORMED,
    AUTH_NOT_YET_VALID,
    AUTH_UNKNOWN_KEY,
    AUTH_WRONG_AUDIENCE,
    AUTH_WRONG_ISSUER,
    Key,
    Problem,
    Reason,
)
from rawgate.message import Identity

Check = Callable[[bytes, bytes], bool]
"""(signing input, signature octets) → is it this key's signature."""

MEMORY = 16 * 1024 * 1024
"""Octets for the remembered tokens of one verifier: about 24,000 tokens of 300 octets. Envoy's JWT cache has 100 tokens
by default, which is less than the clients of one busy gateway."""

TOKEN_MEMORABLE = 8 * 1024
"""Octets. Longer tokens are verified but not remembered, so that a few of them cannot displace many others."""

ENTRY_OVERHEAD = 352
"""Octets that an entry takes at most besides token and name, for its places in dict and queue and for its objects
(tracemalloc, after 20,000 to 60,000 tokens have come and gone)."""

HEADER = 4096
"""Octets of the JSON of a header. Most have 30 to 100; some issuers add a chain of certificates (`x5c`)."""

OBJECTS = 256
"""Opening braces in a header or in claims. The search for duplicate members takes time for each object: six thousand
empty ones take as long as ten requests. Tokens with an object for each role or permission stay well below."""

HEADERS = 64
"""Header parts that are remembered. The tokens of an issuer share a few headers, one for each key."""

SUBJECT = 255
"""Octets of a `sub` in UTF-8. OpenID Connect Core section 2 allows 255 characters of ASCII."""

DATE = 2**53
"""Seconds; a date beyond is refused. Up to here a JSON number is exact as an IEEE double (RFC 8259 section 6)."""

SECRET = 32
"""Octets that an HS256 secret must have at least: as many as the output of the hash (RFC 7518 section 3.2)."""

MODULUS = 2048
"""Bits that an RS256 key must have at least (RFC 7518 section 3.3)."""

LARGEST_MODULUS, LARGE_MODULUS, LARGE_EXPONENT = 16384, 3072, 64
"""Bits beyond which OpenSSL verifies nothing: of a modulus, and of the exponent beside a modulus that is large."""


class Admission:
    """A verified token: it is valid for `identity` while `since` <= now < `identity.until` (Unix seconds, leeway
    included)."""

    __slots__ = ("identity", "since")

    def __init__(self, identity: Identity, since: float) -> None:
        self.identity: Final = identity
        self.since: Final = since


class Reading:
    """The contents of a token, whether or not it is valid. Nothing of it may be trusted.

    header, claims  their members, of the claims those that `verify` reads; None if they are no JSON object in base64url
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
    """Whole token → Admission, at most `capacity` octets. The oldest entry is forgotten first.

    The order is that of insertion, not of use, so a look-up changes nothing and costs one hash; a token in steady use
    that is forgotten is verified once more. The order is kept in a queue of its own, because a dict whose first entry
    is removed again and again searches an ever longer run of holes, and an OrderedDict takes half as long again.
    """

    __slots__ = ("_admissions", "_order", "capacity", "octets", "recall")

    def __init__(self, capacity: int) -> None:
        self._admissions: dict[bytes, Admission] = {}
        self._order: deque[bytes] = deque()
        self.capacity = capacity
        self.octets = 0
        self.recall: Callable[[bytes], Admission | None] = self._admissions.get

    def __len__(self) -> int:
        return len(self._admissions)

    def __repr__(self) -> str:
        return f"<{len(self)} tokens, {self.octets} of {self.capacity} octets>"

    def keep(self, token: bytes, admission: Admission) -> None:
        """Remember a token that is not remembered yet."""
        if len(token) > TOKEN_MEMORABLE:
            return
        self._admissions[token] = admission
        self._order.append(token)
        self.octets += self._cost(token, admission)
        while self.octets > self.capacity:
            oldest = self._order.popleft()
            self.octets -= self._cost(oldest, self._admissions.pop(oldest))

    @staticmethod
    def _cost(token: bytes, admission: Admission) -> int:
        # A str may take four octets a character.
        return len(token) + 4 * len(admission.identity.name) + ENTRY_OVERHEAD


# Base64url (RFC 4648 section 5), without padding (RFC 7515 section 2). One `translate` over the whole token turns its
# alphabet into the standard one and all octets that a token may not hold into NUL.

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_STANDARD = _ALPHABET.replace(b"-_", b"+/")
_TO_STANDARD = bytes(dict(zip(_ALPHABET + b".", _STANDARD + b".", strict=True)).get(octet, 0) for octet in range(256))
_NUL: Final = 0
# By length modulo 4: the characters that may come last, which are those whose unused low bits are zero (RFC 4648
# section 3.5), and the padding that the standard decoder needs. No text has a length of 1 modulo 4.
_LAST = (_STANDARD, b"", _STANDARD[::16], _STANDARD[::4])
_PADDING = (b"", b"", b"==", b"=")


def _octets(standard: bytes) -> bytes | None:
    """Decode a text of the standard alphabet and NUL. None if it holds NUL or is not the one spelling of its octets."""
    rest = len(standard) & 3
    if not standard or standard[-1] not in _LAST[rest] or _NUL in standard:
        return None
    return a2b_base64(standard + _PADDING[rest])


# JSON (RFC 8259), strict where RFCs allow a choice: UTF-8 only (RFC 8725 section 3.7), no duplicate members (RFC 7515
# section 4, RFC 7519 section 4), no NaN or Infinity.


def _unique(members: list[tuple[str, object]]) -> dict[str, object]:
    table = dict(members)
    if len(table) != len(members):
        raise ValueError("duplicate member")
    return table


# The hook: msgspec itself takes 12 µs for a number such as 1e308, Python 0.1.
_decode: Callable[[bytes], object] = Decoder(float_hook=float).decode
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


_USED = ("sub", "iss", "aud", "exp", "nbf", "iat")


def _claims(text: bytes | None) -> dict[str, object] | None:
    """The members of a payload that are used here. NaN, which no claim may be, stands for a value that cannot be
    converted: a number beyond all bounds, half a character."""
    members = None if text is None else _members(text)
    if members is None:
        return None
    try:
        return {name: _decode(members[name]) for name in _USED if name in members}
    except (ValueError, RecursionError):
        return {name: _converted(members[name]) for name in _USED if name in members}


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
    if (type(value) is int or type(value) is float) and -DATE <= value <= DATE:
        return value
    return nan


_hexadecimal = pattern(rb"(?:[0-9A-Fa-f]{2})+").fullmatch
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


class JwtVerifier:
    """Verifies the tokens of one `[jwt.NAME]`. `keys`: (name or None, check) for each, in the order to try."""

    __slots__ = (
        "_algorithm",
        "_all",
        "_audience",
        "_headers",
        "_issuer",
        "_leeway",
        "_named",
        "_recall",
        "_require_exp",
        "memory",
    )

    def __init__(self, spec: Jwt, keys: Sequence[tuple[str | None, Check]]) -> None:
        self._algorithm = spec.algorithm
        self._issuer = spec.issuer
        self._audience = spec.audience
        self._leeway = spec.leeway
        self._require_exp = spec.require_exp
        self._all = tuple(check for _, check in keys)
        self._named: dict[str, tuple[Check, ...]] = {}
        for name, check in keys:
            if name is not None:
                self._named[name] = (*self._named.get(name, ()), check)
        self._headers: dict[bytes, tuple[Check, ...]] = {}
        self.memory = TokenMemory(MEMORY)
        self._recall = self.memory.recall

    def verify(self, token: bytes, wall: float) -> Identity | Reason:
        """The identity that the token proves at `wall` (Unix seconds), or the reason of the refusal.

        The identity of a token without `sub` has an empty name. Never raises.
        """
        admission = self._recall(token)
        if admission is None:
            found = self._examine(token)
            if isinstance(found, Reason):
                return found
            admission = found
            # An expired token still has a good signature, so expired tokens could fill the memory.
            if found.since <= wall < found.identity.until:
                self.memory.keep(token, found)
        identity = admission.identity
        if admission.since <= wall < identity.until:
            return identity
        return AUTH_EXPIRED if wall >= identity.until else AUTH_NOT_YET_VALID

    def read(self, token: bytes) -> Reading:
        """The contents of a token and the key that signed it, whether or not `verify` accepts it. For people, never for
        decisions."""
        parts = token.translate(_TO_STANDARD).split(b".", 3)
        header, payload, signature = (_octets(part) for part in (*parts, b"", b"", b"")[:3])
        selected = self._select(parts[0])
        candidates = () if isinstance(selected, Reason) else selected
        signed = token.rpartition(b".")[0]
        signer = next((check for check in candidates if check(signed, signature or b"")), None)
        return Reading(
            _json_object(header),
            _claims(payload),
            len(candidates),
            None if signer is None else self._all.index(signer),
        )

    def _examine(self, token: bytes) -> Admission | Reason:
        """Verify all of a token that does not depend on the time (RFC 7519 section 7.2)."""
        # Three parts in base64url with dots between them (RFC 7515 section 7.1).
        standard = token.translate(_TO_STANDARD)
        parts = standard.split(b".", 3)
        if len(parts) != 3 or _NUL in standard:
            return AUTH_MALFORMED
        header, payload, signature = parts
        checks = self._headers.get(header)
        if checks is None:
            selected = self._select(header)
            if isinstance(selected, Reason):
                return selected
            checks = selected
        octets = _octets(signature)
        if octets is None:
            return AUTH_MALFORMED
        signed = token[: -len(signature) - 1]
        for check in checks:
            if check(signed, octets):
                self._remember_header(header, checks)
                return self._admit(payload)
        return AUTH_BAD_SIGNATURE

    def _select(self, part: bytes) -> tuple[Check, ...] | Reason:
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
        if algorithm != self._algorithm:  # case-sensitive
            return AUTH_BAD_SIGNATURE
        return self._select_by_name(header)

    def _select_by_name(self, header: dict[str, Raw]) -> tuple[Check, ...] | Reason:
        if "kid" not in header:
            return self._all if len(self._all) == 1 or not self._named else AUTH_UNKNOWN_KEY
        name = _text(header["kid"])
        if name is None:  # RFC 7515 section 4.1.4
            return AUTH_MALFORMED
        if not self._named:
            return self._all
        return self._named.get(name, AUTH_UNKNOWN_KEY)

    def _remember_header(self, part: bytes, checks: tuple[Check, ...]) -> None:
        """Remember the header of a token with a good signature. So only the holder of a key can fill this memory."""
        if part not in self._headers:
            if len(self._headers) == HEADERS:
                self._headers.clear()
            self._headers[part] = checks

    def _admit(self, payload: bytes) -> Admission | Reason:
        """Verify the claims of a token with a good signature (RFC 7519 section 4.1)."""
        claims = _claims(_octets(payload))
        if claims is None:
            return AUTH_MALFORMED
        subject = subject_of(claims)
        if isinstance(subject, Reason):
            return subject
        if self._issuer is not None and claims.get("iss") != self._issuer:
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
            return self._audience is None or self._audience == "*"
        aud = claims["aud"]
        if self._audience is None:
            return False
        if isinstance(aud, str):
            return aud == self._audience or (self._audience == "*" and aud != "")
        return isinstance(aud, list) and (self._audience in aud or (self._audience == "*" and any(aud)))

    def _within(self, claims: dict[str, object], subject: str) -> Admission | Reason:
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
        return Admission(Identity("sub", subject, until), since)


# Keys, at load.


def _hs256(secret: bytes) -> Check:
    # Copying the state with the key takes a third of the time of a new HMAC for each token.
    primed = HMAC(secret, SHA256())

    def check(signed: bytes, signature: bytes) -> bool:
        mac = primed.copy()
        mac.update(signed)
        # In constant time (RFC 7518 section 3.2); False if the lengths differ.
        return compare_digest(mac.finalize(), signature)

    return check


def _rs256(key: RSAPublicKey) -> Check:
    length = (key.key_size + 7) // 8
    padding, digest = PKCS1v15(), SHA256()

    def check(signed: bytes, signature: bytes) -> bool:
        if len(signature) != length:  # RFC 8017 section 8.2.2 step 1
            return False
        try:
            key.verify(signature, signed, padding, digest)
        except InvalidSignature:
            return False
        return True

    return check


_NOTATIONS = {
    "base64": bytes(octet if octet in _STANDARD else 0 for octet in range(256)),
    "base64url": bytes(0 if octet in b"." else _TO_STANDARD[octet] for octet in range(256)),
}
"""Notation → a table that turns its alphabet into the standard one, and all other octets into NUL."""


def secret_octets(secret: Secret, encoding: str) -> bytes | str:
    """The octets of a secret, or its fault as a sentence. `encoding` as `secret_encoding`; base64 may be without
    padding and on several lines, as `openssl` writes it."""
    if encoding == "text":
        return secret.value
    written = b"".join(secret.value.split())
    if encoding == "hex":
        octets = unhexlify(written) if _hexadecimal(written) else None
    else:
        octets = _octets(written.rstrip(b"=").translate(_NOTATIONS[encoding]))
    if octets is not None:
        return octets
    if encoding == "hex" and _hexadecimal(written.removeprefix(b"0x").replace(b":", b"")):
        return "this is not hex alone (expected digits without 0x and colons)"
    others = [other for other in _NOTATIONS if _octets(written.rstrip(b"=").translate(_NOTATIONS[other])) is not None]
    meant = f'; did you mean secret_encoding = "{others[0]}"?' if others else ""
    return f'this is not {encoding} (expected what secret_encoding = "{encoding}" says{meant})'


def _secret_fault(value: bytes) -> str | None:
    """Why these octets cannot be an HS256 secret, or None. The text never shows them."""
    if not value.strip():
        return "this secret is blank"
    if len(value) < SECRET:
        return f"this secret has {len(value)} octets (expected at least {SECRET}, as from `openssl rand -hex 32`)"
    # A public key as HMAC secret would let anyone sign (RFC 8725 section 2.1).
    if b"-----BEGIN " in value or value.startswith((b"ssh-", b"ecdsa-")):
        return (
            'this is a key or certificate in PEM form, not a secret (did you mean algorithm = "RS256" with public_key?)'
        )
    members = _json_object(value)
    if members is not None and ("kty" in members or "keys" in members):
        return "this is a JSON Web Key, not a secret (expected the secret's octets themselves)"
    return None


_assignment = pattern(rb"(?:export\s+)?[A-Za-z_]\w*(?:=[^=]|:\s+\S).*", DOTALL).fullmatch


def _secret_doubt(value: bytes) -> str:
    """Why a text is unlikely to be the secret and nothing else; "" if it is likely."""
    if not value.isascii():
        return ""
    if len(value.splitlines()) > 1:
        return "has several lines, and all of them together are taken for the secret"
    if _json_object(value) is not None:
        return "is a JSON object, and all of it is taken for the secret"
    if _assignment(value):
        return "looks like an assignment, and all of it, with the name, is taken for the secret"
    return ""


def _read_pem(value: bytes) -> RSAPublicKey | str:
    """The public key in a PEM text, or the fault of the text as a sentence."""
    # Of all that an environment file or a chart makes of line ends, only this is not read by OpenSSL.
    value = value.replace(b"\\r", b"").replace(b"\\n", b"\n")
    if b"PRIVATE KEY-----" in value:
        return "this is a private key, which a gateway must not hold (expected its public half: `openssl pkey -pubout`)"
    if b"BEGIN CERTIFICATE-----" in value:
        return "this is a certificate (expected its public key: `openssl x509 -pubkey -noout`)"
    if value.count(b"-----BEGIN ") > 1:
        return "this holds more than one key (expected one in each file; public_key may be a list)"
    # Here, since it brings the formats of SSH: 8 ms of a start, which a shared secret has no use for.
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(value)
    except (ValueError, UnsupportedAlgorithm):  # also for an exponent that is even or below 3
        return _no_pem(value)
    return key if isinstance(key, RSAPublicKey) else "this is not an RSA key (expected one, for RS256)"


_SEQUENCE = b"\x30\x82"
"""How each key in DER begins that is long enough (X.690 section 8.1)."""


def _no_pem(value: bytes) -> str:
    """What a value is that is no public key in PEM form."""
    members = _json_object(value)
    if members is not None and ("kty" in members or "keys" in members):
        return "this is a JSON Web Key, or a set of them, and no PEM (did you mean jwks?)"
    if value.startswith((b"ssh-", b"ecdsa-")):
        return "this is a key in OpenSSH's form (expected PEM: `ssh-keygen -e -m PKCS8 -f FILE`)"
    if value.startswith(_SEQUENCE):
        return "this is a key in DER form (expected PEM: `openssl pkey -pubin -inform DER`)"
    inner = _octets(b"".join(value.split()).rstrip(b"=").translate(_NOTATIONS["base64"])) or b""
    if inner.startswith(b"-----BEGIN "):
        return "this is a PEM in base64 (expected the PEM itself)"
    if inner.startswith(_SEQUENCE):
        return "this is a PEM without its first and last line (expected them too: -----BEGIN PUBLIC KEY-----)"
    return "this is not a public key in PEM form (expected -----BEGIN PUBLIC KEY-----)"


def _paths(base: tuple[Key, ...], secrets: Sequence[Secret]) -> list[tuple[Key, ...]]:
    """The key path of each secret; a single one may stand in the file without brackets."""
    return [base] if len(secrets) == 1 else [(*base, position) for position in range(len(secrets))]


def _secret_keys(
    name: str, spec: Jwt, problems: list[Problem], warnings: list[Problem]
) -> list[tuple[str | None, Check]]:
    keys: list[tuple[str | None, Check]] = []
    for path, secret in zip(_paths(("jwt", name, "secret"), spec.secret), spec.secret, strict=True):
        octets = secret_octets(secret, spec.secret_encoding)
        fault = octets if isinstance(octets, str) else _secret_fault(octets)
        if fault is not None:
            problems.append(Problem(path, fault))
        elif isinstance(octets, bytes):
            keys.append((None, _hs256(octets)))
            if octets == secret.value and (doubt := _secret_doubt(octets)):
                warnings.append(Problem(path, f"{secret.source} {doubt}"))
    return keys


def _rsa_keys(
    name: str,
    spec: Jwt,
    jwks_keys: Sequence[tuple[str | None, RSAPublicKey]],
    problems: list[Problem],
    warnings: list[Problem],
) -> list[tuple[str | None, Check]]:
    keys: list[tuple[str | None, Check]] = []
    for path, pem in zip(_paths(("jwt", name, "public_key"), spec.public_key), spec.public_key, strict=True):
        key = _read_pem(pem.value)
        if isinstance(key, str):
            problems.append(Problem(path, key))
        elif fault := rsa_fault(key, "this one"):
            problems.append(Problem(path, fault))
        else:
            keys.append((None, _rs256(key)))
    fit = [(kid, _rs256(key)) for kid, key in jwks_keys if not rsa_fault(key)]
    faults = [fault for kid, key in jwks_keys if (fault := rsa_fault(key, f"that of kid {kid!r}"))]
    if fit:
        warnings.extend(Problem(("jwt", name, "jwks"), f"{fault}; it is passed over") for fault in faults)
    else:
        problems.extend(Problem(("jwt", name, "jwks"), fault) for fault in faults)
    return keys + fit


def rsa_fault(key: RSAPublicKey, which: str = "it") -> str:
    """Why no token can, or may, be verified by this key, or "". `which` of the keys it is."""
    if key.key_size < MODULUS:
        return f"an RS256 key must have at least {MODULUS} bits, {which} has {key.key_size}"
    if key.key_size > LARGEST_MODULUS:
        return f"an RS256 key may have at most {LARGEST_MODULUS} bits, {which} has {key.key_size}"
    numbers = key.public_numbers()
    if numbers.n % 2 == 0:
        return f"the modulus of an RSA key is odd, and {which} has an even one"
    exponent = numbers.e.bit_length()
    if key.key_size > LARGE_MODULUS and exponent > LARGE_EXPONENT:
        return f"the exponent of an RS256 key may have at most {LARGE_EXPONENT} bits here, {which} has {exponent}"
    return ""


def compile_verifier(
    name: str,
    spec: Jwt,
    jwks_keys: Sequence[tuple[str | None, RSAPublicKey]],
    problems: list[Problem],
    warnings: list[Problem],
) -> JwtVerifier | None:
    """The verifier of `[jwt.NAME]`, or None. Faults of its keys are appended to `problems`; keys of a set that are
    skipped, and secrets that look like something else, to `warnings`.

    `jwks_keys` are the keys from `spec.jwks` as (kid or None, key). If that set could not be read, they are empty and
    the fault has been reported before.
    """
    before = len(problems)
    if spec.algorithm == "HS256":
        keys = _secret_keys(name, spec, problems, warnings)
    else:
        keys = _rsa_keys(name, spec, jwks_keys, problems, warnings)
    return JwtVerifier(spec, keys) if keys and len(problems) == before else None
