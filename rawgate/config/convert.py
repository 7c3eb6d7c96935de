"""From what was written to the model: one walk over the Struct definitions, for TOML tables and for Structs alike.

The walk knows no key by name. For each field of a Struct it reads what was written as the field's annotation says, and
goes on after every mistake, so that all of them are found at once:

  - a list loses its broken elements, and `kept` remembers where the others were written;
  - a table with a broken field gets that field's default;
  - a table whose required or essential field is broken is itself broken.

What depends on several keys of one table is in `rules`, and sees each table as it was written.
"""

import re
from collections.abc import Callable, Hashable, Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import NODEFAULT, Struct

from rawgate.config import addresses, grammar, habits, marks, sources, units
from rawgate.config.rules import RULES, Table
from rawgate.config.scene import Scene
from rawgate.config.unfit import (
    BROKEN,
    UnfitError,
    choice,
    method_meant,
    nearest,
    one_meant,
    pieces,
    quoted,
    shown,
    worded,
)
from rawgate.config.vocabulary import METHOD
from rawgate.errors import Key, Problem

Path = tuple[Key, ...]
Kept = dict[Path, tuple[int, ...] | None]
"""List → where its remaining elements were written; None: one element, written without brackets."""


_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def _only(mark: marks.Only, value: object, scene: Scene) -> object:
    if value == mark.value and type(value) is type(mark.value):
        return value
    raise UnfitError(mark.because, expected="no such key" if mark.value is None else shown(mark.value))


_READERS: dict[type, Callable[[Any, object, Scene], object]] = {
    marks.AddressRange: addresses.network,
    marks.Auth: grammar.auth,
    marks.Choice: grammar.choose,
    marks.Count: units.count,
    marks.Duration: units.duration,
    marks.FieldValue: grammar.field_value,
    marks.Host: addresses.host,
    marks.Json: grammar.json_value,
    marks.Label: grammar.label,
    marks.ListenAddress: addresses.listen,
    marks.Only: _only,
    marks.Origin: addresses.origin,
    marks.PathPrefix: grammar.path_prefix,
    marks.Pathname: grammar.pathname,
    marks.Reference: grammar.reference,
    marks.RequestLine: grammar.request_line,
    marks.Size: units.size,
    marks.Source: sources.source,
    marks.TableName: grammar.table_name,
    marks.TargetUrl: addresses.target,
    marks.Text: grammar.text,
    marks.Token: grammar.token,
}


class Hint(Struct, frozen=True):
    """An annotation, taken apart: alternatives other than None, and the marks around them. `about`: in words, or "";
    `example`: what a table may look like, or ""."""

    arms: tuple[Any, ...]
    reader: Any
    many: marks.Many | None
    essential: bool
    about: str
    example: str


class Field(Struct, frozen=True):
    """A field of a Struct."""

    name: str
    hint: Any
    required: bool
    default: Callable[[], object]


