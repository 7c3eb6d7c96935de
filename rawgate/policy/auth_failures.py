"""How often an address may send a wrong credential: a guesser is slowed down, and nobody else notices.

Only a credential that is wrong is counted, so an honest client behind the same address is never refused. For that
every credential has to be verified, also beyond the limit: before it is verified, a fresh token of that client looks
like a guess. So the limit saves no signature check. What it takes is the guesser's time: beyond the limit the refusal
comes late, and its connection serves nothing else meanwhile. Who opens more connections meets `limits.per_address`.

What is counted is what a guess looks like: it is malformed, its signature is wrong, its key is unknown. A credential
that was issued and is good no more, or is meant for somebody else, is no guess: its client has to learn from a 401 that
it needs another one. Nor is a request without a credential one.
"""

from collections.abc import Callable
from typing import Final

from rawgate.errors import (
    API_KEY_UNKNOWN,
    AUTH_BAD_SIGNATURE,
    AUTH_LIMITED,
    AUTH_MALFORMED,
    AUTH_UNKNOWN_KEY,
    Reason,
)
from rawgate.message import Decision, LocalReply, Pending

GUESSES: Final = frozenset(
    reason.code for reason in (AUTH_MALFORMED, AUTH_BAD_SIGNATURE, AUTH_UNKNOWN_KEY, API_KEY_UNKNOWN)
)
"""Codes of the refusals that are counted."""

Hit = Callable[[str, float], tuple[bool, int, int]]
"""`(address, now)` → (admitted, remaining, reset), as `limiter.Rule.hit`."""


class AuthFailures:
    """The limit of a configuration.

    hit     counts a wrong credential
    delay   seconds that a refusal beyond the limit takes
    shadow  it slows nobody down, and refuses as if it were not there
    """

    __slots__ = ("delay", "hit", "shadow")

    def __init__(self, hit: Hit, delay: float, shadow: bool) -> None:
        self.hit: Final = hit
        self.delay: Final = delay
        self.shadow: Final = shadow

    def counted_by(self, hit: Hit) -> "AuthFailures":
        """The same with another step."""
        return AuthFailures(hit, self.delay, self.shadow)

    def retry_after(self, reason: Reason, address: str, now: float) -> int:
        """A credential was refused for this reason. Returns the seconds until the address may guess again; 0: now."""
        if reason.code not in GUESSES:
            return 0
        admitted, _, reset = self.hit(address, now)
        return 0 if admitted else reset


class LateRefusal(Pending):
    """The refusal of a credential beyond the limit. Nothing is waited for but the time."""

    __slots__ = ("_note", "_retry_after")

    def __init__(
        self, due: float, retry_after: int, found: Reason, request_id: str, client_id: str, route: str, fields: bytes
    ) -> None:
        """due: monotonic seconds. found: what is wrong with the credential."""
        super().__init__(due, AUTH_LIMITED, request_id, client_id, route, fields)
        self._retry_after: Final = retry_after
        self._note: Final = f"The credential: {found.code}."

    def subscribe(self, ready: Callable[[], None]) -> Callable[[], None]:
        def cancel() -> None:
            """`ready` is never called."""

        return cancel

    def resume(self, now: float, wall: float) -> Decision:
        return self.refused(self.reason)

    def refused(self, reason: Reason) -> LocalReply:
        fields, note = self.fields, ""
        if reason is AUTH_LIMITED:
            fields += b"Retry-After: %d\r\n" % self._retry_after
            note = self._note
        return LocalReply(reason.status, reason, fields, "", self.route, self.request_id, self.client_id, note)
