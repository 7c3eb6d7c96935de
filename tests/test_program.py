"""The fixture that finds programs: what it does when one is missing decides whether a run counts."""

from collections.abc import Callable

import pytest


def test_an_installed_program_is_found(program: Callable[[str], str]) -> None:
    assert program("sh").endswith("/sh")


def test_a_missing_program_skips_by_name(program: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAWGATE_REQUIRE", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-program"):
        program("no-such-program")


def test_a_missing_program_fails_where_it_is_required(
    program: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAWGATE_REQUIRE", "1")
    with pytest.raises(pytest.fail.Exception, match="no-such-program"):
        program("no-such-program")
