"""Secrets and PEM texts as people hand them over: the key in them, or what they are instead. Used at load only.

No text made here shows any of a secret.
"""

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from binascii import unhexlify
from re import DOTALL
from re import compile as pattern

import msgspec.json
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from rawgate.config.model import Secret

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

_NOTATIONS = {"base64": b"+/", "base64url": b"-_"}
"""Notation → the last two signs of its alphabet (RFC 4648 sections 4 and 5)."""

_hexadecimal = pattern(rb"(?:[0-9A-Fa-f]{2})+").fullmatch


def _decoded(written: bytes, notation: str) -> bytes | None:
    """The octets of a text in base64, with or without padding; None for a text that is not the one spelling of them."""
    text, signs = written.rstrip(b"="), _NOTATIONS[notation]
    try:
        octets = b64decode(text + b"=" * (-len(text) % 4), signs, validate=True)
    except Base64Error:
        return None
    return octets if octets and b64encode(octets, signs).rstrip(b"=") == text else None


def secret_octets(secret: Secret, encoding: str) -> bytes | str:
    """The octets of a secret, or its fault as a sentence. `encoding` as `secret_encoding`; base64 may be without
    padding and on several lines, as `openssl` writes it."""
    if encoding == "text":
        return secret.value
    written = b"".join(secret.value.split())
    if encoding == "hex":
        octets = unhexlify(written) if _hexadecimal(written) else None
    else:
        octets = _decoded(written, encoding)
    if octets is not None:
        return octets
    if encoding == "hex" and _hexadecimal(written.removeprefix(b"0x").replace(b":", b"")):
        return "this is not hex alone (expected digits without 0x and colons)"
    others = [other for other in _NOTATIONS if _decoded(written, other) is not None]
    meant = f'; did you mean secret_encoding = "{others[0]}"?' if others else ""
    return f'this is not {encoding} (expected what secret_encoding = "{encoding}" says{meant})'


def secret_fault(value: bytes, algorithm: str, least: int) -> str | None:
    """Why these octets cannot be a secret for this algorithm, or None. `least`: octets that it must have."""
    if not value.strip():
        return "this secret is blank"
    if len(value) < least:
        wanted = f"at least {least}, for {algorithm}, as from `openssl rand -hex {least}`"
        return f"this secret has {len(value)} octets (expected {wanted})"
    # A public key as HMAC secret would let anyone sign (RFC 8725 section 2.1).
    if b"-----BEGIN " in value or value.startswith((b"ssh-", b"ecdsa-")):
        return (
            'this is a key or certificate in PEM form, not a secret (did you mean algorithm = "RS256" with public_key?)'
        )
    return "this is a JSON Web Key, not a secret (expected the secret's octets themselves)" if _is_jwk(value) else None


def _json_object(value: bytes) -> dict[str, object] | None:
    try:
        found = msgspec.json.decode(value)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors too
        return None
    return found if isinstance(found, dict) else None


def _is_jwk(value: bytes) -> bool:
    """Whether this is a JSON Web Key, or a set of them."""
    members = _json_object(value)
    return members is not None and ("kty" in members or "keys" in members)


_assignment = pattern(rb"(?:export\s+)?[A-Za-z_]\w*(?:=[^=]|:\s+\S).*", DOTALL).fullmatch


def secret_doubt(value: bytes) -> str:
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


def read_pem(value: bytes) -> PublicKey | str:
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
    if isinstance(key, RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey):
        return key
    return "this is a key of another kind (expected an RSA, elliptic-curve or Ed25519 key)"


_SEQUENCE = (b"\x30\x82", b"\x30\x59\x30", b"\x30\x76\x30", b"\x30\x81\x9b\x30", b"\x30\x2a\x30")
"""How public keys in DER begin (X.690 section 8.1): those of RSA, on P-256, P-384 and P-521, of Ed25519."""


def _no_pem(value: bytes) -> str:
    """What a value is that is no public key in PEM form."""
    if _is_jwk(value):
        return "this is a JSON Web Key, or a set of them, and no PEM (did you mean jwks?)"
    if value.startswith((b"ssh-", b"ecdsa-")):
        return "this is a key in OpenSSH's form (expected PEM: `ssh-keygen -e -m PKCS8 -f FILE`)"
    if value.startswith(_SEQUENCE):
        return "this is a key in DER form (expected PEM: `openssl pkey -pubin -inform DER`)"
    inner = _decoded(b"".join(value.split()), "base64") or b""
    if inner.startswith(b"-----BEGIN "):
        return "this is a PEM in base64 (expected the PEM itself)"
    if inner.startswith(_SEQUENCE):
        return "this is a PEM without its first and last line (expected them too: -----BEGIN PUBLIC KEY-----)"
    return "this is not a public key in PEM form (expected -----BEGIN PUBLIC KEY-----)"


def authorities_fault(value: bytes) -> str:
    """Why these are no certificates of authorities, or ""."""
    if b"PRIVATE KEY-----" in value:
        return "this holds a private key (expected certificates alone: -----BEGIN CERTIFICATE-----)"
    # Here for the same reason.
    from cryptography.x509 import load_pem_x509_certificates

    try:
        load_pem_x509_certificates(value)
    except ValueError:
        return "this is not a certificate in PEM form (expected -----BEGIN CERTIFICATE-----)"
    return ""
