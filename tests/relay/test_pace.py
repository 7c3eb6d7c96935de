"""Who takes something, and enough of it."""

import pytest

from rawgate.relay.pace import Pace


def test_who_takes_some_has_moved() -> None:
    pace = Pace(100, 10.0)
    assert (pace.look(100, 11.0), pace.moved) == (False, 10.0)
    assert (pace.look(99, 12.0), pace.moved) == (True, 12.0)
    assert (pace.look(99, 13.0), pace.moved) == (False, 12.0)


def test_what_was_written_meanwhile_hides_what_was_taken() -> None:
    pace = Pace(100, 0.0)
    assert not pace.look(150, 1.0)
    assert pace.look(120, 2.0), "compared with the last look"


@pytest.mark.parametrize(("left", "keeps"), [(80, True), (81, False), (0, True), (100, False)])
def test_the_rate_is_that_of_the_whole_time(left: int, keeps: bool) -> None:
    pace = Pace(100, 10.0)
    pace.look(90, 11.0)
    pace.look(left, 12.0)
    assert pace.reaches(10, 12.0) is keeps
    assert pace.reaches(0, 12.0)
