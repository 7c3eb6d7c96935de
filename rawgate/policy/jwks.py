"""JSON Web Key Sets: a document in, the keys that may verify tokens out (RFC 7517, RFC 7518 section 6, RFC 8037).

Many readers share a set, and its issuer may change it at any time. So a key that cannot be used here is skipped and the
others are kept. A key for another purpose is normal and is skipped in silence. A key that is meant for one of our
algorithms but cannot be used gives a warning, and so does a private key: who can read the file could sign. A set
without a usable key is an error.

A key has one algorithm (RFC 8725 section 3.1). Its `alg` says which; many issuers leave it out, and then the kind of
the key must leave no choice among those that the verifier takes. RSA keys alone can leave one.

`algorithms` decides how strong a key must be, because the same rule holds for keys from every source.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Sequence

import msgspec.json
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    SECP384R1,
    SECP521R1,
    EllipticCurvePublicKey,
    EllipticCurvePublicNumbers,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from msgspec import Struct
from msgspec.json import encode

from rawgate.config.invalid import choice
from rawgate.errors import Key, Problem

Jwk = dict[str, object]
PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey
Found = tuple[str | None, str, PublicKey]
"""(`kid` or None, algorithm, key)."""


class _KeySet(Struct):
    keys: list[object]


def _said(jwk: Jwk, name: str, otherwise: object) -> object:
    """The value of a member, or `otherwise` if it is absent or null, as some issuers write absent members."""
    value = jwk.get(name)
    return otherwise if value is None else value


_CURVES = {"P-256": SECP256R1(), "P-384": SECP384R1(), "P-521": SECP521R1()}
_KIND = {"ES256": ("EC", "P-256"), "ES384": ("EC", "P-384"), "ES512": ("EC", "P-521"), "EdDSA": ("OKP", "Ed25519")}
"""Algorithm → (`kty`, `crv`) of its keys. Keys of all others are RSA, and have no curve."""


def _kind(algorithm: str) -> tuple[str, str]:
    return _KIND.get(algorithm, ("RSA", ""))


def _purpose(jwk: Jwk, algorithms: Sequence[str]) -> list[str] | str:
    """Those of the algorithms that a key is meant for; or the member that shows that it is for another purpose, as the
    end of a sentence. An absent member, but for `kty` and `crv`, allows a key."""
    fitting: list[str] = [*algorithms]
    for name, part in (("kty", 0), ("crv", 1)):
        fitting = [algorithm for algorithm in fitting if _kind(algorithm)[part] in ("", jwk.get(name))]
        if not fitting:
            return _has(jwk, name)
    alg = _said(jwk, "alg", None)
    fitting = [algorithm for algorithm in fitting if alg in (None, algorithm)]
    if not fitting:
        return _has(jwk, "alg")
    if _said(jwk, "use", "sig") != "sig":
        return _has(jwk, "use")
    operations = _said(jwk, "key_ops", ["verify"])
    listed = isinstance(operations, list) and "verify" in operations
    return fitting if listed else 'has key_ops without "verify"'


def _has(jwk: Jwk, name: str) -> str:
    value = jwk.get(name)
    return f"has no {name}" if value is None else f"has {name} {encode(value).decode()[:_SHOWN]}"


_SHOWN = 40
_MOST = 8
"""Characters of a member, and keys, that an error shows."""


def _octets(value: object) -> bytes | None:
    """Read base64url; None if it is malformed. Octets have one spelling only, which encoding them again must give;
    padding, which some issuers add, is ignored."""
    if not isinstance(value, str) or not value.isascii():
        return None
    text = value.rstrip("=").encode()
    try:
        octets = urlsafe_b64decode(text + b"==")
    except Base64Error:
        return None
    return octets if octets and urlsafe_b64encode(octets).rstrip(b"=") == text else None


def _public_key(jwk: Jwk, curve: str) -> PublicKey | str:
    """The key, or its fault as the end of a sentence. `curve`: that of its algorithm, "" for RSA."""
    if curve == "Ed25519":
        return _ed25519_key(_octets(jwk.get("x")))
    names = ("x", "y") if curve else ("n", "e")
    first, second = (_octets(jwk.get(name)) for name in names)
    if first is None or second is None:
        return f"has no {names[0]} or {names[1]}, or not in base64url"
    # A Base64urlUInt (RFC 7518 section 2). Coordinates have a fixed length (section 6.2.1.2), which some issuers do not
    # keep; the number is the same.
    numbers = int.from_bytes(first, "big"), int.from_bytes(second, "big")
    try:
        if curve:
            return EllipticCurvePublicNumbers(*numbers, _CURVES[curve]).public_key()
        return RSAPublicNumbers(numbers[1], numbers[0]).public_key()
    except (ValueError, UnsupportedAlgorithm):
        return f"is no point of {curve}" if curve else "is not an RSA public key: n and e do not fit together"


def _ed25519_key(octets: bytes | None) -> Ed25519PublicKey | str:
    if octets is None or len(octets) != 32:
        return "has no x of 32 octets, or not in base64url"
    return Ed25519PublicKey.from_public_bytes(octets)


def _parse(document: bytes) -> list[object] | None:
    try:
        return msgspec.json.decode(document, type=_KeySet).keys
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors too
        return None


def _read(jwk: object, algorithms: Sequence[str]) -> Found | str:
    """The key, or its fault as the end of a sentence."""
    if not isinstance(jwk, dict):
        return "is not a JSON object"
    if "d" in jwk:  # the private part of RSA, EC and OKP keys alike (RFC 7518 section 6, RFC 8037 section 2)
        return "is a private key, which a gateway must not have (expected its public members)"
    fitting = _purpose(jwk, algorithms)
    if isinstance(fitting, str):
        return _Other(fitting)
    if len(fitting) > 1:
        return f"has no alg, and {choice(fitting)} would fit"
    kid = jwk.get("kid")
    if kid is not None and not isinstance(kid, str):
        return "has a kid that is not a string"
    key = _public_key(jwk, _kind(fitting[0])[1])
    return key if isinstance(key, str) else (kid, fitting[0], key)


class _Other(str):
    """Of a key that is not meant for us: no fault of it."""

    __slots__ = ()


def _no_set(document: bytes) -> str:
    """What a document is that is no key set."""
    expected = 'expected {"keys": [...]}'
    if b"-----BEGIN " in document:
        return "this is a PEM, not a JSON Web Key Set (did you mean public_key?)"
    try:
        value = msgspec.json.decode(document)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict) and "kty" in value:
        return f"this is a single JSON Web Key ({expected}, with the key in that list)"
    return f"this is not a JSON Web Key Set ({expected})"


def read_jwks(
    document: bytes,
    algorithms: Sequence[str],
    path: tuple[Key, ...],
    problems: list[Problem],
    warnings: list[Problem],
) -> list[Found]:
    """The usable keys of a set, in its order. `algorithms`: those that the verifier takes. A fault of the set is
    appended to `problems` at `path`; a warning for each key that is skipped to `warnings`. Messages count the keys
    from 1.
    """
    jwks = _parse(document)
    if jwks is None:
        problems.append(Problem(path, _no_set(document)))
        return []
    found = [_read(jwk, algorithms) for jwk in jwks]
    keys = [key for key in found if isinstance(key, tuple)]
    if keys:
        faults = [(position, fault) for position, fault in enumerate(found, 1) if type(fault) is str]
        warnings.extend(Problem(path, f"key {position} {fault}; it is passed over") for position, fault in faults)
    elif not found:
        problems.append(Problem(path, "there is no key in this set"))
    else:
        said = [f"key {position} {fault}" for position, fault in enumerate(found[:_MOST], 1)]
        more = [f"and {len(found) - _MOST} more"] if len(found) > _MOST else []
        wanted = " or ".join(algorithms)
        problems.append(Problem(path, f"no key in this set may verify {wanted} ({'; '.join([*said, *more])})"))
    return keys
