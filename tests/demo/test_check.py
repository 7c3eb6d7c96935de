"""The checks of the tour: an expectation met, and every way to miss one."""

import json
from hashlib import sha256

import pytest
from msgspec import structs

from harness.records import record as usual
from rawgate.demo.check import Expectation, Outcome, check
from rawgate.demo.client import Reply
from rawgate.demo.messages import Head
from rawgate.observe.line import Record

BODY = b"hello"
SEEN = {
    "saw": "POST /v2",
    "fields": {"x-user-id": "alice"},
    "body": {"octets": len(BODY), "sha256": sha256(BODY).hexdigest()},
}
MET = Expectation(
    statuses=(200,),
    route="users",
    fields={"Via": "1\\.1 .*", "Server": None},
    saw="POST /v2",
    headers={"x-user-id": "alice", "x-api-key": None},
    payload=BODY,
    pieces=3,
    apart=0.2,
)


def record(status: int = 200, reason: str = "ok", route: str = "users") -> Record:
    return usual(status=status, reason=reason, route=route)


def reply(status: int, document: object, kind: str = "application/json") -> Reply:
    head = Head(f"HTTP/1.1 {status} Some Phrase", {"content-type": kind, "via": "1.1 rawgate"})
    return Reply(head, json.dumps(document).encode(), (0.0, 0.1, 0.3))


GOOD = Outcome((200,), reply(200, SEEN), record())
REFUSED = Expectation(statuses=(401,), reason="auth_expired", detail="The credential has expired.")
REFUSAL = Outcome(
    (401,),
    reply(401, {"reason": "auth_expired", "detail": "The credential has expired."}, "application/problem+json"),
    record(401, "auth_expired"),
)


@pytest.mark.parametrize(("expected", "outcome"), [(MET, GOOD), (REFUSED, REFUSAL)], ids=["forwarded", "refused"])
def test_an_expectation_that_is_met(expected: Expectation, outcome: Outcome) -> None:
    assert check(expected, outcome) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"statuses": (201,)}, "status is 200, not 201"),
        ({"statuses": (200, 429)}, "status is 200, not 200 429"),
        ({"route": "admin"}, "the log's route is users, not admin"),
        ({"fields": {"Via": "1\\.0 .*"}}, "Via is 1.1 rawgate, not 1\\.0 .*"),
        ({"fields": {"Retry-After": "[0-9]+"}}, "Retry-After is None, not [0-9]+"),
        ({"fields": {"Via": None}}, "Via is 1.1 rawgate, not None"),
        ({"saw": "POST /v3"}, "the service's request is POST /v2, not POST /v3"),
        ({"headers": {"x-user-id": "root"}}, "the service's x-user-id is alice, not root"),
        ({"headers": {"x-user-id": None}}, "the service's x-user-id is alice, not None"),
        ({"pieces": 4}, "the body came in 3 pieces, not 4"),
        ({"apart": 0.5}, "all pieces came within 0.300 s, not 0.5 s"),
    ],
)
def test_an_expectation_that_is_missed(change: dict[str, object], fault: str) -> None:
    assert check(structs.replace(MET, **change), GOOD) == [fault]


def test_another_body() -> None:
    (fault,) = check(structs.replace(MET, payload=b"hallo"), GOOD)
    assert fault.startswith("the service's body is ")


@pytest.mark.parametrize(
    ("outcome", "faults"),
    [
        (structs.replace(GOOD, record=None), ["the gateway has logged nothing of it"]),
        (structs.replace(GOOD, record=record(reason="client_gone")), ["the log's reason is client_gone, not ok"]),
        (structs.replace(GOOD, record=record(status=499)), ["the log's status is 499, not 200"]),
    ],
)
def test_a_log_that_says_otherwise(outcome: Outcome, faults: list[str]) -> None:
    assert check(MET, outcome) == faults


def test_a_caller_who_is_told_otherwise() -> None:
    document = {"reason": "auth_bad_signature", "detail": "The second part was changed."}
    outcome = structs.replace(REFUSAL, reply=reply(401, document, "application/problem+json"))
    assert check(REFUSED, outcome) == [
        "the caller's reason is auth_bad_signature, not auth_expired",
        "the caller's detail is The second part was changed., not The credential has expired.",
    ]
