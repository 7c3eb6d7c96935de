"""A new configuration for all workers or for none, whatever they answer, and whoever dies meanwhile. The workers are
the test; addresses are real sockets."""

import errno
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from math import inf
from pathlib import Path
from typing import cast

import pytest

from rawgate.config.files import Files
from rawgate.config.model import listen_name
from rawgate.errors import ConfigError
from rawgate.policy.limits import Limiters
from rawgate.serve.channel import Abandon, Opened, Prepare, Read, Said, Switch
from rawgate.serve.control import Caller
from rawgate.serve.crew import Crew, Seat
from rawgate.serve.listening import Addresses
from rawgate.serve.load import Loaded, load_gate
from rawgate.serve.reload import PREPARE_TIMEOUT, Source
from rawgate.serve.rollout import MOST_CUTS, Rollout

TEXT = """
[gateway]
listen = [%s]
[upstreams.one]
targets = ["http://127.0.0.1:9"]
[[routes]]
prefix = "%s"
upstream = "one"
auth = "none"
"""


class Workers:
    """A crew of two. heard: what each was told, by number. reads: what happens when one is told to read; `reader`: the
    one that was told last."""

    def __init__(self, reads: Callable[[int], None]) -> None:
        self.reads = reads
        self.reader = -1
        self.seats = [Seat(number) for number in range(2)]
        for seat in self.seats:
            seat.pid = 1000 + seat.number
            seat.serves = True
        self.heard: list[tuple[int, Said]] = []

    @property
    def living(self) -> list[Seat]:
        return [seat for seat in self.seats if seat.pid]

    def say(self, seat: Seat, message: Said, sockets: Sequence[socket.socket] = ()) -> None:
        if isinstance(message, Read):
            self.reader = seat.number
            self.reads(message.number)
        else:
            self.heard.append((seat.number, message))

    def to_all(self, message: Said) -> None:
        for seat in self.living:
            self.say(seat, message)

    def took(self, kind: type[Said]) -> list[int]:
        """Who was told something of this kind, in order; it is forgotten then."""
        found = [number for number, message in self.heard if isinstance(message, kind)]
        self.heard = [(number, message) for number, message in self.heard if not isinstance(message, kind)]
        return found


class Asker:
    """Somebody who has asked for a reload. answers: what it was told, once."""

    def __init__(self) -> None:
        self.answers: list[tuple[bool, tuple[str, ...]]] = []

    def answer(self, done: bool, lines: tuple[str, ...]) -> None:
        self.answers.append((done, lines))

    @property
    def said(self) -> str:
        ((_, lines),) = self.answers
        return "\n".join(lines)


class World:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "rawgate.toml"
        self.addresses = Addresses(2)
        self.workers = Workers(self.was_read)
        self.fails: BaseException | None = None
        self.during: Callable[[], None] = lambda: None
        loaded = self.configure("/")
        self.addresses.add(loaded.config.gateway.listen)
        source, crew = cast("Source", self), cast("Crew", self.workers)
        self.rollout = Rollout(source, loaded, self.addresses, crew, None, lambda config: None)

    def configure(self, prefix: str, *listen: str) -> Loaded:
        addresses = ", ".join(f'"{one}"' for one in ("127.0.0.1:0", *listen))
        self.path.write_text(TEXT % (addresses, prefix))
        return load_gate(self.path, {}, new_id=lambda: "0" * 32, date=lambda: b"")

    def was_read(self, number: int, *problems: str) -> None:
        files = Files()
        files.read(self.path)
        self.rollout.was_read(number, files.contents, problems)

    # ── as a Source ──

    def prepare(self, files: Files, limiters: Limiters) -> Loaded:
        self.during()
        if self.fails is not None:
            raise self.fails
        files.read(self.path)
        return load_gate(self.path, {}, new_id=lambda: "0" * 32, date=lambda: b"")

    def late(self, seconds: float = PREPARE_TIMEOUT) -> str:
        return f"too late, after {seconds:g} s"

    # ── what happens ──

    def ask(self) -> Asker:
        asker = Asker()
        self.rollout.ask(cast("Caller", asker))
        return asker

    def prepared(self, *numbers: int, reload: int = 1, problems: tuple[str, ...] = ()) -> None:
        for number in numbers:
            self.rollout.prepared(self.workers.seats[number], reload, problems)

    def switched(self, *numbers: int, reload: int = 1) -> None:
        for number in numbers:
            self.rollout.switched(self.workers.seats[number], reload)

    def dies(self, number: int) -> None:
        self.workers.seats[number].empty()
        self.rollout.left(self.workers.seats[number])

    @property
    def prefix(self) -> str:
        return self.rollout.loaded.config.routes[0].prefix

    @property
    def names(self) -> list[str]:
        return list(self.addresses.open)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    with closing(made.addresses):
        yield made


