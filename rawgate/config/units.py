"""Readers of durations, sizes, parts and counts.

In a file each number has its unit beside it, because 30 means seconds to one reader and milliseconds to another. In a
Python configuration, plain numbers are seconds and octets, as in the model.
"""

import re
from datetime import datetime

from rawgate.config.constraints import KIB, MIB, Count, Duration, Moment, Percent, Size
from rawgate.config.context import Context
from rawgate.config.invalid import InvalidError, quoted, shown

DURATION = re.compile(r"([0-9]{1,15})(ms|s|m|h)")
SIZE = re.compile(r"([0-9]{1,15})(B|KiB|MiB|GiB)")
PERCENT = re.compile(r"([0-9]{1,3})%")
_HUGE = 10**15
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_OCTETS = {"B": 1, "KiB": KIB, "MiB": MIB, "GiB": 1024 * MIB}
_LOOSE_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,3})?)\s*(?:([bkmgBKMG])(?:i?[bB]?|bytes|ytes)?)?")


def duration(constraint: Duration, value: object, context: Context) -> float:
    """Seconds."""
    if isinstance(value, str):
        match = DURATION.fullmatch(value)
        if match is None:
            raise InvalidError(
                f"{shown(value)} is not a duration", expected=constraint.expected, meant=_duration_meant(value)
            )
        # Dividing milliseconds rounds once: 250 / 1000 is 0.25, 250 * 0.001 need not be.
        number, unit = int(match[1]), match[2]
        seconds = number / 1000 if unit == "ms" else number * _SECONDS[unit]
    else:
        seconds = float(_plain(constraint, value, context))
    if not constraint.least <= seconds <= constraint.most:
        limits = f"a duration from {duration_text(constraint.least)} to {duration_text(constraint.most)}"
        raise InvalidError(f"{shown(value)} is out of range", expected=limits if seconds else f"{limits}; {_NO_OFF}")
    return seconds


def size(constraint: Size, value: object, context: Context) -> int:
    """Octets."""
    if isinstance(value, str):
        match = SIZE.fullmatch(value)
        if match is None:
            raise InvalidError(f"{shown(value)} is not a size", expected=constraint.expected, meant=_size_meant(value))
        octets = int(match[1]) * _OCTETS[match[2]]
    else:
        number = _plain(constraint, value, context)
        if isinstance(number, float):
            raise InvalidError(f"{shown(value)} is not a whole number of octets", expected=constraint.expected)
        octets = number
    if not constraint.least <= octets <= constraint.most:
        limits = f"a size from {size_text(constraint.least)} to {size_text(constraint.most)}"
        raise InvalidError(f"{shown(value)} is out of range", expected=limits)
    return octets


def percent(constraint: Percent, value: object, context: Context) -> float:
    """A part of 1."""
    match = PERCENT.fullmatch(value) if isinstance(value, str) else None
    if match is not None:
        part = int(match[1]) / 100
    elif context.plain_numbers and isinstance(value, int | float) and not isinstance(value, bool):
        part = float(value)
    else:
        found = None if isinstance(value, bool) else re.fullmatch(r"([0-9]{1,3})(?: *%|\.0+%)?", str(value))
        meant = quoted(f"{found[1]}%") if found and constraint.least <= int(found[1]) <= constraint.most else ""
        raise InvalidError(f"{shown(value)} is not a percentage", expected=constraint.expected, meant=meant)
    if not constraint.least / 100 <= part <= constraint.most / 100:
        raise InvalidError(f"{shown(value)} is out of range", expected=constraint.expected)
    return part


