"""Readers of what limits say: how many requests, and of whom."""

import re
from collections.abc import Mapping

from rawgate.config.constraints import Count, LimitKey, Maximum
from rawgate.config.context import Context
from rawgate.config.grammar import TOKEN, looked_at
from rawgate.config.invalid import InvalidError, quoted, shown
from rawgate.config.model import MaxBy
from rawgate.config.units import count

_CLAIM = re.compile(r"claim:[!-~]+")


def maximum(constraint: Maximum, value: object, context: Context) -> int | MaxBy:
    """A number, or one for each value of a claim."""
    number = Count(constraint.least, constraint.most)
    if isinstance(value, MaxBy):
        value = {"by": value.by, "other": value.other, **value.amounts}
    if not isinstance(value, Mapping):
        return count(number, value, context)
    by, other = value.get("by"), value.get("other")
    if not isinstance(by, str) or not _CLAIM.fullmatch(by):
        raise InvalidError("does not say by which claim", expected='by = "claim:NAME"')
    if other is None:
        raise InvalidError("does not say how many requests all others have", expected="other = a whole number")
    amounts = {
        str(plan): count(number, amount, context) for plan, amount in value.items() if plan not in ("by", "other")
    }
    return MaxBy(by=by, amounts=amounts, other=count(number, other, context))


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
    raise InvalidError(
        f"{shown(value)} is nothing to count by", expected=constraint.expected, meant=quoted(meant) if meant else ""
    )
