"""Readers of how requests are divided among targets: the entries of `targets`, and what requests are hashed by."""

import re
from collections.abc import Mapping
from typing import Any

from msgspec import structs

from rawgate.config import addresses
from rawgate.config.constraints import HashKey, TableName, TargetUrl
from rawgate.config.context import Context
from rawgate.config.grammar import TABLE_NAME, TOKEN, looked_at
from rawgate.config.invalid import InvalidError, choice, nearest, plain, quoted, shown
from rawgate.config.model import Target


def target(constraint: TargetUrl, value: object, context: Context) -> Target:
    """A target, alone or in a table with how much it gets."""
    if isinstance(value, Target):
        found = addresses.target(constraint, value, context)
        written: Mapping[Any, object] = structs.asdict(value)
    elif isinstance(value, Mapping):
        for key in value:
            if key not in constraint.keys:
                meant = nearest(str(key), constraint.keys) or ('"url"' if plain(str(key)) in _URLS else "")
                what = f"{shown(key)} is not a key of this table"
                raise InvalidError(what, expected=choice(constraint.keys), meant=meant)
        if "url" not in value:
            raise InvalidError("has no url", expected=f"url = {constraint.expected}")
        found, written = addresses.target(constraint, value["url"], context), value
    else:
        return _alone(constraint, value, context)
    weight, zone, backup = written.get("weight", 1), written.get("zone", ""), written.get("backup", False)
    if isinstance(weight, bool) or not isinstance(weight, int) or not 1 <= weight <= constraint.most:
        raise InvalidError(f"weight is {shown(weight)}", expected=constraint.weight)
    if zone != "" and not (isinstance(zone, str) and TABLE_NAME.fullmatch(zone)):
        raise InvalidError(f"zone is {shown(zone)}", expected=TableName.expected)
    if not isinstance(backup, bool):
        raise InvalidError(f"backup is {shown(backup)}", expected="true or false")
    return structs.replace(found, weight=weight, zone=zone, backup=backup)


_URLS = frozenset(("host", "address", "addr", "server", "target", "uri", "endpoint", "dial"))
_WEIGHTED = re.compile(r"(?P<where>\S+)\s+weight=(?P<weight>[1-9][0-9]{0,4});?")


def _alone(constraint: TargetUrl, value: object, context: Context) -> Target:
    """A target that is not in a table. nginx and HAProxy have its weight in the same text."""
    found = _WEIGHTED.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return addresses.target(constraint, value, context)
    where = (
        found["where"] if "://" in found["where"] or found["where"].startswith("unix:") else f"http://{found['where']}"
    )
    meant = f"{{ url = {quoted(where)}, weight = {found['weight']} }}" if "@" not in where else ""
    what = "a value with user information" if "@" in where else shown(value)
    raise InvalidError(f"{what} is not a URL", expected=constraint.expected, meant=meant)


def hash_key(constraint: HashKey, value: object, context: Context) -> str:
    """ "client", "path" or "header:NAME"; the name of a field is lower-cased."""
    if not isinstance(value, str):
        raise InvalidError(f"{shown(value)} is not text", expected=constraint.expected)
    kind, _, name = value.partition(":")
    if value in ("client", "path"):
        return value
    if kind == "header" and TOKEN.fullmatch(name):
        return f"header:{looked_at(name)}"
    meant = _KEYS_OF_OTHERS.get(plain(value), "")
    raise InvalidError(
        f"{shown(value)} is nothing to divide by", expected=constraint.expected, meant=quoted(meant) if meant else ""
    )


_KEYS_OF_OTHERS = dict.fromkeys(("ip", "source", "sourceip", "address", "remoteaddr", "iphash", "sub"), "client")
_KEYS_OF_OTHERS |= dict.fromkeys(("uri", "requesturi", "url", ":path"), "path")
