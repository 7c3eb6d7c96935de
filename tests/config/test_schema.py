"""The schema against the loader: what `load` accepts is valid, and what is wrong with kinds and keys is invalid.

The judges are the validators of `jsonschema` for the newest draft and for the oldest that TOML plug-ins still have.
"""

import json
import re
import tomllib
from collections.abc import Iterator
from copy import deepcopy
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft4Validator, Draft202012Validator
from jsonschema.exceptions import ValidationError

from rawgate.config.load import load
from rawgate.config.schema import config_schema
from rawgate.errors import Key, Problem

CASES = Path(__file__).parents[1] / "cases"
REPORTS = tomllib.loads((CASES / "config_reports.toml").read_text("utf-8"))["case"]
EVERY_KEY = tomllib.loads((CASES / "config_every_key.toml").read_text("utf-8"))
ENVIRON = {
    "JWT_SECRET": "correct horse battery staple, twice over",
    "OLD_SECRET": "battery correct staple horse, twice over",
    "API_KEYS": "team:k1",
    "CONSUL_TOKEN": "0b1c-2d3e",
    "EMPTY": "",
}
REST = {
    "gateway": {"listen": ["127.0.0.1:8080"]},
    "upstreams": {"users": {"targets": ["http://127.0.0.1:3001"]}},
    "routes": [{"prefix": "/rest", "upstream": "users", "auth": "none"}],
    "jwt": {"main": {"algorithm": "HS256", "secret": "env:JWT_SECRET"}},
}
STRUCTURAL = re.compile(
    r"is not a (key of this table|table|list)|is missing|is not (text|a whole number|possible here)|has no unit|"
    r"is not a (duration|size|percentage)\b|is no failure|is empty \(expected a"
)
"""The messages of `load` that speak of kinds and keys."""

SCHEMA = config_schema()
JUDGES = [Draft202012Validator(SCHEMA), Draft4Validator(SCHEMA)]

Path_ = tuple[Key, ...]


def findings(document: object) -> list[ValidationError]:
    """What the schema has against a document. Both judges must say the same, but that 5.0 is an integer since draft 6;
    TOML tells 5.0 from 5 as draft 4 does."""
    newest, oldest = ({error.json_path: error for error in judge.iter_errors(document)} for judge in JUDGES)
    assert (
        {path for path, error in oldest.items() if not isinstance(error.instance, float)} <= set(newest) <= set(oldest)
    )
    return list(oldest.values())


def toml(value: Any) -> str:
    """A value as inline TOML. JSON and TOML write most scalars alike."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    if isinstance(value, date):
        return value.isoformat()
    return json.dumps(value).replace("\x7f", "\\u007F")


def document_text(document: dict[str, Any]) -> str:
    return "".join(f"{json.dumps(key)} = {toml(value)}\n" for key, value in document.items())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("schema")
    (folder / "key.pem").write_text("PEM")
    (folder / "jwks.json").write_text("{}")
    (folder / "ca.pem").write_text("PEM")
    return folder


def problems(folder: Path, document: dict[str, Any]) -> list[Problem]:
    file = folder / "c.toml"
    file.write_text(document_text(document), "utf-8")
    return load(file, ENVIRON).problems


def places(document: Any, path: Path_ = ()) -> Iterator[Path_]:
    """All key paths of a document, but for its own."""
    pairs = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, item in pairs:
        yield (*path, key)
        yield from places(item, (*path, key))


def at(document: Any, path: Path_) -> Any:
    for key in path:
        document = document[key]
    return document


PLACES = list(places(EVERY_KEY))


# ── the schema itself ──


@pytest.mark.parametrize("judge", JUDGES, ids=["2020-12", "draft-04"])
def test_it_is_a_schema_of_the_newest_and_of_the_oldest_draft(judge: Draft202012Validator | Draft4Validator) -> None:
    judge.check_schema(SCHEMA)


def tables(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every part of a schema that has keys, with where it is."""
    if "properties" in schema:
        yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from tables(inner, f"{path}.{name}")
    items = [schema["items"]] if "items" in schema else []
    for inner in [*schema.get("patternProperties", {}).values(), *items, *schema.get("anyOf", [])]:
        yield from tables(inner, path)


TABLES = list(tables(SCHEMA))


@pytest.mark.parametrize(("path", "table"), TABLES, ids=[path or "." for path, _ in TABLES])
def test_every_key_is_explained_and_closed(path: str, table: dict[str, Any]) -> None:
    assert table["additionalProperties"] is False
    for name, schema in table["properties"].items():
        assert len(schema["description"]) > 10, name


