"""What a step of the tour promises, what came of it, and where the two differ."""

import json
import re
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

from msgspec import Struct

from rawgate.errors import REASONS
from rawgate.observe.line import Record
from rawgate.serve.demo.visitor import Reply, Request


class Promise(Struct, frozen=True, kw_only=True):
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
    promise: Promise
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


def judge(promise: Promise, outcome: Outcome) -> list[str]:
    """Every way in which the outcome is not what was promised."""
    return [*_answer(promise, outcome), *_record(promise, outcome), *_service(promise, outcome)]


def _differs(what: str, got: object, wanted: object) -> Iterator[str]:
    if got != wanted:
        yield f"{what} is {got}, not {wanted}"


def _answer(promise: Promise, outcome: Outcome) -> Iterator[str]:
    yield from _differs("status", _listed(outcome.statuses), _listed(promise.statuses))
    refused = REASONS[promise.reason].status >= 400
    told = problem(outcome.reply)
    yield from _differs("the caller's reason", told.get("reason"), REASONS[promise.reason].public if refused else None)
    if promise.detail:
        yield from _differs("the caller's detail", told.get("detail"), promise.detail)
    fields, arrivals = outcome.reply.head.fields, outcome.reply.arrivals
    for name, pattern in promise.fields.items():
        value = fields.get(name.lower())
        if pattern is None:
            yield from _differs(name, value, None)
        elif value is None or not re.fullmatch(pattern, value):
            yield f"{name} is {value}, not {pattern}"
    if len(arrivals) < promise.pieces:
        yield f"the body came in {len(arrivals)} pieces, not {promise.pieces}"
    elif promise.pieces and arrivals[-1] - arrivals[0] < promise.apart:
        yield f"all pieces came within {arrivals[-1] - arrivals[0]:.3f} s, not {promise.apart:g} s"


def _record(promise: Promise, outcome: Outcome) -> Iterator[str]:
    if outcome.record is None:
        yield "the gateway has logged nothing of it"
        return
    _, _, _, _, route, _, status, *_, reason = outcome.record
    yield from _differs("the log's reason", reason, promise.reason)
    yield from _differs("the log's status", status, outcome.statuses[-1])
    if promise.route:
        yield from _differs("the log's route", route, promise.route)


def _service(promise: Promise, outcome: Outcome) -> Iterator[str]:
    told = seen(outcome.reply)
    if promise.saw:
        yield from _differs("the service's request", told.get("saw"), promise.saw)
    for name, value in promise.headers.items():
        yield from _differs(f"the service's {name}", told.get("fields", {}).get(name), value)
    if promise.payload is not None:
        wanted = {"octets": len(promise.payload), "sha256": sha256(promise.payload).hexdigest()}
        yield from _differs("the service's body", told.get("body"), wanted)


def _listed(statuses: tuple[int, ...]) -> str:
    return " ".join(map(str, statuses))
