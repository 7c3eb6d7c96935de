"""When a process asks its store, when it takes it for down, and how it comes back. The client is the test's."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, cast

import pytest

from harness.stalls import again_after_stalls
from rawgate.config.model import Config, Gateway, Route, Store, StoreUrl, Target, Upstream
from rawgate.observe import histogram
from rawgate.policy.store import Question, StoredRule, Undone
from rawgate.policy.store import Store as Counters
from rawgate.serve import stores
from rawgate.serve.store_client import Answer, StoreClient, StoreError
from rawgate.serve.stores import MOST, ROUNDS, StoreKeeper

PATIENCE = 20.0
LATE = 0.5
"""Seconds after which a store is late that the test does not answer."""
URL = "redis://store.test"


@pytest.fixture(autouse=True)
def _nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that a test gives late, on a busy host, still comes."""
    monkeypatch.setattr(stores, "LOST", PATIENCE)


def config(**more: Any) -> Config:
    store = Store(url=StoreUrl(text=URL), **more) if more.pop("there", True) else None
    return Config(
        gateway=Gateway(listen=()),
        upstreams={"users": Upstream(targets=(Target("127.0.0.1", 9, "127.0.0.1:9"),))},
        routes=(Route(prefix="/", upstream="users", auth="none"),),
        store=store,
    )


class Client:
    """A `StoreClient` whose answers a test gives. fails: why it does not answer, or ""."""

    def __init__(self, spec: Store) -> None:
        self.spec = spec
        self.rounds: list[tuple[list[Question], list[Undone], asyncio.Future[list[Answer | StoreError]]]] = []
        self.probes: list[asyncio.Future[None]] = []
        self.looked: list[str] = []
        self.owners: dict[bytes, str] = {}
        self.told: dict[str, Any] = {}
        self.closed = False

    async def ask(self, questions: Sequence[Question], undone: Sequence[Undone]) -> list[Answer | StoreError]:
        future: asyncio.Future[list[Answer | StoreError]] = asyncio.get_running_loop().create_future()
        self.rounds.append((list(questions), list(undone), future))
        return await future

    async def probe(self, key: bytes) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.probes.append(future)
        await future

    def server_of(self, key: bytes) -> str:
        return self.owners.get(key, "")

    async def look_again(self, lost: str, key: bytes) -> None:
        self.looked.append(lost)

    async def describe(self) -> dict[str, dict[str, Any]]:
        return {"": self.told}

    async def close(self) -> None:
        self.closed = True

    def admit(self, number: int = 0) -> None:
        questions, _, future = self.rounds[number]
        future.set_result([(one.need, 1, 1_000_000, 500_000, 7) for one in questions])


