"""Signing tokens, for tests of a gateway. Nothing that serves imports this: a gateway verifies and never signs.

The algorithms are those of `algorithms`, the form is the compact one (RFC 7515 section 7.1).
"""

from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from hmac import digest
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.backends.openssl.backend import backend
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from msgspec.json import encode

from rawgate.errors import RawgateError

Sign = Callable[[bytes], bytes]
"""What is signed → the signature."""
PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey
Choose = Callable[[PublicKey], tuple[str, str | None]]
"""The public half of a key → its algorithm, which it fits; and its name in its key set, or None."""


class SigningError(RawgateError):
    """The key cannot sign. The message is one sentence, which shows nothing of the key."""


class Signer:
    """A key that signs. `kid`: the name of the key in its key set, or None."""

    __slots__ = ("algorithm", "kid", "sign")

    def __init__(self, algorithm: str, sign: Sign, kid: str | None = None) -> None:
        self.algorithm: Final = algorithm
        self.sign: Final = sign
        self.kid: Final = kid


_HASHES: dict[str, HashAlgorithm] = {"256": SHA256(), "384": SHA384(), "512": SHA512()}


def secret_signer(algorithm: str, secret: bytes) -> Signer:
    """A signer by a shared secret: HS256, HS384 or HS512."""
    return Signer(algorithm, lambda octets: digest(secret, octets, f"sha{algorithm[2:]}"))


def private_signer(pem: bytes, choose: Choose) -> Signer:
    """A signer by a private key, in PEM form without passphrase. Raises SigningError, and what `choose` raises."""
    key = _private_key(pem)
    algorithm, kid = choose(key.public_key())
    return Signer(algorithm, _sign(algorithm, key), kid)


_PrivateKey = RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey


def _private_key(pem: bytes) -> _PrivateKey:
    try:
        key = load_pem_private_key(pem, None)
    except TypeError:
        raise SigningError("this private key has a passphrase (expected one without, for tests)") from None
    except (ValueError, UnsupportedAlgorithm):
        raise SigningError("this is not a private key in PEM form (expected -----BEGIN PRIVATE KEY-----)") from None
    if not isinstance(key, _PrivateKey):
        raise SigningError("this is a key of another kind (expected an RSA, elliptic-curve or Ed25519 key)")
    return key


def _sign(algorithm: str, key: _PrivateKey) -> Sign:
    if isinstance(key, Ed25519PrivateKey):
        return key.sign
    hashed = _HASHES[algorithm[2:]]
    if isinstance(key, RSAPrivateKey):
        rsa, padding = key, PKCS1v15() if algorithm[:2] == "RS" else PSS(MGF1(hashed), hashed.digest_size)
        return lambda octets: rsa.sign(octets, padding, hashed)
    curve, half = key, (key.key_size + 7) // 8

    def sign(octets: bytes) -> bytes:
        # RFC 7518 section 3.4: r and s side by side.
        return b"".join(
            number.to_bytes(half, "big") for number in decode_dss_signature(curve.sign(octets, ECDSA(hashed)))
        )

    return sign


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