def test_a_default_is_valid_where_it_stands() -> None:
    defaults = [
        (f"{path}.{name}", schema)
        for path, table in TABLES
        for name, schema in table["properties"].items()
        if "default" in schema
    ]
    assert dict(defaults)[".upstreams.keep_alive"]["default"] == "55s"
    assert dict(defaults)[".gateway.limits.body"]["default"] == "10MiB"
    assert dict(defaults)[".routes.upgrade"]["default"] == ["websocket"]
    for path, schema in defaults:
        assert not [*Draft202012Validator(schema).iter_errors(schema["default"])], path


def test_the_sample_has_every_key(folder: Path) -> None:
    named = {".".join(key for key in path if isinstance(key, str)) for path in PLACES}
    for path, table in TABLES:
        for name in table["properties"]:
            wanted = re.compile(
                re.sub(r"^(jwt|api_keys|tls|upstreams|limits)(?=\.)", r"\1.[a-z]+", f"{path}.{name}".lstrip("."))
            )
            assert any(wanted.fullmatch(place) for place in named), wanted.pattern
    assert not problems(folder, EVERY_KEY)
    assert not findings(EVERY_KEY)


# ── against the loader ──


@cache
def completed(snippet: str) -> dict[str, Any] | None:
    try:
        document = tomllib.loads(snippet)
    except tomllib.TOMLDecodeError:
        return None
    return REST | document


SNIPPETS = [case for case in REPORTS if completed(case["toml"]) is not None]


@pytest.mark.parametrize("case", SNIPPETS, ids=[case["name"] for case in SNIPPETS])
def test_it_judges_every_mistake_as_the_loader_does(folder: Path, case: dict[str, Any]) -> None:
    document = completed(case["toml"])
    assert document is not None
    assert_agreement(folder, document)


def assert_agreement(folder: Path, document: dict[str, Any]) -> None:
    found = problems(folder, document)
    said = findings(document)
    if not found:
        assert said == []
    where = {tuple(error.absolute_path) for error in said}
    for problem in found:
        if STRUCTURAL.search(problem.message):
            # A missing or unknown key is the table's fault to a schema, a broken alternative its list's.
            around = {problem.path[:length] for length in range(len(problem.path) + 1)}
            assert where & around, problem


ODD: list[Any] = [True, 0, -1, 1.5, 10**20, "", "x", [], ["x"], [[]], [{}], {}, {"x": "y"}, {"": {}}]


@given(path=st.sampled_from(PLACES), value=st.sampled_from(ODD))
def test_any_value_of_another_kind(folder: Path, path: Path_, value: Any) -> None:
    document = deepcopy(EVERY_KEY)
    at(document, path[:-1])[path[-1]] = value
    assert_agreement(folder, document)


TABLE_PLACES: list[Path_] = [(), *(path for path in PLACES if isinstance(at(EVERY_KEY, path), dict))]


@given(path=st.sampled_from(TABLE_PLACES), name=st.sampled_from(["x", "", "listen", "Prefix", "a.b", "admin", "x y"]))
def test_any_key_more(folder: Path, path: Path_, name: str) -> None:
    document = deepcopy(EVERY_KEY)
    at(document, path).setdefault(name, "x")
    assert_agreement(folder, document)


@pytest.mark.parametrize("path", [path for path in PLACES if isinstance(path[-1], str)], ids=str)
def test_any_key_less(folder: Path, path: Path_) -> None:
    document = deepcopy(EVERY_KEY)
    del at(document, path[:-1])[path[-1]]
    assert_agreement(folder, document)


TEXTS = [path for path in PLACES if isinstance(at(EVERY_KEY, path), str)]
CHARACTERS = "019aAzZ ./:*-_?#@%[]~!\"'\\|é\x7f\t"


@given(path=st.sampled_from(TEXTS), data=st.data())
def test_text_that_is_nearly_the_same(folder: Path, path: Path_, data: st.DataObject) -> None:
    """A character more, less or other: the neighbourhood in which a pattern and a reader could differ."""
    text = at(EVERY_KEY, path)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(start + 1, len(text))))
    changed = text[:start] + data.draw(st.text(CHARACTERS, max_size=2)) + text[end:]
    document = deepcopy(EVERY_KEY)
    at(document, path[:-1])[path[-1]] = changed
    assert_agreement(folder, document)