class Scene:
    """A keeper on a real loop, with what it has said."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.clients: list[Client] = []
        self.counters = Counters(100)
        self.rule = StoredRule(self.counters, "a", 10, 16.0, leased=False)
        loop = asyncio.get_running_loop()
        self.keeper = StoreKeeper(loop, self.counters, self.said.append, self._connect)

    def _connect(self, spec: Store) -> StoreClient:
        self.clients.append(Client(spec))
        return cast("StoreClient", self.clients[-1])

    @property
    def client(self) -> Client:
        return self.clients[-1]

    def asks(self) -> bool:
        """Whether the store is asked."""
        return self.counters.is_up

    def ask(self, client: str = "sub:a") -> Question:
        return self.rule.ask(self.rule.key(client), None, 0.0)

    async def greeted(self) -> None:
        await until(lambda: bool(self.client.probes))
        self.client.probes.pop().set_result(None)
        await turn()

    async def probed(self, times: int = 2, error: StoreError | None = None) -> None:
        """Answer so many probes."""
        for _ in range(times):
            await until(lambda: bool(self.client.probes))
            probe = self.client.probes.pop()
            if error is None:
                probe.set_result(None)
            else:
                probe.set_exception(error)
        await turn()


async def turn() -> None:
    for _ in range(6):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for timers of the keeper: nothing else tells when they have fired."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.to_thread(time.sleep, 0.001)


def play(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scene)


def test_one_turn_is_one_round_trip() -> None:
    async def scene() -> None:
        s = Scene()
        s.keeper.renew(config(timeout=5.0))
        await s.greeted()
        first, same, other = s.ask(), s.ask(), s.ask("sub:b")
        await turn()
        assert [questions for questions, _, _ in s.client.rounds] == [[first, other]]
        assert first is same
        assert first.need == 2
        s.client.admit()
        await turn()
        assert (first.answered, first.granted, other.granted) == (True, 2, 1)
        assert sum(s.keeper.latency[: histogram.BUCKETS]) == 1
        s.counters.take_back(first)
        await turn()
        assert [len(undone) for _, undone, _ in s.client.rounds] == [0, 1]
        s.client.admit(1)
        s.keeper.close()
        await turn()
        assert s.client.closed
        assert not s.asks()
        assert s.said == []

    play(scene())


def test_what_there_is_to_ask_gathers_while_rounds_are_under_way() -> None:
    async def scene() -> None:
        s = Scene()
        s.keeper.renew(config(timeout=5.0))
        await s.greeted()
        for number in range(ROUNDS + 3):
            s.ask(f"sub:{number}")
            await turn()
        assert [len(questions) for questions, _, _ in s.client.rounds] == [1] * ROUNDS
        s.client.admit()
        await turn()
        assert len(s.client.rounds[-1][0]) == 3
        for number in range(2 * MOST):
            s.ask(f"sub:{number}")
        s.client.admit(1)
        await turn()
        assert len(s.client.rounds[-1][0]) == MOST
        s.keeper.close()
        await turn()

    play(scene())


def test_an_error_is_told_once_and_nothing_is_asked_until_probes_are_answered() -> None:
    async def scene() -> None:
        s = Scene()
        s.keeper.renew(config(timeout=5.0, on_failure="refuse"))
        await s.greeted()
        failed, ready = s.ask(), list[str]()
        failed.when_settled(lambda: ready.append("ready"))
        await turn()
        s.client.rounds[0][2].set_exception(StoreError("its memory is full"))
        await turn()
        assert (failed.settled, failed.answered) == (True, False)
        assert ready == ["ready"]
        assert not s.asks()
        assert s.keeper.failed == 1
        assert s.said == [f"the store at {URL} does not count: its memory is full; requests get 503 until it does"]
        await s.probed(1, StoreError("its memory is full"))
        assert not s.asks()
        await s.probed(2)
        assert s.asks()
        assert s.said[1:] == [f"the store at {URL} counts again"]
        s.keeper.close()
        await turn()

    play(scene())


def test_one_answer_may_be_an_error() -> None:
    async def scene() -> None:
        s = Scene()
        s.keeper.renew(config(timeout=5.0))
        await s.greeted()
        good, bad = s.ask(), s.ask("sub:b")
        await turn()
        s.client.rounds[0][2].set_result([(1, 0, 1, 1, 1), StoreError("a part of the Cluster is down")])
        await turn()
        assert (good.answered, bad.answered, bad.settled) == (True, False, True)
        assert not s.asks()
        s.keeper.close()
        await turn()

    play(scene())


def test_a_store_that_is_late_is_down_and_its_answer_is_still_heard() -> None:
    async def scene() -> None:
        s = Scene()
        s.keeper.renew(config(timeout=PATIENCE))
        await s.greeted()
        s.keeper.renew(config(timeout=0.01))
        question = s.ask()
        await until(lambda: not s.asks())
        s.keeper.renew(config(timeout=PATIENCE))  # for the test's answers, which take their time
        assert s.said == [
            f"the store at {URL} does not count: no answer within 10 ms; each host counts by itself until it does"
        ]
        assert not question.settled
        s.client.admit()
        await turn()
        assert question.answered
        assert not s.asks()
        await s.probed(2)
        assert s.asks()
        s.keeper.close()
        await turn()

    play(scene())


def test_a_store_that_is_not_there_at_the_start() -> None:
    async def scene() -> None:
        s = Scene()
        s.keeper.renew(config())
        await s.probed(1, StoreError("it cannot be reached: no"))
        assert not s.asks()
        assert "it cannot be reached: no" in s.said[0]
        s.keeper.close()
        await turn()

    play(scene())


def test_a_restart_and_a_store_that_forgets_are_told() -> None:
    async def scene() -> None:
        s = Scene()
        s.keeper.renew(config(timeout=5.0))
        s.client.told = {"run_id": "a", "maxmemory": 100, "maxmemory_policy": "allkeys-lru"}
        await s.greeted()
        assert len(s.said) == 1
        assert s.said[0].startswith(f"warning: the store at {URL} has maxmemory-policy allkeys-lru: ")
        s.client.told = {"run_id": "b"}
        s.ask()
        await turn()
        s.client.rounds[0][2].set_exception(StoreError("gone"))
        await s.probed(2)
        assert "was restarted" in s.said[-1]
        s.keeper.close()
        await turn()

    play(scene())


def test_a_reload_keeps_the_connections_of_the_same_store() -> None:
    async def scene() -> None:
        s = Scene()
        s.keeper.renew(config(timeout=5.0))
        await s.greeted()
        s.keeper.renew(config(timeout=1.0, on_failure="allow"))
        assert len(s.clients) == 1
        s.keeper.renew(config(there=False))
        await turn()
        assert s.client.closed
        assert not s.asks()
        s.keeper.renew(config(timeout=1.0))
        assert len(s.clients) == 2
        assert s.asks()
        s.keeper.close()
        await turn()

    play(scene())


@again_after_stalls(LATE / 2)
def test_servers_of_a_store_are_asked_and_are_down_each_by_itself() -> None:
    """One whose rounds are all under way, or that is down, holds up no other; a probe finds who has its counters."""

    async def scene() -> None:
        s = Scene()
        s.keeper.renew(config(timeout=PATIENCE))
        await s.greeted()
        keys = {name: s.rule.key(f"sub:{name}") for name in ("a", "b")}
        s.client.owners = {keys["a"]: "one:1", keys["b"]: "two:2"}
        # Long enough for what is asked before they are late, and in force for these rounds alone.
        s.keeper.renew(config(timeout=LATE))
        for _ in range(ROUNDS + 1):
            s.ask("sub:a")
            await turn()
        s.keeper.renew(config(timeout=PATIENCE))
        other = s.ask("sub:b")
        waits = s.ask("sub:a")
        await turn()
        assert [[one.key for one in questions] for questions, _, _ in s.client.rounds] == [
            *[[keys["a"]]] * ROUNDS,
            [keys["b"]],
        ]
        s.client.admit(ROUNDS)
        await until(lambda: not s.counters.asks(keys["a"]))
        assert (other.answered, waits.settled, waits.answered) == (True, True, False)
        assert s.counters.asks(keys["b"])
        assert s.counters.silent == {"one:1"}
        place = f"one:1 of the store at {URL}"
        assert s.said == [f"{place} does not count: no answer within 500 ms; each host counts by itself until it does"]
        s.client.owners[keys["a"]] = "three:3"
        await s.probed(2)
        assert s.client.looked == ["one:1"]
        assert s.said[1:] == [f"three:3 counts in place of {place}: clients whose counts it lacks begin anew"]
        assert not s.counters.silent
        again = s.ask("sub:a")
        s.counters.silent.add("two:2")
        s.counters.take_back(other)  # it is not told of it
        s.counters.silent.clear()
        s.counters.take_back(other)
        await turn()
        assert s.client.rounds[-2][0] == [again]
        assert [[one.key for one in undone] for _, undone, _ in s.client.rounds if undone] == [[keys["b"]]]
        s.keeper.close()
        await turn()
        assert not s.counters.asks(keys["b"])

    play(scene())


def test_a_store_that_comes_and_goes_is_probed_less_and_less(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        s = Scene()
        s.keeper.renew(config(timeout=5.0))
        await s.greeted()
        delays, call_later = list[float](), asyncio.get_running_loop().call_later

        def noting(delay: float, callback: Callable[..., object], *arguments: object) -> asyncio.TimerHandle:
            if delay < 5.0:
                delays.append(delay)
            return call_later(min(delay, 0.001) if delay < 5.0 else delay, callback, *arguments)

        monkeypatch.setattr(asyncio.get_running_loop(), "call_later", noting)
        for _ in range(5):
            s.ask()
            await until(lambda: bool(s.client.rounds))
            s.client.rounds.pop()[2].set_exception(StoreError("gone"))
            await s.probed(2)
            assert s.asks()
        assert delays[:2] == [0.1, 0.2]
        assert delays[-1] == 1.0
        s.keeper.close()
        await turn()

    play(scene())


@pytest.mark.parametrize("hangs", [False, True])
def test_nothing_is_under_way_any_more_when_the_process_ends(hangs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a question nor the closing of connections, which a store that is down may never let end."""
    monkeypatch.setattr(stores, "FAREWELL", 0.01)

    async def script() -> None:
        scene = Scene()
        scene.keeper.renew(config())

        async def close() -> None:
            if hangs:
                await asyncio.Event().wait()

        monkeypatch.setattr(scene.client, "close", close)
        await until(lambda: bool(scene.client.probes))
        scene.keeper.close()
        await scene.keeper.ended()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(script())
