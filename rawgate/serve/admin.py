"""The admin listener: what the gateway tells of itself, over the same code that serves clients.

    /          the status page
    /status    the same as JSON
    /metrics   for Prometheus, where the prometheus-client package is installed
    /healthz   200 while the process serves
    /readyz    200; 503 from the moment a stop begins, so that load balancers send nothing new

It is a second book of client connections with a `Generation` of its own, whose `decide` replies to everything here. So
heads are read as strictly as those of clients, and are under the same kind of deadlines. These requests are in no log
and no count.

With several workers all accept on one socket, and any of them answers for all, since all count in the same memory. The
supervisor has a column of its own there, for the reloads that it does.

Who may ask: loopback, the Unix socket, and the networks of `admin_allow`. Without such networks a Host field has to be
an address or "localhost" too: a page in an operator's browser can make a name of its own mean 127.0.0.1, and could
otherwise read what is told here (DNS rebinding).
"""

import asyncio
import base64
import contextlib
import hashlib
import pkgutil
import platform
import re
import socket
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_address
from time import monotonic, time
from types import FunctionType
from typing import TYPE_CHECKING

from msgspec import structs

from rawgate import __version__
from rawgate.config.model import Config, listen_name
from rawgate.errors import OK
from rawgate.message import Decision, LocalReply, Peer, RequestHead
from rawgate.net.client import protocol_factory
from rawgate.net.generation import Generation, ListenerOptions
from rawgate.net.listener import ClientConnections
from rawgate.observe import prometheus
from rawgate.observe.counters import Counters, Decisions, octets_for
from rawgate.observe.layout import RELOADS_DONE, RELOADS_REFUSED, Layout
from rawgate.observe.metrics import Facts
from rawgate.observe.reading import Reading, read, read_store
from rawgate.relay.options import ClientOptions
from rawgate.serve.discovery import figures
from rawgate.serve.keys import source_of
from rawgate.serve.listening import BACKLOG, Addresses, StartError
from rawgate.serve.publishing import Counting, Publisher, names_of
from rawgate.serve.reload import Outcome
from rawgate.serve.service import Service
from rawgate.serve.shared_memory import shared_memory
from rawgate.serve.status import LastReload, Situation, status
from rawgate.wire import RequestRules, ResponseRules, fast_lane

if TYPE_CHECKING:
    from rawgate.observe.access_log import AccessLog
    from rawgate.observe.line import Record

CONNECTIONS = 64
"""Open at once: some scrapers, some pages. Beyond it the longest idle one makes room."""

HEAD = 16 * 1024
FIELDS = 100
TARGET = 1024

NO_PACKAGE = (
    "/metrics needs the package prometheus-client, which is not installed: pip install 'rawgate[metrics]'; the single "
    "file has it"
)

Page = tuple[int, bytes, bytes, bytes]
"""Status, content type, body, and further field lines."""

_PLAIN = b"text/plain; charset=utf-8"
_HOST = re.compile(rb"(\[[0-9a-fA-F:.]+\]|[^:\[\]]*)(?::[0-9]*)?")


class Unlogged:
    """Takes the records of the admin listener's own requests, and drops them."""

    def write(self, record: "Record") -> None:
        """Drop one."""


