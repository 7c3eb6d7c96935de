"""What a serving process says about code that is not its own."""

from rawgate.serve.run import SELDOM, Seldom


def test_one_report_a_second_and_then_how_many_were_kept_back() -> None:
    now = 100.0
    said: list[str] = []
    seldom = Seldom(said.append, lambda: now)
    for _ in range(5):
        seldom("route a", "a raised KeyError()")
        seldom("route b", "b raised OSError()")
    now += SELDOM
    seldom("route a", "a again")
    now += SELDOM
    seldom("route a", "a once more")
    seldom("route b", "b again")
    assert said == [
        "a raised KeyError()",
        "b raised OSError()",
        "a again (4 more since the last report)",
        "a once more",
        "b again (4 more since the last report)",
    ]
