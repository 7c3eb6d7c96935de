"""Which worker fetches keys, and who is told: the supervisor's part."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.fake_crew import FakeCrew, living
from rawgate.net.fetch import Document
from rawgate.serve import fetch_routing
from rawgate.serve.channel import Fetch, Fetched, Said, ToSupervisor, Want
from rawgate.serve.common_fetch import CommonFetch
from rawgate.serve.fetch_routing import FetchRouting
from rawgate.serve.keys import Source

SOURCE = Source("https://idp.test/keys")
WANTED = Fetch("https://idp.test/keys", "", "")
FAILED = Fetched(WANTED, b"", None, "status 503")


def answer(number: int, fresh_for: float | None = None) -> Fetched:
    return Fetched(WANTED, b"set %d" % number, fresh_for, "", number)


def test_the_first_worker_fetches_for_all() -> None:
    crew, routing = living(FakeCrew(3)), FetchRouting()
    for seat in crew.seats:
        routing.hear(crew, seat, Want(WANTED, 0))
    assert crew.heard() == [(0, WANTED)]
    routing.hear(crew, crew.seats[0], Fetched(WANTED, b"set 1", None, ""))
    assert crew.heard() == [(number, answer(1)) for number in range(3)]


def test_a_question_that_crosses_an_answer_has_that_answer() -> None:
    crew, routing = living(FakeCrew(3)), FetchRouting()
    for number in (1, 2):
        routing.hear(crew, crew.seats[1], Want(WANTED, number - 1))
        routing.hear(crew, crew.seats[0], Fetched(WANTED, b"set %d" % number, None, ""))
        crew.heard()
        routing.hear(crew, crew.seats[2], Want(WANTED, number - 1))
        assert crew.heard() == [(2, answer(number))]
    routing.hear(crew, crew.seats[2], Want(WANTED, 2))
    assert crew.heard() == [(0, WANTED)]


def test_a_failure_is_told_to_all_and_the_next_question_is_passed_on() -> None:
    crew, routing = living(FakeCrew(2)), FetchRouting()
    for _ in range(2):
        routing.hear(crew, crew.seats[1], Want(WANTED, 0))
        routing.hear(crew, crew.seats[0], FAILED)
        assert crew.heard() == [(0, WANTED), (0, FAILED), (1, FAILED)]


def test_what_was_known_while_the_provider_fails_is_what_a_worker_that_begins_gets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moments = iter((1000.0, 1020.0, 1100.0))
    monkeypatch.setattr(fetch_routing, "monotonic", lambda: next(moments))
    crew, routing = living(FakeCrew(2)), FetchRouting()
    routing.hear(crew, crew.seats[0], Fetched(WANTED, b"set 1", 60.0, ""))
    routing.hear(crew, crew.seats[0], FAILED)
    crew.heard()
    for fresh_for in (40.0, 0.0):
        routing.hear(crew, crew.seats[1], Want(WANTED, 0))
        assert crew.heard() == [(1, answer(1, fresh_for))]


def test_another_one_fetches_when_it_dies() -> None:
    crew, routing = living(FakeCrew(3)), FetchRouting()
    routing.hear(crew, crew.seats[2], Want(WANTED, 0))
    crew.heard()
    crew.seats[1].empty()
    routing.left(crew, crew.seats[1])
    assert crew.heard() == []
    crew.seats[0].empty()
    routing.left(crew, crew.seats[0])
    assert crew.heard() == [(2, WANTED)]


@given(order=st.lists(st.integers(0, 5), max_size=40))
def test_the_provider_is_asked_once_however_questions_and_answers_cross(order: list[int]) -> None:
    """Three workers ask once each; `order`: which queue between them and the supervisor moves on next."""

    async def scene() -> None:
        to_worker: list[list[Said]] = [[] for _ in range(3)]
        to_supervisor: list[list[ToSupervisor]] = [[] for _ in range(3)]
        crew, routing = living(FakeCrew(3, lambda number, message: to_worker[number].append(message))), FetchRouting()
        asked = 0

        async def really(source: Source) -> Document:
            nonlocal asked
            asked += 1
            return Document(b"keys", None)

        workers = [CommonFetch(really, said.append, lambda source, document: True) for said in to_supervisor]
        wanted = [asyncio.create_task(worker(SOURCE)) for worker in workers]
        await asyncio.sleep(0)

        async def move(queue: int) -> None:
            number = queue % 3
            if queue < 3 and to_supervisor[number]:
                message = to_supervisor[number].pop(0)
                assert isinstance(message, Want | Fetched)
                routing.hear(crew, crew.seats[number], message)
            elif queue >= 3 and to_worker[number]:
                said = to_worker[number].pop(0)
                if isinstance(said, Fetch):
                    await workers[number].fetch(said)
                else:
                    assert isinstance(said, Fetched)
                    workers[number].fetched(said)

        for queue in order:
            await move(queue)
        while any(to_worker) or any(to_supervisor):
            for queue in range(6):
                await move(queue)
        assert [document.octets for document in await asyncio.gather(*wanted)] == [b"keys"] * 3
        assert asked == 1

    asyncio.run(scene())
