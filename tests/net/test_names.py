"""Look-ups: shared, remembered, in nobody's way, and told when they fail. What the system knows, each test says."""

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest

from rawgate.net import names as module
from rawgate.net.names import FORGOTTEN, KEPT, REFRESH, RETRY, Found, LookUpError, Names, interleaved, why_not

PATIENCE = 20.0


class System:
    """The name servers. `open`: look-ups of these names wait for it."""

    def __init__(self, **answers: tuple[str, ...] | Exception) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self.open: dict[str, threading.Event] = {}
        self.said: list[str] = []
        self.now = 1000.0

    def __call__(self, host: str) -> tuple[str, ...]:
        self.asked.append(host)
        if host in self.open:
            assert self.open[host].wait(PATIENCE)
        answer = self.answers[host]
        if isinstance(answer, Exception):
            raise answer
        return answer


def play(system: System, script: Callable[[Names], Awaitable[None]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "monotonic", lambda: system.now)

    async def run() -> None:
        names = Names(asyncio.get_running_loop(), system.said.append, system)
        async with asyncio.timeout(PATIENCE):
            await script(names)

    asyncio.run(run())


async def settled(names: Names, host: str) -> None:
    """The look-up that is under way has ended."""
    under_way = names._names[host].under_way  # noqa: SLF001
    if under_way is not None:
        await asyncio.shield(under_way)


def test_look_ups_of_one_name_are_one_and_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    system = System(a=("10.0.0.1", "10.0.0.2"))

    async def script(names: Names) -> None:
        found = await asyncio.gather(*(names.addresses("a") for _ in range(20)))
        assert found == [("10.0.0.1", "10.0.0.2")] * 20
        system.now += REFRESH - 1
        names.refresh()
        await names.addresses("a")
        assert system.asked == ["a"]

    play(system, script, monkeypatch)


def test_a_name_is_looked_up_anew_and_nobody_waits_for_that(monkeypatch: pytest.MonkeyPatch) -> None:
    system = System(a=("10.0.0.1",))

    async def script(names: Names) -> None:
        await names.addresses("a")
        system.answers["a"] = ("10.0.0.2",)
        system.open["a"] = threading.Event()
        system.now += REFRESH
        names.refresh()
        names.refresh()
        assert await names.addresses("a") == ("10.0.0.1",)
        system.open["a"].set()
        await settled(names, "a")
        assert await names.addresses("a") == ("10.0.0.2",)
        assert system.asked == ["a", "a"]

    play(system, script, monkeypatch)


def test_it_is_told_when_a_name_has_other_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    system = System(a=("10.0.0.1", "10.0.0.2"))
    told: list[tuple[str, tuple[str, ...]]] = []

    async def script(_: Names) -> None:
        names = Names(
            asyncio.get_running_loop(), system.said.append, system, lambda host, found: told.append((host, found))
        )
        await names.addresses("a")
        answers: list[tuple[str, ...] | OSError] = [("10.0.0.2", "10.0.0.1"), OSError("refused"), ("10.0.0.3",)]
        for answer in answers:
            system.answers["a"] = answer
            system.now += REFRESH
            names.refresh()
            await settled(names, "a")
        assert told == [("a", ("10.0.0.3",))], "neither another order is a move, nor no answer"

    play(system, script, monkeypatch)


def test_a_slow_name_holds_up_none_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = {f"slow{number}": ("10.0.0.1",) for number in range(50)}
    system = System(**slow, quick=("10.0.0.2",))
    system.open = dict.fromkeys(slow, threading.Event())

    async def script(names: Names) -> None:
        waiting = [asyncio.ensure_future(names.addresses(host)) for host in slow]
        await asyncio.sleep(0)
        assert await names.addresses("quick") == ("10.0.0.2",)
        assert await names.addresses("127.0.0.1") == ("127.0.0.1",)
        assert not any(task.done() for task in waiting)
        system.open["slow0"].set()
        assert await asyncio.gather(*waiting) == [("10.0.0.1",)] * 50

    play(system, script, monkeypatch)


def test_there_are_so_many_threads_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 3)
    hosts = {f"name{number}": ("10.0.0.1",) for number in range(10)}
    system = System(**hosts)
    opened = threading.Event()
    system.open = dict.fromkeys(hosts, opened)

    async def script(names: Names) -> None:
        names.watch(hosts)
        assert sum(thread.name.startswith("look-up name") for thread in threading.enumerate()) <= 3
        opened.set()
        for host in hosts:
            assert await names.addresses(host) == ("10.0.0.1",)

    play(system, script, monkeypatch)
    assert sorted(system.asked) == sorted(hosts)


