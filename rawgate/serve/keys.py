"""Keeps the keys of identity providers fresh: those that `jwks = "https://…"` and `jwks = "discover"` name.

    start, reload ─▶ fetch ─▶ document ─▶ keys of each verifier ─▶ who waits goes on
                       ▲                                              │
                       └── before it is stale · soon after a failure · when a token names an unknown key ◀┘

- A set is used until a newer one is here. When a fetch fails, or brings no key that can be used, the last good one
  stays in use, and the operator is told, not more often than every TELL_EVERY seconds.
- A set is fetched again after four fifths of the time for which its server calls it fresh (Cache-Control), which is
  taken to be at least FLOOR and at most CEILING. A provider that publishes a key before it signs with it, as all large
  ones do, never has a token refused. One that does not has tokens wait: see `policy.fetched_keys`.
- Serving never waits for any of this. Certificates and keys are read in threads.
- A reload keeps the sets whose source is the same. What is remembered of verified tokens goes: they were verified by
  other rules.

How a document is fetched is handed in (`Fetch`). So a process that has others for that hands in a function that asks
them, and gives what they push to `KeyKeeper.take` (see `common_fetch`).
"""

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from math import inf
from ssl import SSLContext, SSLError
from time import monotonic
from urllib.parse import urlsplit

import msgspec.json
from msgspec import Struct

from rawgate.config.invalid import InvalidError
from rawgate.config.key_sets import checked_url
from rawgate.config.model import Jwt, KeySetUrl
from rawgate.net.fetch import Document, FetchError, fetch
from rawgate.net.names import Names
from rawgate.net.tls_contexts import client_context
from rawgate.policy.fetched_keys import FetchedKeys
from rawgate.policy.jwt import JwtVerifier, KeySet
from rawgate.serve.load import Loaded

FLOOR, CEILING = 60.0, 3600.0
"""Seconds for which a set is used at least, and at most, before the next fetch is due."""

UNSAID = 600.0
"""Seconds, where the server does not say for how long a set is fresh: Envoy's `cache_duration`, and jose's."""

AHEAD = 0.8
"""The part of that time after which a set is fetched again."""

RETRY, LONGEST_RETRY = 1.0, 30.0
"""Seconds until the first try after a failure (Envoy: 1 s), doubled with each further failure; and at most."""

TELL_EVERY = 60.0
"""Seconds between two reports about one set that cannot be fetched."""

PATIENCE = 10.0
"""Seconds for a fetch: discovery and key set together."""

LARGEST = 1024 * 1024
"""Octets of a document. Those of large providers have 1 to 20 KiB."""

WELL_KNOWN = "/.well-known/openid-configuration"
"""OpenID Connect Discovery 1.0 section 4."""


class Source(Struct, frozen=True):
    """Where a key set is fetched from.

    url          of the set; of the issuer's discovery document where `issuer` is one
    issuer       what that document must say that it is; "": `url` is the set itself
    authorities  certificates (PEM) by which the server is verified; "": the system's
    """

    url: str
    issuer: str = ""
    authorities: str = ""


def source_of(spec: Jwt) -> Source | None:
    """Where the keys of a verifier are fetched from; None where it has them from the configuration."""
    if not isinstance(spec.jwks, KeySetUrl):
        return None
    authorities = "" if spec.jwks_ca is None else spec.jwks_ca.value.decode("ascii", "replace")
    if spec.jwks.url:
        return Source(spec.jwks.url, "", authorities)
    issuer = spec.issuer[0]
    return Source(issuer.removesuffix("/") + WELL_KNOWN, issuer, authorities)


Fetch = Callable[[Source], Awaitable[Document]]
"""The key set of a source. Raises FetchError."""


class _Discovered(Struct):
    issuer: str
    jwks_uri: str


