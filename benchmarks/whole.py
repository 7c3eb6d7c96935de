"""One request through all of rawgate's code, both protocols of `net` included, without loop, sockets and log thread.

    stages.py   takes the time of it, beside that of its parts
    count.py    counts its instructions

No class here derives from one of rawgate's, so the compiled modules can be under it as well as the interpreted ones.
"""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import uvloop
from suite.contenders import FILES, filled

from rawgate.config.load import load
from rawgate.config.model import route_names
from rawgate.message import RequestHead, ResponseHead
from rawgate.net.client import ClientConnection
from rawgate.net.generation import Generation, ListenerOptions
from rawgate.net.listener import ClientConnections
from rawgate.net.turn import Turn
from rawgate.net.upstream import UpstreamConnection
from rawgate.observe.access_log import AccessLog
from rawgate.observe.counters import CountingSink, private_counters
from rawgate.observe.layout import Names
from rawgate.policy.compile import compile_gate
from rawgate.relay.endpoints import Place
from rawgate.relay.lessee import Lessee
from rawgate.relay.options import ClientOptions, UpstreamOptions
from rawgate.relay.pool import Pool
from rawgate.serve.clock import HttpDate, RequestIds
from rawgate.wire import RequestReader, RequestRules, ResponseReader, ResponseRules

if TYPE_CHECKING:
    from rawgate.config.model import Config

CONNECTIONS = 50

_BROWSER = (
    b'Connection: keep-alive\r\nsec-ch-ua: "Chromium";v="126", "Not.A/Brand";v="24"\r\nsec-ch-ua-mobile: ?0\r\n'
    b'sec-ch-ua-platform: "Linux"\r\nDNT: 1\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, '
    b"like Gecko) Chrome/126.0 Safari/537.36\r\nAccept: text/html,application/xhtml+xml,application/xml;q=0.9,"
    b"image/avif,image/webp,*/*;q=0.8\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: navigate\r\n"
    b"Sec-Fetch-Dest: document\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9\r\n"
)
_chance = Random(1)  # noqa: S311 - the same heads in every run
Pair = tuple[bytes, bytes]
"""A request and its response, as octets."""


def _ident() -> bytes:
    return _chance.randbytes(16).hex().encode()


def small_head(token: bytes = b"") -> bytes:
    """What wrk/plain.lua and wrk/tokens.lua send."""
    bearer = b"Authorization: Bearer " + token + b"\r\nX-Debug: 1\r\n" if token else b""
    target = b"%d/orders?page=%d&q=%x" % (_chance.randrange(10**6), _chance.randrange(99), _chance.getrandbits(31))
    return (
        b"GET /api/users/" + target + b" HTTP/1.1\r\nHost: bench.test\r\nAccept: application/json\r\n"
        b"User-Agent: bench/1.0\r\n" + bearer + b"X-Trace: " + _ident() + b"\r\n\r\n"
    )  # fmt: skip


def browser_head() -> bytes:
    """What wrk/browser.lua sends."""
    cookie = b"Cookie: theme=dark; session=" + _ident() + b"\r\n"
    path = b"/shop/%d/orders?page=2" % _chance.randrange(10**6)
    return b"GET " + path + b" HTTP/1.1\r\nHost: bench.test\r\n" + _BROWSER + cookie + b"\r\n"


def post() -> bytes:
    """A small body of JSON."""
    body = b'{"id":"' + _ident() + b'","quantity":2}'
    return (
        b"POST /api/orders HTTP/1.1\r\nHost: bench.test\r\nAccept: */*\r\nUser-Agent: bench/1.0\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )


_ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Mon, 02 Jun 2025 10:00:00 GMT\r\nContent-Type: application/json\r\n"
    b"%b\r\nConnection: keep-alive\r\nX-Answer-Id: %b\r\nX-Powered-By: upstream\r\n"
    b"Cache-Control: private, max-age=0\r\n\r\n%b"
)


