"""From what was written to the model: one walk over the Struct definitions reads TOML tables and Structs alike.

The walk knows no key by name. It reads each field of a Struct as the field's annotation says. It goes on after every
mistake, so that one run finds them all:

  - a list loses its broken elements, and `kept` remembers where the others were written;
  - a table with a broken field gets that field's default;
  - a table whose required or essential field is broken is itself broken.

Rules about several keys of one table are in `rules`; they see each table as it was written.
"""

import re
from collections.abc import Callable, Hashable, Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, Struct

from rawgate.config import addresses, constraints, grammar, habits, key_sets, limits, sources, stores, targets, units
from rawgate.config.context import Context
from rawgate.config.invalid import (
    BROKEN,
    InvalidError,
    choice,
    method_meant,
    nearest,
    one_meant,
    pieces,
    problem_text,
    quoted,
    shown,
)
from rawgate.config.reserved_names import METHOD
from rawgate.config.rules import RULES, Table
from rawgate.errors import Key, Problem

Path = tuple[Key, ...]
Kept = dict[Path, tuple[int, ...] | None]
"""Path of a list → where its remaining elements were written; None for one element without brackets."""


_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


_READERS: dict[type, Callable[[Any, object, Context], object]] = {
    constraints.Address: addresses.address,
    constraints.AddressRange: addresses.network,
    constraints.Auth: grammar.auth,
    constraints.Choice: grammar.choose,
    constraints.ClaimRules: grammar.claim_rules,
    constraints.Count: units.count,
    constraints.Duration: units.duration,
    constraints.Failure: grammar.failure,
    constraints.FieldValue: grammar.field_value,
    constraints.HashKey: targets.hash_key,
    constraints.Host: addresses.host,
    constraints.Json: grammar.json_value,
    constraints.KeySetSource: key_sets.key_set,
    constraints.Label: grammar.label,
    constraints.LimitKey: limits.limit_key,
    constraints.ListenAddress: addresses.listen,
    constraints.Location: grammar.location,
    constraints.Maximum: limits.maximum,
    constraints.Moment: units.moment,
    constraints.Nameserver: addresses.nameserver,
    constraints.Origin: addresses.origin,
    constraints.PathPrefix: grammar.path_prefix,
    constraints.PathTemplate: grammar.path_template,
    constraints.Pathname: grammar.pathname,
    constraints.Percent: units.percent,
    constraints.Reference: grammar.reference,
    constraints.RequestLine: grammar.request_line,
    constraints.Size: units.size,
    constraints.Source: sources.source,
    constraints.Statuses: grammar.statuses,
    constraints.StoreAddress: stores.store_url,
    constraints.TableName: grammar.table_name,
    constraints.TargetUrl: targets.target,
    constraints.Text: grammar.text,
    constraints.Token: grammar.token,
    constraints.TokenPlace: grammar.token_place,
}


class ParsedHint(Struct, frozen=True):
    """An annotation in parts.

    alternatives  what it may be, other than None
    reader        the constraint that says how a value is written, where there is one
    list_of       what holds for a list, where it is one
    essential     whether its table is broken without it
    one_of        the keys of the table of which exactly one is written, this one among them; or ()
    description   what the key means, for people, or ""
    example       what a table may look like, or ""
    """

    alternatives: tuple[Any, ...]
    reader: Any
    list_of: constraints.ListOf | None
    essential: bool
    one_of: tuple[str, ...]
    description: str
    example: str


class Field(Struct, frozen=True):
    """A field of a Struct. `default` makes its default."""

    name: str
    hint: Any
    required: bool
    default: Callable[[], object]


