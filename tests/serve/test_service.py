"""Two services of one configuration that share their quotas, as two workers do, with real sockets. They run on one
loop, so that a test can say what happens when."""

import asyncio
import contextlib
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from harness.certificates import Authority
from rawgate.config.model import listen_name
from rawgate.net import arrival, client
from rawgate.observe.access_log import AccessLog
from rawgate.observe.line import Record
from rawgate.relay import shared_quotas
from rawgate.serve.clock import RequestIds
from rawgate.serve.listening import Address, Addresses, StartError
from rawgate.serve.load import Loaded, load_gate
from rawgate.serve.reload import Reloader, Source
from rawgate.serve.service import Service, serving
from rawgate.serve.worker_quotas import WorkerQuotas

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="several workers are for Linux")

CONFIG = """
[gateway]
listen = ["127.0.0.1:0"]
limits = { connections = 40%s }
[upstreams.users]
targets = ["http://127.0.0.1:%d"]
max_connections = 3
queue_timeout = "20s"
response_timeout = "20s"
%s
[[routes]]
prefix = "/"
upstream = "users"
auth = "none"
"""


class Records(AccessLog):
    def write(self, record: Record) -> None:
        pass


class Upstream:
    """Answers when it may, and knows how many connections there are."""

    def __init__(self) -> None:
        self.open = self.most = self.dialed = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.asked = asyncio.Semaphore(0)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.dialed += 1
        self.most = max(self.most, self.open)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionResetError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                self.asked.release()
                await self.may_answer.wait()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        self.open -= 1
        writer.close()


class Gateway:
    """Two workers, an upstream, and clients."""

    def __init__(self, folder: Path, upstream: Upstream, port: int) -> None:
        self.folder = folder
        self.upstream = upstream
        self.port = port
        self.shared = WorkerQuotas(2, 40)
        self.services: list[Service] = []
        self.ports: list[int] = []

    def load(self, limits: str = "", more: str = "") -> Loaded:
        config = self.folder / "rawgate.toml"
        config.write_text(CONFIG % (limits, self.port, more))
        return load_gate(config, {}, new_id=lambda: "0" * 32, date=lambda: b"Thu, 01 Jan 1970 00:00:00 GMT")

    async def ask(self, worker: int) -> int:
        """A request on a connection of its own. Returns the status; 0: there is no answer."""
        port = self.ports[worker]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            answer = await reader.read()
            return int(answer[9:12] or b"0")
        finally:
            writer.close()

    async def hold(self, worker: int) -> asyncio.StreamWriter:
        """A connection on which nothing is asked."""
        before = len(self.services[worker].connections.open)
        port = self.ports[worker]
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(10_000):
            if len(self.services[worker].connections.open) > before:
                break
            await asyncio.sleep(0)
        return writer


@contextlib.asynccontextmanager
async def two_workers(folder: Path, limits: str = "") -> AsyncIterator[Gateway]:
    upstream = Upstream()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    gateway = Gateway(folder, upstream, server.sockets[0].getsockname()[1])
    loop = asyncio.get_running_loop()
    async with server, contextlib.AsyncExitStack() as stack:
        for worker in range(2):
            quotas = gateway.shared.of_worker(worker, 1, loop)
            listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            gateway.ports.append(listening.getsockname()[1])
            loaded = gateway.load(limits)
            service = serving(
                loaded,
                Records(2),
                {listening: loaded.config.gateway.listen[0]},
                new_id=lambda: "0" * 32,
                date=lambda: b"Thu, 01 Jan 1970 00:00:00 GMT",
                quotas=quotas,
            )
            gateway.services.append(await stack.enter_async_context(service))
        yield gateway


def renew(service: Service, loaded: Loaded) -> None:
    service.renew(loaded, service.new_pools(loaded), {})


def run(scene: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scene())


def test_the_upstream_never_has_more_connections_than_all_may_make(tmp_path: Path) -> None:
    async def scene() -> None:
        async with two_workers(tmp_path) as gateway:
            for burst in ((30, 0), (0, 30), (15, 15)):
                workers = [0] * burst[0] + [1] * burst[1]
                statuses = await asyncio.gather(*(gateway.ask(worker) for worker in workers))
                assert statuses == [200] * 30
            assert gateway.upstream.most == 3

    run(scene)


