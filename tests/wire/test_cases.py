"""The verdicts of tests/cases/http_cases*.jsonl, as far as they can be told without a connection.

Each case is read head by head and body by body, in both lanes, whole and octet by octet.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rawgate.errors import BAD_REQUEST, MessageError, RequestError, ResponseError
from rawgate.wire import Body, RequestReader, ResponseReader, body_reader

Make = Callable[..., Any]
Case = dict[str, Any]

FILES = sorted((Path(__file__).parents[1] / "cases").glob("http_cases*.jsonl"))
CASES: list[Case] = [json.loads(line) for file in FILES for line in file.read_text().splitlines()]

# Without the end of the connection, a deadline or the other side's 100, these stay incomplete.
INCOMPLETE = {
    "expect-100",
    "fl-truncated-header-eof",
    "resp-cl-short-eof",
    "resp-only-1xx-eof",
    "resp-ch-eof-in-data",
    "resp-ch-eof-in-trailer",
    "resp-endless-head",
}


class Connection:
    """Reads messages off one connection until it must close: `whole` of them, final ones only."""

    def __init__(self, side: str, method: bytes, request_rules: Any, response_rules: Any) -> None:
        self.side = side
        self.request = RequestReader(request_rules)
        self.response = ResponseReader(response_rules)
        self.method = method
        self.head: Any = None
        self.body: Body | None = None
        self.whole = 0
        self.ended = False

    def error(self, detail: str) -> MessageError:
        return RequestError(BAD_REQUEST, detail) if self.side == "request" else ResponseError(detail)

    def feed(self, data: bytes) -> None:
        while data and not self.ended:
            data = self.read_head(data) if self.body is None else self.read_body(data)
            if self.body is not None and self.body.done:
                self.finish()

    def read_head(self, data: bytes) -> bytes:
        reader = self.request if self.side == "request" else self.response
        self.head = self.request.feed(data) if self.side == "request" else self.response.feed(data, self.method)
        if self.head is None:
            return b""
        self.body = body_reader(self.head.body, self.error, strict=self.side == "request")
        return reader.rest

    def read_body(self, data: bytes) -> bytes:
        assert self.body is not None
        self.body.feed(data)
        return self.body.rest

    def finish(self) -> None:
        self.body = None
        if self.side == "request":
            self.whole += 1
            self.ended = self.head.close
        elif self.head.status >= 200 or self.head.status == 101:
            self.whole += 1
            self.ended = True


def verdict(connection: Connection, portions: list[bytes]) -> str:
    """ "accept", "incomplete" or the status of the refusal."""
    try:
        for portion in portions:
            connection.feed(portion)
    except MessageError as error:
        return str(error.reason.status)
    return "accept" if connection.whole else "incomplete"


def octets(text: str) -> bytes:
    return text.encode("latin-1").decode("unicode_escape").encode("latin-1")


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_verdict(case: Case, fast: bool, make_request_rules: Make, make_response_rules: Make) -> None:
    raw = octets(case["raw"])
    method = octets(case.get("request", "")).partition(b" ")[0]
    verdicts = set()
    for portions in [raw], [raw[at : at + 1] for at in range(len(raw))]:
        connection = Connection(case["side"], method, make_request_rules(fast), make_response_rules(fast))
        verdicts.add(verdict(connection, portions))
    assert len(verdicts) == 1
    allowed = {str(status) for status in case["status"] if status >= 400}
    if "reader" in case:  # what a reader alone can tell; the exchange tells the rest
        allowed = {case["reader"]}
    elif case["id"] in INCOMPLETE:
        allowed = {"incomplete"}
    elif case["verdict"] != "reject":
        allowed.add("accept")
    assert verdicts <= allowed


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("ok-pipeline-2-get", 2),
        ("ok-pipeline-post-get", 2),
        ("ok-crlf-between-pipelined", 2),
        ("ok-get-body-looks-like-request", 1),
        ("cl0-then-request", 2),
        ("ch-then-pipelined", 2),
        ("cl-extra-octets", 1),
        ("conn-close-case", 1),
    ],
)
def test_where_one_request_ends_and_the_next_begins(
    name: str, count: int, fast: bool, make_request_rules: Make, make_response_rules: Make
) -> None:
    case = next(case for case in CASES if case["id"] == name)
    connection = Connection("request", b"", make_request_rules(fast), make_response_rules(fast))
    verdict(connection, [octets(case["raw"])])
    assert connection.whole == count
