"""Which worker checks for all, and that all hear of everything. The crew is made of seats without processes."""

from harness.fake_crew import FakeCrew
from rawgate.config.model import Config, Eject, Gateway, Upstream
from rawgate.relay.endpoints import Place
from rawgate.serve.channel import Check, Checked, Ejected, Failing, Said
from rawgate.serve.health_routing import HealthRouting

A = Place(host="a", port=80)
DOWN = Checked("u", A.key, A.authority, "", "status 503")


class Scene:
    def __init__(self, workers: int = 3) -> None:
        self.crew = FakeCrew(workers)
        self.routing = HealthRouting(lambda text: None)

    def ready(self, number: int) -> None:
        self.crew.seats[number].serves = True
        self.routing.ready(self.crew)

    def dies(self, number: int) -> None:
        self.crew.seats[number].empty()
        self.routing.left(self.crew, self.crew.seats[number])

    def said(self) -> list[tuple[int, Said]]:
        return self.crew.heard()


def test_one_worker_checks_and_another_when_it_dies() -> None:
    scene = Scene()
    for number in (1, 0, 2):
        scene.ready(number)
    assert scene.said() == [(1, Check(succeeds=False))]
    scene.dies(2)
    assert scene.said() == []
    scene.dies(1)
    assert scene.said() == [(0, Check(succeeds=True))]
    scene.dies(0)
    assert scene.said() == [], "nobody serves"
    scene.ready(2)
    assert scene.said() == [(2, Check(succeeds=True))]


def test_the_next_one_is_told_what_is_down() -> None:
    """Of a target that goes in the moment in which the worker that checks dies, nobody else would tell that."""
    scene = Scene()
    for number in range(2):
        scene.ready(number)
    scene.routing.hear(scene.crew, scene.crew.seats[0], DOWN)
    scene.said()
    scene.dies(0)
    assert scene.said() == [(1, Check(succeeds=True, failed=(DOWN,)))]


def test_what_one_worker_finds_out_all_hear() -> None:
    scene = Scene()
    scene.routing.hear(scene.crew, scene.crew.seats[1], DOWN)
    assert scene.said() == [(number, DOWN) for number in range(3)]
    failing = Failing("u", A.key, A.authority, "5 failures in a row", 10.0, 0)
    scene.routing.hear(scene.crew, scene.crew.seats[1], failing)
    (heard,) = {message for _, message in scene.said()}
    assert isinstance(heard, Ejected)
    assert heard.by == 1
    assert scene.routing.book.news() == [DOWN, heard]


def test_a_reload_takes_away_what_it_does_not_have() -> None:
    scene = Scene()
    scene.routing.hear(scene.crew, scene.crew.seats[0], DOWN)
    upstream = Upstream(targets=(), eject=Eject())
    scene.routing.renew(Config(gateway=Gateway(listen=()), upstreams={"u": upstream}, routes=()))
    assert scene.routing.book.news() == []
