"""What one process tells of the health of targets, and what it makes of what it hears."""

import asyncio
from collections.abc import Callable
from time import monotonic

from rawgate import errors
from rawgate.config.model import Config, Eject, Gateway, HealthCheck, Target, Upstream
from rawgate.net.names import Names
from rawgate.relay.endpoints import Place
from rawgate.relay.options import UpstreamOptions
from rawgate.relay.pool import Pool
from rawgate.serve.channel import Checked, Ejected, Failing
from rawgate.serve.health_keeper import HealthKeeper

A, B = (Place(host=name, port=80) for name in "ab")
EJECT = Eject(failures=2, for_=30.0)
CHECK = HealthCheck(path="/up")


def config(eject: Eject | None = None, health: HealthCheck | None = None) -> Config:
    targets = tuple(Target(place.host, place.port, place.authority) for place in (A, B))
    return Config(
        gateway=Gateway(listen=()), upstreams={"u": Upstream(targets=targets, eject=eject, health=health)}, routes=()
    )


class Process:
    """The keeper of one process. said: to the book; where it is alone, reported to the operator."""

    def __init__(self, alone: bool = False, number: int = 0) -> None:
        loop = asyncio.get_running_loop()
        self.said: list[Checked | Failing] = []
        self.reported: list[str] = []
        self.pool = Pool(UpstreamOptions("u", (A, B)), lambda pool, lessee: None)
        names = Names(loop, self.reported.append, lambda name: ())
        say = None if alone else self.said.append
        self.keeper = HealthKeeper(loop, {"u": self.pool}, names, {}, say, self.reported.append, number)

    def fail(self, times: int, at: int = 0) -> None:
        for _ in range(times):
            assert self.pool.outcomes is not None
            self.pool.outcomes.done(self.pool.endpoints.all[at], errors.UPSTREAM_TIMEOUT, 0, 1.0, monotonic())

    def ejections(self) -> list[int]:
        return [endpoint.ejections for endpoint in self.pool.endpoints.all]

    def up(self) -> list[bool]:
        return [endpoint.health.is_up(monotonic()) for endpoint in self.pool.endpoints.all]


def run(scene: Callable[[], None]) -> None:
    async def whole() -> None:
        scene()

    asyncio.run(whole())


def ejected(place: Place = A, number: int = 1, by: int = 0) -> Ejected:
    return Ejected("u", place.key, place.authority, "2 failures in a row", monotonic() + 30.0, number, by)


def checked(failure: str) -> Checked:
    return Checked("u", A.key, A.authority, "", failure)


def test_without_the_keys_nobody_listens() -> None:
    def scene() -> None:
        process = Process()
        listens = []
        for eject in (None, EJECT, None):
            process.keeper.renew(config(eject, CHECK))
            listens.append(process.pool.outcomes is not None)
        assert listens == [False, True, False]

    run(scene)


def test_nothing_is_so_before_it_was_heard() -> None:
    def scene() -> None:
        process = Process(number=1)
        process.keeper.renew(config(EJECT))
        process.fail(2)
        why = "2 failures in a row, the last: timed out"
        assert process.said == [Failing("u", A.key, A.authority, why, 30.0, 0)]
        assert process.up() == [True, True]
        process.keeper.hear(ejected(by=1))
        assert process.up() == [False, True]
        assert process.keeper.why_down(monotonic()) == {("u", "a:80"): "ejected: 2 failures in a row"}
        process.fail(9, at=1)
        assert len(process.said) == 1, "one of two is out already"

    run(scene)


def test_each_ejection_is_counted_by_the_one_that_asked_for_it() -> None:
    def scene() -> None:
        processes = [Process(number=number) for number in range(2)]
        for process in processes:
            process.keeper.renew(config(EJECT))
            process.keeper.hear(ejected(by=1))
        assert [process.ejections() for process in processes] == [[0, 0], [1, 0]]
        successor = Process(number=1)
        successor.keeper.renew(config(EJECT))
        successor.keeper.learn([ejected(by=1)])
        assert successor.up() == [False, True]
        assert successor.ejections() == [0, 0], "the one before it has counted it"

    run(scene)


def test_what_was_told_of_a_target_before_it_was_here_holds_when_it_comes() -> None:
    """A worker that begins later knows what is down before it knows where services are."""

    def scene() -> None:
        process = Process()
        process.keeper.renew(config(EJECT, CHECK))
        process.pool.retarget(())
        process.keeper.learn([checked("status 503"), ejected(B)])
        process.pool.retarget((A, B))
        process.keeper.places_changed("u")
        assert process.up() == [False, False]
        assert process.ejections() == [0, 0]
        process.keeper.hear(checked(""))
        process.pool.retarget((B,))
        process.pool.retarget((A, B))
        process.keeper.places_changed("u")
        assert process.up() == [True, False]

    run(scene)


def test_what_a_reload_takes_away_leaves_nothing_out() -> None:
    def scene() -> None:
        process = Process()
        process.keeper.renew(config(EJECT, CHECK))
        process.keeper.hear(checked("status 503"))
        process.keeper.hear(ejected(B))
        assert process.up() == [False, False]
        process.keeper.renew(config(EJECT))
        assert process.up() == [True, False]
        process.keeper.renew(config(Eject(failures=9)))
        assert process.up() == [True, False], "other terms end no ejection"
        process.keeper.renew(config())
        assert process.up() == [True, True]
        for news in (checked("status 503"), ejected(B, 2)):
            process.keeper.hear(news)  # from a worker that has not switched yet
        assert process.up() == [True, True]

    run(scene)


def test_a_process_alone_decides_for_itself() -> None:
    def scene() -> None:
        process = Process(alone=True)
        process.keeper.renew(config(EJECT))
        process.fail(2)
        assert process.up() == [False, True]
        assert process.reported == ["upstream u: a:80 is ejected for 30s: 2 failures in a row, the last: timed out"]
        assert process.ejections() == [1, 0]
        process.keeper.stop()

    run(scene)