class Fetcher:
    """A `Fetch` over the network."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._contexts: dict[str, SSLContext] = {}

    async def __call__(self, source: Source) -> Document:
        ends = monotonic() + PATIENCE
        tls = self._contexts.get(source.authorities)
        if tls is None:
            try:
                tls = await asyncio.to_thread(client_context, ca=source.authorities.encode())
            except SSLError:
                raise FetchError("jwks_ca holds no certificate that can be used") from None
            self._contexts[source.authorities] = tls
        url = source.url
        if source.issuer:
            found = await fetch(url, self._names, tls, most=LARGEST, patience=ends - monotonic())
            url = key_set_url(found.octets, source.issuer)
        try:
            return await fetch(url, self._names, tls, most=LARGEST, patience=max(0.0, ends - monotonic()))
        except FetchError as error:
            raise FetchError(f"{url}: {error}" if source.issuer else str(error)) from None


def key_set_url(document: bytes, issuer: str) -> str:
    """What a discovery document says about the key set. Raises FetchError."""
    try:
        found = msgspec.json.decode(document, type=_Discovered)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors too
        raise FetchError("this is not a discovery document (expected issuer and jwks_uri)") from None
    # Section 4.3 of OpenID Connect Discovery 1.0: or one issuer could speak for another.
    if found.issuer != issuer:
        raise FetchError(f"the discovery document is that of {found.issuer[:200]!r}")
    try:
        url = checked_url(found.jwks_uri)
    except InvalidError as invalid:
        raise FetchError(f"jwks_uri {invalid}") from None
    # A server elsewhere has no business with what listens on this host.
    if urlsplit(url).scheme != "https" and urlsplit(issuer).scheme == "https":
        raise FetchError('jwks_uri is no "https://" URL')
    return url


class Follower(Struct, frozen=True):
    """A verifier whose keys come from a source."""

    name: str
    spec: Jwt
    verifier: JwtVerifier
    fetched: FetchedKeys


class KeyKeeper:
    """All key sets of one process that are fetched. `renew` begins with them, and follows each reload."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        fetch: Fetch,
        report: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._fetch = fetch
        self._report = report
        self._feeds: dict[Source, Feed] = {}

    def renew(self, loaded: Loaded) -> None:
        """Keep the keys of this configuration from now on. Sets that it does not have are forgotten."""
        wanted: dict[Source, list[Follower]] = {}
        for name, spec in loaded.config.jwt.items():
            credential, source = loaded.gate.credentials[f"jwt.{name}"], source_of(spec)
            verifier, fetched = credential.by, credential.fetched
            if source is not None and fetched is not None and isinstance(verifier, JwtVerifier):
                wanted.setdefault(source, []).append(Follower(name, spec, verifier, fetched))
        for source in set(self._feeds) - set(wanted):
            self._feeds.pop(source).close()
        for source, followers in wanted.items():
            if source not in self._feeds:
                self._feeds[source] = Feed(self._loop, source, self._fetch, self._report)
            self._feeds[source].follow(followers)

    def take(self, source: Source, document: Document) -> bool:
        """Use a document that somebody else has fetched. Returns whether a verifier has its keys from there."""
        feed = self._feeds.get(source)
        if feed is not None:
            feed.take(document)
        return feed is not None

    def ages(self, now: float) -> dict[str, float]:
        """Name of a verifier → seconds since its keys were fetched; those that were not are left out. now: monotonic
        seconds."""
        return {
            follower.name: now - feed.fetched_at
            for feed in self._feeds.values()
            if feed.fetched_at is not None
            for follower in feed.followers
        }

    def close(self) -> None:
        """The gateway ends: fetch nothing more."""
        for feed in self._feeds.values():
            feed.close()