class Converter:
    """Converts one configuration, and collects its problems."""

    def __init__(self, context: Context) -> None:
        self.problems: list[Problem] = []
        self.kept: Kept = {}
        self._scene = context

    def read(self, hint: Any, value: object, path: Path) -> object:
        """The value of the model that `value` stands for under an annotation, or BROKEN."""
        parsed = parse_hint(hint)
        if parsed.reader is not None:
            return self._constrained(parsed.reader, value, path)
        alternative = _alternative(parsed.alternatives, value)
        meant = habits.limit_meant(parsed.alternatives, value)
        if meant:
            return self._report(path, f"{shown(value)} is not a limit", expected=parsed.example, meant=meant)
        if alternative is None:
            meant = one_meant(value)
            return self._report(path, f"{shown(value)} is not possible here", expected=expected(hint), meant=meant)
        origin = get_origin(alternative)
        if origin is Literal and isinstance(value, str) and value.isascii() and value.isdigit():
            # A number in quotes, where a number or a word may stand.
            number = next((one for one in parsed.alternatives if get_args(one)[:1] == (int,)), None)
            if number is not None:
                return self._report(path, f"{shown(value)} is text", expected=expected(hint), meant=value)
        if origin is Annotated:
            return self.read(alternative, value, path)
        if origin is tuple:
            return self._list(get_args(alternative)[0], parsed, value, path)
        if origin is dict:
            key_hint, value_hint = get_args(alternative)
            return self._dict(key_hint, value_hint, parsed, value, path)
        if isinstance(alternative, type) and issubclass(alternative, Struct):
            return self._struct(alternative, parsed.example, value, path)
        return self._plain(alternative, value, path, expected(hint))

    def members(self, cls: type[Struct], value: object, path: Path, example: str = "") -> dict[str, object]:
        """Field → value, for a table or a Struct. A field that is not written has its default; a field that cannot be
        read is left out."""
        written = written_members(cls, value)
        if written is None:
            meant = habits.table_meant(cls, value)
            is_named = all(isinstance(key, str) for key in path)
            expects = example or (f"[{key_path(path)}]" if is_named else "a table")
            self._report(path, f"{shown(value)} is not a table", expected=expects, meant=meant)
            return {}
        values: dict[str, object] = {}
        fields = fields_of(cls)
        for field in fields.values():
            place = (*path, field.name.removesuffix("_"))
            if field.name in written:
                found = self.read(field.hint, written[field.name], place)
                if found is not BROKEN:
                    values[field.name] = found
            elif field.required or self._asks_for(field, written):
                self._report(place, "is missing", expected=expected(field.hint))
            else:
                values[field.name] = field.default()
        for name in written:
            if name not in fields:
                self._unknown_key(cls, name, written[name], path)
        self._alone(cls, written, path)
        rule = RULES.get(cls)
        if rule is not None:
            for where, message in rule(Table(written=written, values=values)):
                self.problems.append(Problem((*path, *where), message))
        return values

    @staticmethod
    def _asks_for(field: Field, written: Mapping[str, object]) -> bool:
        """Whether a key is missing because none of those that could stand in its place is there."""
        choices = parse_hint(field.hint).one_of
        return choices[:1] == (field.name,) and not any(name in written for name in choices)

    def _alone(self, cls: type[Struct], written: Mapping[str, object], path: Path) -> None:
        """Report keys that stand beside another one that excludes them."""
        for name in written:
            field = fields_of(cls).get(name)
            others = parse_hint(field.hint).one_of if field else ()
            before = next((other for other in others if other in written), name)
            if before != name:
                self._report((*path, name), f"stands beside {before}", expected="one of the two")

    def _struct(self, cls: type[Struct], example: str, value: object, path: Path) -> object:
        before = len(self.problems)
        values = self.members(cls, value, path, example)
        if written_members(cls, value) is None:
            return BROKEN
        found = [problem.path for problem in self.problems[before:]]
        for field in fields_of(cls).values():
            if field.required and field.name not in values:
                return BROKEN
            inside = (*path, field.name)
            if parse_hint(field.hint).essential and any(place[: len(inside)] == inside for place in found):
                return BROKEN
            choices = parse_hint(field.hint).one_of
            if choices and not any(values.get(name) for name in choices):
                return BROKEN
        return cls(**values)

    def _constrained(self, constraint: Any, value: object, path: Path) -> object:
        try:
            return _READERS[type(constraint)](constraint, value, self._scene)
        except InvalidError as invalid:
            self.problems.append(Problem(path, str(invalid)))
            return invalid.fallback

    def _list(self, hint: Any, parsed: ParsedHint, value: object, path: Path) -> object:
        list_of, expects = parsed.list_of or constraints.ListOf(), parsed.example or _list_in_words(hint)
        if not isinstance(value, list | tuple):
            if not list_of.single:
                meant = self._list_meant(parse_hint(hint).reader, value)
                return self._report(path, f"{shown(value)} is not a list", expected=expects, meant=meant)
            self.kept[path] = None
            found = self.read(hint, value, path)
            return () if found is BROKEN else (found,)
        if not value and not list_of.empty:
            return self._report(path, "is empty", expected=expects)
        found = [(position, self.read(hint, item, (*path, position))) for position, item in enumerate(value)]
        sound = [(position, item) for position, item in found if item is not BROKEN]
        self._distinct(list_of, sound, path)
        if len(sound) < len(found):
            self.kept[path] = tuple(position for position, _ in sound)
        return tuple(item for _, item in sound)

    def _list_meant(self, constraint: Any, value: object) -> str:
        """The list that was meant by a value without brackets, or ""."""
        if constraint is None:
            return ""
        is_split = isinstance(constraint, constraints.Token | constraints.Origin)
        members: list[object] = [*pieces(value)] if is_split and isinstance(value, str) else [value]
        meant = [self._element_meant(constraint, member) for member in members]
        return f"[{', '.join(meant)}]" if meant and all(meant) else ""

    def _element_meant(self, constraint: Any, value: object) -> str:
        try:
            _READERS[type(constraint)](constraint, value, self._scene)
        except InvalidError as invalid:
            return invalid.meant
        return method_meant(value) if isinstance(value, str) and constraint.expected == METHOD else shown(value)

    def _distinct(self, list_of: constraints.ListOf, items: list[tuple[int, object]], path: Path) -> None:
        seen: dict[Hashable, int] = {}
        values = [item for _, item in items]
        keys: Any = [list_of.key(value) for value in values] if list_of.keys is None else list_of.keys(values)
        for (position, _), key in zip(items, keys, strict=True):
            if key is None:
                continue
            first = seen.setdefault(key, position)
            if first != position:
                where = key_path((*path, first, *list_of.at))
                self._report((*path, position, *list_of.at), f"is the same as {where}", expected=list_of.once)
        if list_of.clash is not None:
            self._check_clashes(list_of.clash, items, path)

    def _check_clashes(self, clash: Callable[[Any, Any], str], items: list[tuple[int, object]], path: Path) -> None:
        """Report each element that clashes with an earlier one, once."""
        for index, (position, item) in enumerate(items):
            for before, other in items[:index]:
                why = clash(item, other)
                if why:
                    what = f"cannot stand beside {key_path((*path, before))}: {why}"
                    self._report((*path, position), what, expected="one of the two")
                    break

    def _dict(self, key_hint: Any, value_hint: Any, parsed: ParsedHint, value: object, path: Path) -> object:
        inside = parse_hint(value_hint).alternatives[0]
        if not isinstance(value, Mapping):
            meant = habits.pairs_meant(value) if inside is str else ""
            return self._report(path, f"{shown(value)} is not a table", expected=parsed.example, meant=meant)
        if not value and parsed.list_of and not parsed.list_of.empty:
            return self._report(path, "is empty", expected=parsed.example or "at least one table in it")
        if isinstance(inside, type) and issubclass(inside, Struct) and habits.is_unnamed(inside, value):
            return self._report(path, "is one table, without a name", expected=parsed.example)
        result: dict[object, object] = {}
        for key, item in value.items():
            place = (*path, key if isinstance(key, str) else shown(key))
            name = self.read(key_hint, key, place)
            found = self.read(value_hint, item, place)
            if name is not BROKEN and found is not BROKEN:
                result[name] = found
        return result

    def _plain(self, alternative: Any, value: object, path: Path, expects: str) -> object:
        """Read a `bool`, a `str`, a `Literal` or a function. `expects` names what else may stand here, too."""
        if get_origin(alternative) is Literal:
            words = get_args(alternative)
            if isinstance(value, str) and value in words:
                return value
            why = habits.unbuilt_word(value, words)
            meant = one_meant(value) or habits.word_meant(value, words)
            if isinstance(value, str) and not meant and not why:
                meant = nearest(value, words)
            what = why or f"{shown(value)} is not possible here"
            return self._report(path, what, expected=expects, meant=meant)
        # `_alternative` has chosen a function because the value is one.
        if get_origin(alternative) is Callable or type(value) is alternative:
            return value
        meant = habits.switch_meant(value) if alternative is bool else ""
        return self._report(path, f"{shown(value)} is not possible here", expected=expects, meant=meant)

    def _unknown_key(self, cls: type[Struct], name: str, value: object, path: Path) -> None:
        fields = fields_of(cls)
        said = habits.unknown_key(cls, name, value)
        if said:
            self.problems.append(Problem((*path, name), said))
            return
        names = [field.removesuffix("_") for field in fields]
        meant = nearest(name, names)
        known = "" if meant else habits.at_home(name) or choice(names)
        self._report((*path, name), "is not a key of this table", expected=known, meant=meant)

    def _report(self, path: Path, what: str, *, expected: str = "", meant: str = "") -> object:
        self.problems.append(Problem(path, problem_text(what, expected=expected, meant=meant)))
        return BROKEN


