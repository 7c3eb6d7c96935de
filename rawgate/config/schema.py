"""The configuration as JSON Schema, for editors: made from the model's annotations, which are the only list of keys.

An editor shows what a key means, completes keys and words, and marks what cannot be right. Two promises, held by tests:

  - what `load` accepts is valid here: an editor never marks a good line;
  - an unknown key, a missing key and a value of a wrong kind are invalid here, as in `load`.

Only `rawgate check` knows what depends on several keys, on the environment, or on ranges of durations and sizes.

Dialect: 2020-12, without `$ref` and without keywords that are younger than draft 4 or have changed since, because the
validators inside TOML plug-ins are of many ages. Patterns keep to what ECMA-262 and Python's `re` read alike.
"""

import re
from collections.abc import Callable
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from msgspec import Struct

from rawgate.config import constraints, grammar, units
from rawgate.config.addresses import HOST
from rawgate.config.convert import Field, ParsedHint, expected, fields_of, parse_hint
from rawgate.config.model import Config

Schema = dict[str, Any]
"""A JSON Schema, or a part of one."""

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def config_schema() -> Schema:
    """The schema of a whole TOML configuration."""
    return {"$schema": DIALECT, "title": "rawgate configuration", **_table(Config)}


def _table(cls: type[Struct]) -> Schema:
    """A table with the keys of a Struct, and no others."""
    fields = fields_of(cls).values()
    schema: Schema = {
        "type": "object",
        "properties": {field.name.removesuffix("_"): _key(field) for field in fields},
        "additionalProperties": False,
    }
    # Draft 4 forbids empty lists here.
    required = [field.name for field in fields if field.required]
    choices = list(dict.fromkeys(names for field in fields if (names := parse_hint(field.hint).one_of)))
    if required:
        schema["required"] = required
    if choices:
        schema["allOf"] = [{"oneOf": [{"required": [name]} for name in names]} for names in choices]
    return schema


def _key(field: Field) -> Schema:
    hint = parse_hint(field.hint)
    schema = {**_value(field.hint), "description": _described(field.hint, hint)}
    default = _written(hint, field.default())
    if field.required or default is None:
        return schema
    return {**schema, "default": default}


def _described(annotation: Any, hint: ParsedHint) -> str:
    """What the key means; and how it is written, where name and type do not tell."""
    if hint.reader is None:
        return hint.description
    return f"{hint.description}\n\nWritten as {expected(annotation)}."


def _value(annotation: Any) -> Schema:
    """What may be written under an annotation."""
    hint = parse_hint(annotation)
    if hint.reader is not None:
        return _WRITTEN[type(hint.reader)](hint.reader)
    # A function can be written in Python only.
    alternatives = [
        _alternative(alternative, hint.list_of)
        for alternative in hint.alternatives
        if get_origin(alternative) is not Callable
    ]
    return alternatives[0] if len(alternatives) == 1 else {"anyOf": alternatives}


def _alternative(alternative: Any, list_of: constraints.ListOf | None) -> Schema:
    """One alternative: a list, tables by name, a table, a word, or true and false."""
    origin = get_origin(alternative)
    if origin is tuple:
        return _list(get_args(alternative)[0], list_of or constraints.ListOf())
    if origin is dict:
        key, inside = get_args(alternative)
        return _named(key, inside, list_of)
    if origin is Literal:
        return {"type": "string", "enum": list(get_args(alternative))}
    if isinstance(alternative, type) and issubclass(alternative, Struct):
        return _table(alternative)
    plain = {bool: "boolean", str: "string"}.get(alternative)
    return {"type": plain} if plain else _value(alternative)


def _list(annotation: Any, list_of: constraints.ListOf) -> Schema:
    item = _value(annotation)
    schema: Schema = {"type": "array", "items": item}
    if not list_of.empty:
        schema["minItems"] = 1
    if list_of.key is constraints.itself:
        schema["uniqueItems"] = True
    return {"anyOf": [item, schema]} if list_of.single else schema


def _named(key: Any, annotation: Any, list_of: constraints.ListOf | None) -> Schema:
    """A table whose keys are names. `patternProperties`, because draft 4 has no `propertyNames`."""
    item = _value(annotation)
    if key is str:
        return {"type": "object", "additionalProperties": item}
    names = _value(key)["pattern"]
    schema: Schema = {"type": "object", "patternProperties": {names: item}, "additionalProperties": False}
    return schema if list_of is None or list_of.empty else {**schema, "minProperties": 1}


