"""Every conformance case against the real process, through both parser lanes, whole and in small pieces; and one of
each kind over TLS.

`PROHIBITED` turns the words of `must_not` into looks at the octets that reached the other side. The messages that the
gateway sends, up and down, are read by `harness.wire_reader`, which takes nothing that RFC 9112 forbids a sender.

Three answers of ours are settled by design and not by the case: slashes are merged, so `//evil.test/x` is forwarded as
`/evil.test/x`; dot segments are resolved; the upstream's own authority is its Host.
"""

import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from harness import configs
from harness.cases import Case, CaseUpstream, Run, addresses, play, read_cases
from harness.certificates import Authority
from harness.gateway import LogLine, running
from harness.stalls import TRIES, Stalls, again_after_stalls
from harness.upstream import Upstream
from harness.wire_reader import FIN, Message

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform != "linux", reason="needs all of 127.0.0.0/8, which only Linux has by default"),
]

CASES = {case.id: case for case in read_cases(Path(__file__).parents[1] / "cases")}
LANES = ("fast", "h11")
AT_ONCE = 24
LATE = 1.0
"""Seconds: half of the deadlines."""


def config(lane: str, target: str) -> str:
    return configs.one_route(
        target,
        gateway_has=[
            f'parser = "{lane}"',
            'half_close = "serve"',
            'timeouts = { head = "2s", body = "2s", send = "5s", keep_alive = "20s", drain = "5s" }',
        ],
        upstream_has=['response_timeout = "2s"', 'idle_timeout = "2s"', "max_connections = 2000"],
    )


def over_tls(lane: str, upstream: Upstream) -> str:
    """The same behind a TLS listener; its certificate lies beside the configuration."""
    listen = '{ address = "127.0.0.1:0", tls = "public" }'
    shown = '[tls.public]\ncertificates = [{ chain = "file:api.pem", key = "file:api.key" }]\n'
    return config(lane, upstream.target).replace('"127.0.0.1:0"', listen) + shown


# ── what must reach the upstream when a case is forwarded: (method, target, body) each ──

FORWARDED: dict[str, list[tuple[bytes, bytes, bytes]]] = {
    "ok-post-chunked-ucase": [(b"POST", b"/", b"0123456789")],
    "ok-pipeline-2-get": [(b"GET", b"/1", b""), (b"GET", b"/2", b"")],
    "ok-pipeline-post-get": [(b"POST", b"/1", b"abc"), (b"GET", b"/2", b"")],
    "ok-crlf-between-pipelined": [(b"POST", b"/1", b"x"), (b"GET", b"/2", b"")],
    "ok-get-body-looks-like-request": [(b"GET", b"/", b"GET /smuggled HTTP/1.1\r\nHost: example.test\r\n\r\n")],
    "ok-delete-with-body": [(b"DELETE", b"/x", b"abc")],
    "rl-dot-segments": [(b"GET", b"/admin", b"")],
    "rl-encoded-dot-segments": [(b"GET", b"/admin", b"")],
    "rl-double-slash-path": [(b"GET", b"/evil.test/x", b"")],
    "tf-absolute-empty-path": [(b"GET", b"/", b"")],
    "cl0-then-request": [(b"POST", b"/", b""), (b"GET", b"/2", b"")],
    "ch-then-pipelined": [(b"POST", b"/", b""), (b"GET", b"/2", b"")],
    "expect-100": [(b"POST", b"/", b"hello")],
}

OWN_ANSWER = {"ok-options-star", "maxforwards-options-0"}
"""Accepted, and answered by the gateway itself."""

BODIES = {
    "resp-ok-204": b"",
    "resp-ok-101-after-upgrade": b"",
    "resp-ok-426-after-upgrade": b"",
    "resp-ok-304-with-cl": b"",
    "resp-304-with-body": b"",
    "resp-204-with-cl-body": b"",
    "resp-204-chunked": b"",
    "resp-ok-head-with-cl": b"",
    "resp-ok-head-chunked": b"",
    "resp-ok-early-final-response": b"no",
}
"""What the client gets of a response that is relayed, where that is not "ok"."""


