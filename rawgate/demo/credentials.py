"""Secrets for one run of the demo, and tokens signed with them. A secret that the package shipped would soon be found
in somebody's production."""

from secrets import token_hex
from time import time

from rawgate.policy.signing import mint, secret_signer

HOUR = 3600


class Credentials:
    """A secret for tokens and an API key, both random.

    variables  the environment that the demo's configuration reads them from
    """

    def __init__(self) -> None:
        self._secret = token_hex(32)
        self.api_key = f"acme-{token_hex(12)}"
        self.variables = {"JWT_SECRET": self._secret, "API_KEYS": f"acme:{self.api_key}"}

    def token(self, subject: str, lasts: int = HOUR) -> str:
        """A token that the gateway accepts. `lasts`: seconds from now to its expiry; negative for an expired one."""
        return _token(subject, lasts, self._secret)

    def forged(self, subject: str) -> str:
        """A token signed with another secret."""
        return _token(subject, HOUR, token_hex(32))


def _token(subject: str, lasts: int, secret: str) -> str:
    return mint(secret_signer("HS256", secret.encode()), {"sub": subject, "exp": int(time()) + lasts}).decode()
