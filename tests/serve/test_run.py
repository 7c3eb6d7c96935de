"""What a serving process says about code that is not its own."""

from rawgate.serve.telling import REPORT_EVERY, Throttled


def test_one_report_a_second_and_then_how_many_were_kept_back() -> None:
    now = 100.0
    said: list[str] = []
    throttled = Throttled(said.append, lambda: now)
    for _ in range(5):
        throttled("route a", "a raised KeyError()")
        throttled("route b", "b raised OSError()")
    now += REPORT_EVERY
    throttled("route a", "a again")
    now += REPORT_EVERY
    throttled("route a", "a once more")
    throttled("route b", "b again")
    assert said == [
        "a raised KeyError()",
        "b raised OSError()",
        "a again (4 more since the last report)",
        "a once more",
        "b again (4 more since the last report)",
    ]
