"""Pools of HS256 tokens, as an issuer would make them: an hour to live, an id each, thousands of subjects."""

import hashlib
import hmac
import json
import time
from base64 import urlsafe_b64encode
from pathlib import Path

SUBJECTS = 5000


def _encoded(octets: bytes) -> bytes:
    return urlsafe_b64encode(octets).rstrip(b"=")


def write_tokens(path: Path, secret: bytes, count: int) -> None:
    """One token a line. The subjects take turns; no two tokens are the same."""
    header = _encoded(b'{"alg":"HS256","typ":"JWT"}')
    now = int(time.time())
    with path.open("wb") as out:
        for number in range(count):
            claims = {
                "sub": f"user-{number % SUBJECTS:05d}",
                "jti": f"{number:08x}",
                "iat": now,
                "exp": now + 3600,
                "scope": "read write",
                "email": f"user{number % SUBJECTS}@bench.test",
            }
            signed = header + b"." + _encoded(json.dumps(claims, separators=(",", ":")).encode())
            signature = hmac.digest(secret, signed, hashlib.sha256)
            out.write(signed + b"." + _encoded(signature) + b"\n")