def test_who_gives_up_waiting_does_not_end_the_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    system = System(a=("10.0.0.1",))
    system.open["a"] = threading.Event()

    async def script(names: Names) -> None:
        stays, leaves = (asyncio.ensure_future(names.addresses("a")) for _ in "ab")
        await asyncio.sleep(0)
        leaves.cancel()
        await asyncio.wait([leaves])
        system.open["a"].set()
        assert await stays == ("10.0.0.1",)
        assert system.asked == ["a"]

    play(system, script, monkeypatch)


def test_what_is_an_address_needs_no_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    system = System()

    async def script(names: Names) -> None:
        names.watch(("192.0.2.1", "::1"))
        for host in ("192.0.2.1", "::1", "fe80::1%1"):
            assert await names.addresses(host) == (host,)

    play(system, script, monkeypatch)
    assert system.asked == []


NO_NAME = socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@pytest.mark.parametrize(
    ("failure", "why"),
    [
        (NO_NAME, "no such name"),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), "temporary failure"),
        (UnicodeError("label too long"), "label too long"),
        ((), "no such name"),
    ],
)
def test_a_failure_is_told_once_and_asked_again_later(
    failure: Exception, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = System(a=failure)

    async def script(names: Names) -> None:
        for _ in range(3):
            with pytest.raises(LookUpError, match=f"^{why}$"):
                await names.addresses("a")
        assert system.asked == ["a"]
        system.now += RETRY
        with pytest.raises(LookUpError):
            await names.addresses("a")
        assert system.asked == ["a", "a"]
        system.answers["a"] = ("10.0.0.1",)
        system.now += RETRY
        assert await names.addresses("a") == ("10.0.0.1",)

    play(system, script, monkeypatch)
    assert system.said == [f"a cannot be looked up: {why}", "a can be looked up again"]


def test_the_last_good_answer_is_kept_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    system = System(a=("10.0.0.1",))

    async def script(names: Names) -> None:
        await names.addresses("a")
        system.answers["a"] = NO_NAME
        system.now += REFRESH
        names.refresh()
        await settled(names, "a")
        assert await names.addresses("a") == ("10.0.0.1",)
        system.now += KEPT
        with pytest.raises(LookUpError):
            await names.addresses("a")

    play(system, script, monkeypatch)
    assert system.said == ["a cannot be looked up: no such name; its last addresses are used"]


def test_nothing_is_told_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    system = System(a=NO_NAME)
    system.open["a"] = threading.Event()

    async def script(names: Names) -> None:
        names.watch(["a"])
        names.close()
        system.open["a"].set()
        await asyncio.to_thread(next(t for t in threading.enumerate() if t.name == "look-up a").join)
        await asyncio.sleep(0)

    play(system, script, monkeypatch)
    assert system.said == []


ENDS = """
import asyncio, threading
from rawgate.net.names import Names

async def main():
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()

    def look_up(host):
        loop.call_soon_threadsafe(asked.set)
        threading.Event().wait()

    Names(loop, print, look_up).watch(["never"])
    await asked.wait()

asyncio.run(main())
"""


@pytest.mark.process
def test_a_process_ends_while_a_name_is_looked_up() -> None:
    done = subprocess.run([sys.executable, "-c", ENDS], capture_output=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("families", ["666444", "6444", "44", "4466", "6"])
def test_families_take_turns(families: str) -> None:
    found = {f"{family}-{number}": int(family) for number, family in enumerate(families)}
    took = interleaved(found)
    assert sorted(took) == sorted(found)
    kinds = [address[0] for address in took]
    fewer = min(kinds.count("4"), kinds.count("6"))
    assert all(one != other for one, other in pairwise(kinds[: 2 * fewer]))
    assert kinds[0] == families[0]
    for kind in "46":
        assert [one for one in took if one[0] == kind] == [one for one in found if one[0] == kind]


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "connection refused"),
        (TimeoutError(), "timed out"),
        (TimeoutError(110, "Connection timed out"), "timed out"),
        (TimeoutError("its name is still being looked up"), "its name is still being looked up"),
        (OSError(101, "Network is unreachable"), "network is unreachable"),
        (ValueError("odd"), "odd"),
    ],
)
def test_why_is_a_phrase(error: Exception, why: str) -> None:
    assert why_not(error) == why


