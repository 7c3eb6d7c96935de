"""What the page for operators promises of keys, reasons and log fields is what the code has."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args, get_type_hints

import msgspec
import pytest

from rawgate.config.constraints import HOUR, Duration
from rawgate.config.model import Route, Timeouts, Upstream
from rawgate.errors import REASONS
from rawgate.observe.metrics import METRICS
from rawgate.observe.model import Line
from rawgate.policy.limiter import Limiter
from rawgate.policy.limits import LimitLines

PAGE = (Path(__file__).parents[1] / "rawgate/operating.md").read_text("utf-8")


def table(first: str) -> list[list[str]]:
    """The cells of the table whose head begins with this word."""
    found = re.search(rf"^\| {first} \|[^\n]*\n\|[-|]+\|\n((?:\|[^\n]*\n)+)", PAGE, re.MULTILINE)
    assert found
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in found[1].splitlines()]


def marks(hint: object) -> Iterator[object]:
    """All that stands in the brackets of a type, however deep."""
    for argument in get_args(hint):
        yield argument
        yield from marks(argument)


def durations(struct: type[msgspec.Struct]) -> Iterator[tuple[str, object]]:
    """(name, default) of each field that takes a duration."""
    hints = get_type_hints(struct, include_extras=True)
    for field in msgspec.structs.fields(struct):
        if any(isinstance(mark, Duration) for mark in marks(hints[field.name])):
            yield field.name, field.default


def written(seconds: object, nothing: str) -> str:
    """A default as the page writes it."""
    if not isinstance(seconds, float):
        return nothing
    return f"{seconds / HOUR:g}h" if seconds >= HOUR else f"{seconds:g}s"


def test_every_timeout_stands_in_the_table_with_its_default() -> None:
    defaults = {
        **{f"`gateway.timeouts.{name}`": written(seconds, "off") for name, seconds in durations(Timeouts)},
        **{f"`upstreams.N.{name}`": written(seconds, "off") for name, seconds in durations(Upstream)},
        **{f"`routes.{name}`": written(seconds, "the upstream's") for name, seconds in durations(Route)},
    }
    assert len(defaults) > 10
    assert {key: default for key, default, _, _ in table("key")} == defaults


@pytest.mark.parametrize("ends", [row[3] for row in table("key")])
def test_the_reasons_with_which_timeouts_end_exist(ends: str) -> None:
    for code in re.findall(r"`(\w+)`", ends):
        assert code in REASONS
    for status, code in re.findall(r"(\d{3}) `(\w+)`", ends):
        assert REASONS[code].status == int(status)


def test_every_field_of_the_log_is_explained_in_its_order() -> None:
    explained = [name for row in table("field") for name in re.findall(r"`(\w+)`", row[0])]
    assert explained == list(Line.__struct_encode_fields__)


def test_the_signals_are_told() -> None:
    assert re.findall(r"SIG[A-Z0-9]+", " ".join(row[0] for row in table("signal"))) == [
        "SIGTERM",
        "SIGINT",
        "SIGQUIT",
        "SIGHUP",
        "SIGUSR1",
        "SIGUSR2",
    ]


def test_every_metric_stands_in_the_table_with_its_labels() -> None:
    named = re.findall(r"`(rawgate_\w+)(?:\{([\w,]+)\})?`", " ".join(row[0] for row in table("metric")))
    assert dict(named) == {metric.name: ",".join(metric.labels) for metric in METRICS}


def test_the_response_fields_of_limits_are_those_that_clients_get() -> None:
    _, remaining, reset = Limiter(1).rule("/api/users", 100, 60.0).hit("a client", 0.0)
    lines = LimitLines("/api/users", 100, 60.0)[remaining, reset].decode().split("\r\n")[:-1]
    told = [
        f"{name.strip('`')}: {value.strip('`')}"
        for names, values, _ in table("response field")
        for name, value in zip(names.split(", "), values.split(", "), strict=True)
    ]
    assert sorted(told) == sorted(lines)


def test_check_has_nothing_to_say_of_the_certificate_that_it_makes() -> None:
    command = re.search(r"openssl req [^`]*", PAGE)
    assert command
    days = re.search(r"-days (\d+)", command[0])
    assert days
    warned = re.search(r"`check` warns (\d+) days before", PAGE)
    assert warned
    assert int(days[1]) > int(warned[1]) + 1