def test_all_prepare_then_all_switch(world: World) -> None:
    world.configure("/b", "127.0.0.2:0")
    asker = world.ask()
    assert world.workers.took(Opened) == [0, 1], "before they prepare: who has no room for a socket says so then"
    assert world.workers.took(Prepare) == [0, 1]
    world.prepared(0)
    assert (world.workers.heard, world.prefix, asker.answers) == ([], "/", [])
    world.prepared(1)
    assert world.workers.took(Switch) == [0, 1]
    assert world.prefix == "/b", "who begins now begins with it"
    world.switched(0)
    assert asker.answers == []
    world.switched(1)
    assert asker.answers[0][0]
    assert "listening on http://127.0.0.2:" in asker.said
    assert world.rollout.due == inf


def test_all_get_the_same_octets(world: World) -> None:
    world.configure("/b")
    before = world.path.read_bytes()
    world.ask()
    world.path.write_bytes(b"another one")
    files = [message.files for _, message in world.workers.heard if isinstance(message, Prepare)]
    assert [list(one.values()) for one in files] == [[before]] * 2


def test_one_that_cannot_is_enough(world: World) -> None:
    world.configure("/b", "127.0.0.2:0")
    asker = world.ask()
    world.prepared(0)
    world.prepared(1, problems=("no room",))
    assert world.workers.took(Abandon) == [0, 1]
    assert (world.prefix, world.names) == ("/", ["127.0.0.1:0"]), "what was opened is closed"
    assert not asker.answers[0][0]
    assert "no room" in asker.said
    world.prepared(0)
    assert world.workers.took(Switch) == []


@pytest.mark.parametrize("dies", [0, 1])
def test_a_worker_that_dies_is_not_waited_for(world: World, dies: int) -> None:
    world.configure("/b")
    asker = world.ask()
    world.dies(dies)
    world.prepared(1 - dies)
    assert world.workers.took(Switch) == [1 - dies]
    world.switched(1 - dies)
    assert asker.answers[0][0]


def test_a_worker_that_dies_while_all_switch(world: World) -> None:
    world.configure("/b")
    asker = world.ask()
    world.prepared(0, 1)
    world.dies(0)
    seat = world.workers.seats[0]
    seat.pid = 2000
    world.rollout.joined(seat)
    assert [message for number, message in world.workers.heard if isinstance(message, Prepare)][2:] == []
    world.switched(1)
    assert asker.answers[0][0]


def test_a_worker_that_begins_meanwhile_prepares_too(world: World) -> None:
    world.configure("/b")
    asker = world.ask()
    world.dies(0)
    seat = world.workers.seats[0]
    seat.pid = 2000
    world.rollout.joined(seat)
    assert world.workers.took(Prepare) == [0, 1, 0]
    world.prepared(1)
    assert world.workers.took(Switch) == []
    world.prepared(0)
    assert world.workers.took(Switch) == [0, 1]
    world.switched(0, 1)
    assert asker.answers[0][0]


def test_all_workers_die(world: World) -> None:
    world.configure("/b")
    asker = world.ask()
    world.dies(0)
    world.dies(1)
    assert asker.answers[0][0]
    assert world.prefix == "/b"


def test_a_worker_that_does_not_answer(world: World) -> None:
    world.configure("/b")
    asker = world.ask()
    world.prepared(0)
    world.rollout.tick(world.rollout.due - PREPARE_TIMEOUT / 2)
    assert asker.answers == []
    world.rollout.tick(world.rollout.due)
    assert "too late, after 30 s by worker 1" in asker.said
    assert world.workers.took(Abandon) == [0, 1]
    # Its answer comes late, and to another question.
    second = world.ask()
    world.prepared(1, reload=1)
    world.prepared(0, reload=2)
    assert second.answers == []
    world.prepared(1, reload=2)
    world.switched(0, 1, reload=2)
    assert second.answers[0][0]


def test_who_asks_meanwhile_gets_the_next_one_together(world: World) -> None:
    world.configure("/b")
    first = world.ask()
    others = [world.ask(), world.ask()]
    world.configure("/c")
    world.prepared(0, 1)
    world.switched(0, 1)
    assert first.answers[0][0]
    assert world.prefix == "/b"
    world.prepared(0, 1, reload=2)
    world.switched(0, 1, reload=2)
    assert world.prefix == "/c"
    assert [other.answers[0][0] for other in others] == [True, True]
    assert world.workers.took(Prepare) == [0, 1, 0, 1]


def test_one_worker_reads_before_all_prepare(world: World) -> None:
    told: list[int] = []
    world.workers.reads = told.append
    world.configure("/b")
    asker = world.ask()
    assert (told, world.workers.heard) == ([1], [])
    world.was_read(0)
    assert world.workers.heard == [], "that was another question"
    world.was_read(1)
    assert world.workers.took(Prepare) == [0, 1]
    world.prepared(0, 1)
    world.switched(0, 1)
    assert asker.answers[0][0]


