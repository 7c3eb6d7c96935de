"""Secrets that live as long as the demo, and tokens signed with them."""

from secrets import token_hex
from time import time

from rawgate.policy.signing import hs256, mint

HOUR = 3600


class Credentials:
    """A secret for tokens and a key for a partner, made up anew each time.

    variables  those that the demo's configuration names
    """

    def __init__(self) -> None:
        self._secret = token_hex(32)
        self.api_key = f"acme-{token_hex(12)}"
        self.variables = {"JWT_SECRET": self._secret, "API_KEYS": f"acme:{self.api_key}"}

    def token(self, subject: str, lasts: int = HOUR) -> str:
        """A token that the gateway accepts for `lasts` seconds from now; with fewer than none, it has expired."""
        return _token(subject, lasts, self._secret)

    def forged(self, subject: str) -> str:
        """The same, signed by somebody who does not know the secret."""
        return _token(subject, HOUR, token_hex(32))


def _token(subject: str, lasts: int, secret: str) -> str:
    return mint(hs256(secret.encode()), {"sub": subject, "exp": int(time()) + lasts}).decode()
