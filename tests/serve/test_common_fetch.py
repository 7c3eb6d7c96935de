"""One worker fetches key sets for all. The supervisor is the test."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from rawgate.net.fetch import Document, FetchError
from rawgate.serve import common_fetch
from rawgate.serve.channel import Fetch, Fetched, ToSupervisor, Want
from rawgate.serve.common_fetch import CommonFetch
from rawgate.serve.keys import Source

SOURCE = Source("https://idp.test/keys")
WANTED = Fetch("https://idp.test/keys", "", "")


class Worker:
    """said: to the supervisor. fetched: how often it went to the provider. took: what came without being asked for.
    needs: whether it has a use for that."""

    def __init__(self) -> None:
        self.said: list[ToSupervisor] = []
        self.fetched = 0
        self.problem = ""
        self.took: list[bytes] = []
        self.needs = True
        self.common = CommonFetch(self._really, self.said.append, self._take)

    def _take(self, source: Source, document: Document) -> bool:
        if self.needs:
            self.took.append(document.octets)
        return self.needs

    async def _really(self, source: Source) -> Document:
        self.fetched += 1
        await asyncio.sleep(0)
        if self.problem:
            raise FetchError(self.problem)
        return Document(b"set %d" % self.fetched, 60.0)


def run(scene: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(scene())


def test_all_who_ask_get_what_one_has_fetched() -> None:
    async def scene() -> None:
        asks, fetches, idle = Worker(), Worker(), Worker()
        wanted = [asyncio.create_task(asks.common(SOURCE)) for _ in range(2)]
        await asyncio.sleep(0)
        assert asks.said == [Want(WANTED, 0)], "once, for both"
        await asyncio.gather(fetches.common.fetch(WANTED), fetches.common.fetch(WANTED))
        assert fetches.said == [Fetched(WANTED, b"set 1", 60.0, "")], "once, for both"
        for worker in (asks, fetches, idle):
            worker.common.fetched(Fetched(WANTED, b"set 1", 60.0, "", 1))
        assert [document.octets for document in await asyncio.gather(*wanted)] == [b"set 1"] * 2
        assert (asks.took, idle.took) == ([], [b"set 1"])

    run(scene)


def test_a_question_says_which_answer_was_of_use() -> None:
    async def scene() -> None:
        worker = Worker()
        worker.needs = False
        worker.common.fetched(Fetched(WANTED, b"set 1", 60.0, "", 1))
        worker.needs = True
        worker.common.fetched(Fetched(WANTED, b"set 2", 60.0, "", 2))
        wanted = asyncio.create_task(worker.common(SOURCE))
        await asyncio.sleep(0)
        assert worker.said == [Want(WANTED, 2)]
        worker.common.fetched(Fetched(WANTED, b"set 2", 60.0, "", 2))
        await asyncio.sleep(0)
        assert not wanted.done(), "it knows that one"
        worker.common.fetched(Fetched(WANTED, b"set 3", 60.0, "", 3))
        assert (await wanted).octets == b"set 3"
        worker.common.fetched(Fetched(WANTED, b"set 3", 60.0, "", 3))
        assert worker.took == [b"set 2"]

    run(scene)


def test_a_failure_is_told_to_who_asked() -> None:
    async def scene() -> None:
        asks, fetches = Worker(), Worker()
        wanted = asyncio.create_task(asks.common(SOURCE))
        await asyncio.sleep(0)
        fetches.problem = "status 503"
        await fetches.common.fetch(WANTED)
        for worker in (asks, fetches):
            worker.common.fetched(Fetched(WANTED, b"", None, "status 503"))
        with pytest.raises(FetchError, match="status 503"):
            await wanted
        assert fetches.took == []

    run(scene)


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common_fetch, "ANSWER_TIMEOUT", 0.0)

    async def scene() -> None:
        asks = Worker()
        for _ in range(2):
            with pytest.raises(FetchError, match="did not answer"):
                await asks.common(SOURCE)
        assert asks.said == [Want(WANTED, 0)] * 2

    run(scene)


def test_fetches_that_follow_soon_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(common_fetch, "monotonic", lambda: now)

    async def scene() -> None:
        nonlocal now
        worker = Worker()
        for after, fetched in ((0, 1), (1, 2), (1, 2), (7, 2), (2, 3), (1, 3), (100, 4), (1, 4)):
            now += after
            await worker.common.fetch(WANTED)
            assert (worker.fetched, worker.said[-1]) == (fetched, Fetched(WANTED, b"set %d" % fetched, 60.0, ""))
        worker.problem = "status 503"
        now += 100
        for _ in range(3):
            await worker.common.fetch(WANTED)
        assert worker.fetched == 7, "a failure is tried again"

    run(scene)
