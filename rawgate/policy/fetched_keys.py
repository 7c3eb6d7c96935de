"""Keys that come from elsewhere: who waits for them, and when they are asked for ahead of time.

`serve` fetches them, and says so here; a verifier has them as long as nothing newer came. A token that names a key that
is not here may have been signed with a new one. Then its request waits for the fetch that is under way, or causes one;
but one in EXTRA seconds at most, whatever the tokens say, since anybody can make up a name. A request waits for a fetch
that is under way, never for one that is to come: a provider that is down shall not gather requests here.

No I/O, no clock: `ask` is handed in, and time is an argument.
"""

from collections.abc import Callable
from math import ceil
from typing import Final

from rawgate.errors import AUTH_UNKNOWN_KEY, KEYS_UNAVAILABLE, Reason
from rawgate.message import Decision, LocalReply, Pending

EXTRA = 10.0
"""Seconds between two fetches that unknown keys cause."""

WAIT = 12.0
"""Seconds that a request waits at most: a little longer than a fetch may take."""


class FetchedKeys:
    """The keys of one verifier.

    empty     none have come yet
    retry_at  monotonic seconds of the next fetch, while there are none
    under_way, next_extra  whether one is being fetched; when unknown keys may cause the next one (monotonic seconds)
    ask       begin a fetch, if none is under way: `begin` is called by then
    """

    __slots__ = ("_waiting", "ask", "empty", "next_extra", "retry_at", "under_way")

    def __init__(self, ask: Callable[[], None] | None = None) -> None:
        self.ask = ask
        self.empty = True
        self.retry_at = 0.0
        self.under_way = False
        self.next_extra = 0.0
        self._waiting: dict[int, Callable[[], None]] = {}

    def __repr__(self) -> str:
        state = "being fetched" if self.under_way else "none yet" if self.empty else "here"
        return f"<keys: {state}, {len(self._waiting)} waiting>"

    def is_coming(self, now: float) -> bool:
        """Whether a fetch is under way, so that a request whose key is not here may wait. Causes one if it may."""
        if not self.under_way and not self.empty and self.ask is not None and now >= self.next_extra:
            self.next_extra = now + EXTRA
            self.ask()
        return self.under_way

    def retry_after(self, now: float) -> int:
        """Whole seconds after which the keys may be here: at least 1."""
        return max(1, ceil(self.retry_at - now))

    def subscribe(self, ready: Callable[[], None]) -> Callable[[], None]:
        """Call `ready` once when the fetch that is under way has ended. Returns a function that cancels this."""
        ticket = id(ready)
        self._waiting[ticket] = ready

        def cancel() -> None:
            self._waiting.pop(ticket, None)

        return cancel

    def begin(self) -> None:
        """A fetch is under way."""
        self.under_way = True

    def succeed(self, other: "FetchedKeys") -> None:
        """Go on where `other` stands, after a reload; who waits there is called from there."""
        self.empty, self.retry_at = other.empty, other.retry_at
        self.under_way, self.next_extra = other.under_way, other.next_extra

    def settle(self, *, empty: bool, retry_at: float) -> None:
        """The fetch has ended, well or not; the verifier has what it found."""
        self.empty, self.retry_at, self.under_way = empty, retry_at, False
        waiting, self._waiting = self._waiting, {}
        for ready in waiting.values():
            ready()


class AwaitKeys(Pending):
    """A request whose token names a key that may come with the fetch that is under way. It ends as it would without
    that fetch: with 503 if there are no keys at all, with 401 if there are others.

    is_coming  whether a fetch is under way: without one, there is nothing to wait for
    """

    __slots__ = ("_again", "_challenge", "_fetched", "_retry_after", "is_coming")

    def __init__(
        self,
        fetched: FetchedKeys,
        again: Callable[[float, float], Decision],
        challenge: bytes,
        request_id: str,
        client_id: str,
        route: str,
        fields: bytes,
        now: float,
    ) -> None:
        """`again`: `(now, wall)` → the decision with the keys that are here then. `challenge`: field lines of a 401."""
        reason = KEYS_UNAVAILABLE if fetched.empty else AUTH_UNKNOWN_KEY
        super().__init__(now + WAIT, reason, request_id, client_id, route, fields)
        self.is_coming: Final = fetched.is_coming(now)
        self._retry_after: Final = fetched.retry_after(now)
        self._fetched: Final = fetched
        self._again: Final = again
        self._challenge: Final = challenge

    def subscribe(self, ready: Callable[[], None]) -> Callable[[], None]:
        return self._fetched.subscribe(ready)

    def resume(self, now: float, wall: float) -> Decision:
        return self._again(now, wall)

    def refused(self, reason: Reason) -> LocalReply:
        fields = self.fields
        if reason is KEYS_UNAVAILABLE:
            fields += b"Retry-After: %d\r\n" % self._retry_after
        elif reason is AUTH_UNKNOWN_KEY:
            fields += self._challenge
        return LocalReply(reason.status, reason, fields, "", self.route, self.request_id, self.client_id)
