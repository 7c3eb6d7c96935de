"""The conformance cases (`tests/cases/http_cases*.jsonl`), and how one is played against a running gateway.

All cases run at the same time against one gateway with one upstream. Each comes from a loopback address of its own,
which the upstream gets in X-Forwarded-For and the log has in `remote`: by it everything that was seen belongs to its
case.

`play` is the client. `Stage.script` is the upstream: to a case of the request side it responds with a plain 200 and
`Connection: close`, to one of the response side with the case's octets. A `Run` keeps what both saw; the test checks
it.
"""

import json
import socket
import ssl
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

from harness.gateway import Gateway
from harness.tls_client import TlsClient
from harness.upstream import Connection
from harness.wire_reader import Cut, Malformed, Message, Stream, read_body, read_response_head

PATIENCE = 8.0
"""Seconds: longer than all deadlines of the gateway in these tests. A wait that takes longer is a hang."""

SMALL = 1024
"""A case of up to so many octets is sent octet by octet, a longer one in pieces of PIECE: all must come before the
gateway's deadlines are over, on a slow machine too."""

PIECE = 509
"""A prime, so that pieces do not end where the gateway's buffers do."""

# Cases that get more than one response.
ANSWERS = {
    "ok-pipeline-2-get": 2,
    "ok-pipeline-post-get": 2,
    "ok-crlf-between-pipelined": 2,
    "cl-extra-octets": 2,
    "cl0-then-request": 2,
    "ch-then-pipelined": 2,
}

NOT_HTTP = b"\x00\r\n\r\n"
"""Sent after a declined upgrade: a gateway that still reads HTTP refuses these octets, a tunnel would pass them on."""


@dataclass
class Case:
    """A row of the files, its octets decoded. A row of `http_cases_own.jsonl` may have more:

    asks       final responses that the client waits for (`answers` in the row; 0: not said)
    forwarded  what must reach the upstream, (method, target, body) each; None: not said
    statuses   of those responses, when they are not all 200
    body       of the response at the client; None: not said
    """

    id: str
    side: str
    verdict: str
    status: list[int]
    note: str
    must_not: list[str]
    raw: bytes
    request: bytes
    conn: str
    close_ok: bool
    half_close: bool
    abort_ok: bool
    eof: bool
    asks: int
    forwarded: list[tuple[bytes, bytes, bytes]] | None
    statuses: list[int]
    body: bytes | None

    @property
    def answers(self) -> int:
        """Final responses that the client waits for."""
        return self.asks or ANSWERS.get(self.id, 2 if self.upgrade_declined else 1)

    @property
    def sent(self) -> bytes:
        """What the client sends."""
        return self.raw if self.side == "request" else self.request

    @property
    def method(self) -> bytes:
        return self.sent.strip().partition(b" ")[0]

    @property
    def upgrade_declined(self) -> bool:
        return "open a tunnel on a non-101 answer" in self.must_not

    @property
    def no_reuse(self) -> bool:
        return "reuse the upstream connection" in self.must_not


def read_cases(directory: Path) -> list[Case]:
    """The rows of all files."""
    files = sorted(directory.glob("http_cases*.jsonl"))
    return [_case(json.loads(line)) for file in files for line in file.read_text().splitlines()]


def _case(row: dict[str, Any]) -> Case:
    return Case(
        id=row["id"],
        side=row["side"],
        verdict=row["verdict"],
        status=row["status"],
        note=row["note"],
        must_not=row["must_not"],
        raw=_octets(row["raw"]),
        request=_octets(row.get("request", "")),
        conn=row.get("conn", ""),
        close_ok=row.get("close_ok", False),
        half_close=row.get("half_close", False),
        abort_ok=row.get("abort_ok", False),
        eof=row.get("eof", False),
        asks=row.get("answers", 0),
        forwarded=_requests(row["forwarded"]) if "forwarded" in row else None,
        statuses=row.get("statuses", []),
        body=_octets(row["body"]) if "body" in row else None,
    )


def _requests(rows: list[list[str]]) -> list[tuple[bytes, bytes, bytes]]:
    return [(method.encode(), target.encode(), body.encode()) for method, target, body in rows]


def _octets(text: str) -> bytes:
    return text.encode("latin-1").decode("unicode_escape").encode("latin-1")


@dataclass
class Run:
    """One run of a case: what the client and the upstream saw.

    responses, interim  that the client read; the last response may be incomplete
    octets              all that the client got
    closed              how the gateway ended the client's connection by itself ("" when the client did it)
    hung                the client waited in vain
    forwarded           requests at the upstream; the last may be incomplete
    arrived             octets at the upstream, for each connection
    extra               octets at the upstream beyond the requests
    echoed              the tunnel passed octets both ways
    waited              the gateway spoke before the client sent the body that it had announced
    kept                the upstream's connection stayed open after the response
    malformed           what either side could not read
    """

    case: Case
    small: bool
    responses: list[Message] = field(default_factory=list)
    interim: list[Message] = field(default_factory=list)
    octets: bytes = b""
    closed: str = ""
    hung: bool = False
    forwarded: list[Message] = field(default_factory=list)
    arrived: list[bytes] = field(default_factory=list)
    extra: bytes = b""
    echoed: bool = False
    waited: bool = True
    kept: bool = False
    malformed: list[str] = field(default_factory=list)
    settled: Event = field(default_factory=Event)

    @property
    def status(self) -> int:
        """Status of the first final response; 0: there was none."""
        return self.responses[0].status if self.responses else 0

    @property
    def complete(self) -> list[Message]:
        return [request for request in self.forwarded if request.complete]

    def pieces(self, octets: bytes) -> Iterable[bytes]:
        if not self.small:
            return [octets]
        size = 1 if len(octets) <= SMALL else PIECE
        return [octets[at : at + size] for at in range(0, len(octets), size)]