def count(constraint: Count, value: object, context: Context) -> int:
    """A whole number in the range of the constraint. A boolean is refused."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidError(
            f"{shown(value)} is not a whole number", expected=constraint.expected, meant=_count_meant(constraint, value)
        )
    if not constraint.least <= value <= constraint.most:
        raise InvalidError(f"{shown(value)} is out of range", expected=constraint.expected)
    return value


def moment(constraint: Moment, value: object, context: Context) -> float:
    """Unix seconds."""
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.timestamp()
    if context.plain_numbers and isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _HUGE:
        return float(value)
    what = "has no offset" if isinstance(value, datetime) else "is not a date and time"
    raise InvalidError(f"{value if isinstance(value, datetime) else shown(value)} {what}", expected=constraint.expected)


def duration_text(seconds: float) -> str:
    """A duration in its shortest notation: 90 s is "90s", 3,600 s is "1h"."""
    milliseconds = round(seconds * 1000)
    for unit, length in (("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds and milliseconds % length == 0:
            return f"{milliseconds // length}{unit}"
    return f"{milliseconds}ms" if milliseconds else "0s"


def size_text(octets: int) -> str:
    """A size in its shortest notation in whole units."""
    for unit in ("GiB", "MiB", "KiB"):
        if octets and octets % _OCTETS[unit] == 0:
            return f"{octets // _OCTETS[unit]}{unit}"
    return f"{octets}B"


def percent_text(part: float) -> str:
    """A part in whole percents."""
    return f"{round(part * 100)}%"


def _plain(constraint: Duration | Size, value: object, context: Context) -> int | float:
    """A number without unit, where the context allows it."""
    # The comparison is false for NaN too.
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_HUGE < value < _HUGE:
        raise InvalidError(
            f"{shown(value)} is not {constraint.expected.partition(' such')[0]}", expected=constraint.expected
        )
    if not context.plain_numbers:
        meant = _duration_meant(str(value)) if isinstance(constraint, Duration) else _size_meant(str(value))
        expected = constraint.expected if value else f"{constraint.expected}; {_NO_OFF}"
        raise InvalidError(f"{shown(value)} has no unit", expected=expected, meant=meant)
    return value


_NO_OFF = "0 does not turn it off"
_LOOSE_DURATION = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,3}))?\s*([a-zA-Z]*)")
_SPELT = {"ms": "ms", "msec": "ms", "msecs": "ms", "millis": "ms", "milliseconds": "ms", "millisecond": "ms"}
_SPELT |= {"s": "s", "sec": "s", "secs": "s", "second": "s", "seconds": "s"}
_SPELT |= {"m": "m", "min": "m", "mins": "m", "minute": "m", "minutes": "m"}
_SPELT |= {"h": "h", "hr": "h", "hrs": "h", "hour": "h", "hours": "h"}
_DAYS = {"d": 1, "day": 1, "days": 1, "w": 7, "week": 7, "weeks": 7}
_PARTS = re.compile(r"(?:([0-9]{1,6})h)?\s*(?:([0-9]{1,6})m(?:in)?)?\s*(?:([0-9]{1,6})s)?")


def _duration_meant(value: str) -> str:
    """The duration that was meant by "5 sec", "1.5s", "1m30s" or "1d"; for a number alone, both that it may mean. ""
    for zero, which means "off" in other products."""
    found = _LOOSE_DURATION.fullmatch(value)
    if found is None:
        parts = _PARTS.fullmatch(value)
        spans = [int(part or 0) for part in parts.groups()] if parts and value else [0]
        return quoted(duration_text(spans[0] * 3600 + spans[1] * 60 + spans[2])) if any(spans) else ""
    number = int(found[1]) + int((found[2] or "0").ljust(3, "0")) / 1000
    unit = found[3].lower()
    if not number:
        return ""
    if not unit:
        texts = [f"{found[1]}s", f"{found[1]}ms"] if float(number).is_integer() else [duration_text(number)]
        return " or ".join(map(quoted, texts))
    if unit in _DAYS:
        return quoted(duration_text(number * _DAYS[unit] * 86400))
    if unit not in _SPELT:
        return ""
    length = _SECONDS[_SPELT[unit]] * number
    return quoted(f"{found[1]}{_SPELT[unit]}" if not found[2] else duration_text(length))


def _size_meant(value: str) -> str:
    """The size that was meant by "10MB", "10m" or "1.5 GiB"; "" for zero, which means "unlimited" in other products."""
    match = _LOOSE_SIZE.fullmatch(value)
    if match is None or not float(match[1]):
        return ""
    letter = (match[2] or "B").upper()
    octets = float(match[1]) * _OCTETS["B" if letter == "B" else f"{letter}iB"]
    return quoted(size_text(int(octets))) if octets == int(octets) else ""


def _count_meant(constraint: Count, value: object) -> str:
    """The number that was meant by "100" or 100.0, or ""."""
    found = re.fullmatch(r"([0-9]{1,9})(?:\.0)?", str(value)) if isinstance(value, str | float) else None
    return found[1] if found and constraint.least <= int(found[1]) <= constraint.most else ""
