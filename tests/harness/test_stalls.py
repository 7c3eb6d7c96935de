import pytest

from harness import stalls
from harness.stalls import TRIES, Stalls, again_after_stalls


@pytest.mark.parametrize(("longest", "tries"), [(-1.0, TRIES), (1e9, 1)], ids=["it stood still", "it did not"])
def test_a_test_is_tried_again_only_where_something_stood_still(longest: float, tries: int) -> None:
    """No machine is never late at all, and none is for so long."""
    tried = 0

    @again_after_stalls(longest)
    def fails(_: int) -> None:
        nonlocal tried
        tried += 1
        pytest.fail("as it should")

    with pytest.raises(pytest.fail.Exception, match="as it should"):
        fails(1)
    assert tried == tries


def test_it_ends_with_the_first_that_passes() -> None:
    tried = 0

    @again_after_stalls(-1.0)
    def passes_the_second_time() -> None:
        nonlocal tried
        tried += 1
        assert tried > 1

    passes_the_second_time()
    assert tried == 2


def test_what_stands_still_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that is 3 s further each time."""
    clock = iter(range(0, 1_000_000, 3))
    monkeypatch.setattr(stalls, "monotonic", lambda: next(clock))
    with Stalls() as watch:
        pass
    assert watch.longest == pytest.approx(3 - stalls.TICK)
