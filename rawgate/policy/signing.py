"""Signing tokens, for tests of a gateway. Nothing that serves imports this: a gateway verifies and never signs.

The algorithms are those that `jwt` verifies (RFC 7518 sections 3.2 and 3.3), the form is the compact one (RFC 7515
section 7.1).
"""

from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from hmac import digest
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.backends.openssl.backend import backend
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from msgspec.json import encode

from rawgate.errors import RawgateError


class SigningError(RawgateError):
    """The key cannot sign. The message is one sentence, which shows nothing of the key."""


class Signer:
    """A key that signs: `sign(octets)` → the signature. `kid`: the name of the key in its key set, or None."""

    __slots__ = ("algorithm", "kid", "sign")

    def __init__(self, algorithm: str, sign: Callable[[bytes], bytes], kid: str | None = None) -> None:
        self.algorithm: Final = algorithm
        self.sign: Final = sign
        self.kid: Final = kid


def hs256(secret: bytes) -> Signer:
    """A signer with a shared secret."""
    return Signer("HS256", lambda octets: digest(secret, octets, "sha256"))


def rs256(pem: bytes, published: Sequence[tuple[str | None, RSAPublicKey]] = ()) -> Signer:
    """A signer with a private RSA key, in PEM form without passphrase. `published`: the keys of a set as (`kid`, key);
    its `kid` for this key is used. Raises SigningError."""
    try:
        key = load_pem_private_key(pem, None)
    except TypeError:
        raise SigningError("this private key has a passphrase (expected one without, for tests)") from None
    except (ValueError, UnsupportedAlgorithm):
        raise SigningError("this is not a private key in PEM form (expected -----BEGIN PRIVATE KEY-----)") from None
    if not isinstance(key, RSAPrivateKey):
        raise SigningError("this is not an RSA key (expected one, for RS256)")
    rsa = key
    numbers = rsa.public_key().public_numbers()
    kid = next((name for name, public in published if public.public_numbers() == numbers), None)
    padding, algorithm = PKCS1v15(), SHA256()
    return Signer("RS256", lambda octets: rsa.sign(octets, padding, algorithm), kid)


def mint(signer: Signer, claims: Mapping[str, object]) -> bytes:
    """A token with these claims, signed."""
    header = {"alg": signer.algorithm, "typ": "JWT"} | ({} if signer.kid is None else {"kid": signer.kid})
    signed = _part(encode(header)) + b"." + _part(encode(claims))
    return signed + b"." + _part(signer.sign(signed))


def _part(octets: bytes) -> bytes:
    """Base64url without padding (RFC 7515 section 2)."""
    return urlsafe_b64encode(octets).rstrip(b"=")


def openssl_version() -> str:
    """The version of the library under `cryptography`: "OpenSSL 3.0.13 30 Jan 2024"."""
    return backend.openssl_version_text()