class Walk:
    """One configuration being converted."""

    def __init__(self, scene: Scene) -> None:
        self.problems: list[Problem] = []
        self.kept: Kept = {}
        self._scene = scene

    def read(self, hint: Any, value: object, path: Path) -> object:
        """What `value` becomes under an annotation, or BROKEN."""
        apart = take_apart(hint)
        if apart.reader is not None:
            return self._mark(apart.reader, value, path)
        arm = _arm(apart.arms, value)
        if arm is None:
            meant = one_meant(value)
            return self._report(path, f"{shown(value)} is not possible here", expected=expected(hint), meant=meant)
        origin = get_origin(arm)
        if origin is Annotated:
            return self.read(arm, value, path)
        if origin is tuple:
            return self._list(get_args(arm)[0], apart, value, path)
        if origin is dict:
            key_hint, value_hint = get_args(arm)
            return self._dict(key_hint, value_hint, apart, value, path)
        if isinstance(arm, type) and issubclass(arm, Struct):
            return self._struct(arm, apart.example, value, path)
        return self._plain(arm, value, path)

    def members(self, cls: type[Struct], value: object, path: Path, example: str = "") -> dict[str, object]:
        """What a table or a Struct says, field by field; fields without a usable value are left out.

        Fields that are not written get their defaults."""
        written = written_members(cls, value)
        if written is None:
            meant = habits.table_meant(cls, value)
            self._report(path, f"{shown(value)} is not a table", expected=example, meant=meant)
            return {}
        values: dict[str, object] = {}
        fields = fields_of(cls)
        for field in fields.values():
            if field.name in written:
                found = self.read(field.hint, written[field.name], (*path, field.name))
                if found is not BROKEN:
                    values[field.name] = found
            elif field.required:
                self._report((*path, field.name), "is missing", expected=expected(field.hint))
            else:
                values[field.name] = field.default()
        for name in written:
            if name not in fields:
                self._unknown_key(cls, name, written[name], path)
        rule = RULES.get(cls)
        if rule is not None:
            for where, message in rule(Table(written=written, values=values)):
                self.problems.append(Problem((*path, *where), message))
        return values

    def _struct(self, cls: type[Struct], example: str, value: object, path: Path) -> object:
        before = len(self.problems)
        values = self.members(cls, value, path, example)
        found = [problem.path for problem in self.problems[before:]]
        for field in fields_of(cls).values():
            if field.required and field.name not in values:
                return BROKEN
            inside = (*path, field.name)
            if take_apart(field.hint).essential and any(place[: len(inside)] == inside for place in found):
                return BROKEN
        return cls(**values)

    def _mark(self, mark: Any, value: object, path: Path) -> object:
        try:
            return _READERS[type(mark)](mark, value, self._scene)
        except UnfitError as unfit:
            self.problems.append(Problem(path, str(unfit)))
            return unfit.instead

    def _list(self, hint: Any, apart: Hint, value: object, path: Path) -> object:
        many, expects = apart.many or marks.Many(), apart.example or _list_of(hint)
        if not isinstance(value, list | tuple):
            if not many.single:
                meant = self._list_meant(take_apart(hint).reader, value)
                return self._report(path, f"{shown(value)} is not a list", expected=expects, meant=meant)
            self.kept[path] = None
            found = self.read(hint, value, path)
            return () if found is BROKEN else (found,)
        if not value and not many.empty:
            return self._report(path, "is empty", expected=expects)
        found = [(position, self.read(hint, item, (*path, position))) for position, item in enumerate(value)]
        sound = [(position, item) for position, item in found if item is not BROKEN]
        self._distinct(many, sound, path)
        if len(sound) < len(found):
            self.kept[path] = tuple(position for position, _ in sound)
        return tuple(item for _, item in sound)

    def _list_meant(self, mark: Any, value: object) -> str:
        """The list that was meant by what stands without brackets, or ""."""
        if mark is None:
            return ""
        is_split = isinstance(mark, marks.Token | marks.Origin)
        members: list[object] = [*pieces(value)] if is_split and isinstance(value, str) else [value]
        meant = [self._element_meant(mark, member) for member in members]
        return f"[{', '.join(meant)}]" if meant and all(meant) else ""

    def _element_meant(self, mark: Any, value: object) -> str:
        try:
            _READERS[type(mark)](mark, value, self._scene)
        except UnfitError as unfit:
            return unfit.meant
        return method_meant(value) if isinstance(value, str) and mark.expected == METHOD else shown(value)

    def _distinct(self, many: marks.Many, items: list[tuple[int, object]], path: Path) -> None:
        seen: dict[Hashable, int] = {}
        values = [item for _, item in items]
        keys: Any = [many.key(value) for value in values] if many.keys is None else many.keys(values)
        for (position, _), key in zip(items, keys, strict=True):
            if key is None:
                continue
            first = seen.setdefault(key, position)
            if first != position:
                where = key_path((*path, first, *many.at))
                self._report((*path, position, *many.at), f"is the same as {where}", expected=many.once)
        if many.clash is not None:
            self._apart(many.clash, items, path)

    def _apart(self, clash: Callable[[Any, Any], str], items: list[tuple[int, object]], path: Path) -> None:
        """Each element that cannot stand beside one before it, once."""
        for index, (position, item) in enumerate(items):
            for before, other in items[:index]:
                why = clash(item, other)
                if why:
                    what = f"cannot stand beside {key_path((*path, before))}: {why}"
                    self._report((*path, position), what, expected="one of the two")
                    break

    def _dict(self, key_hint: Any, value_hint: Any, apart: Hint, value: object, path: Path) -> object:
        inside = take_apart(value_hint).arms[0]
        if not isinstance(value, Mapping):
            meant = habits.pairs_meant(value) if inside is str else ""
            return self._report(path, f"{shown(value)} is not a table", expected=apart.example, meant=meant)
        if not value and apart.many and not apart.many.empty:
            return self._report(path, "is empty", expected=apart.example or "at least one table in it")
        if isinstance(inside, type) and issubclass(inside, Struct) and habits.is_unnamed(inside, value):
            return self._report(path, "is one table, without a name", expected=apart.example)
        result: dict[object, object] = {}
        for key, item in value.items():
            place = (*path, key if isinstance(key, str) else shown(key))
            name = self.read(key_hint, key, place)
            found = self.read(value_hint, item, place)
            if name is not BROKEN and found is not BROKEN:
                result[name] = found
        return result

    def _plain(self, arm: Any, value: object, path: Path) -> object:
        """`bool`, `str`, a `Literal` or a function."""
        if get_origin(arm) is Literal:
            words = get_args(arm)
            if isinstance(value, str) and value in words:
                return value
            why = habits.unbuilt_word(value, words)
            meant = one_meant(value) or (nearest(value, words) if isinstance(value, str) and not why else "")
            what = why or f"{shown(value)} is not possible here"
            return self._report(path, what, expected=choice(words), meant=meant)
        # `_arm` has chosen a function because the value is one.
        if get_origin(arm) is Callable or type(value) is arm:
            return value
        meant = habits.switch_meant(value) if arm is bool else ""
        return self._report(path, f"{shown(value)} is not possible here", expected=_called(arm), meant=meant)

    def _unknown_key(self, cls: type[Struct], name: str, value: object, path: Path) -> None:
        fields = fields_of(cls)
        said = habits.unknown_key(cls, name, value)
        if said:
            self.problems.append(Problem((*path, name), said))
            return
        meant = nearest(name, fields)
        known = "" if meant else habits.at_home(name) or choice(fields)
        self._report((*path, name), "is not a key of this table", expected=known, meant=meant)

    def _report(self, path: Path, what: str, *, expected: str = "", meant: str = "") -> object:
        self.problems.append(Problem(path, worded(what, expected=expected, meant=meant)))
        return BROKEN