def answer(*, chunked: bool = False) -> bytes:
    """What upstream/nginx.conf answers; or the same in one chunk."""
    ident = _ident()
    body = b'{"id":"' + ident + b'","path":"/v2/users/7/orders","user":""}'
    if chunked:
        return _ANSWER % (b"Transfer-Encoding: chunked", ident, b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
    return _ANSWER % (b"Content-Length: %d" % len(body), ident, body)


class Setup:
    """The configuration of a contender, compiled, with readers of both lanes."""

    def __init__(self, file: str, secret: bytes, directory: Path) -> None:
        path = directory / file
        values = {"port": "8080", "upstream": "3001", "parser": "fast", "max": "1000000", "window": "60s"}
        path.write_text(filled((FILES / "rawgate" / file).read_text(), values))
        draft = load(path, {"JWT_SECRET": secret.decode()})
        problems = list(draft.problems)
        date = HttpDate()
        gate = None
        if draft.config is not None:
            gate = compile_gate(draft.config, new_id=RequestIds(), date=date, problems=problems, warnings=[])
        if draft.config is None or gate is None or problems:
            raise SystemExit("\n".join(draft.report(problems)))
        self.config: Config = draft.config
        self.gate = gate
        self.date = date

    def request_rules(self, *, fast: bool) -> RequestRules:
        limits, gate = self.config.gateway.limits, self.gate
        return RequestRules(
            limits.head, limits.headers, limits.target, gate.wanted, gate.protected, fast, gate.removable
        )

    def response_rules(self, *, fast: bool) -> ResponseRules:
        limits = self.config.gateway.limits
        return ResponseRules(limits.head, limits.headers, self.gate.response_wanted, fast, self.gate.response_removable)

    def requests(self, heads: Sequence[bytes]) -> list[RequestHead]:
        reader = RequestReader(self.request_rules(fast=True))
        return [head for octets in heads if (head := reader.feed(octets)) is not None]

    def responses(self, answers: Sequence[bytes]) -> list[ResponseHead]:
        rules = self.response_rules(fast=True)
        reader = ResponseReader(rules)
        return [head for octets in answers if (head := reader.feed(octets, b"GET")) is not None]


class _Transport(asyncio.Transport):
    """Takes everything at once, and counts it."""

    def __init__(self, extra: dict[str, object] | None = None) -> None:
        super().__init__(extra)
        self.written = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += len(data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def _turn() -> None:
    """One turn of the loop: what was to be called soon is called."""


class Whole:
    """Fifty client connections, each with its upstream connection."""

    def __init__(self, setup: Setup, first: Pair, *, counted: bool = False) -> None:
        """counted: as with an admin listener."""
        self._loop = uvloop.new_event_loop()
        self._upstreams: list[UpstreamConnection] = []
        self._rules = setup.response_rules(fast=True)
        self._null = os.open(os.devnull, os.O_WRONLY)
        places = (Place(host="127.0.0.1", port=1),)
        # Not started, so nobody writes the lines that it makes, 64 at a time. They cost fresh memory, which the real
        # log's, being written, do not: a page of it for each ten requests.
        log = AccessLog(self._null, capacity=10**9)
        names = Names(route_names(setup.config.routes), ["service"], [("service", "127.0.0.1:1")], [])
        self._turn = Turn(self._loop)
        connections = ClientConnections(
            loop=self._loop,
            turn=self._turn,
            date=setup.date,
            new_id=RequestIds(),
            log=CountingSink(private_counters(names), log.write, self._loop.call_later) if counted else log,
            generation=Generation(
                setup.gate.decide,
                setup.request_rules(fast=True),
                self._rules,
                {"service": Pool(UpstreamOptions(name="service", places=places), self._dial)},
                ListenerOptions(),
                ClientOptions(),
            ),
        )
        self._clients = [ClientConnection(connections) for _ in range(CONNECTIONS)]
        self._transports = [_Transport({"peername": ("127.0.0.1", 50412)}) for _ in self._clients]
        for client, transport in zip(self._clients, self._transports, strict=True):
            client.connection_made(transport)
            client.data_received(first[0])
        self._turn.settle()
        self._loop.run_until_complete(_turn())
        for upstream in self._upstreams:
            upstream.data_received(first[1])
        self._turn.settle()

    def _dial(self, pool: Pool, lessee: Lessee) -> None:
        upstream = UpstreamConnection(pool, pool.endpoints.all[0], self._rules, self._turn)
        upstream.connection_made(_Transport())
        self._upstreams.append(upstream)
        self._loop.call_soon(pool.dialed, lessee, upstream, time.monotonic())

    def serve(self, batch: Sequence[Pair]) -> None:
        """A request on each connection, as they come out of one poll of the loop: first all requests, then all
        answers."""
        for client, (request, _) in zip(self._clients, batch, strict=True):
            client.data_received(request)
        self._turn.settle()
        for upstream, (_, octets) in zip(self._upstreams, batch, strict=True):
            upstream.data_received(octets)
        self._turn.settle()

    @property
    def written(self) -> list[int]:
        """Octets that each client got."""
        return [transport.written for transport in self._transports]

    def close(self) -> None:
        for client in self._clients:
            client.connection_lost(None)
        os.close(self._null)
        self._loop.close()


def batches(make: Callable[[], Pair], count: int) -> list[list[Pair]]:
    """So many batches for `Whole.serve`; no two pairs are the same."""
    return [[make() for _ in range(CONNECTIONS)] for _ in range(count)]
