"""Slots of targets that come and go: whose they are, and that nothing is counted twice or lost."""

from hypothesis import given
from hypothesis import strategies as st

from rawgate.observe import layout
from rawgate.observe.found_targets import NAMED, OTHER, Slots, identity, named, sums

START = 3


class Column:
    """The block of one upstream in the column of one worker."""

    def __init__(self) -> None:
        self.cells = memoryview(bytearray(8 * (START + layout.FOUND_ROWS + 1))).cast("Q")
        self.slots = Slots(self.cells, START)

    def count(self, target: str, times: int = 1) -> None:
        self.cells[self.slots.row(target) + layout.SENT_THERE] += times

    @property
    def block(self) -> list[int]:
        return self.cells[START : START + layout.FOUND_ROWS].tolist()


def sent(columns: list[Column], *targets: str) -> dict[str, int]:
    found = sums([column.block for column in columns], targets)
    return {target: cells[layout.SENT_THERE] for target, cells in found.items()}


def test_each_worker_may_have_other_slots_and_who_reads_adds_up_by_target() -> None:
    one, two = Column(), Column()
    one.slots.settle(["a:80", "b:80"])
    two.slots.settle(["b:80"])
    two.slots.settle(["a:80", "b:80"])
    for column in (one, two):
        column.count("a:80")
        column.count("b:80", 10)
    assert sent([one, two], "a:80", "b:80") == {"a:80": 2, "b:80": 20, OTHER: 0}
    assert sent([one, two], "b:80") == {"b:80": 20, OTHER: 2}


def test_what_a_target_that_goes_had_goes_to_other_and_its_slot_to_the_next() -> None:
    column = Column()
    column.slots.settle(["a:80", "b:80"])
    column.count("a:80", 5)
    column.cells[column.slots.row("a:80") + layout.UNDER_WAY] = 2
    before = column.slots.row("a:80")
    column.slots.settle(["b:80", "c:80"])
    assert column.slots.row("c:80") == before
    assert sent([column], "b:80", "c:80") == {"b:80": 0, "c:80": 0, OTHER: 5}
    assert sum(column.block[layout.UNDER_WAY + 1 :: layout.SLOT_ROWS]) == 0, "nobody is under way there any more"


def test_beyond_the_bound_targets_share_a_row() -> None:
    column = Column()
    targets = [f"10.0.0.{at}:80" for at in range(NAMED + 2)]
    column.slots.settle(targets)
    names = named(targets)
    assert len(names) == NAMED
    for target in targets:
        column.count(target)
    assert sent([column], *names) == {**dict.fromkeys(names, 1), OTHER: 2}
    assert column.cells[START + layout.FOUND_ROWS] == 0, "the row behind them is somebody else's"


def test_a_successor_goes_on_with_the_slots_of_the_one_before_it() -> None:
    column = Column()
    column.slots.settle(["a:80", "b:80"])
    column.count("a:80")
    column.count("b:80")
    column.slots = Slots(column.cells, START)
    column.slots.settle([])
    assert sent([column], "a:80", "b:80") == {"a:80": 0, "b:80": 0, OTHER: 2}


def test_a_slot_is_never_nobodys() -> None:
    assert identity("") != 0


NAMES = [f"{letter}:80" for letter in "abcdefgh"]


@given(st.lists(st.tuples(st.sets(st.sampled_from(NAMES)), st.sampled_from(NAMES)), max_size=30))
def test_nothing_is_lost_whoever_comes_and_goes(turns: list[tuple[set[str], str]]) -> None:
    column = Column()
    for count, (targets, target) in enumerate(turns, 1):
        column.slots.settle(targets)
        column.count(target)
        found = sent([column], *targets)
        assert sum(found.values()) == count
        if target in targets:
            assert found[target] >= 1