class Plan:
    """What the admin listeners of all workers have in common. It is made before the first of them is forked, and each
    inherits it.

    decisions    is told what limits decide
    last_reload  the last reload of the gateway; each process is told of it
    """

    def __init__(self, config: Config, workers: int, decisions: Decisions) -> None:
        """The configuration has an admin listener. Raises StartError."""
        self.decisions = decisions
        self.last_reload: LastReload | None = None
        self._workers = workers
        self._layout = Layout(names_of(config))
        # With several workers the last column is the supervisor's.
        self._own = workers if workers > 1 else 0
        octets = octets_for(self._layout, self._own + 1)
        try:
            self._cells = memoryview(shared_memory(octets, "rawgate-counts") if workers > 1 else bytearray(octets))
        except OSError as error:
            raise StartError(f"several workers cannot share their counts here: {error.strerror}") from error
        self._addresses = Addresses(hint="change gateway.admin")
        self._addresses.add([listen for listen in (config.gateway.admin,) if listen is not None])
        self._started = self._renewed = time()

    @property
    def urls(self) -> list[str]:
        """Where it listens."""
        return self._addresses.urls

    def counting(self, worker: int, log: "AccessLog", loop: asyncio.AbstractEventLoop) -> Counting:
        """What counts in this worker."""
        return Counting(Counters(self._layout, self._cells, worker), self.decisions, log, loop)

    def renew(self, config: Config) -> list[str]:
        """From now on this configuration is served: give its names rows. Returns a line for the operator if there is
        not enough room. To be called in each process."""
        missed = self._layout.extend(names_of(config))
        self._renewed = time()
        return [f"not counted before a restart, since there is no room: {', '.join(missed)}"] if missed else []

    def note_reload(self, outcome: Outcome) -> LastReload:
        """This process, which does the reloads, has done one, or refused."""
        self.last_reload = LastReload(time(), outcome.done, outcome.lines)
        own = Counters(self._layout, self._cells, self._own).own
        own[RELOADS_DONE if outcome.done else RELOADS_REFUSED] += 1
        return self.last_reload

    def disown(self) -> None:
        """This process is a worker: the file of a Unix socket is not its own."""
        for address in self._addresses.open.values():
            address.disown()

    def close(self) -> None:
        """Listen no more."""
        self._addresses.close()

    # ── for the listener of one worker ──

    @contextlib.asynccontextmanager
    async def administered(
        self, service: Service, counting: Counting, *, new_id: Callable[[], str], date: Callable[[], bytes]
    ) -> AsyncIterator[None]:
        """Answer about the gateway while the block lasts."""
        loop = asyncio.get_running_loop()
        core = "interpreted" if isinstance(fast_lane.read_fields, FunctionType) else "compiled"
        build = {"version": __version__, "python": platform.python_version(), "core": core}
        admin = Admin(loop, service, self, Publisher(loop, service, counting), new_id=new_id, date=date, build=build)
        try:
            await admin.listen()
            yield
        finally:
            admin.close()

    @property
    def sockets(self) -> list[socket.socket]:
        """Those that listen."""
        return list(self._addresses.of_workers([0]))

    def reading(self, counters: Counters, service: Service, now: float) -> Reading:
        """All counts. now: monotonic seconds."""
        config, limiters = service.config, service.loaded.gate.limiters
        found = read(counters, names_of(config), now, service.found_targets())
        if config.store is not None:
            found = structs.replace(found, store=read_store(counters, now))
        if self._workers == 1:
            return found
        # The supervisor serves nobody; and workers that share a table of limits would each tell of all of it.
        return structs.replace(
            found,
            workers=self._workers,
            limiter_keys=len(limiters.credentials) + len(limiters.addresses),
            limiter_evicted=limiters.evicted,
        )

    def situation(self, service: Service) -> Situation:
        """What is in no cell."""
        return Situation(
            config=service.config,
            started=self._started,
            stopping=service.connections.winding_down,
            key_ages=self.key_ages(service),
            shown=service.loaded.shown,
            breakers=service.breakers(monotonic()),
            last_reload=self.last_reload,
            sources=service.discovery.states(service.config, monotonic()),
            why_down=service.health.why_down(monotonic()),
        )

    def key_ages(self, service: Service) -> dict[str, float]:
        """Name of a verifier → seconds since its keys were read or fetched."""
        since = max(0.0, time() - self._renewed)
        read_once = {name: since for name, spec in service.config.jwt.items() if source_of(spec) is None}
        return read_once | service.key_ages(monotonic())


