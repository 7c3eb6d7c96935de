"""Durations, sizes and counts: how they are written and what is refused.

A number in a file has its unit beside it, because 30 means seconds to one reader and milliseconds to another. In a
Python configuration plain numbers are seconds and octets, as in the model.
"""

import re

from rawgate.config.marks import KIB, MIB, Count, Duration, Size
from rawgate.config.scene import Scene
from rawgate.config.unfit import UnfitError, quoted, shown

DURATION = re.compile(r"([0-9]{1,15})(ms|s|m|h)")
SIZE = re.compile(r"([0-9]{1,15})(B|KiB|MiB|GiB)")
_HUGE = 10**15
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_OCTETS = {"B": 1, "KiB": KIB, "MiB": MIB, "GiB": 1024 * MIB}
_LOOSE_SIZE = re.compile(r"([0-9]{1,15})\s*([bkmgBKMG])(?:i?[bB])?")


def duration(mark: Duration, value: object, scene: Scene) -> float:
    """Seconds."""
    if isinstance(value, str):
        match = DURATION.fullmatch(value)
        if match is None:
            raise UnfitError(f"{shown(value)} is not a duration", expected=mark.expected)
        # Dividing milliseconds rounds once: 250 / 1000 is 0.25, 250 * 0.001 need not be.
        number, unit = int(match[1]), match[2]
        seconds = number / 1000 if unit == "ms" else number * _SECONDS[unit]
    else:
        seconds = float(_plain(mark, value, scene, "s"))
    if not mark.least <= seconds <= mark.most:
        limits = f"a duration from {duration_text(mark.least)} to {duration_text(mark.most)}"
        raise UnfitError(f"{shown(value)} is out of range", expected=limits)
    return seconds


def size(mark: Size, value: object, scene: Scene) -> int:
    """Octets."""
    if isinstance(value, str):
        match = SIZE.fullmatch(value)
        if match is None:
            raise UnfitError(f"{shown(value)} is not a size", expected=mark.expected, meant=_size_meant(value))
        octets = int(match[1]) * _OCTETS[match[2]]
    else:
        number = _plain(mark, value, scene, "B")
        if isinstance(number, float):
            raise UnfitError(f"{shown(value)} is not a whole number of octets", expected=mark.expected)
        octets = number
    if not mark.least <= octets <= mark.most:
        limits = f"a size from {size_text(mark.least)} to {size_text(mark.most)}"
        raise UnfitError(f"{shown(value)} is out of range", expected=limits)
    return octets


def count(mark: Count, value: object, scene: Scene) -> int:
    """A whole number in the mark's range. A boolean is none."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise UnfitError(f"{shown(value)} is not a whole number", expected=mark.expected)
    if not mark.least <= value <= mark.most:
        raise UnfitError(f"{shown(value)} is out of range", expected=mark.expected)
    return value


def duration_text(seconds: float) -> str:
    """The shortest way to write it: 90 s is "90s", 3,600 s is "1h"."""
    milliseconds = round(seconds * 1000)
    for unit, length in (("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds and milliseconds % length == 0:
            return f"{milliseconds // length}{unit}"
    return f"{milliseconds}ms" if milliseconds else "0s"


def size_text(octets: int) -> str:
    """The shortest way to write it in whole units."""
    for unit in ("GiB", "MiB", "KiB"):
        if octets and octets % _OCTETS[unit] == 0:
            return f"{octets // _OCTETS[unit]}{unit}"
    return f"{octets}B"


def _plain(mark: Duration | Size, value: object, scene: Scene, unit: str) -> int | float:
    """A number without unit, where one is possible."""
    # The comparison is false for NaN too.
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_HUGE < value < _HUGE:
        raise UnfitError(f"{shown(value)} is not {mark.expected.partition(' such')[0]}", expected=mark.expected)
    if not scene.plain_numbers:
        meant = quoted(f"{value}{unit}") if isinstance(value, int) and value >= 0 else ""
        raise UnfitError(f"{shown(value)} has no unit", expected=mark.expected, meant=meant)
    return value


def _size_meant(value: str) -> str:
    match = _LOOSE_SIZE.fullmatch(value)
    if match is None:
        return ""
    letter = match[2].upper()
    return quoted(match[1] + ("B" if letter == "B" else f"{letter}iB"))