# ── the client ──

Client = socket.socket | TlsClient


def play(gateway: Gateway, run: Run, source: str, tls: ssl.SSLContext | None = None) -> None:
    """Play the client of a case from the address `source`; with a context over TLS."""
    with gateway.connect(source, PATIENCE) as plain:
        sock = plain if tls is None else TlsClient(plain, tls).handshake()
        stream = Stream(lambda: sock.recv(65536))
        _send(sock, run.pieces(run.case.sent))
        if run.case.half_close:
            sock.shutdown(socket.SHUT_WR)
        try:
            for _ in range(run.case.answers):
                if not _answer(sock, stream, run):
                    break
        except Malformed as error:
            run.malformed.append(f"response: {error}")
        except Cut as cut:
            run.closed = str(cut)
        _leave(sock, stream, run)
        run.octets = stream.octets
        run.hung = stream.ended == "silent"
    if run.case.no_reuse and run.forwarded:
        run.settled.wait(PATIENCE)


def _send(sock: Client, pieces: Iterable[bytes]) -> None:
    with suppress(OSError):  # a refusal may come, and the connection go, before all is sent
        for piece in pieces:
            sock.sendall(piece)


def _answer(sock: Client, stream: Stream, run: Run) -> bool:
    """Read one final response. Returns False when no other can follow."""
    while (message := read_response_head(stream, run.case.method if not run.responses else b"GET")) is not None:
        if run.case.id == "expect-100" and run.waited:
            run.waited = False
            _send(sock, [b"hello"])
        if message.status >= 200 or message.status == 101:
            break
        run.interim.append(message)
    if message is None:
        return False
    run.responses.append(message)
    read_body(stream, message)
    if message.status == 101:
        _send(sock, [b"ping"])
        run.echoed = stream.exactly(4) == b"ping"
    elif run.case.upgrade_declined:
        _send(sock, [NOT_HTTP])
    return True


def _leave(sock: Client, stream: Stream, run: Run) -> None:
    """Read to the end of the connection. Where the gateway may keep it open, shut it down first."""
    if not stream.ended and run.case.conn != "close" and run.responses:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
        stream.rest()
        return
    stream.rest()
    run.closed = stream.ended if stream.ended != "silent" else ""


# ── the upstream ──


class CaseUpstream:
    """The upstream, which all runs share."""

    def __init__(self) -> None:
        self.runs: dict[bytes, Run] = {}

    def script(self, connection: Connection) -> None:
        """Play one connection (see `harness.upstream`)."""
        run: Run | None = None
        began = 0
        try:
            while (message := connection.head()) is not None:
                run = self.runs[message.values(b"x-forwarded-for")[-1]]
                run.forwarded.append(message)
                if not _serve(connection, message, run):
                    return
                run.arrived.append(connection.stream.octets[began:])
                began = len(connection.stream.octets)
        except Malformed as error:
            if run is None:
                raise
            run.malformed.append(f"request: {error}")
        finally:
            if run is not None:
                run.arrived.append(connection.stream.octets[began:])
                run.settled.set()


def _serve(connection: Connection, request: Message, run: Run) -> bool:
    """Respond to one request. Returns False when the connection must be closed, or is over."""
    case = run.case
    if case.id == "resp-ok-early-final-response":
        connection.stream.exactly(len(b"start"))
    else:
        if request.value(b"expect") is not None:
            connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        read_body(connection.stream, request)
    if case.side == "request":
        connection.send(_plain(request, case))
        run.extra += connection.stream.rest()
        return False
    connection.send(*run.pieces(case.raw))
    if case.eof:
        return False
    if 101 in case.status:
        connection.send(connection.stream.exactly(4))
    elif not case.no_reuse:
        return True
    run.extra += connection.stream.rest()
    run.kept = connection.stream.ended == "silent"
    return False


def _plain(request: Message, case: Case) -> bytes:
    status = b"426 Upgrade Required\r\nUpgrade: websocket" if case.upgrade_declined else b"200 OK"
    head = b"HTTP/1.1 %b\r\nConnection: close\r\nContent-Length: 2\r\nX-Seen: %b\r\n\r\n" % (status, request.target)
    return head if request.method == b"HEAD" else head + b"ok"


def addresses() -> Iterator[str]:
    """Distinct loopback addresses."""
    return (f"127.1.{high}.{low}" for high in range(1, 255) for low in range(1, 255))