def expected(case: Case) -> list[tuple[bytes, bytes, bytes]]:
    """See FORWARDED; all other cases that may be forwarded have one request, with the body "hello" or none."""
    method, target, *_ = case.raw.split()
    body = b"hello" if b"hello" in case.raw.partition(b"\r\n\r\n")[2] else b""
    return FORWARDED.get(case.id, [(method, target, body)]) if case.forwarded is None else case.forwarded


# ── must_not ──


def up(run: Run, name: bytes) -> list[bytes]:
    """The values of a field in the first request that was forwarded."""
    return run.forwarded[0].values(name) if run.forwarded else []


def down(run: Run, name: bytes) -> list[bytes]:
    """The values of a field in the first response."""
    return run.responses[0].values(name) if run.responses else []


def bodies(run: Run) -> list[bytes]:
    return [request.body for request in run.complete]


def heads_up(run: Run) -> bytes:
    return b"".join(request.raw.partition(b"\r\n\r\n")[0] for request in run.forwarded)


def control(octets: bytes) -> bool:
    return any((octet < 32 and octet not in b"\r\n\t") or octet == 127 for octet in octets)


def wrong_body(run: Run) -> bool:
    """Forwarded with something else than the one body "hello"."""
    return bodies(run) not in ([], [b"hello"])


def bodies_as_one(run: Run) -> bool:
    return bool(run.complete) and (wrong_body(run) or bool(run.extra))


def seen(run: Run) -> list[bytes]:
    """Targets that the responses name, in the order of the responses."""
    return [value for response in run.responses for value in response.values(b"x-seen")]


def relayed_whole(run: Run) -> bool:
    return any(response.complete and response.status < 300 for response in run.responses)


def no_answer(run: Run) -> bool:
    return run.hung or not run.responses or not run.responses[0].complete


def any_status(*statuses: int) -> Callable[[Run], bool]:
    return lambda run: any(response.status in statuses for response in run.responses)


def sent_down(*texts: bytes) -> Callable[[Run], bool]:
    return lambda run: any(text in run.octets for text in texts)


def sent_up(*texts: bytes) -> Callable[[Run], bool]:
    return lambda run: any(text in octets for text in texts for octets in run.arrived)


def field_up(*names: bytes) -> Callable[[Run], bool]:
    return lambda run: any(up(run, name) for name in names)


def field_down(*names: bytes) -> Callable[[Run], bool]:
    return lambda run: any(down(run, name) for name in names)


def unreadable(run: Run) -> bool:
    """The strict reader refused a message: this always counts against a run, and is what these words ask for."""
    return bool(run.malformed)


def two(run: Run) -> bool:
    return len(run.forwarded) > 1 or bool(run.extra)


def tunnel(run: Run) -> bool:
    return run.status == 101 or run.echoed or bool(run.extra)


