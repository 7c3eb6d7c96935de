"""What each stage of a request costs, in nanoseconds: `.venv/bin/python benchmarks/stages.py [--json FILE]`.

Each line is a function of rawgate as the gateway calls it, on a thousand inputs that differ from one another in turn:
the same bytes over and over would be kinder to the processor than traffic is. The loop's own cost is measured and taken
off. The figure is the lowest of several repeats: what the stage costs when nothing else disturbs it.

The sum is less than what a request takes in the gateway, where caches are colder, and the loop and the kernel have
their part: `benchmarks/run` measures that.
"""

import argparse
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import TypeVar

from msgspec import json
from suite.tokens import hs256_tokens
from whole import CONNECTIONS, Setup, Whole, answer, batches, browser_head, small_head

from rawgate import errors
from rawgate.config.model import Jwt
from rawgate.message import Forward, LocalReply, Octets, Peer, RequestHead, ResponseHead
from rawgate.net.client import SURE_TO_FIT
from rawgate.observe.access_log import BATCH, AccessLog
from rawgate.observe.line import LineEncoder, Record
from rawgate.policy import paths
from rawgate.policy.jwt import JwtVerifier
from rawgate.policy.limiter import Limiter
from rawgate.policy.verifiers import compile_verifier
from rawgate.relay.endpoints import Endpoint, Place
from rawgate.relay.exchange import Exchange
from rawgate.relay.flow import Flow
from rawgate.relay.lessee import Lessee
from rawgate.relay.options import ClientOptions, UpstreamOptions
from rawgate.relay.pool import Pool
from rawgate.relay.ports import ClientPort, Port, UpstreamPort
from rawgate.serve.clock import HttpDate, RequestIds
from rawgate.wire import RequestReader, ResponseReader, ResponseRules, reply, request_head, response_tail

INPUTS = 1000
PEER = Peer("127.0.0.1", "127.0.0.1:50412")
Input = TypeVar("Input")
Row = tuple[str, float]


def nanoseconds(function: Callable[[Input], object], inputs: Sequence[Input], repeats: int) -> float:
    """Of one call, without the loop around it."""
    return _best(function, inputs, repeats) - _best(_nothing, inputs, repeats)


def _nothing(given: object) -> None:
    """The price of calling at all."""


def _best(function: Callable[[Input], object], inputs: Sequence[Input], repeats: int) -> float:
    best = float("inf")
    for _ in range(repeats):
        began = time.perf_counter_ns()
        for given in inputs:
            function(given)
        best = min(best, time.perf_counter_ns() - began)
    return best / len(inputs)


class Bench:
    """The rows so far."""

    def __init__(self, repeats: int) -> None:
        self.rows: list[Row] = []
        self._repeats = repeats

    def add(self, name: str, function: Callable[[Input], object], inputs: Sequence[Input], each: float = 1) -> None:
        """`each`: how many times one call does the work."""
        self.rows.append((name, nanoseconds(function, inputs, self._repeats) / each))


def wire(bench: Bench, setup: Setup, heads: Sequence[bytes], answers: Sequence[bytes]) -> None:
    browsers = [browser_head() for _ in heads]
    for lane, fast in (("fast", True), ("h11", False)):
        reader = RequestReader(setup.request_rules(fast=fast))
        bench.add(f"parse request, small, {lane}", reader.feed, heads)
        bench.add(f"parse request, browser, {lane}", reader.feed, browsers)
    for lane, fast in (("fast", True), ("h11", False)):
        rules = setup.response_rules(fast=fast)
        bench.add(f"parse response, {lane}", _answers_get(ResponseReader(rules)), answers)


def _answers_get(reader: ResponseReader) -> Callable[[bytes], object]:
    return lambda octets: reader.feed(octets, b"GET")