@cache
def fields_of(cls: type[Struct]) -> dict[str, Field]:
    """A Struct's fields by name, in order."""
    return {
        info.name: Field(info.name, info.type, info.required, _default(info)) for info in msgspec.structs.fields(cls)
    }


def _default(info: msgspec.structs.FieldInfo) -> Callable[[], object]:
    if info.default_factory is not NODEFAULT:
        factory: Callable[[], object] = info.default_factory
        return factory
    return lambda: info.default


@cache
def parse_hint(hint: Any) -> ParsedHint:
    """An annotation's alternatives and constraints. A constraint inside a single alternative counts as its own."""
    found: list[Any] = []
    while True:
        if get_origin(hint) is Annotated:
            hint, *around = get_args(hint)
            found += around
            continue
        alternatives = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        alternatives = tuple(alternative for alternative in alternatives if alternative is not NoneType) or (NoneType,)
        if len(alternatives) > 1 or get_origin(alternatives[0]) not in (Annotated, Union, UnionType):
            break
        hint = alternatives[0]
    description, example = _first(constraints.Description, found), _first(constraints.Example, found)
    return ParsedHint(
        alternatives=alternatives,
        reader=next((constraint for constraint in found if type(constraint) in _READERS), None),
        list_of=_first(constraints.ListOf, found),
        essential=_first(constraints.Essential, found) is not None,
        one_of=choices.names if (choices := _first(constraints.OneOf, found)) else (),
        description=description.text if description else "",
        example=example.text if example else "",
    )