REQUEST: dict[str, Callable[[Run], bool]] = {
    "act on the control character": lambda run: control(heads_up(run)),
    "answer out of order": lambda run: seen(run) != [request.target for request in run.complete],
    "append to the body": lambda run: bodies(run)[:1] != [b""],
    "authorise on a different path from the one forwarded": sent_up(b"/../", b"/%2e%2e/", b"/public"),
    "decode before forwarding": lambda run: control(heads_up(run)) or bool(up(run, b"x-inj")),
    # "Drop a slash" is what `merge_slashes` is for; the path that is matched is the path that is forwarded.
    "drop a slash": lambda run: bool(run.forwarded) and run.forwarded[0].target != b"/evil.test/x",
    "drop gzip but forward the coded octets as plain": lambda run: bool(run.forwarded),
    "drop or reorder existing Via members": lambda run: not up(run, b"via")[0].startswith(b"1.0 fred"),
    "drop the second request": lambda run: len(run.responses) != 2,
    "forward": lambda run: bool(run.forwarded),
    "forward Keep-Alive": field_up(b"keep-alive"),
    "forward NUL": sent_up(b"\0"),
    "forward Proxy-Connection": field_up(b"proxy-connection"),
    "forward Upgrade": field_up(b"upgrade"),
    "forward Upgrade: h2c": field_up(b"upgrade", b"http2-settings"),
    "forward XYZ as body": sent_up(b"XYZ"),
    "forward an empty path": lambda run: not run.forwarded[0].target.startswith(b"/"),
    "forward an unrelated Host silently": lambda run: up(run, b"x-forwarded-host") not in ([], [b""]),
    "forward as GET": lambda run: bool(run.forwarded) and run.forwarded[0].method != b"get",
    "forward as a complete request": lambda run: bool(run.complete),
    "forward bare CR": unreadable,
    "forward bare LF": unreadable,
    "forward both CL and TE": unreadable,
    "forward leading whitespace in the request-line": unreadable,
    "forward more than one Content-Length value": unreadable,
    "forward obs-fold": unreadable,
    "forward the Host that the target overrides": lambda run: up(run, b"x-forwarded-host") == [b"other.test"],
    "forward the alias": field_up(b"content_length", b"transfer_encoding"),
    "forward the body without framing": bodies_as_one,
    "forward the chunk line unchanged": unreadable,
    "forward the empty list element": unreadable,
    "forward the malformed trailer line": unreadable,
    "forward the received TE": lambda run: up(run, b"te") not in ([], [b"trailers"]),
    "forward the whitespace-preceded line": lambda run: bool(up(run, b"x")),
    "forward trailing whitespace in the request-line": unreadable,
    "forward two SP in the request-line": unreadable,
    "forward two requests": two,
    "forward userinfo in Host": sent_up(b"user:pw"),
    "hang": no_answer,
    "inject a field line": field_up(b"x-inj"),
    "keep the connection open": lambda run: not run.closed,
    "leave the body octets on the upstream connection": bodies_as_one,
    "merge X-T into the header section": field_up(b"x-t"),
    "merge trailer fields into the header section": field_up(b"content-length"),
    "omit its own Via member": lambda run: b"1.1 rawgate" not in up(run, b"via")[0],
    "omit the gateway's own forwarding fields": lambda run: bool(run.forwarded) and not up(run, b"x-forwarded-for"),
    "open a tunnel": tunnel,
    "open a tunnel before the body is consumed": tunnel,
    "open a tunnel on a non-101 answer": lambda run: tunnel(run) or [r.status for r in run.responses[1:]] != [400],
    "open a tunnel without a 101 from the upstream": tunnel,
    "parse as octal": wrong_body,
    "reorder same-name field lines": lambda run: b", ".join(up(run, b"accept")) != b"a/b, c/d",
    "route by one half": lambda run: up(run, b"x-forwarded-host") not in ([], [b"example.test,other.test"]),
    "send a 1xx response": lambda run: bool(run.interim),
    "send a body in the response": lambda run: run.octets.partition(b"\r\n\r\n")[2] != b"",
    "send a chunked response": field_down(b"transfer-encoding"),
    "treat as Transfer-Encoding": wrong_body,
    "treat bare CR as a line end": wrong_body,
    "treat the extension as data": wrong_body,
    "treat the path as an authority": lambda run: up(run, b"x-forwarded-host") != [b"example.test"],
    "use Content-Length for framing": lambda run: bool(run.complete),
    "use trailer fields for framing": wrong_body,
    "validate one and forward the other": lambda run: (
        len(b", ".join(up(run, b"authorization")).split(b",")) == 1 and bool(run.forwarded)
    ),
    "wait for the body before forwarding or answering": lambda run: run.waited,
    "wrap the port to 80": lambda run: up(run, b"x-forwarded-host") not in ([], [b"example.test:65616"]),
    "wrap to 5": lambda run: bool(run.complete),
}

