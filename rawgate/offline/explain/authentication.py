"""Explains how a credential was verified, step by step.

The verifier decides. The steps are the facts that it checks, in its order: those before the failed one passed, those
after it were not checked. Keys, secrets and signatures are never shown. Claims are shown even where no signature
vouches for them, since the reader is the operator and not the client.
"""

from msgspec import Struct
from msgspec.json import encode

from rawgate.config.model import Config, Jwt, KeySetUrl, Secret
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
from rawgate.message import Identity
from rawgate.offline.explain.model import Authentication, Check
from rawgate.policy.api_keys import ApiKeyTable
from rawgate.policy.jwt import DATE, JwtVerifier, KeySet, Reading

_SHOWN = 120
_SPANS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


class _Fact(Struct, frozen=True):
    """One checked fact, in words. `about`: the name by which `_fault` finds it."""

    about: str
    text: str


_CLAIMS = {"sub": "subject", "iss": "issuer", "aud": "audience", "exp": "expiry", "nbf": "start", "iat": "issue"}
_POINTS_AT = {
    AUTH_UNKNOWN_KEY: "key",
    AUTH_WRONG_ISSUER: "issuer",
    AUTH_WRONG_AUDIENCE: "audience",
    AUTH_EXPIRED: "expiry",
    AUTH_NOT_YET_VALID: "start",
}


def account(
    config: Config,
    auth: str,
    by: JwtVerifier | ApiKeyTable,
    presented: bytes | None,
    found: Identity | Reason,
    wall: float,
) -> Authentication:
    """The steps of one verification.

    auth       the route's key of that name
    presented  the token or key that was sent, or None
    found      what the verifier returned
    wall       Unix seconds
    """
    if isinstance(by, JwtVerifier):
        steps = _token_steps(config.jwt[auth.partition(".")[2]], by, presented, found, wall)
    else:
        steps = _key_steps(by, presented, found)
    if isinstance(found, Identity):
        return Authentication(auth, steps, found.kind, found.name, "")
    return Authentication(auth, steps, "", "", found.code)


def _key_steps(table: ApiKeyTable, presented: bytes | None, found: Identity | Reason) -> tuple[Check, ...]:
    header = table.header.decode()
    if presented is None:
        return (Check(False, f"no {header} field"),)
    there = Check(True, f"a key of {len(presented)} octets in {header}")
    if isinstance(found, Identity):
        return (there, Check(True, f"it is the key of {found.name}"))
    return (there, Check(False, "it is nobody's in this table"))


def _token_steps(
    spec: Jwt, verifier: JwtVerifier, presented: bytes | None, found: Identity | Reason, wall: float
) -> tuple[Check, ...]:
    if presented is None:
        return (Check(False, "no bearer token in Authorization"),)
    reading = verifier.read(presented)
    facts = [
        _Fact("form", f"a bearer token of {len(presented)} octets in Authorization, in {_parts(presented)}"),
        *_header_facts(spec, verifier, reading),
        *_claim_facts(spec, reading, wall),
    ]
    if isinstance(found, Identity):
        return tuple(Check(True, fact.text) for fact in facts)
    at = [fact.about for fact in facts].index(_fault(found, reading, presented))
    if found.code == AUTH_BAD_CLAIM.code:
        facts[at] = _Fact(facts[at].about, f"{facts[at].text}: {found.note}")
    return tuple(
        Check(True if position < at else False if position == at else None, fact.text)
        for position, fact in enumerate(facts)
    )


def _parts(token: bytes) -> str:
    count = token.count(b".") + 1
    return "one part" if count == 1 else f"{count} parts"


def _header_facts(spec: Jwt, verifier: JwtVerifier, reading: Reading) -> list[_Fact]:
    if reading.header is None:
        header = "header: no JSON object in base64url"
    else:
        header = f"header: {_members(reading.header, ('alg', 'kid', 'typ', 'crit'))}"
    keys = (*spec.secret, *spec.public_key)
    sources = [key.source for key in keys] or [_key_set(spec)]
    if reading.signer is None:
        signature = f"signature: by none of {reading.candidates} keys tried" if reading.candidates else "signature"
    else:
        source = sources[reading.signer] if len(sources) > reading.signer else sources[0]
        signature = f"signature: good, by the key from {source}"
    origin = ", ".join(sources)
    algorithm = (reading.header or {}).get("alg")
    if not reading.candidates:
        key = f"key: {_no_key(spec, verifier.keys, reading.header or {}, origin)}"
    elif reading.candidates == 1:
        key = f"key: {algorithm}, one from {origin} fits"
    else:
        key = f"key: {algorithm}, {reading.candidates} from {origin} fit"
    return [
        _Fact("header", header),
        _Fact("key", key),
        _Fact("signature", signature),
    ]