def test_a_request_gets_the_slot_of_a_connection_that_is_idle_in_the_other_worker(tmp_path: Path) -> None:
    async def scene() -> None:
        async with two_workers(tmp_path) as gateway:
            upstream = gateway.upstream
            upstream.may_answer.clear()
            asks = [asyncio.create_task(gateway.ask(0)) for _ in range(3)]
            for _ in range(3):
                await upstream.asked.acquire()
            upstream.may_answer.set()
            assert await asyncio.gather(*asks) == [200] * 3
            assert upstream.dialed == 3
            assert await gateway.ask(1) == 200
            assert await gateway.ask(1) == 200
            assert upstream.dialed == 4, "one was closed, and no more"

    run(scene)


def test_client_connections_are_counted_for_both(tmp_path: Path) -> None:
    async def scene() -> None:
        async with two_workers(tmp_path, ", per_address = 3") as gateway:
            held = [await gateway.hold(worker) for worker in (0, 1)]
            assert [await gateway.ask(worker) for worker in (0, 1)] == [200, 200]
            held.append(await gateway.hold(0))
            assert [await gateway.ask(worker) for worker in (0, 1)] == [503, 503]
            for service in gateway.services:
                renew(service, gateway.load(""))
            assert [await gateway.ask(worker) for worker in (0, 1)] == [200, 200]
            for writer in held:
                writer.close()

    run(scene)


def test_a_client_that_is_idle_in_the_other_worker_makes_room(tmp_path: Path) -> None:
    async def scene() -> None:
        async with two_workers(tmp_path) as gateway:
            for service in gateway.services:
                renew(service, gateway.load())
                service.connections.slots.resize(2)
            held = [await gateway.hold(0) for _ in range(2)]
            assert await gateway.ask(1) == 200
            assert len(gateway.services[0].connections.open) == 1
            for writer in held:
                writer.close()

    run(scene)


def test_a_new_upstream_is_shared_without_a_word(tmp_path: Path) -> None:
    async def scene() -> None:
        async with two_workers(tmp_path) as gateway:
            more = f'[upstreams.more]\ntargets = ["http://127.0.0.1:{gateway.port}"]\nmax_connections = 1\n'
            more += '[[routes]]\nprefix = "/more"\nupstream = "more"\nauth = "none"'
            for service in gateway.services:
                renew(service, gateway.load("", more))
            pools = [service.connections.generation.pools["more"][0] for service in gateway.services]
            assert [pool.slots.take() for pool in pools] == [True, False]
            pools[0].slots.give()
            for service in gateway.services:
                renew(service, gateway.load())
            assert await gateway.ask(0) == 200

    run(scene)


def test_a_configuration_with_too_many_upstreams_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_quotas, "RECORDS", 5)

    async def scene() -> None:
        async with two_workers(tmp_path) as gateway:
            one = gateway.services[0]
            more = f'[upstreams.more]\ntargets = ["http://127.0.0.1:{gateway.port}"]\n'
            more += '[[routes]]\nprefix = "/more"\nupstream = "more"\nauth = "none"'
            for _ in range(2):
                before = one.loaded
                with pytest.raises(StartError, match="there is room for 5 quotas only"):
                    renew(one, gateway.load("", more))
                assert one.loaded is before
            assert await gateway.ask(0) == 200

    run(scene)


def test_a_client_in_the_queue_when_its_tls_goes_is_served_once(tmp_path: Path) -> None:
    """The address goes, and so does what it spoke: its rules, too, hold for nobody else from then on."""

    async def scene(gateway: Gateway, context: ssl.SSLContext) -> None:
        service, before = gateway.services[0], secured(gateway, "gone")
        listening = socket.create_server(("127.0.0.1", 0))
        renew(service, before)
        await service.accept_on({listening: before.config.gateway.listen[0]})
        with socket.create_connection(listening.getsockname()) as waiting:
            renew(service, secured(gateway, "other"))
            await service.accept_rest([Address(before.config.gateway.listen[0], [listening])])
            assert b"\r\nConnection: close\r\n" in await answer_over(waiting, context)

    run_secured(tmp_path, scene)


