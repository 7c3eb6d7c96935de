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
from typing import Literal

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
TURN = 10_000_000
"""Between the first numbers of the tokens of two turns; more than a turn has."""

Algorithm = Literal["hs256", "rs256"]


def hs256_tokens(secret: bytes, count: int, first: int = 0) -> list[bytes]:
    """Distinct tokens, whose subjects take turns. `first`: the number of the first one."""
    numbers = range(first, first + count)
    return _tokens(b"HS256", lambda signed: hmac.digest(secret, signed, hashlib.sha256), numbers)


def rs256_tokens(private: bytes, count: int, first: int = 0) -> list[bytes]:
    """The same, signed with this private key (PEM)."""
    workers = os.cpu_count() or 1
    edges = [first + count * share // workers for share in range(workers + 1)]
    shares = [range(begin, end) for begin, end in pairwise(edges)]
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


class Issuer:
    """Makes the keys of a run, and signs its tokens. What servers and generators need of them is in files.

    secret     for HS256
    rs256.pem  the public key for RS256
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.secret = secrets.token_hex(32)
        self._private, public = rsa_key()
        (directory / "rs256.pem").write_bytes(public)

    def write_pool(self, algorithm: Algorithm, count: int) -> None:
        """Tokens that come again and again: HS256 in hs256.txt, RS256 in rs256.txt, one a line."""
        write_lines(self._directory / f"{algorithm}.txt", self._tokens(algorithm, count, 0))

    def new_tokens(self, algorithm: Algorithm, turn: int, count: int) -> Path:
        """A file of tokens that were in no file before, one a line. It is made once, and the one before it goes: in a
        turn (≥ 1) all contenders get the same."""
        path = self._directory / f"{algorithm}-new-{turn}.txt"
        if not path.exists():
            for gone in self._directory.glob("*-new-*.txt"):
                gone.unlink()
            write_lines(path, self._tokens(algorithm, count, turn * TURN))
        return path

    def _tokens(self, algorithm: Algorithm, count: int, first: int) -> list[bytes]:
        if algorithm == "hs256":
            return hs256_tokens(self.secret.encode(), count, first)
        return rs256_tokens(self._private, count, first)


def write_lines(path: Path, lines: list[bytes]) -> None:
    path.write_bytes(b"\n".join(lines) + b"\n")


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
