"""Pools of credentials: tokens as an issuer would make them, API keys, and a certificate.

A token is valid for an hour, has its own id and one of thousands of subjects. RS256 tokens are signed with a key that
is made for the run, by one process per core, since a signature takes half a millisecond.
"""

import datetime
import hashlib
import hmac
import json
import os
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import chain, pairwise
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

SUBJECTS = 5000


def hs256_tokens(secret: bytes, count: int) -> list[bytes]:
    """Distinct tokens, whose subjects take turns."""
    return _tokens(b"HS256", lambda signed: hmac.digest(secret, signed, hashlib.sha256), range(count))


def rs256_tokens(private: bytes, count: int) -> list[bytes]:
    """Distinct tokens, signed with this private key (PEM)."""
    workers = os.cpu_count() or 1
    edges = [count * share // workers for share in range(workers + 1)]
    shares = [range(first, last) for first, last in pairwise(edges)]
    with ProcessPoolExecutor(workers) as pool:
        return list(chain.from_iterable(pool.map(partial(_rs256_share, private), shares)))


def rsa_key() -> tuple[bytes, bytes]:
    """A new RSA key of 2048 bits: private and public part, as PEM."""
    key = generate_private_key(65537, 2048)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def certificate() -> tuple[bytes, bytes]:
    """A new certificate that its own key has signed (ECDSA, P-256), and the key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bench.test")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("bench.test")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(x509.random_serial_number()).add_extension(names, critical=False)
    made = made.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=90))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return made.sign(key, SHA256()).public_bytes(Encoding.PEM), private


def api_keys() -> dict[str, str]:
    """Name → key of 160 bits, for each client."""
    return {f"client-{number:05d}": secrets.token_hex(20) for number in range(SUBJECTS)}


def write_lines(path: Path, lines: list[bytes]) -> None:
    path.write_bytes(b"\n".join(lines) + b"\n")


def write_tokens(path: Path, secret: bytes, count: int) -> None:
    """Write HS256 tokens, one a line."""
    write_lines(path, hs256_tokens(secret, count))


def _rs256_share(private: bytes, numbers: range) -> list[bytes]:
    key = load_pem_private_key(private, None)
    assert isinstance(key, RSAPrivateKey)  # noqa: S101 - `rsa_key` made it
    return _tokens(b"RS256", lambda signed: key.sign(signed, PKCS1v15(), SHA256()), numbers)


def _tokens(algorithm: bytes, sign: Callable[[bytes], bytes], numbers: range) -> list[bytes]:
    header = _encoded(b'{"alg":"%b","typ":"JWT"}' % algorithm)
    now = int(time.time())
    tokens = []
    for number in numbers:
        claims = {
            "sub": f"user-{number % SUBJECTS:05d}",
            "jti": f"{number:08x}",
            "iat": now,
            "exp": now + 3600,
            "scope": "read write",
            "email": f"user{number % SUBJECTS}@bench.test",
        }
        signed = header + b"." + _encoded(json.dumps(claims, separators=(",", ":")).encode())
        tokens.append(signed + b"." + _encoded(sign(signed)))
    return tokens


def _encoded(octets: bytes) -> bytes:
    return urlsafe_b64encode(octets).rstrip(b"=")
