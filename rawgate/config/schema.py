"""The configuration as JSON Schema, for editors: made from the model's annotations, which are the only list of keys.

An editor shows what a key means, completes keys and words, and marks what cannot be right. Two promises, held by tests:

  - what `load` accepts is valid here: an editor never marks a good line;
  - a key that is not there, a missing one, and a value of a wrong kind are invalid here, as in `load`.

What depends on several keys, on the environment or on ranges of durations and sizes is told by `rawgate check` only.

Dialect: 2020-12, without `$ref` and without keywords that are younger than draft 4 or have changed since, because the
validators inside TOML plug-ins are of many ages. Patterns keep to what ECMA-262 and Python's `re` read alike.
"""

from collections.abc import Callable
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from msgspec import Struct

from rawgate.config import grammar, marks, units
from rawgate.config.addresses import HOST
from rawgate.config.convert import Field, Hint, expected, fields_of, take_apart
from rawgate.config.model import Config

Schema = dict[str, Any]
"""A JSON Schema, or a part of one; only what JSON can say."""

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def config_schema() -> Schema:
    """The schema of a whole TOML configuration."""
    return {"$schema": DIALECT, "title": "rawgate configuration", **_table(Config)}


def _table(cls: type[Struct]) -> Schema:
    """A table with the keys of a Struct and no others."""
    fields = [field for field in fields_of(cls).values() if _can_be_written(take_apart(field.hint))]
    schema: Schema = {
        "type": "object",
        "properties": {field.name: _key(field) for field in fields},
        "additionalProperties": False,
    }
    # Draft 4 forbids an empty list here.
    required = [field.name for field in fields if field.required]
    return {**schema, "required": required} if required else schema


def _can_be_written(hint: Hint) -> bool:
    return not (isinstance(hint.reader, marks.Only) and hint.reader.value is None)


def _key(field: Field) -> Schema:
    hint = take_apart(field.hint)
    schema = {**_value(field.hint), "description": _described(field.hint, hint)}
    default = _written(hint, field.default())
    if field.required or default is None:
        return schema
    return {**schema, "default": default}


def _described(annotation: Any, hint: Hint) -> str:
    """What the key means, and how it is written where its name and type do not say so."""
    if hint.reader is None or isinstance(hint.reader, marks.Only):
        return hint.about
    return f"{hint.about}\n\nWritten as {expected(annotation)}."


def _value(annotation: Any) -> Schema:
    """What may be written under an annotation."""
    hint = take_apart(annotation)
    if hint.reader is not None:
        return _WRITTEN[type(hint.reader)](hint.reader)
    # A function can be written in Python only.
    arms = [_arm(arm, hint.many) for arm in hint.arms if get_origin(arm) is not Callable]
    return arms[0] if len(arms) == 1 else {"anyOf": arms}


def _arm(arm: Any, many: marks.Many | None) -> Schema:
    """One alternative: a list, tables by name, a table, a word, or true and false."""
    origin = get_origin(arm)
    if origin is tuple:
        return _list(get_args(arm)[0], many or marks.Many())
    if origin is dict:
        key, inside = get_args(arm)
        return _named(key, inside, many)
    if origin is Literal:
        return {"type": "string", "enum": list(get_args(arm))}
    if isinstance(arm, type) and issubclass(arm, Struct):
        return _table(arm)
    return {"type": "boolean"} if arm is bool else _value(arm)


def _list(annotation: Any, many: marks.Many) -> Schema:
    item = _value(annotation)
    schema: Schema = {"type": "array", "items": item}
    if not many.empty:
        schema["minItems"] = 1
    if many.key is marks.itself:
        schema["uniqueItems"] = True
    return {"anyOf": [item, schema]} if many.single else schema


def _named(key: Any, annotation: Any, many: marks.Many | None) -> Schema:
    """A table whose keys are names. `patternProperties`, because draft 4 has no `propertyNames`."""
    item = _value(annotation)
    if key is str:
        return {"type": "object", "additionalProperties": item}
    names = _value(key)["pattern"]
    schema: Schema = {"type": "object", "patternProperties": {names: item}, "additionalProperties": False}
    return schema if many is None or many.empty else {**schema, "minProperties": 1}


