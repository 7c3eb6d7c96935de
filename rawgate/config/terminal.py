"""What the environment says about the terminal that a command writes to."""

from collections.abc import Mapping


def wants_colour(environ: Mapping[str, str], *, is_terminal: bool) -> bool:
    """Colour only for a person: on a terminal that has it, unless NO_COLOR is set (no-color.org: and not empty)."""
    return is_terminal and not environ.get("NO_COLOR") and environ.get("TERM", "dumb") != "dumb"
