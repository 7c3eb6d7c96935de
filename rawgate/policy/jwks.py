"""JSON Web Key Sets: a document in, the RSA keys that may verify RS256 out (RFC 7517).

A set is often shared by many readers, so keys for other purposes are normal and are passed over: other types, keys to
encrypt with, keys of other algorithms (sections 4.1 to 4.4, and 5). A key that is meant for us but broken is reported.
So is a private key of any type: whoever can read the file could sign.

How strong a key must be is not decided here but beside the algorithm, for keys from every source alike.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error

import msgspec.json
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from msgspec import Struct

from rawgate.errors import Key, Problem

Jwk = dict[str, object]


class _KeySet(Struct):
    keys: list[Jwk]


def _is_for_us(jwk: Jwk) -> bool:
    """Does the key say of itself, by what it says and by what it leaves out, that it may verify RS256?"""
    operations = jwk.get("key_ops", ["verify"])
    return (
        jwk.get("kty") == "RSA"
        and jwk.get("use", "sig") == "sig"
        and jwk.get("alg", "RS256") == "RS256"
        and isinstance(operations, list)
        and "verify" in operations
    )


def _number(value: object) -> int | None:
    """A Base64urlUInt (RFC 7518 section 2), or None: it has one spelling, which encoding it again must give."""
    if not isinstance(value, str) or not value.isascii():
        return None
    text = value.encode()
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
        return "has no n or e, or not in base64url without padding"
    try:
        return RSAPublicNumbers(exponent, modulus).public_key()
    except ValueError:
        return "is not an RSA public key: n and e do not fit together"


def _parse(document: bytes) -> list[Jwk] | None:
    try:
        return msgspec.json.decode(document, type=_KeySet).keys
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors too
        return None


def read_jwks(document: bytes, path: tuple[Key, ...], problems: list[Problem]) -> list[tuple[str | None, RSAPublicKey]]:
    """The usable keys of a set, in its order, as (`kid` or None, key). What is wrong is added to `problems` at `path`.

    Positions in messages count from 1, as a reader of the document would.
    """
    jwks = _parse(document)
    if jwks is None:
        problems.append(Problem(path, 'this is not a JSON Web Key Set (expected {"keys": [...]})'))
        return []
    keys: list[tuple[str | None, RSAPublicKey]] = []
    faults: list[str] = []
    names: set[str] = set()
    for position, jwk in enumerate(jwks, 1):
        if "d" in jwk:  # the private part of RSA, EC and OKP keys alike (RFC 7518 section 6, RFC 8037 section 2)
            faults.append(
                f"key {position} is a private key, which a gateway must not have (expected its public members)"
            )
        elif _is_for_us(jwk):
            key, kid = _public_key(jwk), jwk.get("kid")
            if isinstance(key, str):
                faults.append(f"key {position} {key}")
            elif kid is not None and not isinstance(kid, str):
                faults.append(f"key {position} has a kid that is not a string")
            elif kid in names:
                faults.append(f"key {position} has the kid of an earlier one")
            else:
                keys.append((kid, key))
                names.update(() if kid is None else (kid,))
    if not keys and not faults:
        faults.append("no key in this set may verify RS256 (expected kty RSA, and use, key_ops, alg absent or fitting)")
    problems.extend(Problem(path, fault) for fault in faults)
    return keys