def test_a_client_that_comes_while_others_are_served_meets_the_new_tls(tmp_path: Path) -> None:
    async def scene(gateway: Gateway, context: ssl.SSLContext) -> None:
        service, before, after = gateway.services[0], secured(gateway, "gone"), secured(gateway, "other")
        with socket.create_server(("127.0.0.1", 0)) as listening:
            renew(service, before)
            await service.accept_on({listening: before.config.gateway.listen[0]})
            with socket.create_connection(listening.getsockname()) as one:
                service.renew(after, service.new_pools(after), {listening: after.config.gateway.listen[0]})
                assert b"\r\nConnection: close\r\n" not in await answer_over(one, context)

    run_secured(tmp_path, scene)


def test_a_handshake_that_is_under_way_when_the_gateway_stops_has_its_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (arrival, client):
        monkeypatch.setattr(module, "FIRST_OCTET", 20.0)

    async def scene(gateway: Gateway, context: ssl.SSLContext) -> None:
        service, loaded, said = gateway.services[0], secured(gateway, "public"), asyncio.Queue[str]()
        with socket.create_server(("127.0.0.1", 0)) as listening:
            renew(service, loaded)
            await service.accept_on({listening: loaded.config.gateway.listen[0]})
            with socket.create_connection(listening.getsockname()) as one:
                for _ in range(10_000):
                    if service.connections.open:
                        break
                    await asyncio.sleep(0)
                stopping = asyncio.create_task(service.finish(Addresses(), asyncio.Event(), said.put_nowait))
                assert (await said.get()).startswith("draining: 1 connection")
                assert b"\r\nConnection: close\r\n" in await answer_over(one, context)
                await stopping
                assert said.empty(), "nothing was cut"

    run_secured(tmp_path, scene)


def test_a_stop_within_a_reload_opens_nothing_again(tmp_path: Path) -> None:
    """The reload lets in who waits at an address that goes, and the stop comes meanwhile."""

    async def scene() -> None:
        async with two_workers(tmp_path) as gateway, asyncio.timeout(20):
            service, listen, addresses = gateway.services[0], gateway.load().config.gateway.listen[0], Addresses()
            for name in (listen_name(listen), "goes"):
                addresses.open[name] = Address(listen, [socket.create_server(("127.0.0.1", 0))])
            where = addresses.open[listen_name(listen)].sockets[0].getsockname()
            await service.accept_on(addresses.of_workers([0]))
            config, renewed, over = gateway.folder / "rawgate.toml", asyncio.Event(), asyncio.Event()
            source = Source(config, {}, lambda draft, gate: [], RequestIds(), lambda: b"", print)

            def note(_: object) -> list[str]:
                renewed.set()
                return []

            reloading = asyncio.create_task(Reloader(source, service, addresses, note).reload())
            await renewed.wait()
            over.set()
            await service.finish(addresses, over, lambda line: None)
            assert (await reloading).done
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(where, 5)

    run(scene)


def secured(gateway: Gateway, name: str) -> Loaded:
    """A configuration with this [tls.NAME]."""
    text = CONFIG.replace('"127.0.0.1:0"', f'{{ address = "127.0.0.1:0", tls = "{name}" }}') % ("", gateway.port, "")
    config = gateway.folder / "tls.toml"
    config.write_text(f'{text}[tls.{name}]\ncertificates = [{{ chain = "file:api.pem", key = "file:api.key" }}]\n')
    return load_gate(config, {}, new_id=lambda: "0" * 32, date=lambda: b"Thu, 01 Jan 1970 00:00:00 GMT")


async def answer_over(sock: socket.socket, context: ssl.SSLContext) -> bytes:
    """The head of the answer to one request."""
    sock.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=sock, ssl=context, server_hostname="api.test")
    writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    writer.transport.abort()
    assert head.startswith(b"HTTP/1.1 200 ")
    return head


def run_secured(folder: Path, scene: Callable[[Gateway, ssl.SSLContext], Coroutine[Any, Any, None]]) -> None:
    authority = Authority()
    authority.issue("api.test").write(folder, "api")

    async def with_workers() -> None:
        async with two_workers(folder) as gateway, asyncio.timeout(20):
            await scene(gateway, authority.client_context())

    run(with_workers)