# ── kinds of constraints ──


def _whole(pattern: str) -> Schema:
    """Text that matches from end to end."""
    return {"type": "string", "pattern": f"^(?:{pattern})$"}


def _duration(constraint: constraints.Duration) -> Schema:
    """A pattern can tell whether zero is allowed, but no other end of the range."""
    return _whole(units.DURATION.pattern if constraint.least == 0 else "0*[1-9][0-9]*(ms|s|m|h)")


def _count(constraint: constraints.Count | constraints.Maximum) -> Schema:
    return {"type": "integer", "minimum": constraint.least, "maximum": constraint.most}


def _amounts(constraint: constraints.Maximum) -> Schema:
    amount = _count(constraint)
    by = {
        **_whole("claim:.+"),
        "description": "The claim whose value chooses the number: claim:NAME. The other keys are values of it.",
    }
    other = {**amount, "description": "For all other values, and for callers without the claim."}
    return {
        "type": "object",
        "properties": {"by": by, "other": other},
        "patternProperties": {"^(?!(?:by|other)$)": amount},
        "additionalProperties": False,
        "required": ["by", "other"],
    }


def _listen(constraint: constraints.ListenAddress) -> Schema:
    address = {"type": "string", "pattern": "^unix:.|:[0-9]{1,5}$"}
    properties = {
        "address": {**address, "description": f"Where to listen.\n\nWritten as {constraint.expected}."},
        "tls": {"type": "string", "description": "The [tls.NAME] that is spoken there."},
        "proxy_protocol": {
            "type": "boolean",
            "description": "Each connection begins with the PROXY protocol, which trusted_proxies alone may speak.",
        },
        "mode": {**_whole("0?[0-7]{3}"), "description": f"Who may connect.\n\nWritten as {constraint.mode}."},
    }
    table = {
        "type": "object",
        "properties": {key: properties[key] for key in constraint.keys},
        "additionalProperties": False,
        "required": ["address"],
    }
    return {"anyOf": [address, table]}


def _target(constraint: constraints.TargetUrl) -> Schema:
    if constraint.plain:
        return {"type": "string", "pattern": f"^(?:{_HTTP}[^/?#@]+/?$)"}
    url = {
        "type": "string",
        "pattern": f"^(?:{_HTTP}[^/?#@]+/?$|{_SOURCED}[^/?#@]+(?:\\?[^#@]*|/?)$|unix:.)",
    }
    properties = {
        "url": {**url, "description": f"Where the service listens.\n\nWritten as {constraint.expected}."},
        "weight": {
            "type": "integer",
            "minimum": 1,
            "maximum": constraint.most,
            "default": 1,
            "description": "Its part of the requests, relative to the others'.",
        },
        "zone": {**_whole(f"(?:{grammar.TABLE_NAME.pattern})?"), "description": "Where it stands; see gateway.zone."},
        "backup": {
            "type": "boolean",
            "default": False,
            "description": "It gets requests only as far as the others cannot take them.",
        },
    }
    table = {"type": "object", "properties": properties, "additionalProperties": False, "required": ["url"]}
    return {"anyOf": [url, table]}


def _source(constraint: constraints.Source) -> Schema:
    # Without "$": the name of a file may hold anything, line ends too.
    return {"type": "string", "pattern": f"^(?:{'|'.join(constraint.schemes)}):."}


_HTTP = "[Hh][Tt][Tt][Pp][Ss]?://"
_SOURCED = r"(?:[Dd][Nn][Ss]|[Ss][Rr][Vv]|[Cc][Oo][Nn][Ss][Uu][Ll])\+" + _HTTP

_VERIFIER = r"(?:jwt|api_keys)\.[A-Za-z0-9._-]{1,64}"

# What TOML writes without quotes and JSON has no word for: validators in editors get it as text.
_MOMENT: Schema = {"description": "a date and time"}

