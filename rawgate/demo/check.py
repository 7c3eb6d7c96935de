"""What a step of the tour expects, what came of it, and where the two differ."""

import json
import re
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

from msgspec import Struct

from rawgate.demo.client import Reply, Request
from rawgate.errors import REASONS
from rawgate.observe.line import Record


class Expectation(Struct, frozen=True, kw_only=True):
    """What a step must come to. What is not named is not looked at.

    statuses  of each request, in order: a step may send its request several times; the rest is about the last one
    reason    the log's word
    route     the log's route
    detail    the sentence that the caller gets, when it is the gateway's own
    fields    field of the answer → regular expression for its whole value; None: it is not there
    saw       the request line, without version, that the service got
    headers   field (lower-cased) that the service got → its value; None: it did not get it
    payload   the body that the service got
    pieces    at least so many, each on its own
    apart     seconds between the first and the last of them, at least
    """

    statuses: tuple[int, ...]
    reason: str = "ok"
    route: str = ""
    detail: str = ""
    fields: dict[str, str | None] = {}
    saw: str = ""
    headers: dict[str, str | None] = {}
    payload: bytes | None = None
    pieces: int = 0
    apart: float = 0.0


class Step(Struct, frozen=True, kw_only=True):
    """One stop of the tour. `why`: what a person should take from it, in a line or two."""

    title: str
    request: Request
    expected: Expectation
    why: str


class Outcome(Struct, frozen=True):
    """What came of a step. `record`: what the gateway logged of the last request, None if nothing."""

    statuses: tuple[int, ...]
    reply: Reply
    record: Record | None


def seen(reply: Reply) -> dict[str, Any]:
    """What the service says that it saw; empty when the answer is not a service's."""
    return _document(reply, "application/json")


def problem(reply: Reply) -> dict[str, Any]:
    """What the gateway says that is wrong; empty when it does not say so."""
    return _document(reply, "application/problem+json")


def _document(reply: Reply, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(reply.body) if reply.head.fields.get("content-type") == kind else {}
    return found


def check(expected: Expectation, outcome: Outcome) -> list[str]:
    """Every way in which the outcome is not what was expected."""
    return [*_answer(expected, outcome), *_record(expected, outcome), *_service(expected, outcome)]


def _differs(what: str, got: object, wanted: object) -> Iterator[str]:
    if got != wanted:
        yield f"{what} is {got}, not {wanted}"


def _answer(expected: Expectation, outcome: Outcome) -> Iterator[str]:
    yield from _differs("status", _listed(outcome.statuses), _listed(expected.statuses))
    refused = REASONS[expected.reason].status >= 400
    told = problem(outcome.reply)
    yield from _differs("the caller's reason", told.get("reason"), REASONS[expected.reason].public if refused else None)
    if expected.detail:
        yield from _differs("the caller's detail", told.get("detail"), expected.detail)
    fields, arrivals = outcome.reply.head.fields, outcome.reply.arrivals
    for name, pattern in expected.fields.items():
        value = fields.get(name.lower())
        if pattern is None:
            yield from _differs(name, value, None)
        elif value is None or not re.fullmatch(pattern, value):
            yield f"{name} is {value}, not {pattern}"
    if len(arrivals) < expected.pieces:
        yield f"the body came in {len(arrivals)} pieces, not {expected.pieces}"
    elif expected.pieces and arrivals[-1] - arrivals[0] < expected.apart:
        yield f"all pieces came within {arrivals[-1] - arrivals[0]:.3f} s, not {expected.apart:g} s"


def _record(expected: Expectation, outcome: Outcome) -> Iterator[str]:
    if outcome.record is None:
        yield "the gateway has logged nothing of it"
        return
    record = outcome.record
    yield from _differs("the log's reason", record.reason, expected.reason)
    yield from _differs("the log's status", record.status, outcome.statuses[-1])
    if expected.route:
        yield from _differs("the log's route", record.route, expected.route)


def _service(expected: Expectation, outcome: Outcome) -> Iterator[str]:
    told = seen(outcome.reply)
    if expected.saw:
        yield from _differs("the service's request", told.get("saw"), expected.saw)
    for name, value in expected.headers.items():
        yield from _differs(f"the service's {name}", told.get("fields", {}).get(name), value)
    if expected.payload is not None:
        wanted = {"octets": len(expected.payload), "sha256": sha256(expected.payload).hexdigest()}
        yield from _differs("the service's body", told.get("body"), wanted)


def _listed(statuses: tuple[int, ...]) -> str:
    return " ".join(map(str, statuses))
