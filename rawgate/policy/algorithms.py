"""The signature algorithms of tokens: which key fits which, and how a signature is checked (RFC 7518 section 3,
RFC 8037 section 3.1).

    HS256 HS384 HS512   HMAC: a secret at least as long as the hash
    RS256 RS384 RS512   RSASSA-PKCS1-v1_5: an RSA key of at least 2048 bits
    PS256 PS384 PS512   RSASSA-PSS: such a key; the hash is that of MGF1 too, and the salt is as long as the hash
    ES256 ES384 ES512   ECDSA: a key on P-256, P-384, P-521
    EdDSA               Ed25519

A check takes what was signed and a signature as they came, and answers whether the key made the signature. It raises
nothing. The algorithm is fixed when the check is made, from the configuration; nothing in a token has a say in it (RFC
8725 section 3.1).

A signature has one form, with one exception. The length is exact, so that no padding and no DER passes; numbers beyond
their range are refused by the library, S of Ed25519 included (RFC 8032 section 5.1.7). The exception is ECDSA: whoever
has seen (r, s) can write (r, n - s), which is as valid by its definition (FIPS 186-5 section 6.4.2), and RFC 7518 does
not say which of the two an issuer writes. So a list of tokens that are no longer good must go by `jti`, never by the
whole text.

A weak key is refused at load, and so is a key by which nothing can be verified, or anything: RSA below 2048 bits, and
points of Ed25519 of small order, with which anybody can sign.
"""

from collections.abc import Callable
from hmac import compare_digest
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    SECP384R1,
    SECP521R1,
    EllipticCurve,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, AsymmetricPadding, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.hmac import HMAC

Check = Callable[[bytes, bytes], bool]
"""(signing input, signature octets) → is it this key's signature."""
PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

HASHES: Final[dict[str, HashAlgorithm]] = {"256": SHA256(), "384": SHA384(), "512": SHA512()}
"""The end of an algorithm's name → its hash."""

CURVES: Final[dict[str, EllipticCurve]] = {"ES256": SECP256R1(), "ES384": SECP384R1(), "ES512": SECP521R1()}

MODULUS = 2048
"""Bits that an RSA key must have at least (RFC 7518 sections 3.3 and 3.5)."""

LARGEST_MODULUS, LARGE_MODULUS, LARGE_EXPONENT = 16384, 3072, 64
"""Bits beyond which OpenSSL verifies nothing: of a modulus, and of the exponent beside a modulus that is large."""


def secret_size(algorithm: str) -> int:
    """Octets that a secret must have at least: as many as the output of the hash (RFC 7518 section 3.2)."""
    return HASHES[algorithm[2:]].digest_size


def secret_check(algorithm: str, secret: bytes) -> Check:
    """The check of HS256, HS384 or HS512."""
    # Copying the state with the key takes a third of the time of a new HMAC for each token.
    primed = HMAC(secret, HASHES[algorithm[2:]])

    def check(signed: bytes, signature: bytes) -> bool:
        mac = primed.copy()
        mac.update(signed)
        # In constant time (RFC 7518 section 3.2); False if the lengths differ.
        return compare_digest(mac.finalize(), signature)

    return check


def public_check(algorithm: str, key: PublicKey) -> Check:
    """The check of all other algorithms. The key fits: `key_fault` is ""."""
    if isinstance(key, RSAPublicKey):
        digest = HASHES[algorithm[2:]]
        # RFC 7518 section 3.5: a salt of another length is another signature scheme.
        padding = PKCS1v15() if algorithm[:2] == "RS" else PSS(MGF1(digest), digest.digest_size)
        return _rsa_check(key, padding, digest)
    if isinstance(key, EllipticCurvePublicKey):
        return _ecdsa_check(key, ECDSA(HASHES[algorithm[2:]]))
    return _ed25519_check(key)


def _rsa_check(key: RSAPublicKey, padding: AsymmetricPadding, digest: HashAlgorithm) -> Check:
    length = (key.key_size + 7) // 8

    def check(signed: bytes, signature: bytes) -> bool:
        if len(signature) != length:  # RFC 8017 sections 8.1.2 and 8.2.2, step 1
            return False
        try:
            key.verify(signature, signed, padding, digest)
        except InvalidSignature:
            return False
        return True

    return check