_Constraint = TypeVar("_Constraint")


def _first(kind: type[_Constraint], found: list[Any]) -> _Constraint | None:
    return next((constraint for constraint in found if isinstance(constraint, kind)), None)


_FIELDS = {"for": "for_", "from": "from_"}
"""A key that is a word of Python → its field."""


def written_members(cls: type[Struct], value: object) -> dict[str, object] | None:
    """The keys of a table, or the fields of a Struct that differ from their defaults; None for any other value."""
    if isinstance(value, Mapping):
        fields = fields_of(cls)
        return {
            field if (field := _FIELDS.get(str(name), "")) in fields else str(name): item
            for name, item in value.items()
        }
    if not isinstance(value, cls):
        return None
    members = {field.name: (field, getattr(value, field.name)) for field in fields_of(cls).values()}
    return {name: item for name, (field, item) in members.items() if field.required or item != field.default()}


def expected(hint: Any) -> str:
    """What a key asks for, in words."""
    parsed = parse_hint(hint)
    if parsed.reader is not None:
        return str(parsed.reader.expected)
    if parsed.example:
        return parsed.example
    if parsed.list_of and parsed.list_of.single:
        return expected(get_args(parsed.alternatives[0])[0])
    words = [_expected_alternative(alternative) for alternative in parsed.alternatives]
    return " or ".join(words)


def key_path(path: Path) -> str:
    """A key path as text: `routes[0].rate_limit.window`. Keys that TOML would quote are quoted."""
    text = ""
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            text += f".{key if _BARE_KEY.fullmatch(key) else quoted(key)}"
    return text.removeprefix(".")


def _expected_alternative(alternative: Any) -> str:
    origin = get_origin(alternative)
    if origin is Annotated:
        return expected(alternative)
    if origin is Literal:
        return choice(get_args(alternative))
    return _list_in_words(get_args(alternative)[0]) if origin is tuple else _called(alternative)


def _list_in_words(hint: Any) -> str:
    each = expected(hint)
    return "a list of tables" if each == "a table" else f"a list, each {each}"


def _called(alternative: Any) -> str:
    """The name of a type, for people who write TOML."""
    if alternative is bool:
        return "true or false"
    if alternative is str:
        return "text"
    if (isinstance(alternative, type) and issubclass(alternative, Struct)) or get_origin(alternative) is dict:
        return "a table"
    return "a function in a Python configuration"


def _alternative(alternatives: tuple[Any, ...], value: object) -> Any:
    """The alternative that a value is meant for, or None. The kind of the value decides. Nothing is tried: a mistake
    inside the right alternative must be reported as such."""
    if len(alternatives) == 1:
        return alternatives[0]
    for alternative in alternatives:
        if get_origin(alternative) is Callable:
            fits = callable(value) and not isinstance(value, type)
        elif isinstance(alternative, type) and issubclass(alternative, Struct):
            fits = isinstance(value, Mapping | alternative)
        elif get_origin(alternative) is Annotated and get_args(alternative)[0] is int:
            fits = type(value) is int
        elif get_origin(alternative) is tuple:
            fits = isinstance(value, list | tuple)
        else:
            fits = isinstance(value, str)
        if fits:
            return alternative
    return None