def policy(bench: Bench, setup: Setup, heads: Sequence[bytes], tokens: Sequence[bytes]) -> None:
    requests = setup.requests(heads)
    normalise = paths.compile_normaliser(True)
    bench.add("normalise path", lambda head: normalise(head.target), requests)
    find = setup.gate.router.find
    keyed = [(head.authority, normalise(head.target).key) for head in requests]
    bench.add("route", lambda pair: find(*pair), keyed)
    spec = setup.config.jwt["main"]
    wall = time.time()
    fresh = _verifier(spec)
    # Nothing is kept at a capacity of 0, so every token is a new one.
    fresh.keys.memory.capacity = 0
    bench.add("verify token, new", lambda token: fresh.verify(token, wall), tokens)
    remembering = _verifier(spec)
    bench.add("verify token, remembered", lambda token: remembering.verify(token, wall), tokens)
    rule = Limiter(100_000).rule("bench", 10**6, 60.0)
    now = cycle(time.monotonic() + step / 1000 for step in range(10_000))
    clients = [f"sub:user-{number:05d}" for number in range(INPUTS)]
    bench.add("limit", lambda client: rule.hit(client, next(now)), clients)
    ident = RequestIds()
    bench.add("request id", lambda _: ident(), clients)


def _verifier(spec: Jwt) -> JwtVerifier:
    verifier = compile_verifier("main", spec, [], [])
    if verifier is None:
        raise SystemExit("stages: the verifier does not compile")
    return verifier


def decide(bench: Bench, name: str, setup: Setup, heads: Sequence[bytes], answers: Sequence[bytes]) -> list[Forward]:
    """The whole decision, and the way down."""
    requests = setup.requests(heads)
    wall, now = time.time(), time.monotonic()
    step = setup.gate.decide
    bench.add(f"decide, {name}", lambda head: step(head, PEER, now, wall), requests)
    forwards = [made for head in requests if isinstance(made := step(head, PEER, now, wall), Forward)]
    responses = setup.responses(answers)
    bench.add(
        f"on_response, {name}", lambda pair: pair[0].on_response(pair[1]), list(zip(forwards, responses, strict=True))
    )
    return forwards


def write(bench: Bench, forwards: Sequence[Forward], responses: Sequence[ResponseHead]) -> None:
    bench.add("write request head", lambda forward: request_head(forward.head, 0, False, b""), forwards)
    heads = [forward.on_response(response) for forward, response in zip(forwards, responses, strict=True)]
    bench.add("write response head", lambda head: head + response_tail(80, 80, b""), heads)
    date = HttpDate()()
    reason = errors.RATE_LIMITED
    bench.add(
        "write reply, 429",
        lambda local: reply(local, date=date, head_only=False, connection=b""),
        [LocalReply(reason.status, reason, b"", "", "", forward.request_id, "") for forward in forwards],
    )


