"""How lines look: when a terminal gets colour."""

from collections.abc import Mapping

import pytest

from rawgate.offline.page import wants_colour


@pytest.mark.parametrize(
    ("environ", "is_terminal", "expected"),
    [
        ({"TERM": "xterm-256color"}, True, True),
        ({"TERM": "xterm-256color"}, False, False),
        ({"TERM": "dumb"}, True, False),
        ({}, True, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, True, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, True, True),
    ],
)
def test_colour(environ: Mapping[str, str], is_terminal: bool, expected: bool) -> None:
    assert wants_colour(environ, is_terminal=is_terminal) is expected
