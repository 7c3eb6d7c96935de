"""What a serving process says about code that is not its own."""

from rawgate.serve.run import SELDOM, Seldom


def test_one_report_a_second_and_then_how_many_were_kept_back() -> None:
    now = 100.0
    said: list[str] = []
    seldom = Seldom(said.append, lambda: now)
    for _ in range(5):
        seldom("the rewrite function raised KeyError()")
    now += SELDOM
    seldom("again")
    now += SELDOM
    seldom("and again")
    assert said == [
        "the rewrite function raised KeyError()",
        "again (4 more since the last report)",
        "and again",
    ]
