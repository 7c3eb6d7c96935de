"""The quotas of several processes by name: who meets in which record, and when a record is free for another name."""

import pytest

from harness.quotas import Workers
from rawgate.relay import shared_quotas
from rawgate.relay.quota import NoRoomError


def test_workers_meet_by_name() -> None:
    workers = Workers(3)
    quotas = [each.named("upstreams.users.queue", 1) for each in workers.quotas]
    others = [each.named("upstreams.users.max_tunnels", 2) for each in reversed(workers.quotas)]
    assert [quota.take() for quota in quotas] == [True, False, False]
    assert [quota.take() for quota in others] == [True, True, False]


def test_the_limit_is_that_of_who_came_last() -> None:
    workers = Workers(2)
    one, other = (quotas.named("q", limit) for quotas, limit in zip(workers.quotas, (1, 2), strict=True))
    assert [one.take(), one.take(), other.take()] == [True, True, False]


def test_a_name_that_all_have_let_go_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_quotas, "RECORDS", 2)
    workers = Workers(2)
    one, other = workers.quotas
    first, again = one.named("a", 1), other.named("a", 1)
    one.named("b", 1)
    for quotas in workers.quotas:
        with pytest.raises(NoRoomError, match=r"^there is room for 2 quotas only: use fewer upstreams, or restart$"):
            quotas.named("c", 1)
    assert other.named("b", 1).take()
    first.let_go()
    assert again.take()
    again.let_go()
    with pytest.raises(NoRoomError):
        one.named("c", 1)
    again.give()
    assert one.named("c", 1).take(), "nothing is left of what it was before"
    assert not other.named("c", 1).take()


def test_a_dead_worker_s_names_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_quotas, "RECORDS", 1)
    workers = Workers(2)
    workers.quotas[0].named("a", 1).take()
    workers.die(0)
    assert workers.quotas[1].named("b", 1).take()


def test_what_a_dead_worker_held_is_given_back_unless_its_successor_has_begun() -> None:
    workers = Workers(2)
    one, other = (quotas.named("q", 2) for quotas in workers.quotas)
    assert [one.take(), one.take(), other.take()] == [True, True, False]
    workers.memory.forget(0, 1)
    assert other.take()
    workers.die(0)
    assert workers.quotas[0].named("q", 2).take()
    workers.memory.forget(0, 1)
    assert not other.take(), "the first one of that number is dead, and not the second"


def test_a_quota_that_was_let_go_hears_of_nothing() -> None:
    workers = Workers(2)
    one, other = (quotas.named("q", 1) for quotas in workers.quotas)
    heard: list[str] = []
    one.on_free(lambda: heard.append("one"))
    assert other.take()
    assert not one.take_or_wait()
    other.give()
    workers.settle()
    assert heard == ["one"]
    one.let_go()
    other.take()
    other.give()
    workers.quotas[0].woken()
    assert heard == ["one"]
    assert other.take(), "what had been granted to it has come back"


def test_a_quota_s_old_and_new_owners_in_one_worker_are_counted_together() -> None:
    """An upstream is taken out of the configuration, and put back while a request of the old one goes on."""
    workers = Workers(2)
    old = workers.quotas[0].named("q", 2)
    assert old.take()
    old.let_go()
    new, elsewhere = (quotas.named("q", 2) for quotas in workers.quotas)
    assert [new.take(), elsewhere.take_or_wait()] == [True, False]
    new.on_free(lambda: None)
    assert not new.take_or_wait()
    old.stop_waiting()
    old.give()
    assert workers.woken, "it goes to one of those who wait"
    assert (old.taken, new.taken, elsewhere.taken) == (0, 1, 0)