ACCEPTED: list[tuple[Path_, Any]] = [
    (("jwt", "set", "jwks"), "HTTPS://issuer.example/keys"),
    (("gateway", "listen", 0), "unix:/run/räw gate.sock"),
    (("gateway", "listen", 0), "[fe80::1]:1"),
    (("gateway", "trusted_proxies", 0), "10.0.0.0/255.0.0.0"),
    (("gateway", "trusted_proxies", 0), "::ffff:10.0.0.1"),
    (("gateway", "timeouts", "head"), "0001ms"),
    (("gateway", "timeouts", "drain"), "0ms"),
    (("gateway", "limits", "body"), "1GiB"),
    (("gateway", "limits", "body"), "00B"),
    (("jwt", "main", "secret"), "env:JWT_SECRET"),
    (("upstreams", "users", "targets", 0), "HTTP://a_b.c:1/"),
    (("upstreams", "users", "targets", 0), "http://[::ffff:1.2.3.4]"),
    (("upstreams", "users", "targets", 0), {"url": "unix:users.sock", "weight": 65535, "zone": "a", "backup": True}),
    (("upstreams", "users", "balance"), "least_requests"),
    (("upstreams", "users", "balance"), {"hash": "header:X-A"}),
    (("upstreams", "users", "breaker"), {}),
    (("upstreams", "users", "retry", "on"), ["connect", "reset", "timeout", 500, 599]),
    (("upstreams", "users", "targets", 0), "Srv+HTTP://_http._tcp.a.b"),
    (("upstreams", "users", "targets", 0), "consul+http://web?tag=a&tag=b"),
    (("gateway", "resolver", 0), "fd00::1"),
    (("routes", 0, "host"), "[::1]"),
    (("routes", 0, "prefix"), "/ünï/%C3%BC;a=b,c"),
    (("routes", 0, "cors", "origins", 0), "http://[::1]:5173"),
    (("routes", 0, "cors", "origins", 0), "chrome-extension://abc"),
    (("routes", 0, "methods", 0), "M-SEARCH"),
    (("routes", 0, "request_headers", "set", "X-Team"), ""),
    (("tests", 0, "expect", "path"), "/v2/users/7?x=1&y=%20"),
    (("tests", 1, "request"), "OPTIONS *"),
    (("tests", 1, "request"), "GET http://[::1]:80/"),
]


@pytest.mark.parametrize(
    ("path", "value"), ACCEPTED, ids=[f"{path[-2]}.{path[-1]}={value}" for path, value in ACCEPTED]
)
def test_what_the_loader_accepts_is_valid(folder: Path, path: Path_, value: Any) -> None:
    document = deepcopy(EVERY_KEY)
    at(document, path[:-1])[path[-1]] = value
    assert problems(folder, document) == []
    assert findings(document) == []


REFUSED: list[tuple[Path_, Any]] = [
    (("gateway", "timeouts", "head"), "0s"),
    (("gateway", "timeouts", "head"), 5),
    (("gateway", "limits", "body"), "10MB"),
    (("gateway", "limits", "headers"), 0),
    (("gateway", "parser"), "slow"),
    (("gateway", "workers"), 0),
    (("gateway", "listen"), "127.0.0.1:8080"),
    (("jwt", "main", "secret"), "a secret written here"),
    (("jwt", "set", "jwks"), "env:JWKS"),
    (("jwt", "set", "jwks"), "Discover"),
    (("upstreams", "users", "targets", 0), "127.0.0.1:3001"),
    (("upstreams", "users", "targets"), []),
    (("upstreams", "users", "targets", 0), {"weight": 2}),
    (("upstreams", "users", "targets", 0), {"url": "http://a:1", "weight": 0}),
    (("upstreams", "users", "targets", 0), {"url": "http://a:1", "zone": "a b"}),
    (("upstreams", "users", "targets", 0), {"url": "http://a:1", "colour": "red"}),
    (("upstreams", "users", "balance"), "random"),
    (("upstreams", "users", "balance"), {"hash": "cookie"}),
    (("upstreams", "users", "balance"), {}),
    (("upstreams", "users", "breaker", "of"), 0),
    (("upstreams", "users", "retry", "attempts"), 1),
    (("upstreams", "users", "retry", "budget"), 20),
    (("upstreams", "users", "retry", "on"), []),
    (("upstreams", "users", "retry", "on"), [502, 502]),
    (("upstreams", "users", "retry", "on", 0), "error"),
    (("upstreams", "users", "retry", "on", 0), 429),
    (("gateway", "resolver", 0), "ns.example.com"),
    (("consul", "address"), "unix:/run/consul.sock"),
    (("routes", 0, "prefix"), "api"),
    (("routes", 0, "auth"), "main"),
    (("routes", 0, "methods"), ["GET", "GET"]),
    (("routes", 1, "rewrite"), {"pattern": "/x"}),
    (("tests", 1, "expect", "reason"), "auth_misssing"),
    (("tests", 1, "request"), "/"),
]


@pytest.mark.parametrize(("path", "value"), REFUSED, ids=[f"{path[-2]}.{path[-1]}={value}" for path, value in REFUSED])
def test_a_usual_mistake_is_marked(folder: Path, path: Path_, value: Any) -> None:
    document = deepcopy(EVERY_KEY)
    at(document, path[:-1])[path[-1]] = value
    assert problems(folder, document) != []
    assert [tuple(error.absolute_path)[: len(path)] for error in findings(document)] == [path]