def _ecdsa_check(key: EllipticCurvePublicKey, scheme: ECDSA) -> Check:
    half = (key.key_size + 7) // 8

    def check(signed: bytes, signature: bytes) -> bool:
        # RFC 7518 section 3.4: r and s, each as long as the order, leading zeros included; in X.509 they are DER.
        if len(signature) != 2 * half:
            return False
        numbers = int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big")
        try:
            key.verify(encode_dss_signature(*numbers), signed, scheme)
        except InvalidSignature:
            return False
        return True

    return check


def _ed25519_check(key: Ed25519PublicKey) -> Check:
    def check(signed: bytes, signature: bytes) -> bool:
        try:
            key.verify(signature, signed)
        except InvalidSignature:  # for a signature of another length too
            return False
        return True

    return check


# Which key fits, at load.


def key_fault(algorithm: str, key: PublicKey, which: str = "it") -> str:
    """Why no token of this algorithm can, or may, be verified by this key, or "". `which` of the keys it is."""
    if algorithm[:2] in ("RS", "PS"):
        return _rsa_fault(algorithm, key, which) if isinstance(key, RSAPublicKey) else _misfit(algorithm, key, "RSA")
    if algorithm == "EdDSA":
        return _ed25519_fault(key, which) if isinstance(key, Ed25519PublicKey) else _misfit(algorithm, key, "Ed25519")
    curve = CURVES[algorithm].name
    if isinstance(key, EllipticCurvePublicKey) and key.curve.name == curve:
        return ""
    return _misfit(algorithm, key, kind_of_curve(curve))


_NIST = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}


def kind_of_curve(name: str) -> str:
    """A curve of the library as JSON Web Keys call it (RFC 7518 section 6.2.1.1)."""
    return _NIST.get(name, name)


def _misfit(algorithm: str, key: PublicKey, kind: str) -> str:
    if isinstance(key, RSAPublicKey):
        found = "an RSA key"
    elif isinstance(key, EllipticCurvePublicKey):
        found = f"a key on {kind_of_curve(key.curve.name)}"
    else:
        found = "an Ed25519 key"
    article = {"RSA": "an RSA key", "Ed25519": "an Ed25519 key"}.get(kind, f"a key on {kind}")
    return f"this is {found} (expected {article}, for {algorithm})"


def _rsa_fault(algorithm: str, key: RSAPublicKey, which: str) -> str:
    article = "an RS" if algorithm[:2] == "RS" else "a PS"
    said = f"{article}{algorithm[2:]} key"
    if key.key_size < MODULUS:
        return f"{said} must have at least {MODULUS} bits, {which} has {key.key_size}"
    if key.key_size > LARGEST_MODULUS:
        return f"{said} may have at most {LARGEST_MODULUS} bits, {which} has {key.key_size}"
    numbers = key.public_numbers()
    if numbers.n % 2 == 0:
        return f"the modulus of an RSA key is odd, and {which} has an even one"
    exponent = numbers.e.bit_length()
    if key.key_size > LARGE_MODULUS and exponent > LARGE_EXPONENT:
        return f"the exponent of {said} may have at most {LARGE_EXPONENT} bits here, {which} has {exponent}"
    return ""


# Points of Ed25519 (RFC 8032 section 5.1): 32 octets, little-endian; y, and in the highest bit the sign of x.

_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P
_Y8 = 2707385501144840649318225287225658788936804267575313519463743609750303402022
"""y of two of the four points of order 8; the other two have -y."""
_SMALL = frozenset((0, 1, _P - 1, _Y8, _P - _Y8))
"""y of all points whose order is 1, 2, 4 or 8. Each verifies signatures that nobody made."""


def _ed25519_fault(key: Ed25519PublicKey, which: str) -> str:
    y = int.from_bytes(key.public_bytes_raw(), "little") % 2**255
    if y % _P in _SMALL:
        return f"the point of an Ed25519 key has a large order, and {which} has a small one: anybody could sign"
    # x² = (y² - 1) / (d y² + 1); Euler's criterion, with the product of the two instead of the quotient. No square is
    # no point, and y has one spelling (section 5.1.3).
    squared = y * y
    if y >= _P or pow((squared - 1) * (_D * squared + 1), (_P - 1) // 2, _P) != 1:
        return f"an Ed25519 key is a point of its curve, and {which} is none"
    return ""
