"""A step of the tour: what it expects, what the outcome was, and where the two differ.

Three witnesses are asked: the response, the gateway's log record, and the service, which tells in its response what it
received. A gateway that only pretended to forward would satisfy the first two.
"""

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
    """What must be true of a step's outcome. A member that keeps its default is not checked, but for `reason`.

    statuses  status of each response, in order; a step may send its request several times, and all other members are
              about the last response
    reason    the reason code in the log
    route     the route in the log
    detail    the sentence in the gateway's own response
    fields    field of the response → regular expression for its whole value; None: the field is absent
    saw       method and target that the service received
    headers   field (lower-cased) that the service received → its value; None: the field was absent
    payload   the body that the service received
    pieces    the body arrives in at least so many pieces
    apart     at least so many seconds between the first piece and the last
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
    """One step of the tour. `why`: what it shows, in a line or two."""

    title: str
    request: Request
    expected: Expectation
    why: str


class Outcome(Struct, frozen=True):
    """What happened in a step. `reply`: the last response; `record`: the gateway's log record of it, None if
    missing."""

    statuses: tuple[int, ...]
    reply: Reply
    record: Record | None


def seen(reply: Reply) -> dict[str, Any]:
    """What the service received, as it reports it. Empty when the response is not a service's."""
    return _document(reply, "application/json")


def problem(reply: Reply) -> dict[str, Any]:
    """The gateway's problem details (RFC 9457). Empty when the response is not the gateway's."""
    return _document(reply, "application/problem+json")


def _document(reply: Reply, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(reply.body) if reply.head.fields.get("content-type") == kind else {}
    return found


def check(expected: Expectation, outcome: Outcome) -> list[str]:
    """A sentence for each difference between outcome and expectation."""
    return [*_response(expected, outcome), *_record(expected, outcome), *_service(expected, outcome)]


def _differs(what: str, got: object, wanted: object) -> Iterator[str]:
    if got != wanted:
        yield f"{what} is {got}, not {wanted}"


def _response(expected: Expectation, outcome: Outcome) -> Iterator[str]:
    yield from _differs("status", _listed(outcome.statuses), _listed(expected.statuses))
    refused = REASONS[expected.reason].status >= 400
    details = problem(outcome.reply)
    public = REASONS[expected.reason].public if refused else None
    yield from _differs("the caller's reason", details.get("reason"), public)
    if expected.detail:
        yield from _differs("the caller's detail", details.get("detail"), expected.detail)
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
    report = seen(outcome.reply)
    if expected.saw:
        yield from _differs("the service's request", report.get("saw"), expected.saw)
    for name, value in expected.headers.items():
        yield from _differs(f"the service's {name}", report.get("fields", {}).get(name), value)
    if expected.payload is not None:
        wanted = {"octets": len(expected.payload), "sha256": sha256(expected.payload).hexdigest()}
        yield from _differs("the service's body", report.get("body"), wanted)


def _listed(statuses: tuple[int, ...]) -> str:
    return " ".join(map(str, statuses))
