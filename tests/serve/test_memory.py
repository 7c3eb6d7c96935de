"""When memory is given back."""

import gc
import subprocess
import sys
import weakref

import pytest

from rawgate.serve.memory import WORTH, Memory, set_aside, set_aside_anew, trim_of_this_system

MUCH = 4 * WORTH


class Trims:
    def __init__(self) -> None:
        self.count = 0
        self.memory = Memory(self)

    def __call__(self) -> None:
        self.count += 1

    def look(self, *held: int) -> int:
        """One look after the other; how often it trimmed."""
        before = self.count
        for octets in held:
            self.memory.look(octets, octets)
        return self.count - before


def test_it_trims_once_when_much_is_gone_and_no_more_goes() -> None:
    trims = Trims()
    assert trims.look(0, MUCH, MUCH // 2, 0) == 0
    assert trims.look(0) == 1
    assert trims.look(0, 0) == 0


def test_a_peak_between_two_looks_counts() -> None:
    trims = Trims()
    trims.memory.look(0, MUCH)
    assert trims.count == 1


@pytest.mark.parametrize("held", [[WORTH - 1, 0, 0], [MUCH, MUCH - WORTH, MUCH - WORTH], [MUCH, MUCH, MUCH]])
def test_it_leaves_things_alone(held: list[int]) -> None:
    assert Trims().look(*held) == 0


def test_a_system_without_it_is_left_alone() -> None:
    memory = Memory(None)
    for held in (MUCH, 0, 0):
        memory.look(held, held)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc")
def test_the_function_is_found_and_can_be_called() -> None:
    trim = trim_of_this_system()
    assert trim is not None
    assert trim() in {0, 1}


BODIES = """
import resource, sys
from rawgate.serve.memory import keep_a_margin

if sys.argv[1] == "margin":
    keep_a_margin()
for turn in range(100):
    if turn == 10:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bodies = [bytes(256 * 1024) for _ in range(8)]
    del bodies
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc")
def test_bodies_find_their_pages_still_there() -> None:
    def faults(word: str) -> int:
        done = subprocess.run([sys.executable, "-c", BODIES, word], capture_output=True, text=True, check=True)
        return int(done.stdout)

    pages = 90 * 8 * 64
    assert faults("margin") < pages // 100
    assert faults("none") > pages // 4, "the margin is not needed any more"


class Cycle:
    def __init__(self) -> None:
        self.itself = self


def test_a_configuration_that_was_set_aside_goes_with_the_reload_that_replaced_it() -> None:
    try:
        before, served = Cycle(), Cycle()
        seen, kept = weakref.ref(before), weakref.ref(served)
        set_aside()
        del before
        set_aside()  # it does not look at what was set aside
        assert seen() is not None
        set_aside_anew()
        assert (seen(), kept()) == (None, served)
    finally:
        gc.unfreeze()