RESPONSE: dict[str, Callable[[Run], bool]] = {
    "add Content-Length": field_down(b"content-length"),
    "add Transfer-Encoding": field_down(b"transfer-encoding"),
    "append a last-chunk": lambda run: run.status == 200 and run.octets.endswith(b"0\r\n\r\n"),
    "change the status code": lambda run: run.status != 299,
    "deliver as a complete response": relayed_whole,
    "deliver the second response to anyone": sent_down(b"poison"),
    "forward Content-Length in a 1xx": unreadable,
    "forward Content-Length in a 204": unreadable,
    "forward Keep-Alive": field_down(b"keep-alive"),
    "forward NUL": sent_down(b"\0"),
    "forward Proxy-Connection": field_down(b"proxy-connection"),
    "forward Transfer-Encoding in a 204": unreadable,
    "forward X-Hop": field_down(b"x-hop"),
    "forward bare LF": unreadable,
    "forward both CL and TE": unreadable,
    "forward more than one Content-Length value": unreadable,
    "forward the extra octets": sent_down(b"EXTRA", b"poison"),
    "forward the malformed line": unreadable,
    "forward whitespace before the colon": unreadable,
    "forward without a Date field": lambda run: len(down(run, b"date")) != 1,
    "hang": no_answer,
    "join Set-Cookie lines": lambda run: down(run, b"set-cookie") != [b"a=1", b"b=2"],
    "keep the client connection usable after a truncated body": lambda run: run.status == 200 and not run.closed,
    "merge X-T into the header section": field_down(b"x-t"),
    "merge trailer fields into the header section": field_down(b"set-cookie"),
    "open a tunnel on a non-101 answer": lambda run: tunnel(run) or [r.status for r in run.responses[1:]] != [400],
    "pad the body": lambda run: run.status == 200 and len(run.responses[0].body) > 2,
    "relay as HTTP/0.9": sent_down(b"<html>"),
    "relay the status": lambda run: run.status != 502,
    "relay the version HTTP/1.0": unreadable,
    "relay the version HTTP/1.2": unreadable,
    "replace it by 502": any_status(502),
    "reuse the upstream connection": lambda run: run.kept or bool(run.extra),
    "send a 1xx response": lambda run: bool(run.interim),
    "send a body in the response": lambda run: (
        bool(run.responses) and run.responses[0].body != b""
        if run.status == 502
        else run.octets.partition(b"\r\n\r\n")[2] != b""
    ),
    "send a chunked response": field_down(b"transfer-encoding"),
    "treat a 1xx as the final response": no_answer,
    "treat the 100 as the final response": no_answer,
    "treat the extension as data": lambda run: run.responses[0].body != b"ok",
    "treat the next two octets as a body": lambda run: run.status == 200 and run.responses[0].body != b"ok",
    "use trailer fields for framing": no_answer,
    "wait for 1234 octets": no_answer,
    "wait for chunks": no_answer,
    "wrap to 2": relayed_whole,
}

PROHIBITED = {"request": REQUEST, "response": RESPONSE}


# ── verdicts ──


def violations(run: Run) -> list[str]:
    """All that is wrong with a run; each finding a phrase."""
    case = run.case
    found = list(run.malformed)
    found += [f"must not: {words}" for words in case.must_not if PROHIBITED[case.side][words](run)]
    if run.hung:
        found.append("the client waited in vain")
    if case.conn == "close" and not run.closed:
        found.append("the client's connection stayed open")
    judge = refused_or_forwarded if case.side == "request" else refused_or_relayed
    if not judge(run):
        found.append(f"{case.verdict} {case.status}, but the client saw {run.status or 'nothing'}")
    return found


