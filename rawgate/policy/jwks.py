"""JSON Web Key Sets: a document in, the RSA keys that may verify RS256 out (RFC 7517).

A set is often shared by many readers, and its issuer changes it when it likes. So a key that is of no use here never
takes down the others: it is passed over. Keys that say that they are for another purpose are normal, and nobody is
told; those that are meant for us but cannot be used are told as `warnings`, and so is a private key: whoever can read
the file could sign. A set in which no key can be used is an error.

How strong a key must be is not decided here but beside the algorithm, for keys from every source alike.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error

import msgspec.json
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from msgspec import Struct

from rawgate.errors import Key, Problem

Jwk = dict[str, object]


class _KeySet(Struct):
    keys: list[object]


def _said(jwk: Jwk, name: str, otherwise: object) -> object:
    """A member's value. Some issuers write null for what they do not say."""
    value = jwk.get(name)
    return otherwise if value is None else value


def _is_for_us(jwk: Jwk) -> bool:
    """Does the key say of itself, by what it says and by what it leaves out, that it may verify RS256?"""
    operations = _said(jwk, "key_ops", ["verify"])
    return (
        jwk.get("kty") == "RSA"
        and _said(jwk, "use", "sig") == "sig"
        and _said(jwk, "alg", "RS256") == "RS256"
        and isinstance(operations, list)
        and "verify" in operations
    )


def _number(value: object) -> int | None:
    """A Base64urlUInt (RFC 7518 section 2), or None: it has one spelling, which encoding it again must give. Padding,
    which some issuers write, changes nothing."""
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
    """The key, or what is wrong with it."""
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


def _read(jwk: object) -> tuple[str | None, RSAPublicKey] | str | None:
    """(`kid`, key), why it cannot be used, or None for one that is meant for others."""
    if not isinstance(jwk, dict):
        return "is not a JSON object"
    if "d" in jwk:  # the private part of RSA, EC and OKP keys alike (RFC 7518 section 6, RFC 8037 section 2)
        return "is a private key, which a gateway must not have (expected its public members)"
    if not _is_for_us(jwk):
        return None
    kid = jwk.get("kid")
    if kid is not None and not isinstance(kid, str):
        return "has a kid that is not a string"
    key = _public_key(jwk)
    return key if isinstance(key, str) else (kid, key)


def read_jwks(
    document: bytes, path: tuple[Key, ...], problems: list[Problem], warnings: list[Problem]
) -> list[tuple[str | None, RSAPublicKey]]:
    """The usable keys of a set, in its order, as (`kid` or None, key). What is wrong with the set is added to
    `problems` at `path`, which keys of it are passed over to `warnings`.

    Positions in messages count from 1, as a reader of the document would.
    """
    jwks = _parse(document)
    if jwks is None:
        problems.append(Problem(path, 'this is not a JSON Web Key Set (expected {"keys": [...]})'))
        return []
    found = [_read(jwk) for jwk in jwks]
    keys = [key for key in found if isinstance(key, tuple)]
    faults = [f"key {position} {fault}" for position, fault in enumerate(found, 1) if isinstance(fault, str)]
    if keys:
        warnings.extend(Problem(path, f"{fault}; it is passed over") for fault in faults)
    else:
        faults = faults or ["expected kty RSA, and use, key_ops, alg absent or fitting"]
        problems.append(Problem(path, f"no key in this set may verify RS256 ({'; '.join(faults)})"))
    return keys
