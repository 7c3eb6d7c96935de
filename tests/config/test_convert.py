"""The walk itself: it ends, whatever was written, and what it calls sound is sound."""

from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rawgate.config import model
from rawgate.config.context import Context
from rawgate.config.convert import Converter, fields_of, key_path
from rawgate.config.files import Files

CONTEXT = Context(
    folder=Path("/nowhere"),
    environ={"KEY": "value"},
    files=Files(),
    plain_numbers=False,
    merge_slashes=True,
    names={"upstreams": ("a",), "jwt": ("a",), "api_keys": (), "routes": ("/a",)},
)
STRUCTS = [item for item in vars(model).values() if isinstance(item, type) and issubclass(item, msgspec.Struct)]
TABLES = [item for item in STRUCTS if item.__module__ == model.__name__]
NAMES = sorted({name for table in TABLES for name in fields_of(table)})
WORDS = [
    "",
    "a",
    "/a",
    "5s",
    "1KiB",
    "env:KEY",
    "file:x",
    "jwt.a",
    "none",
    "HS256",
    "GET",
    "*",
    "http://a",
    "10.0.0.0/8",
]
SCALARS = st.one_of(st.sampled_from(WORDS), st.text(max_size=3), st.integers(), st.booleans(), st.floats(), st.dates())
WRITTEN = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.sampled_from(NAMES), st.text(max_size=3)), inner, max_size=4),
    ),
    max_leaves=12,
)
SOUND = model.Config(
    gateway=model.Gateway(listen=(model.Listen(host="127.0.0.1", port=1),)),
    upstreams={"a": model.Upstream(targets=(model.Target("a", 80, "a"),))},
    routes=(model.Route(prefix="/a", name="/a", upstream="a", auth="none"),),
)


@given(st.sampled_from(TABLES), WRITTEN)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_written(table: type[msgspec.Struct], written: object) -> None:
    walk = Converter(CONTEXT)
    values = walk.members(table, written, ())
    assert values.keys() <= fields_of(table).keys()
    for problem in walk.problems:
        assert "\n" not in f"{key_path(problem.path)}: {problem.message}"
    if not walk.problems:
        again = Converter(CONTEXT)
        assert again.members(table, table(**values), ()) == values
        assert again.problems == []


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_one_wrong_field_is_one_field_wrong(data: st.DataObject) -> None:
    tables: list[type[msgspec.Struct]] = [model.Timeouts, model.Limits, model.Upstream]
    table = data.draw(st.sampled_from(tables))
    name = data.draw(st.sampled_from([name for name, field in fields_of(table).items() if not field.required]))
    written: dict[str, Any] = {"targets": ["http://a"]} if table is model.Upstream else {}
    walk = Converter(CONTEXT)
    values = walk.members(table, {**written, name: []}, ("t",))
    assert [problem.path for problem in walk.problems] == [("t", name)]
    assert name not in values


def test_what_is_sound_stays_as_it_is() -> None:
    walk = Converter(CONTEXT)
    assert walk.read(model.Config, SOUND, ()) == SOUND
    assert walk.problems == []
