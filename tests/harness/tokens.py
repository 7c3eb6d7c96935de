"""HS256 tokens made by hand (RFC 7515 section 7.1), valid and invalid ones, without rawgate's code."""

import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping

SECRET = "a secret of the tests, well over 32 octets long"


def encoded(octets: bytes) -> str:
    """base64url without padding (RFC 7515 section 2)."""
    return urlsafe_b64encode(octets).rstrip(b"=").decode()


def signed(header: bytes, payload: bytes, secret: str = SECRET) -> str:
    """A token with exactly these octets as header and payload, correctly signed."""
    text = f"{encoded(header)}.{encoded(payload)}"
    return f"{text}.{encoded(hmac.digest(secret.encode(), text.encode(), 'sha256'))}"


def token(claims: Mapping[str, object], secret: str = SECRET) -> str:
    """A token with these claims and no others."""
    return signed(b'{"alg":"HS256","typ":"JWT"}', json.dumps(claims).encode(), secret)
