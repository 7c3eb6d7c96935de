"""When a series of checks puts a place out, and when it brings it back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rawgate.relay.checks import Verdict


def heard(series: str, rise: int = 2, fall: int = 3, verdict: Verdict | None = None) -> str:
    """What is known after each check: "+" up, "-" down. series: the checks, "p" passes, "f" fails."""
    verdict = verdict or Verdict()
    known = ""
    for check in series:
        was = verdict.is_up
        changed = verdict.hear("status 503" if check == "f" else "", rise, fall)
        assert changed is (verdict.is_up is not was)
        known += "+" if verdict.is_up else "-"
    return known


@pytest.mark.parametrize(
    ("series", "known"),
    [
        ("", ""),
        ("p", "+"),
        ("f", "-"),  # the first one decides
        ("fp", "--"),
        ("fpp", "--+"),
        ("fpfpp", "----+"),
        ("pff", "+++"),
        ("pfff", "+++-"),
        ("pffpff", "++++++"),
        ("pffffpp", "+++---+"),
    ],
)
def test_rise_and_fall(series: str, known: str) -> None:
    assert heard(series) == known


@pytest.mark.parametrize(
    ("verdict", "series", "known"),
    [
        (Verdict("status 503"), "pp", "-+"),
        (Verdict("", is_known=True), "fff", "++-"),
        (Verdict(""), "f", "-"),
    ],
)
def test_who_goes_on_for_another_knows_what_it_knew(verdict: Verdict, series: str, known: str) -> None:
    assert heard(series, verdict=verdict) == known


@given(st.text("pf", max_size=60), st.integers(1, 5), st.integers(1, 5))
def test_it_changes_only_after_as_many_in_a_row(series: str, rise: int, fall: int) -> None:
    known = heard(series, rise, fall)
    for at in range(1, len(series)):
        if known[at] != known[at - 1]:
            needed = rise if known[at] == "+" else fall
            assert set(series[max(0, at - needed + 1) : at + 1]) == ({"p"} if known[at] == "+" else {"f"})
            assert at + 1 >= needed
