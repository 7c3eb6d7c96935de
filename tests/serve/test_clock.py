"""The value of a Date field, beside the standard library's."""

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rawgate.serve import clock


@given(st.integers(0, 253_402_300_799))  # years of four digits
def test_a_date_is_what_the_standard_library_writes(second: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "time", lambda: second + 0.9)
        assert clock.HttpDate()() == formatdate(second, usegmt=True).encode()
