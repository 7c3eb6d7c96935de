"""Durations, sizes and parts: what is written means what is read, and can be written again."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rawgate.config.constraints import TIB, YEAR, Duration, Percent, Size
from rawgate.config.context import Context
from rawgate.config.files import Files
from rawgate.config.invalid import InvalidError
from rawgate.config.units import duration, duration_text, percent, percent_text, size, size_text

CONTEXT = Context(folder=Path(), environ={}, files=Files(), plain_numbers=False, merge_slashes=True, names={})
PROGRAM = Context(folder=Path(), environ={}, files=Files(), plain_numbers=True, merge_slashes=True, names={})


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1ms", 0.001), ("250ms", 0.25), ("1500ms", 1.5), ("5s", 5.0), ("90s", 90.0), ("2m", 120.0), ("24h", 86400.0)],
)
def test_duration(text: str, seconds: float) -> None:
    assert duration(Duration(), text, CONTEXT) == seconds


@pytest.mark.parametrize(
    ("text", "octets"), [("0B", 0), ("240B", 240), ("16KiB", 16384), ("10MiB", 10485760), ("2GiB", 2147483648)]
)
def test_size(text: str, octets: int) -> None:
    assert size(Size(), text, CONTEXT) == octets


@given(st.integers(1, int(YEAR) * 1000))
def test_a_duration_can_be_written_again(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert duration(Duration(), duration_text(seconds), CONTEXT) == seconds


@given(st.integers(0, TIB))
def test_a_size_can_be_written_again(octets: int) -> None:
    assert size(Size(), size_text(octets), CONTEXT) == octets


@pytest.mark.parametrize("text", ["", "5", "s", " 5s", "5 s", "5S", "1.5s", "+5s", "\uff15s", "5s\n", "1m30s"])
def test_no_duration(text: str) -> None:
    with pytest.raises(InvalidError, match="is not a duration"):
        duration(Duration(), text, CONTEXT)


def test_numbers_are_for_programs() -> None:
    assert duration(Duration(), 5, PROGRAM) == 5.0
    assert duration(Duration(), 0.25, PROGRAM) == 0.25
    assert size(Size(), 4096, PROGRAM) == 4096


@given(st.one_of(st.booleans(), st.none(), st.just(10**400), st.just(float("nan")), st.binary()))
def test_what_is_no_number(value: object) -> None:
    for context in (CONTEXT, PROGRAM):
        with pytest.raises(InvalidError, match="is not a"):
            duration(Duration(), value, context)
        with pytest.raises(InvalidError, match="is not a"):
            size(Size(), value, context)


@given(st.integers(1, 100))
def test_a_percentage_can_be_written_again(whole: int) -> None:
    part = percent(Percent(), f"{whole}%", CONTEXT)
    assert 0 < part <= 1
    assert percent_text(part) == f"{whole}%"
    assert percent(Percent(), part, PROGRAM) == part


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("0%", "is out of range"),
        ("101%", "is out of range"),
        ("50", 'did you mean "50%"?'),
        ("50 %", 'did you mean "50%"?'),
        (50, 'did you mean "50%"?'),
        (0.5, "is not a percentage"),
        (True, "is not a percentage"),
        ("half", "is not a percentage"),
        ("-5%", "is not a percentage"),
    ],
)
def test_no_percentage(value: object, said: str) -> None:
    with pytest.raises(InvalidError) as raised:
        percent(Percent(), value, CONTEXT)
    assert said in str(raised.value)


@pytest.mark.parametrize("value", [0.0, 50, float("nan"), True, None])
def test_no_percentage_for_a_program(value: object) -> None:
    with pytest.raises(InvalidError):
        percent(Percent(), value, PROGRAM)
