"""The book of what connections hold: sums, and who has to go."""

from hypothesis import given
from hypothesis import strategies as st

from harness.fake_loop import FakeLoop
from rawgate.net.buffer_budget import WELL_BELOW, BufferBudget


class Holder:
    """One that is written down when it has to go. Some enter once more on their way out, as real ones do."""

    def __init__(self, book: BufferBudget, gone: list["Holder"]) -> None:
        self.book = book
        self.gone = gone

    def evict(self) -> None:
        self.gone.append(self)
        self.book.account(self, 0)


class Holders:
    def __init__(self, limit: int, holders: int) -> None:
        self.loop = FakeLoop()
        self.book = BufferBudget(limit, self.loop.call_soon)
        self.gone: list[Holder] = []
        self.holders = [Holder(self.book, self.gone) for _ in range(holders)]

    def account(self, *octets: int) -> None:
        for holder, held in zip(self.holders, octets, strict=True):
            self.book.account(holder, held)
        self.loop.run()


def test_the_sum_is_that_of_what_was_entered_last() -> None:
    w = Holders(100, 2)
    w.account(30, 40)
    w.account(50, 0)
    assert (w.book.total, w.book.peak) == (50, 90)
    w.book.renew()
    assert w.book.peak == 50


def test_nobody_goes_while_it_is_not_too_much() -> None:
    w = Holders(100, 2)
    w.account(60, 40)
    assert w.gone == []


def test_those_that_hold_most_go_until_it_is_well_below() -> None:
    w = Holders(160, 5)
    w.account(10, 50, 30, 50, 40)
    assert w.gone == [w.holders[1]]
    assert w.book.total == 130 <= 160 * WELL_BELOW
    assert w.book.closed == 1
    w.account(10, 0, 90, 90, 80)
    assert w.gone[1:] == [w.holders[2], w.holders[3]]
    w.book.renew()
    assert w.book.closed == 0


def test_nobody_goes_in_the_middle_of_what_it_does() -> None:
    w = Holders(100, 1)
    w.book.account(w.holders[0], 101)
    assert w.gone == []
    w.loop.run()
    assert w.gone == w.holders


def test_who_has_let_go_in_time_stays() -> None:
    w = Holders(100, 2)
    w.book.account(w.holders[0], 101)
    w.book.account(w.holders[0], 20)
    w.loop.run()
    assert w.gone == []


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 60)), max_size=40))
def test_it_is_never_too_much_after_a_turn_of_the_loop(entries: list[tuple[int, int]]) -> None:
    w = Holders(100, 5)
    held = [0] * 5
    for number, octets in entries:
        w.book.account(w.holders[number], octets)
        held[number] = octets
        w.loop.run()
        for holder in w.gone:
            held[w.holders.index(holder)] = 0
        w.gone.clear()
        assert w.book.total == sum(held) <= 100