class _Side(Port):
    """Takes everything, does nothing."""

    def write(self, data: Octets) -> None: ...
    def write_eof(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def reset(self) -> None: ...
    def buffered(self) -> int:
        return 0

    def write_backlog(self) -> int:
        return 0


class _Client(_Side, ClientPort):
    last = False
    flush_from = SURE_TO_FIT

    def flush(self) -> None: ...
    def cut(self) -> None: ...

    def expect_large_body(self) -> None: ...
    def monotonic(self, wall: float) -> float:
        return wall

    def arm(self, due: float) -> None: ...
    def attach(self, flow: Flow) -> None: ...
    def finished(self, flow: Flow) -> None: ...
    def date(self) -> bytes:
        return b""


class _Upstream(_Side, UpstreamPort):
    def __init__(self, rules: ResponseRules) -> None:
        self.reader = ResponseReader(rules)
        self.idle_since = self.retire_at = 0.0
        self.endpoint = Endpoint(Place(host="127.0.0.1", port=1))
        self.reused = True
        self.last_had_body = self.ever_had_body = False
        self.address = ""

    def is_stale(self) -> bool:
        return False

    def has_failed(self) -> bool:
        return False

    def drain(self) -> None: ...
    def close(self) -> None: ...
    def attach(self, flow: Flow | None) -> None: ...


def relay(
    bench: Bench, setup: Setup, heads: Sequence[bytes], forwards: Sequence[Forward], answers: Sequence[bytes]
) -> None:
    """One exchange from `start` to `finished`, with the parsing of the answer and the way down in it."""

    def dial(pool: Pool, lessee: Lessee) -> None:
        """The first exchange finds nothing idle."""
        pool.dialed(lessee, port, 0.0)

    client, port = _Client(), _Upstream(setup.response_rules(fast=True))
    pool = Pool(UpstreamOptions(name="bench", places=(Place(host="127.0.0.1", port=1),)), dial)
    options, rules = ClientOptions(), setup.response_rules(fast=True)

    def exchange(given: tuple[Forward, RequestHead, bytes]) -> None:
        forward, head, octets = given
        one = Exchange(client, pool, forward, head, options, rules, 0.0)
        one.start(0.0)
        one.upstream_data(octets, 0.0)

    given = list(zip(forwards, setup.requests(heads), answers, strict=True))
    bench.add("exchange, start to end (with response parse, on_response, writes)", exchange, given)


def whole(bench: Bench, name: str, setup: Setup, heads: Sequence[bytes]) -> None:
    turns = iter(heads)
    given = batches(lambda: (next(turns), answer()), len(heads) // CONNECTIONS)
    served = Whole(setup, given[0][0])
    bench.add(f"whole request, {name}", served.serve, given, each=CONNECTIONS)
    served.close()


def log(bench: Bench) -> None:
    records: list[Record] = [
        Record(
            time.time(), secrets.token_hex(16), b"GET", b"api.test", b"/api/users/%d/orders?page=1" % number,
            "/api/users", f"user-{number:05d}", 200, 0.0012345, "service", 10.0, 10.0, 10.001, 10.0011, 0, 84,
            "127.0.0.1:50412", "ok", "",
        )
        for number in range(INPUTS)
    ]  # fmt: skip
    descriptor = os.open(os.devnull, os.O_WRONLY)
    # Not started: nothing is taken from the queue, which has room for all repeats. Lines are made in it.
    waiting = AccessLog(descriptor, capacity=10**9)
    bench.add("log.write, line encoded (on the loop's thread)", waiting.write, records)
    os.close(descriptor)
    batches = [records[at : at + BATCH] for at in range(0, INPUTS, BATCH)]
    bench.add("of that, the line encoded", LineEncoder().requests, batches, each=INPUTS / len(batches))


def table(rows: Sequence[Row]) -> str:
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name.ljust(width)}  {value:8,.0f} ns" for name, value in rows)


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks/stages.py", description="What each stage of a request costs.")
    parser.add_argument("--repeats", type=int, default=30, help="the lowest of so many counts (default 30)")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    bench = Bench(arguments.repeats)
    secret = secrets.token_hex(32).encode()
    with tempfile.TemporaryDirectory(prefix="rawgate-stages-") as name:
        directory = Path(name)
        plain, full = Setup("plain.toml", secret, directory), Setup("full.toml", secret, directory)
    heads = [small_head() for _ in range(INPUTS)]
    tokens = hs256_tokens(secret, INPUTS)
    bearing = [small_head(token) for token in tokens]
    answers = [answer() for _ in range(INPUTS)]
    wire(bench, full, bearing, answers)
    policy(bench, full, bearing, tokens)
    forwards = decide(bench, "plain", plain, heads, answers)
    full_forwards = decide(bench, "full pipeline, tokens remembered", full, bearing, answers)
    write(bench, full_forwards, full.responses(answers))
    relay(bench, plain, heads, forwards, answers)
    whole(bench, "plain", plain, heads)
    whole(bench, "full pipeline, tokens remembered", full, bearing)
    log(bench)
    sys.stdout.write(table(bench.rows) + "\n")
    if arguments.json:
        arguments.json.write_bytes(json.format(json.encode(dict(bench.rows)), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
