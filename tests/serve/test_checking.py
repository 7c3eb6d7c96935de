"""Which targets are asked, when, and what is told of them. The services are this process; time is real and short."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from rawgate.config.model import HealthCheck
from rawgate.net import fetch
from rawgate.net.names import Names
from rawgate.relay.endpoints import ANY_ADDRESS, Place
from rawgate.relay.options import UpstreamOptions
from rawgate.relay.pool import Pool
from rawgate.serve import checking
from rawgate.serve.channel import Checked
from rawgate.serve.checking import Checker, host_of

PATIENCE = 20.0
SPEC = HealthCheck(path="/up", interval=0.1, timeout=5.0, rise=2, fall=2)


class Scene:
    """A checker of one upstream with the targets a.test and b.test. What it tells is made so, as a book would.

    addresses  name → its addresses
    answers    address → its status, or why it does not answer
    asked      host and address of each check
    asked_by_then  how often a target had been asked when it was told of
    """

    def __init__(self, *names: str) -> None:
        loop = asyncio.get_running_loop()
        self.addresses: dict[str, tuple[str, ...]] = {name: (f"10.0.0.{at}",) for at, name in enumerate(names)}
        self.answers: dict[str, int | Exception] = {}
        self.asked: list[tuple[str, str]] = []
        self.told: list[tuple[str, str, str]] = []
        self.asked_by_then: list[int] = []
        self.changed = asyncio.Condition()
        places = tuple(Place(name, 80) for name in names)
        self.pool = Pool(UpstreamOptions("u", places), lambda pool, lessee: None)
        self.names = Names(loop, lambda text: None, lambda name: self.addresses[name])
        self.checker = Checker(loop, {"u": self.pool}, self.names, {}, self.tell, lambda: 0.0)
        self.checker.renew({"u": SPEC})

    def tell(self, checked: Checked) -> None:
        self.asked_by_then.append(sum(host == checked.target.partition(":")[0] for host, _ in self.asked))
        self.told.append((checked.target.partition(".")[0], checked.address, checked.failure))
        self.pool.endpoints.checked(checked.place, checked.address, checked.failure, 0.0)

    async def probe(self, place: Place, address: str, tls: object, path: str, host: str, patience: float) -> int:
        self.asked.append((host, address))
        assert (tls, path, patience) == (None, "/up", 5.0)
        async with self.changed:
            self.changed.notify_all()
        answer = self.answers.get(address, 200)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def until(self, holds: Callable[[], object]) -> None:
        async with self.changed, asyncio.timeout(PATIENCE):
            await self.changed.wait_for(holds)

    async def checks(self, address: str, count: int) -> None:
        """Wait until an address was asked so often from now on, and the last answer but one was judged."""
        before = len([one for one in self.asked if one[1] == address])
        await self.until(lambda: len([one for one in self.asked if one[1] == address]) > before + count)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Scene], Awaitable[None]], list[str]], None]:
    def runs(play: Callable[[Scene], Awaitable[None]], names: list[str]) -> None:
        async def whole() -> None:
            scene = Scene(*names)
            monkeypatch.setattr(checking, "probe", scene.probe)
            monkeypatch.setattr(checking, "LOOK_EVERY", 0.01)
            try:
                await asyncio.wait_for(play(scene), PATIENCE)
            finally:
                scene.checker.stop()
                scene.names.close()

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(whole())

    return runs


Run = Callable[[Callable[[Scene], Awaitable[None]], list[str]], None]


def test_only_what_has_changed_is_told(run: Run) -> None:
    async def play(scene: Scene) -> None:
        scene.answers["10.0.0.1"] = 503
        scene.checker.begin(succeeds=False)
        await scene.checks("10.0.0.1", 3)
        assert scene.told == [("b", ANY_ADDRESS, "status 503")]
        assert scene.asked_by_then == [1], "the first one decides"
        scene.answers["10.0.0.1"] = 204
        await scene.checks("10.0.0.1", 3)
        assert scene.told[1:] == [("b", ANY_ADDRESS, "")]
        assert {host for host, _ in scene.asked} == {"a.test", "b.test"}

    run(play, ["a.test", "b.test"])


def test_nothing_is_asked_before_it_begins(run: Run) -> None:
    async def play(scene: Scene) -> None:
        await asyncio.sleep(0)
        assert scene.asked == []

    run(play, ["a.test"])


def test_who_takes_over_knows_what_was_told(run: Run) -> None:
    """One that is up needs `fall` failures; one that is down `rise` checks that pass."""

    async def play(scene: Scene) -> None:
        endpoint = scene.pool.endpoints.all[1]
        endpoint.health.checked("status 500", 0.0)
        scene.answers["10.0.0.0"] = fetch.FetchError("connection refused")
        scene.checker.begin(succeeds=True)
        await scene.checks("10.0.0.0", 3)
        await scene.checks("10.0.0.1", 3)
        assert sorted(scene.told) == [("a", ANY_ADDRESS, "connection refused"), ("b", ANY_ADDRESS, "")]
        assert scene.asked_by_then == [2, 2]

    run(play, ["a.test", "b.test"])


def test_each_address_of_a_name_is_asked_and_all_must_fail(run: Run) -> None:
    async def play(scene: Scene) -> None:
        scene.addresses["a.test"] = ("10.0.0.1", "10.0.0.2")
        scene.answers["10.0.0.2"] = 500
        scene.checker.begin(succeeds=False)
        await scene.checks("10.0.0.2", 2)
        assert scene.told == [("a", "10.0.0.2", "status 500")]
        assert scene.pool.endpoints.all[0].health.is_up(1.0)
        scene.answers["10.0.0.1"] = 500
        await scene.checks("10.0.0.1", 3)
        assert scene.told[1:] == [("a", "10.0.0.1", "status 500"), ("a", ANY_ADDRESS, "status 500")]
        scene.answers["10.0.0.2"] = 200
        await scene.checks("10.0.0.2", 3)
        assert sorted(scene.told[3:]) == [("a", ANY_ADDRESS, ""), ("a", "10.0.0.2", "")]

    run(play, ["a.test"])


def test_targets_come_and_go(run: Run) -> None:
    async def play(scene: Scene) -> None:
        scene.addresses["new.test"] = ("10.0.0.9",)
        scene.answers |= {"10.0.0.0": 500, "10.0.0.9": 500}
        scene.checker.begin(succeeds=True)
        await scene.checks("10.0.0.0", 3)
        scene.pool.retarget([Place("new.test", 80)])
        await scene.checks("10.0.0.9", 2)
        asked = len([one for one in scene.asked if one[1] == "10.0.0.0"])
        assert scene.told[:2] == [("a", ANY_ADDRESS, "status 500"), ("a", ANY_ADDRESS, "")], "it is gone: forget it"
        assert scene.told[2:] == [("new", ANY_ADDRESS, "status 500")], "of one that is new the first check decides"
        await scene.checks("10.0.0.9", 2)
        assert len([one for one in scene.asked if one[1] == "10.0.0.0"]) == asked

    run(play, ["a.test"])


def test_what_went_while_nobody_checked_is_forgotten_too(run: Run) -> None:
    """The worker before this one died, or its checks were changed, before it told that a target is gone."""

    async def play(scene: Scene) -> None:
        gone = Place("gone.test", 80)
        left = Checked("u", gone.key, gone.name, ANY_ADDRESS, "status 500")
        scene.checker.begin(succeeds=True, failed=(left,))
        assert scene.told == [("gone", ANY_ADDRESS, "")]
        scene.answers["10.0.0.0"] = 500
        await scene.checks("10.0.0.0", 3)
        scene.pool.retarget([Place("new.test", 80)])
        scene.checker.renew({"u": HealthCheck(path="/up", interval=0.2, timeout=5.0)})
        assert scene.told[1:] == [("a", ANY_ADDRESS, "status 500"), ("a", ANY_ADDRESS, "")]

    run(play, ["a.test"])


@pytest.mark.parametrize("failure", [OSError(24, "too many open files"), ZeroDivisionError("a mistake")])
def test_what_is_not_the_targets_fault_says_nothing(
    run: Run, capsys: pytest.CaptureFixture[str], failure: Exception
) -> None:
    async def play(scene: Scene) -> None:
        scene.answers["10.0.0.0"] = failure
        scene.checker.begin(succeeds=False)
        await scene.checks("10.0.0.0", 3)
        assert scene.told == []

    run(play, ["a.test"])
    assert ("a mistake" in capsys.readouterr().err) is isinstance(failure, ZeroDivisionError)


def test_another_configuration_asks_otherwise(run: Run) -> None:
    async def play(scene: Scene) -> None:
        scene.answers["10.0.0.0"] = 404
        scene.checker.begin(succeeds=True)
        changed = HealthCheck(
            path="/up", interval=0.1, timeout=5.0, rise=2, fall=9, status=((200, 399),), host="h.test"
        )
        scene.checker.renew({"u": changed})
        await scene.checks("10.0.0.0", 1)
        assert scene.asked[-1] == ("h.test", "10.0.0.0")
        assert scene.told == [("a", ANY_ADDRESS, "status 404")], "the first one of a new kind decides"
        scene.checker.renew({"u": HealthCheck(path="/up", interval=0.1, timeout=5.0, status=((404, 404),))})
        await scene.checks("10.0.0.0", 3)
        assert scene.told[1:] == [("a", ANY_ADDRESS, "")]
        scene.checker.renew({})
        count = len(scene.asked)
        await asyncio.sleep(0)
        assert len(scene.asked) == count

    run(play, ["a.test"])


@pytest.mark.parametrize(
    ("place", "host"),
    [
        (Place("a.test", 80), "a.test"),
        (Place("a.test.", 8080), "a.test:8080"),
        (Place("a.test", 443, "https"), "a.test"),
        (Place("a.test", 80, "https"), "a.test:80"),
        (Place("::1", 80), "[::1]"),
        (Place("::1", 81), "[::1]:81"),
        (Place("", 0, path="run/a.sock"), "localhost"),
    ],
)
def test_the_host_is_that_of_requests(place: Place, host: str) -> None:
    assert host_of(place) == host
