"""Readers of what limits say: how many requests, and of whom."""

import re
from collections.abc import Mapping

from rawgate.config.constraints import Count, LimitKey, Maximum
from rawgate.config.context import Context
from rawgate.config.grammar import TOKEN, looked_at
from rawgate.config.invalid import InvalidError, nearest, quoted, shown
from rawgate.config.model import MaxBy
from rawgate.config.units import count

_CLAIM = re.compile(r"claim:[!-~]+")


def maximum(constraint: Maximum, value: object, context: Context) -> int | MaxBy:
    """A number, or one for each value of a claim."""
    number = Count(constraint.least, constraint.most)
    if isinstance(value, MaxBy):
        value = {"by": value.by, "other": value.other, **value.amounts}
    if not isinstance(value, Mapping):
        return _amount(number, value, context)
    by = value.get("by")
    if by is None:
        raise InvalidError("is a table without by, the claim whose value chooses the number", expected=constraint.table)
    if not isinstance(by, str) or not _CLAIM.fullmatch(by):
        meant = quoted(f"claim:{by}") if isinstance(by, str) and _NAME.fullmatch(by) else ""
        raise InvalidError(f"by is {shown(by)}, and no claim", expected='by = "claim:NAME"', meant=meant)
    if "other" not in value:
        called = next((f"other, in place of {name}" for name in _OTHERS if name in value), "other = a whole number")
        what = f"is a table without other, the number for callers without {by.removeprefix('claim:')} or with another"
        raise InvalidError(what, expected=called)
    amounts = {str(name): _amount(number, amount, context, str(name)) for name, amount in value.items() if name != "by"}
    return MaxBy(by=by, other=amounts.pop("other"), amounts=amounts)


_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_OTHERS = ("default", "others", "else", "rest", "*", "any")
"""What people call it who have not read on."""


def _amount(constraint: Count, value: object, context: Context, name: str = "") -> int:
    """A number of requests. name: what a table has it for."""
    try:
        return count(constraint, value, context)
    except InvalidError as invalid:
        raise InvalidError(f"{name}: {invalid}" if name else str(invalid)) from None


def limit_key(constraint: LimitKey, value: object, context: Context) -> str:
    """ "client", "ip", "all", "claim:NAME" or "header:NAME"; the name of a field is lower-cased."""
    if not isinstance(value, str):
        raise InvalidError(f"{shown(value)} is not text", expected=constraint.expected)
    kind, _, name = value.partition(":")
    if value in ("client", "ip", "all") or _CLAIM.fullmatch(value):
        return value
    if kind == "header" and TOKEN.fullmatch(name):
        return f"header:{looked_at(name)}"
    meant = {"address": "ip", "remote_addr": "ip", "user": "client", "sub": "client", "global": "all"}.get(value, "")
    listed = quoted(meant) if meant else nearest(value, ("client", "ip", "all"))
    raise InvalidError(f"{shown(value)} is nothing to count by", expected=constraint.expected, meant=listed)