def test_a_name_that_nobody_needs_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    system = System(a=("10.0.0.1",), b=("10.0.0.2",), keys=("10.0.0.3",))

    async def script(names: Names) -> None:
        names.watch(["a", "b", "192.0.2.1"])
        for host in ("a", "b", "keys"):
            await names.addresses(host)
        names.watch(["a"])  # a reload has removed b
        system.now += FORGOTTEN - 1
        await names.addresses("keys")
        names.refresh()
        for host in ("a", "b", "keys"):
            await settled(names, host)
        system.now += 1
        names.refresh()
        assert set(names._names) == {"a", "keys"}  # noqa: SLF001
        system.asked.clear()
        assert await names.addresses("b") == ("10.0.0.2",)
        assert system.asked == ["b"]

    play(system, script, monkeypatch)


class Servers:
    """Name servers, in place of the system."""

    def __init__(self, *answers: Found | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, tuple[str, ...]]] = []

    async def __call__(self, host: str, before: tuple[str, ...]) -> Found:
        self.asked.append((host, before))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_name_servers_are_asked_for_so_many_names_at_once_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 3)
    hosts = [f"name{number}" for number in range(10)]
    asked: list[str] = []

    async def script(names: Names) -> None:
        answer = asyncio.Event()

        async def servers(host: str, before: tuple[str, ...]) -> Found:
            asked.append(host)
            await answer.wait()
            if host == "name1":
                raise LookUpError("no such name")
            return Found(("10.0.0.1",), 30.0)

        names.use(servers)
        names.watch(hosts)
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(asked) == 3
        answer.set()
        for host in hosts:
            await settled(names, host)
        assert sorted(asked) == hosts
        assert await names.addresses("name9") == ("10.0.0.1",)

    play(System(), script, monkeypatch)


def test_name_servers_say_when_a_name_is_looked_up_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    system = System()
    failed = LookUpError("no such name")
    servers = Servers(Found(("10.0.0.1",), 30.0), failed, failed, Found(("10.0.0.2",), 0.0))

    async def script(names: Names) -> None:
        delays, loop = list[float](), asyncio.get_running_loop()
        call_later = loop.call_later

        def kept_back(delay: float, *call: Any) -> asyncio.TimerHandle:
            delays.append(delay)
            return call_later(10 * PATIENCE, *call)

        monkeypatch.setattr(loop, "call_later", kept_back)
        names.use(servers)
        assert await names.addresses("a") == ("10.0.0.1",)
        for _ in range(3):
            system.now += 100
            names.refresh()  # is for names of which nobody says when
            names._begin("a")  # noqa: SLF001
            await settled(names, "a")
        assert delays == [30.0, 1.0, 2.0, 1.0]
        assert await names.addresses("a") == ("10.0.0.2",)
        names.close()

    play(system, script, monkeypatch)
    assert servers.asked == [("a", ()), *[("a", ("10.0.0.1",))] * 3]
    assert system.asked == []
    assert system.said == [
        "a cannot be looked up: no such name; its last addresses are used",
        "a can be looked up again",
    ]


def test_other_name_servers_are_asked_for_all_names_again(monkeypatch: pytest.MonkeyPatch) -> None:
    system = System(a=("10.0.0.1",))
    servers = Servers(Found(("10.0.0.2",), 30.0))

    async def script(names: Names) -> None:
        assert await names.addresses("a") == ("10.0.0.1",)
        names.use(servers)
        assert await names.addresses("a") == ("10.0.0.1",)
        await settled(names, "a")
        assert await names.addresses("a") == ("10.0.0.2",)
        names.use(None)
        await settled(names, "a")
        assert await names.addresses("a") == ("10.0.0.1",)
        assert names._names["a"].again is None  # noqa: SLF001

    play(system, script, monkeypatch)