# ── kinds of marks ──


def _whole(pattern: str) -> Schema:
    """Text that matches from end to end."""
    return {"type": "string", "pattern": f"^(?:{pattern})$"}


def _duration(mark: marks.Duration) -> Schema:
    """Of a range's ends, a pattern can tell zero."""
    return _whole(units.DURATION.pattern if mark.least == 0 else "0*[1-9][0-9]*(ms|s|m|h)")


def _count(mark: marks.Count) -> Schema:
    return {"type": "integer", "minimum": mark.least, "maximum": mark.most}


def _listen(mark: marks.ListenAddress) -> Schema:
    address = {"type": "string", "pattern": "^unix:.|:[0-9]{1,5}$"}
    table = {
        "type": "object",
        "properties": {
            "address": {**address, "description": f"Where to listen.\n\nWritten as {mark.expected}."},
            "mode": {**_whole("0?[0-7]{3}"), "description": f"Who may connect.\n\nWritten as {mark.mode}."},
        },
        "additionalProperties": False,
        "required": ["address"],
    }
    return {"anyOf": [address, table]}


def _source(mark: marks.Source) -> Schema:
    # Without the "$": what is named may hold anything.
    return {"type": "string", "pattern": f"^(?:{'|'.join(mark.schemes)}):."}


_WRITTEN: dict[type, Callable[[Any], Schema]] = {
    marks.AddressRange: lambda mark: _whole("unix|[0-9A-Fa-f:.]+(?:/[0-9.]+)?"),
    marks.Auth: lambda mark: _whole(r"none|(?:jwt|api_keys)\.[A-Za-z0-9._-]{1,64}"),
    marks.Choice: lambda mark: {"type": "string", "enum": list(mark.words)},
    marks.Count: _count,
    marks.Duration: _duration,
    marks.FieldValue: lambda mark: {"type": "string"} if mark.beyond_ascii else _whole(grammar.FIELD_VALUE.pattern),
    marks.Host: lambda mark: _whole(HOST),
    marks.Json: lambda mark: {"type": ["string", "number", "boolean", "array", "object"]},
    marks.Label: lambda mark: _whole(grammar.LABEL.pattern),
    marks.ListenAddress: _listen,
    marks.Only: lambda mark: {"enum": [mark.value]},
    marks.Origin: lambda mark: _whole(r"\*|[a-z][a-z0-9+.-]*://[^/?#]+"),
    marks.PathPrefix: lambda mark: _whole("/[^?#]*"),
    marks.Pathname: lambda mark: _whole(grammar.ORIGIN_FORM.pattern),
    marks.Reference: lambda mark: {"type": "string"},
    marks.RequestLine: lambda mark: _whole(rf"{grammar.TOKEN.pattern} (?:\*|/.*|http://.*)"),
    marks.Size: lambda mark: _whole(units.SIZE.pattern),
    marks.Source: _source,
    marks.TableName: lambda mark: _whole(grammar.TABLE_NAME.pattern),
    marks.TargetUrl: lambda mark: {"type": "string", "pattern": "^[Hh][Tt][Tt][Pp]://[^/?#@]+/?$"},
    marks.Text: lambda mark: {"type": "string", "minLength": 1},
    marks.Token: lambda mark: _whole(grammar.TOKEN.pattern),
}
"""Kind of mark → what may be written for it. The patterns are the readers' own wherever those say it all."""


# ── defaults, as one would write them ──


def _written(hint: Hint, default: object) -> object:
    """A default in the words of a file; None where there is nothing to write."""
    if isinstance(hint.reader, marks.Duration) and isinstance(default, float):
        return units.duration_text(default)
    if isinstance(hint.reader, marks.Size) and isinstance(default, int):
        return units.size_text(default)
    if isinstance(default, tuple):
        return list(default) if default or (hint.many and hint.many.empty) else None
    if isinstance(default, NoneType | Struct | dict) or default == "":
        return None
    return default
