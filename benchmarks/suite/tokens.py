"""Pools of credentials: tokens as an issuer would make them, and API keys.

A token is valid for an hour, has its own id and one of thousands of subjects. RS256 tokens are signed with a key that
is made for the run, by one process per core, since a signature takes half a millisecond.
"""

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