_WRITTEN: dict[type, Callable[[Any], Schema]] = {
    constraints.Address: lambda constraint: _whole("unix|[0-9A-Fa-f:.]+"),
    constraints.Moment: lambda constraint: dict(_MOMENT),
    constraints.AddressRange: lambda constraint: _whole("unix|[0-9A-Fa-f:.]+(?:/[0-9.]+)?"),
    constraints.Auth: lambda constraint: {
        "anyOf": [_whole(rf"none|{_VERIFIER}"), {"type": "array", "items": _whole(_VERIFIER), "minItems": 1}]
    },
    constraints.ClaimRules: lambda constraint: {"type": "object", "minProperties": 1},
    constraints.Choice: lambda constraint: {"type": "string", "enum": list(constraint.words)},
    constraints.Count: _count,
    constraints.Duration: _duration,
    constraints.Failure: lambda constraint: {
        "anyOf": [
            {"type": "string", "enum": list(constraint.words)},
            {"type": "integer", "minimum": constraint.least, "maximum": constraint.most},
        ]
    },
    constraints.FieldValue: lambda constraint: (
        {"type": "string"} if constraint.beyond_ascii else _whole(grammar.FIELD_VALUE.pattern)
    ),
    constraints.HashKey: lambda constraint: _whole(r"client|path|header:[!#$%&'*+.^_`|~0-9A-Za-z-]+"),
    constraints.Host: lambda constraint: _whole(rf"(?:\*\.)?{HOST}"),
    constraints.Json: lambda constraint: {"type": ["string", "number", "boolean", "array", "object"]},
    constraints.KeySetSource: lambda constraint: {
        "type": "string",
        "pattern": "^(?:file:.|[Hh][Tt][Tt][Pp][Ss]?://.|discover$)",
    },
    constraints.Label: lambda constraint: _whole(grammar.LABEL.pattern),
    constraints.ListenAddress: _listen,
    constraints.LimitKey: lambda constraint: _whole(r"client|ip|all|claim:.+|header:[!#$%&'*+.^_`|~0-9A-Za-z-]+"),
    constraints.Maximum: lambda constraint: {"anyOf": [_count(constraint), _amounts(constraint)]},
    constraints.Location: lambda constraint: {"type": "string", "pattern": "^(?:/|https?://)"},
    constraints.Nameserver: lambda constraint: _whole(
        r"[0-9.]+(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\]:[0-9]{1,5}|[0-9A-Fa-f:]+"
    ),
    constraints.Origin: lambda constraint: _whole(r"\*|[a-z][a-z0-9+.-]*://[^/?#]+"),
    constraints.PathPrefix: lambda constraint: _whole("/[^?#]*"),
    constraints.PathTemplate: lambda constraint: _whole("/[^?#]*"),
    constraints.Pathname: lambda constraint: _whole(grammar.ORIGIN_FORM.pattern),
    constraints.Percent: lambda constraint: _whole(units.PERCENT.pattern),
    constraints.Reference: lambda constraint: {"type": "string"},
    constraints.RequestLine: lambda constraint: _whole(rf"{grammar.TOKEN.pattern} (?:\*|/.*|https?://.*)"),
    constraints.Size: lambda constraint: _whole(units.SIZE.pattern),
    constraints.Source: _source,
    constraints.Statuses: lambda constraint: _whole(grammar.STATUSES.pattern),
    constraints.StoreAddress: lambda constraint: {
        "type": "string",
        "pattern": r"^(?:rediss?(?:\+sentinel|\+cluster)?://[^?#]+|unix:///.)",
    },
    constraints.TableName: lambda constraint: _whole(grammar.TABLE_NAME.pattern),
    constraints.TargetUrl: _target,
    constraints.Text: lambda constraint: {"type": "string", "minLength": 1},
    constraints.Token: lambda constraint: _whole(
        "|".join((grammar.TOKEN.pattern, *map(re.escape, constraint.besides)))
    ),
    constraints.TokenPlace: lambda constraint: _whole(r"header|subprotocol|(?:cookie|query):[^\s]+"),
}
"""Kind of constraint → its schema. The patterns are those of the readers, where these have one that says everything."""


# ── defaults, as one would write them ──


def _written(hint: ParsedHint, default: object) -> object:
    """A default as a file writes it; None where there is nothing to write."""
    if isinstance(hint.reader, constraints.Duration) and isinstance(default, float):
        return units.duration_text(default)
    if isinstance(hint.reader, constraints.Size) and isinstance(default, int):
        return units.size_text(default)
    if isinstance(hint.reader, constraints.Percent) and isinstance(default, float):
        return units.percent_text(default)
    if isinstance(hint.reader, constraints.Statuses) and isinstance(default, tuple):
        return grammar.statuses_text(default)
    if isinstance(default, tuple):
        return list(default) if default or (hint.list_of and hint.list_of.empty) else None
    if isinstance(default, NoneType | Struct | dict) or default == "":
        return None
    return default