def _key_set(spec: Jwt) -> str:
    """Where the key set is, in the configuration's words."""
    if isinstance(spec.jwks, Secret):
        return spec.jwks.source
    return "" if spec.jwks is None else spec.jwks.url or "discover"


def _no_key(spec: Jwt, keys: KeySet, header: dict[str, object], origin: str) -> str:
    """Why no key can verify a token with this header."""
    algorithm, kid, kids = header.get("alg"), header.get("kid"), keys.names
    taken = " or ".join(spec.algorithm)
    if not isinstance(algorithm, str):
        return f"{taken}, and none from {origin} fits this header"
    if algorithm not in spec.algorithm:
        return f"alg {_word(algorithm)}, this verifier takes {taken}"
    if isinstance(spec.jwks, KeySetUrl):
        return f"{algorithm}, from {origin}, which is not asked here: only a gateway that serves has its keys"
    if isinstance(kid, str) and kid in kids:
        return f"kid {_word(kid)} is a key of another algorithm than {algorithm}"
    if isinstance(kid, str) and kids:
        more = ["…"] if len(kids) > _KIDS else []
        return f"kid {_word(kid)}; the file has {', '.join([*map(_word, kids[:_KIDS]), *more])}"
    if keys.count(algorithm) > 1 and "kid" not in header:
        return "the token has no kid, and several keys fit"
    return f"{algorithm}, and none from {origin} fits this header"


_KIDS = 8


def _word(text: str) -> str:
    """A name from a token or a key set: as it is where that cannot be misread, else as JSON."""
    is_plain = text.isprintable() and text == text.strip() != "" and "," not in text and len(text) <= _SHOWN
    return text if is_plain else _text(text)


def _claim_facts(spec: Jwt, reading: Reading, wall: float) -> list[_Fact]:
    """The claims in the order in which the verifier checks them."""
    claims = reading.claims
    if claims is None:
        return [_Fact("claims", "claims: no JSON object in base64url, or one with a doubled member")]
    facts = [_Fact("subject", f"sub {_text(claims['sub'])}" if "sub" in claims else "no sub: nobody in particular")]
    if spec.issuer or "iss" in claims:
        wanted = f"expected {_one_of(spec.issuer)}" if spec.issuer else "any will do"
        facts.append(_Fact("issuer", f"iss {_value(claims, 'iss')} ({wanted})"))
    if spec.audience or "aud" in claims:
        wanted = "any" if "*" in spec.audience else _one_of(spec.audience) if spec.audience else "none"
        facts.append(_Fact("audience", f"aud {_value(claims, 'aud')} (expected {wanted})"))
    needed = "" if "exp" in claims or not spec.require_exp else " (required)"
    facts.append(_Fact("expiry", f"exp {_moment(claims, 'exp', wall)}{needed}"))
    if "nbf" in claims:
        facts.append(_Fact("start", f"nbf {_moment(claims, 'nbf', wall)}"))
    if "iat" in claims:
        facts.append(_Fact("issue", f"iat {_moment(claims, 'iat', wall)}"))
    return facts


def _fault(reason: Reason, reading: Reading, token: bytes) -> str:
    """The fact (`_Fact.about`) that a refusal is about."""
    if reason is AUTH_BAD_SIGNATURE:
        return "signature" if reading.candidates else "key"
    if reason.code == AUTH_BAD_CLAIM.code:
        return _CLAIMS[reason.note.partition(" ")[0]]
    if reason.code != AUTH_MALFORMED.code:
        return _POINTS_AT[reason]
    if token.count(b".") != 2:
        return "form"
    if reading.header is None or not reading.candidates:
        return "header"
    if reading.signer is None:
        return "signature"
    if reading.claims is None:
        return "claims"
    return "expiry"  # required and missing


def _members(table: dict[str, object], names: tuple[str, ...]) -> str:
    return ", ".join(f"{name} {_text(table[name])}" for name in names if name in table) or "without alg"


def _value(claims: dict[str, object], name: str) -> str:
    return _text(claims[name]) if name in claims else "is missing"


def _one_of(names: tuple[str, ...]) -> str:
    return " or ".join(map(_text, names))


def _text(value: object) -> str:
    """A value from a token, shortened, as JSON: "7" and 7 must look different."""
    text = encode(value).decode()
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def _moment(claims: dict[str, object], name: str, wall: float) -> str:
    value = claims.get(name)
    if name not in claims:
        return "is missing"
    if isinstance(value, bool) or not isinstance(value, int | float) or not -DATE <= value <= DATE:
        return f"{_text(value)}, no date"
    return f"{_text(value)}: {_span(value - wall)}"


def _span(seconds: float) -> str:
    """`in 5 min`, `3 d ago`."""
    size, unit = next((span for span in _SPANS if abs(seconds) >= span[0]), (1, "s"))
    text = f"{round(abs(seconds) / size)} {unit}"
    return f"in {text}" if seconds > 0 else f"{text} ago"