def refused_or_forwarded(run: Run) -> bool:
    case = run.case
    if run.status in case.status or (case.close_ok and not run.responses and run.closed):
        return True
    if case.verdict == "reject":
        return False
    if case.id in OWN_ANSWER:
        return 200 <= run.status < 300 and not run.forwarded
    answers = [response.status for response in run.responses]
    # The octets after the one good request are a bad one.
    wanted = {"cl-extra-octets": ([200, 400], [200, 408]), "upgrade-ws-bad-version": ([426, 400],)}
    good = answers in wanted.get(case.id, (case.statuses or [200] * len(expected(case)),))
    seen = [(request.method, request.target, request.body) for request in run.complete]
    return good and seen == expected(case) and len(run.forwarded) == len(seen) and not run.extra


def refused_or_relayed(run: Run) -> bool:
    case = run.case
    first = run.responses[0] if run.responses else None
    if first is None:
        return case.abort_ok and bool(run.closed)
    if first.status == 502:
        return 502 in case.status and first.complete
    if not first.complete:
        return case.abort_ok and bool(run.closed)
    if first.status == 101:
        return 101 in case.status and run.echoed
    if case.verdict == "reject":
        return first.status in case.status
    if case.verdict == "accept" and first.status not in case.status:
        return False
    return first.body == (BODIES.get(case.id, b"ok") if case.body is None else case.body)


# ── all of them ──


class LaneResults:
    """One lane: every case, whole and in small pieces, and the log."""

    def __init__(
        self, lane: str, directory: Path, chosen: Iterable[Case] = CASES.values(), authority: Authority | None = None
    ) -> None:
        """authority: of the certificate that the gateway shows; None: it speaks no TLS."""
        cases = CaseUpstream()
        tls = None if authority is None else authority.client_context()
        chosen = list(chosen)
        self.runs: list[Run] = [Run(case, small) for small in (False, True) for case in chosen]
        sources = [address for address, _ in zip(addresses(), self.runs, strict=False)]
        parts = list(zip(self.runs, sources, strict=True))
        cases.runs = {source.encode(): run for run, source in parts}
        with (
            Upstream(cases.script, patience=4.0) as upstream,
            running(directory, config(lane, upstream.target) if tls is None else over_tls(lane, upstream)) as gateway,
            ThreadPoolExecutor(AT_ONCE) as pool,
        ):
            list(
                pool.map(
                    lambda part: play(gateway, part[0], part[1], tls), [one for one in parts if not _alone(one[0])]
                )
            )
            for run, source in filter(lambda part: _alone(part[0]), parts):
                play(gateway, run, source, tls)
            gateway.stop()
        lines: dict[str, list[LogLine]] = {source: [] for source in sources}
        for line in gateway.log:
            lines[line["remote"].rpartition(":")[0]].append(line)
        self.logged = [lines[source] for source in sources]
        self.said = gateway.said

    def of(self, name: str) -> list[Run]:
        return [run for run in self.runs if run.case.id == name]

    def right(self) -> int:
        return sum(not any(violations(run) for run in self.of(name)) for name in CASES)


def _alone(run: Run) -> bool:
    """An upstream that speaks on after its answer, octet by octet, is noticed only when it does. Until then its
    connection is idle like any other, and a request of another case could be given it."""
    return run.small and run.case.no_reuse


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LaneResults]:
    """Both lanes at the same time: most of it is waiting for deadlines. Where the machine stood still for half of one,
    they are played again."""
    for _ in range(TRIES):
        directories = [tmp_path_factory.mktemp(lane) for lane in LANES]
        with ThreadPoolExecutor(len(LANES)) as pool, Stalls() as stalls:
            found = dict(zip(LANES, pool.map(LaneResults, LANES, directories), strict=True))
        if stalls.longest < LATE:
            break
    return found


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("lane", LANES)
def test_case(outcomes: dict[str, LaneResults], lane: str, name: str) -> None:
    for run in outcomes[lane].of(name):
        assert violations(run) == [], "in small pieces" if run.small else "sent whole"