class Feed:
    """The document of one source: when it is fetched, and who has its keys.

    fetched_at  monotonic seconds of the last good answer
    followers   the verifiers that have them
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        source: Source,
        fetch: Fetch,
        report: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._source = source
        self._fetch = fetch
        self._report = report
        self.fetched_at: float | None = None
        self.followers: list[Follower] = []
        self._before: list[Follower] = []  # those before the last reload, whose requests may still wait
        self._octets = b""
        self._failures = 0
        self._told_at = -inf
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def follow(self, followers: list[Follower]) -> None:
        """These verifiers have the keys from now on, and those that had them before until the next reload."""
        self._before, self.followers = self.followers, followers
        for follower in followers:
            follower.fetched.ask = self.refresh
            if self._before:
                follower.fetched.succeed(self._before[0].fetched)
            if self._octets:
                # A few keys, of a document that was read before: not worth a thread, during which there were none.
                keys, _ = _keys_of(follower.name, follower.spec, self._octets)
                follower.fetched.empty = keys is None
                if keys is not None:
                    follower.verifier.replace(keys)
        if self._task is None and any(follower.fetched.empty for follower in followers):
            self.refresh()

    def refresh(self) -> None:
        """Begin a fetch, if none is under way."""
        if self._task is None:
            self._start(self._fetched)

    def take(self, document: Document) -> None:
        """Use this document, in place of one that is being fetched."""
        if self._task is not None:
            self._task.cancel()
        self._start(partial(self._given, document))

    def close(self) -> None:
        self._stop_timer()
        if self._task is not None:
            self._task.cancel()
        for follower in (*self._before, *self.followers):
            follower.fetched.ask = None
            follower.fetched.settle(empty=follower.fetched.empty, retry_at=0.0)

    # ── inside ──

    def _start(self, work: Callable[[], Awaitable[Document]]) -> None:
        self._stop_timer()
        for follower in (*self._before, *self.followers):
            follower.fetched.begin()
        self._task = self._loop.create_task(self._run(work))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _fetched(self) -> Document:
        return await self._fetch(self._source)

    async def _given(self, document: Document) -> Document:
        return document

    async def _run(self, work: Callable[[], Awaitable[Document]]) -> None:
        try:
            document = await work()
            await self._install(document.octets)
        except FetchError as error:
            self._failed(str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, who waits must hear of it, and people see it
            traceback.print_exception(error)
            self._failed("a mistake of the gateway; its error log says which")
        else:
            self._succeeded(document)

    async def _install(self, octets: bytes) -> None:
        """Give the verifiers the keys in this document. Raises FetchError if one of them finds none that it can use."""
        done: dict[int, KeySet | None] = {}
        said: dict[str, None] = {}
        useless = ""
        # More than one round only if a reload came meanwhile.
        while todo := [follower for follower in self._all() if id(follower) not in done]:
            for follower in todo:
                if octets == self._octets and not follower.fetched.empty:
                    done[id(follower)] = None  # nothing new: what is remembered of tokens stays
                    continue
                keys, faults = await asyncio.to_thread(_keys_of, follower.name, follower.spec, octets)
                done[id(follower)] = keys
                if keys is None:
                    useless = faults[0]
                else:
                    said |= dict.fromkeys(f"jwt.{follower.name}: {fault}" for fault in faults)
        for follower in self._all():
            keys = done[id(follower)]
            if keys is not None:
                follower.verifier.replace(keys)
                follower.fetched.empty = False
        for line in said:
            self._report(line)
        if useless:
            raise FetchError(useless)
        self._octets = octets

    def _all(self) -> Iterable[Follower]:
        return (*self._before, *self.followers)

    def _succeeded(self, document: Document) -> None:
        if self._failures and self._told_at > -inf:
            self._report(f"{self._whose()}: the keys can be fetched again")
        self._failures, self._told_at = 0, -inf
        self.fetched_at = monotonic()
        fresh = UNSAID if document.fresh_for is None else document.fresh_for
        self._settle(AHEAD * min(max(fresh, FLOOR), CEILING))

    def _failed(self, why: str) -> None:
        self._failures += 1
        now = monotonic()
        if now >= self._told_at + TELL_EVERY:
            self._told_at = now
            empty = any(follower.fetched.empty for follower in self.followers)
            so = "requests get 503 until they can" if empty else "the last ones are used"
            self._report(f"{self._whose()}: the keys at {self._source.url} cannot be fetched: {why}; {so}")
        self._settle(min(RETRY * 2 ** min(self._failures - 1, 10), LONGEST_RETRY))

    def _settle(self, delay: float) -> None:
        self._task = None
        self._timer = self._loop.call_later(delay, self.refresh)
        retry_at = monotonic() + delay
        for follower in self._all():
            follower.fetched.settle(empty=follower.fetched.empty, retry_at=retry_at)

    def _whose(self) -> str:
        return ", ".join(f"jwt.{follower.name}" for follower in self.followers)


def _keys_of(name: str, spec: Jwt, document: bytes) -> tuple[KeySet | None, list[str]]:
    # Imported for tokens only, as in `policy.compile`.
    from rawgate.policy.verifiers import compile_key_set

    return compile_key_set(name, spec, document)
