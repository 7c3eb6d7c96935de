"""Dials: which target, which address, when, and what becomes of each. The network and the names are made up."""

import asyncio
import errno
import socket
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, cast

import pytest

from harness.fake_loop import FakeLoop, FakeTransport
from harness.ports import FakeLessee
from rawgate import errors
from rawgate.net import dialing as module
from rawgate.net.dialing import ROOM, Dialer
from rawgate.net.names import LookUp, Names
from rawgate.net.turn import Turn
from rawgate.relay.endpoints import Place
from rawgate.relay.options import UpstreamOptions
from rawgate.relay.pool import Pool
from rawgate.wire import ResponseRules

RULES = ResponseRules(16384, 100, frozenset(), fast=True)

Connect = Callable[[asyncio.Protocol], Awaitable[None]]


class Network:
    """A loop that connects as each address is told to; everything else is asyncio's own.

    tried   addresses, in the order of attempts
    open    connections that were made
    ended   attempts that were broken off
    """

    def __init__(self, **addresses: Connect) -> None:
        self.addresses = addresses
        self.tried: list[str] = []
        self.ended: list[str] = []
        self.open: list[FakeTransport] = []
        self.loop = FakeLoop()
        self.running: asyncio.AbstractEventLoop

    def create_future(self) -> "asyncio.Future[None]":
        return asyncio.get_running_loop().create_future()

    def call_soon_threadsafe(self, call: Callable[..., object], *arguments: object) -> None:
        self.running.call_soon_threadsafe(call, *arguments)

    def create_task(self, work: Any) -> "asyncio.Task[None]":
        return asyncio.get_running_loop().create_task(work)

    async def create_connection(
        self, factory: Callable[[], asyncio.Protocol], host: str, port: int
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        self.tried.append(host)
        protocol = factory()
        try:
            await self.addresses[host](protocol)
        except asyncio.CancelledError:
            self.ended.append(host)
            raise
        self.open.append(FakeTransport(self.loop, protocol))
        return self.open[-1], protocol


async def accepts(protocol: asyncio.Protocol) -> None:
    pass


async def refuses(protocol: asyncio.Protocol) -> None:
    raise ConnectionRefusedError


async def swallows(protocol: asyncio.Protocol) -> None:
    await asyncio.Event().wait()


class Dialing:
    """One pool over a made-up network; `dial` waits until the pool has been told. Targets are its addresses, or names
    of them."""

    def __init__(self, network: Network, connect_timeout: float = 20.0, **names: tuple[str, ...]) -> None:
        self.network = network
        self.said: list[str] = []
        self.names = names
        loop = cast("asyncio.AbstractEventLoop", network)
        self.idle_clients = 0
        self.dialer = Dialer(loop, RULES, Names(loop, self.said.append, self.look_up), Turn(loop), self.make_room)
        places = tuple(Place(host=name, port=80) for name in names or network.addresses)
        options = UpstreamOptions(name="users", places=places, connect_timeout=connect_timeout)
        self.pool = Pool(options, self.dialer, self.said.append)

    def look_up(self, host: str) -> tuple[str, ...]:
        return self.names.get(host, (host,)) if self.names else (host,)

    def make_room(self) -> bool:
        self.idle_clients -= 1
        return self.idle_clients >= 0

    async def dial(self, count: int = 1) -> list[FakeLessee]:
        """So many at once."""
        self.network.running = asyncio.get_running_loop()
        lessees = [FakeLessee() for _ in range(count)]
        before = asyncio.all_tasks()
        for lessee in lessees:
            self.pool.acquire(lessee, monotonic())
        while tasks := asyncio.all_tasks() - before:
            await asyncio.wait(tasks)
        return lessees


def dial_once(network: Network, connect_timeout: float = 20.0) -> tuple[Dialing, FakeLessee]:
    dialing = Dialing(network, connect_timeout)
    (lessee,) = asyncio.run(dialing.dial())
    return dialing, lessee


def test_a_dial_that_succeeds_leases() -> None:
    dialing, lessee = dial_once(Network(a=accepts))
    assert [upstream.endpoint for upstream in lessee.got] == dialing.pool.endpoints.all[:1]
    assert (dialing.pool.leased, dialing.pool.size) == (1, 1)


@pytest.mark.parametrize(
    ("connect", "reason", "connect_timeout"),
    [(refuses, errors.UPSTREAM_CONNECT_FAILED, 20.0), (swallows, errors.UPSTREAM_TIMEOUT, 0.01)],
)
def test_a_dial_that_fails_says_why(connect: Connect, reason: errors.Reason, connect_timeout: float) -> None:
    dialing, lessee = dial_once(Network(a=connect), connect_timeout)
    assert lessee.failed == [reason]
    assert dialing.pool.size == 0


@pytest.mark.parametrize("first", [refuses, swallows])
def test_a_dial_goes_on_to_the_next_target_within_its_time(first: Connect) -> None:
    # `swallows` uses up its half of the time, and leaves the other half, which a busy machine can keep.
    dialing, lessee = dial_once(Network(a=accepts, b=first), connect_timeout=3.0)
    assert dialing.network.tried == ["b", "a"]
    assert [upstream.endpoint for upstream in lessee.got] == dialing.pool.endpoints.all[:1]


def test_a_target_that_is_told_between_a_dial_and_its_first_step_is_dialed() -> None:
    """Nobody looks up the name of no target, which the operator would hear of."""

    async def told_at_once() -> tuple[Dialing, list[FakeLessee]]:
        dialing = Dialing(Network(a=accepts))
        places = [endpoint.place for endpoint in dialing.pool.endpoints.all]
        dialing.pool.retarget(())
        asyncio.get_running_loop().call_soon(dialing.pool.retarget, places)
        return dialing, await dialing.dial()

    dialing, (lessee,) = asyncio.run(told_at_once())
    assert [upstream.endpoint for upstream in lessee.got] == dialing.pool.endpoints.all
    assert dialing.network.tried == ["a"]
    assert dialing.said == []


def test_a_target_that_failed_is_tried_last_for_a_while() -> None:
    async def twice() -> list[str]:
        dialing = Dialing(Network(a=accepts, b=refuses))
        await dialing.dial()
        dialing.network.tried.clear()
        await dialing.dial()
        return dialing.network.tried

    assert asyncio.run(twice()) == ["a"]


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_a_lack_of_descriptors_is_no_target_s_fault(number: int) -> None:
    async def lacks(protocol: asyncio.Protocol) -> None:
        raise OSError(number, "")

    dialing, lessee = dial_once(Network(a=lacks, b=lacks))
    assert lessee.failed == [errors.CONNECTION_LIMIT]
    assert dialing.network.tried == ["b"]
    assert dialing.said == []


@pytest.mark.parametrize("idle", range(ROOM + 2))
def test_idle_clients_make_room_for_a_dial_but_only_so_many(idle: int) -> None:
    async def lacks(protocol: asyncio.Protocol) -> None:
        raise OSError(errno.EMFILE, "")

    dialing = Dialing(Network(a=lacks))
    dialing.idle_clients = idle
    (lessee,) = asyncio.run(dialing.dial())
    assert lessee.failed == [errors.CONNECTION_LIMIT]
    assert dialing.network.tried == ["a"] * (1 + min(idle, ROOM))


def test_a_dial_goes_on_as_soon_as_an_idle_client_has_made_room() -> None:
    async def lacks(protocol: asyncio.Protocol) -> None:
        if dialing.idle_clients == 2:
            raise OSError(errno.EMFILE, "")

    dialing = Dialing(Network(a=refuses, b=lacks))
    dialing.idle_clients = 2
    (lessee,) = asyncio.run(dialing.dial())
    assert [upstream.endpoint for upstream in lessee.got] == dialing.pool.endpoints.all[1:]
    assert dialing.network.tried == ["b", "b"]
    assert dialing.idle_clients == 1


def test_a_dial_that_fails_in_an_unforeseen_way_fails_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    async def breaks(protocol: asyncio.Protocol) -> None:
        raise UnicodeError("label too long")

    dialing, lessee = dial_once(Network(a=breaks))
    assert lessee.failed == [errors.UPSTREAM_CONNECT_FAILED]
    assert dialing.pool.size == 0
    assert "label too long" in capsys.readouterr().err


@pytest.mark.parametrize("loss", ["fin", "reset", "speaks first"])
def test_a_connection_that_ends_before_it_is_leased_is_a_failed_dial(loss: str) -> None:
    """Between the handshake and the dial's next turn the loop may deliver anything."""

    class Hasty(Network):
        async def create_connection(
            self, factory: Callable[[], asyncio.Protocol], host: str, port: int
        ) -> tuple[asyncio.Transport, asyncio.Protocol]:
            transport, protocol = await super().create_connection(factory, host, port)
            assert isinstance(transport, FakeTransport)
            if host == "b":
                if loss == "reset":
                    transport.breaks()
                else:
                    transport.receives(b"220 hello\r\n" if loss == "speaks first" else b"")
            return transport, protocol

    dialing, lessee = dial_once(Hasty(a=accepts, b=accepts))
    assert [upstream.endpoint for upstream in lessee.got] == dialing.pool.endpoints.all[:1]
    assert (dialing.pool.leased, dialing.pool.size) == (1, 1)


def test_a_connection_that_nobody_waits_for_any_more_rests() -> None:
    async def leave() -> Pool:
        dialing = Dialing(Network(a=accepts))
        dialing.network.running = asyncio.get_running_loop()
        lessee = FakeLessee()
        before = asyncio.all_tasks()
        dialing.pool.acquire(lessee, monotonic())
        dialing.pool.leave(lessee)
        await asyncio.gather(*(asyncio.all_tasks() - before))
        assert lessee.got == []
        return dialing.pool

    pool = asyncio.run(leave())
    assert (pool.idle, pool.size) == (1, 1)


def test_dials_are_cancelled_at_the_end() -> None:
    async def cancel() -> set[bool]:
        dialing = Dialing(Network(a=swallows))
        dialing.network.running = asyncio.get_running_loop()
        before = asyncio.all_tasks()
        dialing.pool.acquire(FakeLessee(), monotonic())
        dials = asyncio.all_tasks() - before
        dialing.dialer.cancel()
        await asyncio.wait(dials)
        return {task.cancelled() for task in dials}

    assert asyncio.run(cancel()) == {True}


# ── one name, several addresses ──


ADDRESSES = ("one", "two", "three")


@pytest.fixture
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ATTEMPT_DELAY", 0.02)


@pytest.mark.usefixtures("_hasty")
@pytest.mark.parametrize("bad", [refuses, swallows])
@pytest.mark.parametrize("position", range(3))
def test_a_bad_address_costs_no_request_and_is_left_out_for_a_while(bad: Connect, position: int) -> None:
    network = Network(**dict.fromkeys(ADDRESSES, accepts) | {ADDRESSES[position]: bad})
    dialing = Dialing(network, users=ADDRESSES)

    async def some() -> None:
        for _ in range(3):
            (lessee,) = await dialing.dial()
            assert len(lessee.got) == 1
        tried = len(network.tried)
        for _ in range(6):
            (lessee,) = await dialing.dial()
            assert len(lessee.got) == 1
        assert ADDRESSES[position] not in network.tried[tried:]

    asyncio.run(some())
    assert network.tried.count(ADDRESSES[position]) == 1
    assert Counter(network.tried)[ADDRESSES[position - 1]] >= 3
    (said,) = dialing.said
    assert said.startswith(f"upstream users: users:80 at {ADDRESSES[position]} cannot be reached: ")
    assert dialing.pool.leased == 9


@pytest.mark.parametrize("count", [3, 30, 90])
def test_a_burst_is_spread_over_the_addresses(count: int) -> None:
    """Although the name is looked up only after all of it has come."""
    network = Network(**dict.fromkeys(ADDRESSES, accepts))
    asyncio.run(Dialing(network, users=ADDRESSES).dial(count))
    assert Counter(network.tried) == dict.fromkeys(ADDRESSES, count // 3)


@pytest.mark.usefixtures("_hasty")
def test_the_first_that_answers_wins_and_the_others_are_broken_off() -> None:
    """One that is slow is not given up when the next one is tried."""
    all_tried = asyncio.Event()

    async def answers_late(protocol: asyncio.Protocol) -> None:
        await all_tried.wait()

    async def is_last(protocol: asyncio.Protocol) -> None:
        all_tried.set()
        await swallows(protocol)

    network = Network(one=is_last, two=answers_late, three=swallows)
    dialing = Dialing(network, users=ADDRESSES)
    (lessee,) = asyncio.run(dialing.dial())
    assert network.tried == ["two", "three", "one"]
    assert [upstream.address for upstream in lessee.got] == ["two"]
    assert sorted(network.ended) == ["one", "three"]
    assert (len(network.open), dialing.pool.size) == (1, 1)


@pytest.mark.usefixtures("_hasty")
def test_of_two_that_answer_at_once_one_is_ended() -> None:
    both = asyncio.Event()

    async def meets(protocol: asyncio.Protocol) -> None:
        if len(network.tried) == 2:
            both.set()
        await both.wait()

    network = Network(one=meets, two=meets)
    dialing = Dialing(network, users=("one", "two"))
    (lessee,) = asyncio.run(dialing.dial())
    network.loop.run()
    assert len(lessee.got) == 1
    assert [transport.lost for transport in network.open].count(False) == 1
    assert dialing.pool.size == 1


@pytest.mark.usefixtures("_hasty")
@pytest.mark.parametrize(
    ("connect", "reason", "why"),
    [
        (refuses, errors.UPSTREAM_CONNECT_FAILED, "connection refused"),
        (swallows, errors.UPSTREAM_TIMEOUT, "timed out"),
    ],
)
def test_when_no_address_answers_it_is_said_of_each_and_of_the_target(
    connect: Connect, reason: errors.Reason, why: str
) -> None:
    network = Network(**dict.fromkeys(ADDRESSES, connect))
    dialing = Dialing(network, connect_timeout=2.0, users=ADDRESSES)
    (lessee,) = asyncio.run(dialing.dial())
    assert lessee.failed == [reason]
    assert sorted(network.tried) == sorted(ADDRESSES)
    assert sorted(dialing.said[:-1]) == sorted(
        f"upstream users: users:80 at {address} cannot be reached: {why}" for address in ADDRESSES
    )
    assert dialing.said[-1] == f"upstream users: users:80 cannot be reached: {why}"
    assert dialing.pool.size == 0


@pytest.mark.parametrize("addresses", [("one",), ("one", "two")])
def test_a_lack_of_descriptors_is_no_address_s_fault(addresses: tuple[str, ...]) -> None:
    async def lacks(protocol: asyncio.Protocol) -> None:
        raise OSError(errno.EMFILE, "")

    network = Network(**dict.fromkeys(addresses, lacks))
    dialing = Dialing(network, users=addresses)
    (lessee,) = asyncio.run(dialing.dial())
    assert lessee.failed == [errors.CONNECTION_LIMIT]
    assert dialing.said == []
    assert len(network.tried) == 1


def test_a_race_that_is_cancelled_leaves_nothing_and_blames_nobody() -> None:
    trying = asyncio.Event()

    async def tries(protocol: asyncio.Protocol) -> None:
        trying.set()
        await swallows(protocol)

    network = Network(**dict.fromkeys(ADDRESSES, tries))
    dialing = Dialing(network, users=ADDRESSES)

    async def cancel() -> None:
        network.running = asyncio.get_running_loop()
        before = asyncio.all_tasks()
        dialing.pool.acquire(FakeLessee(), monotonic())
        await trying.wait()
        tasks = asyncio.all_tasks() - before
        dialing.dialer.cancel()
        await asyncio.wait(tasks)

    asyncio.run(cancel())
    assert network.ended == network.tried
    assert dialing.said == []


# ── names that are not there, or slow ──


def no_such_name(host: str) -> tuple[str, ...]:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def test_a_name_that_is_not_there_is_a_failed_target() -> None:
    dialing, lessee = look_up_once(no_such_name)
    assert lessee.failed == [errors.UPSTREAM_CONNECT_FAILED]
    assert dialing.said[-1] == "upstream users: a:80 cannot be reached: no such name"


def look_up_once(look_up: LookUp, connect_timeout: float = 20.0) -> tuple[Dialing, FakeLessee]:
    class Own(Dialing):
        def look_up(self, host: str) -> tuple[str, ...]:
            return look_up(host)

    dialing = Own(Network(a=accepts), connect_timeout)
    (lessee,) = asyncio.run(dialing.dial())
    return dialing, lessee


def test_a_name_that_takes_too_long_is_late() -> None:
    gate = threading.Event()

    def slow(host: str) -> tuple[str, ...]:
        assert gate.wait(20.0)
        return (host,)

    dialing, lessee = look_up_once(slow, connect_timeout=0.02)
    gate.set()
    assert lessee.failed == [errors.UPSTREAM_TIMEOUT]
    assert dialing.said == ["upstream users: a:80 cannot be reached: its name is still being looked up"]


def test_a_target_that_comes_back_is_told() -> None:
    dialing = Dialing(Network(a=refuses))

    async def twice() -> None:
        await dialing.dial()
        dialing.network.addresses["a"] = accepts
        await dialing.dial()

    asyncio.run(twice())
    assert dialing.said == [
        "upstream users: a:80 cannot be reached: connection refused",
        "upstream users: a:80 can be reached again",
    ]
