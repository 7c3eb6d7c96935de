"""Who waits for keys that are being fetched, and how often unknown names cause a fetch."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from rawgate.policy.fetched_keys import EXTRA, FetchedKeys


class Asked(FetchedKeys):
    """Counts how often it asks; each fetch begins at once."""

    def __init__(self) -> None:
        super().__init__(self.count)
        self.times = 0

    def count(self) -> None:
        self.times += 1
        self.begin()


def test_nobody_waits_for_what_is_not_coming() -> None:
    keys = Asked()
    assert not keys.is_coming(0.0)
    assert keys.times == 0  # how soon the next try comes is not for requests to say
    keys.begin()
    assert keys.is_coming(0.0)
    keys.settle(empty=True, retry_at=7.5)
    assert not keys.is_coming(1.0)
    assert [keys.retry_after(now) for now in (0.0, 0.5, 1.0, 7.4, 9.0)] == [8, 7, 7, 1, 1]


def test_who_waits_is_called_once() -> None:
    keys, called = FetchedKeys(), list[str]()
    keys.begin()
    keys.subscribe(lambda: called.append("a"))
    cancel = keys.subscribe(lambda: called.append("b"))
    assert repr(keys) == "<keys: being fetched, 2 waiting>"
    cancel()
    keys.settle(empty=False, retry_at=0.0)
    keys.settle(empty=False, retry_at=0.0)
    cancel()
    assert called == ["a"]
    assert repr(keys) == "<keys: here, 0 waiting>"


def test_who_subscribes_while_others_are_called_waits_for_the_next() -> None:
    keys, called = FetchedKeys(), list[str]()

    def again() -> None:
        called.append("a")
        keys.subscribe(lambda: called.append("b"))

    keys.subscribe(again)
    keys.settle(empty=True, retry_at=0.0)
    assert called == ["a"]
    keys.settle(empty=True, retry_at=0.0)
    assert called == ["a", "b"]


def test_a_reload_goes_on_where_it_stood() -> None:
    old, new = Asked(), FetchedKeys()
    old.settle(empty=False, retry_at=3.0)
    assert old.is_coming(5.0)
    new.succeed(old)
    assert (new.empty, new.retry_at, new.is_coming(5.0)) == (False, 3.0, True)
    new.settle(empty=False, retry_at=0.0)
    assert not new.is_coming(5.0 + EXTRA / 2)


@given(st.lists(st.tuples(st.floats(0.0, 5.0), st.booleans()), max_size=60))
def test_unknown_keys_cause_one_fetch_in_any_ten_seconds(steps: list[tuple[float, bool]]) -> None:
    keys, now, begun = Asked(), 1000.0, list[float]()
    keys.settle(empty=False, retry_at=0.0)
    for wait, ends in steps:
        now += wait
        before = keys.times
        assert keys.is_coming(now) or begun
        if keys.times > before:
            begun.append(now)
        if ends:
            keys.settle(empty=False, retry_at=0.0)
    assert all(later - earlier >= EXTRA for earlier, later in pairwise(begun))