@pytest.mark.parametrize("lane", LANES)
def test_log_says_what_the_client_saw(outcomes: dict[str, LaneResults], lane: str) -> None:
    """Each final response has its line, in order, and no line is without a response."""
    outcome = outcomes[lane]
    for run, lines in zip(outcome.runs, outcome.logged, strict=True):
        assert [line["status"] for line in lines] == [response.status for response in run.responses], run.case.id


def kinds() -> list[Case]:
    """The first case of each group of names, and of each way in which it may end."""
    found: dict[tuple[object, ...], Case] = {}
    for case in CASES.values():
        parts = case.id.split("-")
        group = parts[0] if case.side == "request" else "-".join(parts[:2])
        found.setdefault((case.side, group, case.verdict), case)
        found.setdefault((case.side, case.conn, case.close_ok, case.half_close, case.abort_ok, case.eof), case)
    return [case for case in CASES.values() if case in found.values()]


@again_after_stalls(LATE)
def test_one_of_each_kind_over_tls(tmp_path: Path) -> None:
    authority, chosen = Authority(), kinds()

    def lane_of(lane: str) -> LaneResults:
        (tmp_path / lane).mkdir(exist_ok=True)
        authority.issue("api.test").write(tmp_path / lane, "api")
        return LaneResults(lane, tmp_path / lane, chosen, authority)

    with ThreadPoolExecutor(len(LANES)) as pool:
        for lane, outcome in zip(LANES, pool.map(lane_of, LANES), strict=True):
            found = {(lane, run.case.id, run.small): violations(run) for run in outcome.runs}
            assert {where: why for where, why in found.items() if why} == {}
            for run, lines in zip(outcome.runs, outcome.logged, strict=True):
                assert [line["status"] for line in lines] == [one.status for one in run.responses], run.case.id
                # A closure alert, which the stream tells as FIN, ends all but what broke off.
                is_whole = all(one.complete for one in run.responses) and not run.case.abort_ok
                assert run.closed in ("", FIN) or not is_whole, (run.case.id, run.closed)
            assert not [line for line in outcome.said if "Traceback" in line or "Error" in line]


@pytest.mark.parametrize("lane", LANES)
def test_no_case_makes_the_gateway_stumble(outcomes: dict[str, LaneResults], lane: str) -> None:
    assert not [line for line in outcomes[lane].said if "Traceback" in line or "Error" in line]
    assert not [line for lines in outcomes[lane].logged for line in lines if line["reason"] == "internal"]


def test_lanes_agree(outcomes: dict[str, LaneResults]) -> None:
    """Same status, same reason, whichever lane. Whether a response that breaks off had begun to be relayed (`abort_ok`)
    depends on how its octets came, so those are left out."""

    def told(outcome: LaneResults) -> list[tuple[str, list[tuple[int, str]]]]:
        return [
            (run.case.id, [(line["status"], line["reason"]) for line in lines])
            for run, lines in zip(outcome.runs, outcome.logged, strict=True)
            if not run.case.abort_ok
        ]

    assert told(outcomes["fast"]) == told(outcomes["h11"])


def test_all_right(outcomes: dict[str, LaneResults]) -> None:
    assert {lane: outcome.right() for lane, outcome in outcomes.items()} == dict.fromkeys(LANES, len(CASES))


def test_the_committed_table_is_current(outcomes: dict[str, LaneResults], tmp_path: Path) -> None:
    """CONFORMANCE.md beside this file says what was run here. When this fails, the new text is in the file named."""
    text = f"{HEADING}\n{summary(outcomes)}\n\n{CHOICES}\n{choices(outcomes['fast'])}\n"
    (tmp_path / TABLE.name).write_text(text)
    assert TABLE.read_text() == text, f"cp {tmp_path / TABLE.name} {TABLE}"


def test_the_judge_knows_every_prohibition() -> None:
    assert {(case.side, words) for case in CASES.values() for words in case.must_not} == {
        (side, words) for side, rules in PROHIBITED.items() for words in rules
    }


def answer(status: int, body: bytes = b"ok") -> Message:
    return Message(b"HTTP/1.1 %d Said" % status, [], body=body, complete=True)