class Admin:
    """The admin listener of one worker."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        service: Service,
        plan: Plan,
        publisher: Publisher,
        *,
        new_id: Callable[[], str],
        date: Callable[[], bytes],
        build: dict[str, str],
    ) -> None:
        """build: what runs, label → value, for `rawgate_build_info`."""
        self._loop = loop
        self._service = service
        self._plan = plan
        self._publisher = publisher
        self._new_id = new_id
        self._build = build
        self._servers: list[asyncio.Server] = []
        self._pages: dict[bytes, Callable[[RequestHead], Page]] = {
            b"/": self._page,
            b"/status": self._status,
            b"/metrics": self._metrics,
            b"/healthz": lambda head: (200, _PLAIN, b"ok\n", b""),
            b"/readyz": self._ready,
        }
        generation = Generation(
            self.decide,
            RequestRules(HEAD, FIELDS, TARGET, frozenset({b"accept"}), frozenset(), True),
            ResponseRules(HEAD, FIELDS, frozenset(), True),
            {},
            ListenerOptions(connections=CONNECTIONS),
            ClientOptions(),
        )
        self._connections = ClientConnections(
            loop=loop, date=date, new_id=new_id, log=Unlogged(), generation=generation
        )

    async def listen(self) -> None:
        """Answer from now on."""
        accept = protocol_factory(self._connections)
        for sock in self._plan.sockets:
            copy = sock.dup()
            copy.setblocking(False)
            make = self._loop.create_unix_server if copy.family == socket.AF_UNIX else self._loop.create_server
            self._servers.append(await make(accept, sock=copy, backlog=BACKLOG))

    def close(self) -> None:
        """End."""
        self._publisher.stop()
        for server in self._servers:
            server.close()
        self._connections.abort()

    # ── the decision ──

    def decide(self, head: RequestHead, peer: Peer, now: float, wall: float) -> Decision:
        """Reply to each request."""
        code, kind, body, fields = self._reply(head, peer)
        fields += b"X-Content-Type-Options: nosniff\r\n"
        return LocalReply(code, OK, fields, "", "", self._new_id(), peer.address, body=body, content_type=kind)

    def _reply(self, head: RequestHead, peer: Peer) -> Page:
        allowed = self._service.config.gateway.admin_allow
        if peer.address != "unix":
            address = ip_address(peer.address)
            if not address.is_loopback and not any(address in network for network in allowed):
                return 403, _PLAIN, b"Not from this address: gateway.admin_allow does not have it.\n", b""
            if not allowed and not _names_this_host(head.authority):
                return 421, _PLAIN, b"Ask by an address, or as localhost.\n", b""
        if head.method not in (b"GET", b"HEAD"):
            return 405, _PLAIN, b"Here one can only look.\n", b"Allow: GET, HEAD\r\n"
        page = self._pages.get(head.target.partition(b"?")[0])
        if page is None:
            there = b" ".join(self._pages)
            return 404, _PLAIN, b"There are: %b\n" % there, b""
        return page(head)

    # ── the pages ──

    def _page(self, head: RequestHead) -> Page:
        return 200, b"text/html; charset=utf-8", PAGE, PAGE_FIELDS

    def _ready(self, head: RequestHead) -> Page:
        if self._service.connections.winding_down:
            return 503, _PLAIN, b"stopping\n", b""
        return 200, _PLAIN, b"ready\n", b""

    def _status(self, head: RequestHead) -> Page:
        now = monotonic()
        document = status(self._read(now), self._plan.situation(self._service), self._publisher, now)
        return 200, b"application/json", document, b""

    def _metrics(self, head: RequestHead) -> Page:
        accept = head.parsed.get(b"accept", b"").decode("latin-1")
        wall = time()
        shown = self._service.loaded.shown
        expiries = {name: min(one.expires for one in all_of_it) - wall for name, all_of_it in shown.items()}
        service = self._service
        breakers = {name: due_in is not None for name, due_in in service.breakers(monotonic()).items()}
        found = figures(service.discovery.states(service.config, monotonic()))
        facts = Facts(self._build, self._plan.key_ages(service), expiries, breakers, found)
        try:
            text, kind = prometheus.exposition(self._read(monotonic()), facts, accept)
        except ImportError:
            return 501, _PLAIN, f"{NO_PACKAGE}.\n".encode(), b""
        return 200, kind.encode(), text, b""

    def _read(self, now: float) -> Reading:
        self._publisher.publish()
        return self._plan.reading(self._publisher.counters, self._service, now)


def _names_this_host(authority: bytes) -> bool:
    """Whether it is an address, or "localhost": what no name of somebody else's can be."""
    match = _HOST.fullmatch(authority)
    if match is None:
        return False
    host = match[1].decode("latin-1").strip("[]").lower()
    if host == "localhost":
        return True
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def warnings_of(config: Config) -> list[str]:
    """What an operator should know of the admin listener before it is used."""
    admin = config.gateway.admin
    if admin is None or prometheus.is_there():
        return []
    return [f"warning: gateway.admin: on {listen_name(admin)} {NO_PACKAGE}"]


def _policy(page: bytes) -> bytes:
    """The page may run its own script and nothing else, and ask nobody but this listener."""
    allowed = {
        kind: " ".join(
            f"'sha256-{base64.b64encode(hashlib.sha256(inside).digest()).decode()}'"
            for inside in re.findall(rb"<%b>(.*?)</%b>" % (kind, kind), page, re.DOTALL)
        )
        for kind in (b"script", b"style")
    }
    return (
        f"Content-Security-Policy: default-src 'none'; script-src {allowed[b'script']}; "
        f"style-src {allowed[b'style']}; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'\r\n"
    ).encode()


PAGE = pkgutil.get_data("rawgate.serve", "status.html") or b""
PAGE_FIELDS = _policy(PAGE)
