"""Sources of targets: when they are asked, what is remembered, who is told. What a source answers, each test says."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from harness.consul import Consul, instance
from harness.fake_loop import FakeLoop
from rawgate.config import model as config
from rawgate.config.model import Config, Gateway, Target, Upstream
from rawgate.net.fetch import FetchError
from rawgate.net.instances import Instance, Instances, Source
from rawgate.net.names import LookUpError, Names
from rawgate.serve import discovery as module
from rawgate.serve.channel import Found
from rawgate.serve.discovery import (
    CHANGES_EVERY,
    PAUSE,
    POLL,
    SAID_EVERY,
    Changes,
    Discovery,
    Seeker,
    SourceState,
    change,
    figures,
    sources_of,
)
from rawgate.serve.load import Loaded, source_of

A, B, C = (Instance(False, f"10.0.0.{number}", 80) for number in (1, 2, 3))
WEB = Target("web", 0, "web.service.consul", source="consul")
API = Target("api.test", 8080, "api.test:8080", source="dns")
CONSUL, DNS = Source("consul", "web"), Source("dns", "api.test", 8080)

Answer = tuple[Instances, int, float] | Exception


def loaded(agent: config.Consul | None = None, /, **targets: tuple[Target, ...]) -> Loaded:
    upstreams = {name: Upstream(targets=its) for name, its in targets.items()}
    found = Config(gateway=Gateway(listen=()), upstreams=upstreams, routes=(), consul=agent)
    return Loaded(found, None)  # type: ignore[arg-type]


class Fixture(Discovery):
    """`answers`: what questions bring, in order; after the last one a question never ends."""

    def __init__(self, answers: list[Answer], *, alone: bool = True) -> None:
        self.answers = answers
        self.asked: list[tuple[Source, int]] = []
        self.delays: list[float] = []
        self.reports: list[str] = []
        self.moves: list[tuple[Source, tuple[Instance, ...]]] = []
        self.said: list[Found] = []
        loop = asyncio.get_running_loop()
        names = Names(loop, self.reports.append, lambda host: ())
        super().__init__(loop, names, self.reports.append, self._noted, None if alone else self.said.append)

    def _noted(self, source: Source) -> None:
        self.moves.append((source, self.known[source].instances))

    async def question(self, source: Source, index: int) -> tuple[Instances, int, float]:
        self.asked.append((source, index))
        if not self.answers:
            await asyncio.Event().wait()
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def instances(*found: Instance, index: int = 0) -> Answer:
    return Instances(found), index, 0.0


async def settled(fixture: Fixture) -> None:
    """All answers have been given. A question waits for ever then."""
    for _ in range(1000):
        await asyncio.sleep(0)
        if not fixture.answers:
            break
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "retry_after", lambda failures: 0.0)


def play(script: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(script())  # type: ignore[arg-type]


def test_instances_are_followed_and_the_index_goes_along() -> None:
    async def script() -> None:
        fixture = Fixture([instances(A, index=5), instances(A, index=5), instances(A, B, index=9)])
        fixture.follow(loaded(u=(WEB,)))
        await settled(fixture)
        assert fixture.asked == [(CONSUL, 0), (CONSUL, 5), (CONSUL, 5), (CONSUL, 9)]
        assert fixture.moves == [(CONSUL, (A,)), (CONSUL, (A, B))]
        assert fixture.reports == ["upstream u: 10.0.0.2:80 is new; 2 instances"]
        fixture.close()

    play(script)


def test_the_last_answer_stays_while_a_source_is_down_and_the_operator_is_told_once() -> None:
    async def script() -> None:
        down: list[Answer] = [FetchError("connection refused")] * 3
        fixture = Fixture([instances(A, index=5), *down, instances(A, index=2), instances(B, index=3)])
        fixture.follow(loaded(u=(WEB,)))
        await settled(fixture)
        # After a failure nobody knows what the next answer would be compared with.
        assert [index for _, index in fixture.asked] == [0, 5, 0, 0, 0, 2, 3]
        assert fixture.moves == [(CONSUL, (A,)), (CONSUL, (B,))]
        assert fixture.reports == [
            "cannot look up Consul's web: connection refused; the last answer is used",
            "can look up Consul's web again",
            "upstream u: 10.0.0.2:80 is new, 10.0.0.1:80 is gone; 1 instance",
        ]
        fixture.close()

    play(script)


def test_a_source_that_never_answered_is_told_and_stops_nobody_else() -> None:
    async def script() -> None:
        fixture = Fixture([LookUpError("no such name"), LookUpError("no such name")])
        fixture.follow(loaded(u=(API,)))
        await settled(fixture)
        assert fixture.reports == [
            "cannot look up the addresses of api.test: no such name; requests get 503 until there is an answer"
        ]
        assert fixture.known[DNS].has_answered is False
        assert fixture.problems() == {DNS: "no such name"}
        assert fixture.moves == [(DNS, ())]
        assert fixture.states(loaded(u=(API,)).config, 0.0) == {
            "u": (SourceState("dns+http://api.test:8080", None, 0, "no such name"),)
        }
        fixture.close()

    play(script)


def test_a_source_that_knows_of_no_instance_has_answered() -> None:
    async def script() -> None:
        fixture = Fixture([instances(index=1), instances(A, index=2), instances(index=3)])
        fixture.follow(loaded(u=(WEB,)))
        await settled(fixture)
        assert fixture.moves == [(CONSUL, ()), (CONSUL, (A,)), (CONSUL, ())]
        assert fixture.known[CONSUL].has_answered
        gone = "no instance in Consul's web: requests get 503 until there is one"
        new = "upstream u: 10.0.0.1:80 is new; 1 instance"
        assert fixture.reports == [gone, "instances in Consul's web again", new, gone]
        fixture.close()

    play(script)


def test_what_is_left_out_is_told_when_it_changes() -> None:
    async def script() -> None:
        flawed = Instances((A,), ("'b' has no port that can be used",))
        fixture = Fixture([(flawed, 1, 0.0), (flawed, 2, 0.0), instances(A, index=3)])
        fixture.follow(loaded(u=(WEB,)))
        await settled(fixture)
        assert fixture.reports == ["Consul's web: left out: 'b' has no port that can be used"]
        fixture.close()

    play(script)


def test_a_mistake_of_ours_does_not_end_it(capfd: pytest.CaptureFixture[str]) -> None:
    async def script() -> None:
        fixture = Fixture([RuntimeError("oh"), instances(A)])
        fixture.follow(loaded(u=(WEB,)))
        await settled(fixture)
        assert fixture.moves[-1] == (CONSUL, (A,))
        fixture.close()

    play(script)
    assert "RuntimeError: oh" in capfd.readouterr().err


def test_a_reload_keeps_what_is_known_of_sources_that_stay() -> None:
    async def script() -> None:
        fixture = Fixture([instances(A, index=5)])
        fixture.follow(loaded(u=(WEB,)))
        await settled(fixture)
        fixture.answers = [instances(A, index=5), instances(B)]
        fixture.follow(loaded(u=(WEB,), v=(API,)))
        await settled(fixture)
        assert fixture.moves == [(CONSUL, (A,)), (DNS, (B,))]
        fixture.follow(loaded(v=(API,)))
        assert set(fixture.known) == {DNS}
        asked = len(fixture.asked)
        await settled(fixture)
        assert {source for source, _ in fixture.asked[asked:]} == {DNS}
        fixture.close()

    play(script)


def test_only_the_worker_that_is_told_to_asks_and_all_hear_of_it() -> None:
    async def script() -> None:
        fixture = Fixture([instances(A, index=1), instances(A, index=1)], alone=False)
        fixture.follow(loaded(u=(WEB,)))
        await settled(fixture)
        assert fixture.asked == []
        fixture.take(Found(CONSUL, (B,), 1.0, ""))
        assert fixture.moves == [(CONSUL, (B,))]
        fixture.seek()
        await settled(fixture)
        assert fixture.moves == [(CONSUL, (B,)), (CONSUL, (A,))]
        # The second answer says nothing new, and comes right after the first.
        assert [(found.source, found.instances, found.problem) for found in fixture.said] == [(CONSUL, (A,), "")]
        fixture.close()

    play(script)


def test_an_answer_that_says_nothing_new_is_passed_on_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([100.0, 101.0, 100.0 + SAID_EVERY, 100.0 + 1.5 * SAID_EVERY])
    monkeypatch.setattr(module, "monotonic", lambda: next(moments))

    async def script() -> None:
        fixture = Fixture([instances(A)] * 4, alone=False)
        fixture.follow(loaded(u=(WEB,)))
        fixture.seek()
        await settled(fixture)
        assert [found.at for found in fixture.said] == [100.0, 100.0 + SAID_EVERY]
        fixture.close()

    play(script)


def test_what_was_heard_of_a_source_before_it_is_wanted_is_there_when_it_is() -> None:
    """The worker that asks has switched to a new configuration a little earlier."""

    async def script() -> None:
        fixture = Fixture([], alone=False)
        fixture.follow(loaded())
        fixture.take(Found(DNS, (A,), 1.0, ""))
        fixture.follow(loaded(u=(API,)))
        assert fixture.known[DNS].instances == (A,)
        fixture.close()

    play(script)


def test_who_gives_no_index_is_asked_seldom_and_one_that_went_back_is_followed_at_once() -> None:
    async def script() -> None:
        with Consul() as consul:
            consul.register("web", instance(A.host, A.port))
            discovery = Fixture([])
            agent = Target("127.0.0.1", consul.port, f"127.0.0.1:{consul.port}")
            discovery.follow(loaded(config.Consul(address=agent), u=(WEB,)))
            discovery.close()
            found = Instances((A,))
            asked = [await Discovery.question(discovery, CONSUL, index) for index in (0, 50, 0)]
            assert asked == [(found, 11, PAUSE), (found, 0, PAUSE), (found, 11, PAUSE)]
            consul.indexed = False
            assert await Discovery.question(discovery, CONSUL, 0) == (found, 0, POLL)

    play(script)


def test_a_seeker_that_is_closed_asks_no_more() -> None:
    async def script() -> None:
        fixture = Fixture([instances(A)] * 100)
        seeker = Seeker(asyncio.get_running_loop(), DNS, fixture, fixture.reports.append, None)
        await asyncio.sleep(0)
        seeker.close()
        asked = len(fixture.asked)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(fixture.asked) == asked

    play(script)


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ("ab", "a", "b is gone; 1 instance left"),
        ("a", "", "a is gone; 0 instances left"),
        ("", "ab", "a, b are new; 2 instances"),
        ("abc", "ad", "d is new, b, c are gone; 2 instances"),
        ("a", "bcdef", "5 instances are new, a is gone; 5 instances"),
        ("abcde", "e", "4 instances are gone; 1 instance left"),
    ],
)
def test_a_change_is_one_line_that_stays_short(before: str, after: str, line: str) -> None:
    assert change(frozenset(before), frozenset(after)) == line
    assert len(change(frozenset(map(str, range(4096))), frozenset("x"))) < 80


def test_changes_of_one_second_are_one_line() -> None:
    loop = FakeLoop()
    said: list[str] = []
    changes = Changes(loop, said.append)  # type: ignore[arg-type]
    a, ab, b = frozenset("a"), frozenset("ab"), frozenset("b")
    changes.note("u", a, ab)
    changes.note("u", ab, b)
    changes.note("v", a, b)
    assert said == ["upstream u: b is new; 2 instances", "upstream v: b is new, a is gone; 1 instance"]
    changes.note("v", b, a)
    changes.note("v", a, b)
    loop.passes(CHANGES_EVERY)
    assert said[2:] == ["upstream u: a is gone; 1 instance left"], "what is as it was is no change"
    loop.passes(CHANGES_EVERY)
    changes.note("u", b, a)
    assert said[3:] == ["upstream u: a is new, b is gone; 1 instance"]


def test_sources_and_figures() -> None:
    plain = Target("a", 80, "a")
    config = loaded(u=(WEB, plain), v=(API, WEB), w=(plain,)).config
    assert sources_of(config) == {CONSUL, DNS}
    assert source_of(plain) is None
    told = {"u": (SourceState("a", 3.0, 2, ""), SourceState("b", 7.0, 1, "")), "v": (SourceState("c", None, 0, "x"),)}
    assert figures(told) == {"u": (7.0, 3), "v": (None, 0)}
