"""JSON Web Key Sets: a document in, the RSA keys that may verify RS256 out (RFC 7517).

Many readers share a set, and its issuer may change it at any time. So a key that cannot be used here is skipped and the
others are kept. A key for another purpose is normal and is skipped in silence. A key that is meant for RS256 but cannot
be used gives a warning, and so does a private key: who can read the file could sign. A set without a usable key is an
error.

`jwt` decides how strong a key must be, because the same rule holds for keys from every source.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error

import msgspec.json
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from msgspec import Struct
from msgspec.json import encode

from rawgate.errors import Key, Problem

Jwk = dict[str, object]


class _KeySet(Struct):
    keys: list[object]


def _said(jwk: Jwk, name: str, otherwise: object) -> object:
    """The value of a member, or `otherwise` if it is absent or null, as some issuers write absent members."""
    value = jwk.get(name)
    return otherwise if value is None else value


_OURS = {"kty": "RSA", "use": "sig", "alg": "RS256"}


def _other_purpose(jwk: Jwk) -> str:
    """The member that shows that a key is not meant to verify RS256, as the end of a sentence; "" if it may be. An
    absent member, but for `kty`, allows it."""
    for name, ours in _OURS.items():
        value = _said(jwk, name, ours) if name != "kty" else jwk.get(name)
        if value != ours:
            return f"has no {name}" if value is None else f"has {name} {encode(value).decode()[:_SHOWN]}"
    operations = _said(jwk, "key_ops", ["verify"])
    return "" if isinstance(operations, list) and "verify" in operations else 'has key_ops without "verify"'


_SHOWN = 40
_MOST = 8
"""Characters of a member, and keys, that an error shows."""


def _number(value: object) -> int | None:
    """Read a Base64urlUInt (RFC 7518 section 2); None if it is malformed. A number has one spelling only, which
    encoding it again must give; padding, which some issuers add, is ignored."""
    if not isinstance(value, str) or not value.isascii():
        return None
    text = value.rstrip("=").encode()
    try:
        octets = urlsafe_b64decode(text + b"==")
    except Base64Error:
        return None
    if not octets or urlsafe_b64encode(octets).rstrip(b"=") != text:
        return None
    return int.from_bytes(octets, "big")


def _public_key(jwk: Jwk) -> RSAPublicKey | str:
    """The key, or its fault as the end of a sentence."""
    modulus, exponent = _number(jwk.get("n")), _number(jwk.get("e"))
    if modulus is None or exponent is None:
        return "has no n or e, or not in base64url"
    try:
        return RSAPublicNumbers(exponent, modulus).public_key()
    except (ValueError, UnsupportedAlgorithm):
        return "is not an RSA public key: n and e do not fit together"


def _parse(document: bytes) -> list[object] | None:
    try:
        return msgspec.json.decode(document, type=_KeySet).keys
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors too
        return None


def _read(jwk: object) -> tuple[str | None, RSAPublicKey] | str:
    """(`kid`, key), or the fault of the key as the end of a sentence."""
    if not isinstance(jwk, dict):
        return "is not a JSON object"
    if "d" in jwk:  # the private part of RSA, EC and OKP keys alike (RFC 7518 section 6, RFC 8037 section 2)
        return "is a private key, which a gateway must not have (expected its public members)"
    other = _other_purpose(jwk)
    if other:
        return _Other(other)
    kid = jwk.get("kid")
    if kid is not None and not isinstance(kid, str):
        return "has a kid that is not a string"
    key = _public_key(jwk)
    return key if isinstance(key, str) else (kid, key)


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
    document: bytes, path: tuple[Key, ...], problems: list[Problem], warnings: list[Problem]
) -> list[tuple[str | None, RSAPublicKey]]:
    """The usable keys of a set, in its order, as (`kid` or None, key). A fault of the set is appended to `problems` at
    `path`; a warning for each key that is skipped to `warnings`. Messages count the keys from 1.
    """
    jwks = _parse(document)
    if jwks is None:
        problems.append(Problem(path, _no_set(document)))
        return []
    found = [_read(jwk) for jwk in jwks]
    keys = [key for key in found if isinstance(key, tuple)]
    if keys:
        faults = [(position, fault) for position, fault in enumerate(found, 1) if type(fault) is str]
        warnings.extend(Problem(path, f"key {position} {fault}; it is passed over") for position, fault in faults)
    elif not found:
        problems.append(Problem(path, "there is no key in this set"))
    else:
        said = [f"key {position} {fault}" for position, fault in enumerate(found[:_MOST], 1)]
        more = [f"and {len(found) - _MOST} more"] if len(found) > _MOST else []
        problems.append(Problem(path, f"no key in this set may verify RS256 ({'; '.join([*said, *more])})"))
    return keys