@pytest.mark.parametrize(
    ("happens", "said"),
    [
        (lambda world: world.was_read(1, "rawgate.toml:1: wrong"), "rawgate.toml:1: wrong"),
        (lambda world: world.dies(0), "worker 0 died while it read the configuration"),
        (lambda world: world.rollout.tick(world.rollout.due), "too late, after 30 s by worker 0"),
        (lambda world: world.rollout.end(), "the gateway is stopping"),
    ],
)
def test_a_worker_that_does_not_read_it_to_its_end(world: World, happens: Callable[[World], None], said: str) -> None:
    world.workers.reads = lambda number: None
    world.configure("/b")
    asker = world.ask()
    happens(world)
    assert said in asker.said
    assert (world.workers.heard, world.rollout.due) == ([], inf)
    world.was_read(1)
    assert world.workers.heard == [], "it comes too late"


def test_a_worker_that_may_be_stuck_is_not_the_one_to_read(world: World) -> None:
    world.workers.seats[0].silent = 4.0
    world.ask()
    assert world.workers.reader == 1


@pytest.mark.parametrize("deaths", [1, MOST_CUTS, MOST_CUTS + 3])
def test_a_death_cuts_the_supervisor_short_which_goes_on_when_it_was_seen_to(world: World, deaths: int) -> None:
    """Where workers go on dying, it compiles to the end all the same."""
    begun = 0

    def compiles() -> None:
        nonlocal begun
        begun += 1
        if begun <= deaths:
            world.rollout.worker_died()

    world.during = compiles
    world.configure("/b")
    asker = world.ask()
    for turn in range(1, min(deaths, MOST_CUTS) + 1):
        assert (begun, world.workers.heard) == (turn, [])
        world.dies(0)
        seat = world.workers.seats[0]
        seat.pid = 2000 + turn
        world.rollout.joined(seat)
        world.rollout.go_on()
    assert world.workers.took(Prepare) == [0, 1]
    world.rollout.go_on()
    world.rollout.worker_died()
    assert begun == min(deaths, MOST_CUTS) + 1, "there is nothing to go on with, and nothing to cut short"
    world.prepared(0, 1)
    world.switched(0, 1)
    assert (asker.answers[0][0], world.prefix) == (True, "/b")


def test_a_stop_ends_what_a_death_has_cut_short(world: World) -> None:
    world.during = lambda: world.rollout.worker_died()
    asker = world.ask()
    world.rollout.end()
    assert "the gateway is stopping" in asker.said
    world.rollout.go_on()
    assert world.workers.heard == []


def test_for_a_worker_without_descriptors_the_supervisor_reads(world: World) -> None:
    contents: dict[str, bytes | int] = {str(world.path): errno.EMFILE}
    world.workers.reads = lambda number: world.rollout.was_read(number, contents, ("Too many open files",))
    world.configure("/b")
    world.ask()
    assert world.workers.took(Prepare) == [0, 1]


def test_without_a_worker_a_reload_waits_for_one(world: World) -> None:
    for seat in world.workers.seats:
        seat.serves = False
    asker = world.ask()
    assert (asker.answers, world.workers.heard) == ([], [])
    world.workers.seats[1].serves = True
    world.rollout.ready()
    assert world.workers.took(Prepare) == [0, 1]


@pytest.mark.parametrize("error", [ConfigError(["rawgate.toml:1: wrong"]), ValueError("wrong")])
@pytest.mark.filterwarnings("ignore")
def test_one_that_cannot_be_read_reaches_no_worker(world: World, error: Exception) -> None:
    world.fails = error
    asker = world.ask()
    assert "wrong" in asker.said
    assert world.workers.heard == []
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_an_address_that_cannot_be_had_reaches_no_worker(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        world.configure("/b", "127.0.0.2:0", f"127.0.0.1:{taken.getsockname()[1]}")
        asker = world.ask()
    assert "another program has this port" in asker.said
    assert (world.workers.heard, world.names) == ([], ["127.0.0.1:0"])


@pytest.mark.parametrize("prepared", [0, 1])
def test_a_stop_gives_up_what_is_prepared(world: World, prepared: int) -> None:
    world.configure("/b", "127.0.0.2:0")
    asker, waits = world.ask(), world.ask()
    world.prepared(*range(prepared))
    world.rollout.end()
    for one in (asker, waits, world.ask()):
        assert "the gateway is stopping" in one.said
    assert (world.prefix, world.names) == ("/", ["127.0.0.1:0"])


def test_a_stop_lets_all_switch_who_have_begun(world: World) -> None:
    world.configure("/b", "127.0.0.2:0")
    asker = world.ask()
    world.prepared(0, 1)
    world.rollout.end()
    world.addresses.close()
    world.switched(0)
    world.dies(1)
    assert asker.answers[0][0]
    assert listen_name(world.rollout.loaded.config.gateway.listen[1]) == "127.0.0.2:0"