@cache
def fields_of(cls: type[Struct]) -> dict[str, Field]:
    """A Struct's fields by name, in order."""
    hints = get_type_hints(cls, include_extras=True)
    return {
        info.name: Field(info.name, hints[info.name], info.required, _default(info))
        for info in msgspec.structs.fields(cls)
    }


def _default(info: msgspec.structs.FieldInfo) -> Callable[[], object]:
    if info.default_factory is not NODEFAULT:
        factory: Callable[[], object] = info.default_factory
        return factory
    return lambda: info.default


@cache
def take_apart(hint: Any) -> Hint:
    """An annotation's alternatives and marks. A mark inside a single alternative counts as its own."""
    found: list[Any] = []
    while True:
        if get_origin(hint) is Annotated:
            hint, *around = get_args(hint)
            found += around
            continue
        arms = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        arms = tuple(arm for arm in arms if arm is not NoneType) or (NoneType,)
        if len(arms) > 1 or get_origin(arms[0]) not in (Annotated, Union, UnionType):
            break
        hint = arms[0]
    reader = next((mark for mark in found if type(mark) in _READERS), None)
    many = next((mark for mark in found if isinstance(mark, marks.Many)), None)
    about = next((mark.text for mark in found if isinstance(mark, marks.About)), "")
    example = next((mark.text for mark in found if isinstance(mark, marks.Example)), "")
    return Hint(arms, reader, many, any(isinstance(mark, marks.Essential) for mark in found), about, example)


def written_members(cls: type[Struct], value: object) -> dict[str, object] | None:
    """What was written in a table, or those fields of a Struct that differ from their defaults.

    None for values of other kinds.
    """
    if isinstance(value, Mapping):
        return {str(name): item for name, item in value.items()}
    if not isinstance(value, cls):
        return None
    members = {field.name: (field, getattr(value, field.name)) for field in fields_of(cls).values()}
    return {name: item for name, (field, item) in members.items() if field.required or item != field.default()}


def expected(hint: Any) -> str:
    """What a key asks for, in words."""
    apart = take_apart(hint)
    if apart.reader is not None:
        return str(apart.reader.expected)
    if apart.example:
        return apart.example
    words = [_expected_arm(arm) for arm in apart.arms]
    return " or ".join(words)


def key_path(path: Path) -> str:
    """`routes[0].rate_limit.window`; keys that TOML would quote are quoted."""
    text = ""
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            text += f".{key if _BARE_KEY.fullmatch(key) else quoted(key)}"
    return text.removeprefix(".")


def _expected_arm(arm: Any) -> str:
    origin = get_origin(arm)
    if origin is Annotated:
        return expected(arm)
    if origin is Literal:
        return choice(get_args(arm))
    return _list_of(get_args(arm)[0]) if origin is tuple else _called(arm)


def _list_of(hint: Any) -> str:
    each = expected(hint)
    return "a list of tables" if each == "a table" else f"a list, each {each}"


def _called(arm: Any) -> str:
    """A type's name for people who write TOML."""
    if arm is bool:
        return "true or false"
    if arm is str:
        return "text"
    if (isinstance(arm, type) and issubclass(arm, Struct)) or get_origin(arm) is dict:
        return "a table"
    return "a function in a Python configuration"


def _arm(arms: tuple[Any, ...], value: object) -> Any:
    """The alternative that a value is meant for: by its kind, never by trying. None: there is none."""
    if len(arms) == 1:
        return arms[0]
    for arm in arms:
        if get_origin(arm) is Callable:
            meant = callable(value) and not isinstance(value, type)
        elif isinstance(arm, type) and issubclass(arm, Struct):
            meant = isinstance(value, Mapping | arm)
        else:
            meant = isinstance(value, str)
        if meant:
            return arm
    return None