def asked(start: bytes = b"GET / HTTP/1.1", body: bytes = b"", *, complete: bool = True) -> Message:
    return Message(start, [(b"Via", b"1.1 rawgate")], body=body, complete=complete)


@pytest.mark.parametrize(
    ("name", "run", "finding"),
    [
        ("ok-get", {}, "nothing"),
        ("ok-get", {"hung": True}, "waited in vain"),
        ("ok-get", {"responses": [answer(400)]}, "saw 400"),
        ("ok-get", {"responses": [answer(200)]}, "saw 200"),
        ("ok-get", {"malformed": ["a bare LF"], "responses": [answer(200)], "forwarded": [asked()]}, "a bare LF"),
        ("ok-post-cl", {"responses": [answer(200)], "forwarded": [asked(b"POST / HTTP/1.1", b"hell")]}, "saw 200"),
        ("ok-pipeline-2-get", {"responses": [answer(200)]}, "drop the second request"),
        ("cl-plus", {"responses": [answer(400)], "forwarded": [asked(complete=False)], "closed": "fin"}, "forward"),
        ("cl-plus", {"responses": [answer(400)]}, "stayed open"),
        ("cl-plus", {"responses": [answer(200)], "closed": "fin"}, "saw 200"),
        ("clte-cl0", {"responses": [answer(200)], "forwarded": [asked(), asked()], "closed": "fin"}, "two requests"),
        ("cl-same-list", {"responses": [answer(200)], "forwarded": [asked()], "extra": b"hello"}, "two requests"),
        ("resp-cl-conflict", {"responses": [answer(200)]}, "saw 200"),
        ("resp-cl-conflict", {"responses": [answer(502)], "kept": True}, "reuse"),
        ("resp-ok-cl", {"responses": [answer(200, b"o")]}, "saw 200"),
        ("resp-cl-short-eof", {"responses": [answer(200)], "closed": "fin"}, "deliver as a complete response"),
        ("resp-cl-extra", {"responses": [answer(200)], "octets": b"okEXTRA"}, "extra octets"),
    ],
)
def test_the_judge_finds(name: str, run: dict[str, Any], finding: str) -> None:
    """Runs that did not happen, each wrong in one way."""
    assert finding in "; ".join(violations(Run(CASES[name], small=False, **run)))


TABLE = Path(__file__).with_name("CONFORMANCE.md")
HEADING = """\
# HTTP/1.1 conformance

Written by `test_conformance.py`: every row of `tests/cases/http_cases*.jsonl` against the real process, whole and in
small pieces, what reached the upstream and the client judged by a reader that shares no code with rawgate or h11.
"""
CHOICES = """\
Where the RFCs leave the choice, rawgate serves what real clients send and refuses what is ambiguous in framing:
"""


def summary(outcomes: dict[str, LaneResults]) -> str:
    """How many cases are right, in a Markdown table."""
    rows = ["| lane | cases | right |", "|---|---|---|"]
    rows += [f"| {lane} | {len(CASES)} | {outcome.right()} |" for lane, outcome in outcomes.items()]
    return "\n".join(rows)


def choices(outcome: LaneResults) -> str:
    """What the gateway does where the RFCs leave it open, in a Markdown table."""
    rows = ["| case | the gateway |", "|---|---|"]
    for run, lines in zip(outcome.runs, outcome.logged, strict=True):
        if not run.small and run.case.note.upper().startswith("CHOICE"):
            rows.append(f"| `{run.case.id}` | {_choice(run, lines)} |")
    return "\n".join(rows)


def _choice(run: Run, lines: list[LogLine]) -> str:
    if not lines:
        return "closes without a word"
    if lines[0]["reason"] != "ok":
        return f"{run.status} `{lines[0]['reason']}`"
    if run.case.side == "response":
        return f"relays it as {run.status}"
    return "answers itself" if not run.forwarded else "forwards it as `" + run.forwarded[0].start.decode()[:60] + "`"
