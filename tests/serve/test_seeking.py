"""Which worker asks where services are, and who is told: the supervisor's part."""

from harness.fake_crew import FakeCrew
from rawgate.config.model import Config, Gateway, Target, Upstream
from rawgate.net.instances import Instance, Source
from rawgate.serve.channel import Found, Seek
from rawgate.serve.seeking import Seeking

WEB, OLD = Source("consul", "web"), Source("consul", "old")
FOUND = Found(WEB, (Instance(False, "10.0.0.1", 80),), 1.0, "")


def begun(workers: int) -> tuple[FakeCrew, Seeking]:
    target = Target("web", 0, "web.service.consul", source="consul")
    config = Config(gateway=Gateway(listen=()), upstreams={"u": Upstream(targets=(target,))}, routes=())
    crew, seeking = FakeCrew(workers), Seeking(lambda: config)
    for seat in crew.seats:
        seat.pid = 100 + seat.number
        seeking.joined(crew, seat)
    return crew, seeking


def test_the_first_worker_asks_and_its_answers_go_to_all_others() -> None:
    crew, seeking = begun(3)
    assert crew.heard() == [(0, Seek())]
    seeking.hear(crew, crew.seats[0], FOUND)
    assert crew.heard() == [(1, FOUND), (2, FOUND)]


def test_another_one_asks_when_it_dies_and_its_successor_is_told_what_is_known() -> None:
    crew, seeking = begun(3)
    seeking.hear(crew, crew.seats[0], FOUND)
    seeking.hear(crew, crew.seats[0], Found(OLD, (), 1.0, ""))
    crew.heard()
    crew.seats[2].empty()
    seeking.left(crew, crew.seats[2])
    assert crew.heard() == []
    crew.seats[0].empty()
    seeking.left(crew, crew.seats[0])
    assert crew.heard() == [(1, Seek())]
    crew.seats[0].pid = 200
    seeking.joined(crew, crew.seats[0])
    # What the configuration does not have any more is forgotten.
    assert crew.heard() == [(0, FOUND)]


def test_when_all_have_died_the_first_new_one_asks() -> None:
    crew, seeking = begun(1)
    crew.heard()
    crew.seats[0].empty()
    seeking.left(crew, crew.seats[0])
    crew.seats[0].pid = 200
    seeking.joined(crew, crew.seats[0])
    assert crew.heard() == [(0, Seek())]
