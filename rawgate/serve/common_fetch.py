"""Key sets for all workers: one of them fetches, and all use what it has got.

    a worker's KeyKeeper ── Want ───▶ supervisor ── Fetch ──▶ the worker that fetches ──▶ the provider
    every worker         ◀─ Fetched ─ supervisor ◀─ Fetched ─┘

So a provider sees one gateway, however many workers it has. Tokens with unknown keys cause one fetch in EXTRA seconds,
at whichever workers they come, as they do in one process: a further fetch in that time is answered by what the last
one has got. A question says which answer its worker knows: if there is a later one, that is the answer. So a question
that crosses an answer causes no further fetch, and a worker that begins later is given what the supervisor knows,
whether the provider can be reached or not.
"""

import asyncio
from collections.abc import Callable
from math import inf
from time import monotonic

from rawgate.net.fetch import Document, FetchError
from rawgate.policy.fetched_keys import EXTRA
from rawgate.serve.channel import Fetch, Fetched, ToSupervisor, Want
from rawgate.serve.keys import PATIENCE, Source
from rawgate.serve.keys import Fetch as KeyFetch

ANSWER_TIMEOUT = PATIENCE + 2.0
"""Seconds that a worker waits for the answer: the one that fetches may have died."""


class CommonFetch:
    """A worker's side, as one that asks and as the one that fetches.

    really  fetches over the network
    say     tells the supervisor
    take    uses a document that this worker did not ask for, and returns whether it has a use for it
    """

    def __init__(
        self,
        really: KeyFetch,
        say: Callable[[ToSupervisor], None],
        take: Callable[[Source, Document], bool],
    ) -> None:
        self._really = really
        self._say = say
        self._take = take
        self._asked: dict[Source, asyncio.Future[Document]] = {}
        self._knows: dict[Source, int] = {}  # the number of the last good answer that was of use
        self._fetching: set[Source] = set()
        self._had: dict[Source, Fetched] = {}
        self._again_at: dict[Source, float] = {}  # when it was fetched last, but for the first time: monotonic seconds

    async def __call__(self, source: Source) -> Document:
        """Ask for a key set. Raises FetchError."""
        if source not in self._asked:
            self._asked[source] = asyncio.get_running_loop().create_future()
            wanted = Fetch(source.url, source.issuer, source.authorities)
            self._say(Want(wanted, self._knows.get(source, 0)))
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                return await asyncio.shield(self._asked[source])
        except TimeoutError:
            self._asked.pop(source, None)
            raise FetchError("the worker that fetches did not answer") from None

    async def fetch(self, wanted: Fetch) -> None:
        """Fetch it for all, unless it is being fetched, or was just now."""
        source, had = _source(wanted), self._had.get(_source(wanted))
        if source in self._fetching:
            return
        if had is not None and monotonic() < self._again_at.get(source, -inf) + EXTRA:
            self._say(had)
            return
        self._say(await self._fetch(source, wanted))

    async def _fetch(self, source: Source, wanted: Fetch) -> Fetched:
        self._fetching.add(source)
        try:
            document = await self._really(source)
        except FetchError as error:
            return Fetched(wanted, b"", None, str(error))
        finally:
            self._fetching.discard(source)
        if source in self._had:
            self._again_at[source] = monotonic()
        self._had[source] = Fetched(wanted, document.octets, document.fresh_for, "")
        return self._had[source]

    def fetched(self, answer: Fetched) -> None:
        """What the one that fetches has got."""
        source = _source(answer.wanted)
        if answer.problem:
            asked = self._asked.pop(source, None)
            if asked is not None:
                asked.set_exception(FetchError(answer.problem))
        elif answer.number > self._knows.get(source, 0):
            document = Document(answer.octets, answer.fresh_for)
            asked = self._asked.pop(source, None)
            if asked is not None:
                asked.set_result(document)
            if asked is not None or self._take(source, document):
                self._knows[source] = answer.number
        # Otherwise it is said once more, to a question that crossed it.


def _source(wanted: Fetch) -> Source:
    return Source(wanted.url, wanted.issuer, wanted.authorities)
