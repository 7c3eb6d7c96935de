"""Services that DNS and Consul tell of, through the real program: targets come and go, and no request is lost.

The name server is dnsmasq, whose answers a test changes; what Consul's vendor has as a double of its API is asked, too.
Services have one port, on addresses of the loopback network.
"""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from threading import Condition, Event, Thread
from time import monotonic
from typing import Any

import pytest

from harness import configs
from harness.consul import Consul, instance
from harness.gateway import PATIENCE, Gateway, running
from harness.upstream import Script, Upstream, free_port, replying, response
from harness.wire_reader import FIN, RESET, Message, Stream, read_response

pytestmark = pytest.mark.process

NODE = Path(__file__).parent / "servers"
HOSTS = ("127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5")


class Services:
    """One service on each address, on one port: it answers with its address."""

    def __init__(self, stack: ExitStack) -> None:
        self.port = free_port()
        self.released = Event()
        self.at = {host: stack.enter_context(Upstream(self._script(host), host=host, port=self.port)) for host in HOSTS}
        stack.callback(self.released.set)

    def wait_left(self, hosts: Sequence[str]) -> None:
        """Wait until the gateway has closed its connections to those that have gone."""
        for host in hosts:
            connections = self.at[host].connections
            self.at[host].wait(
                lambda those=connections: all(one.stream.ended for one in those),  # type: ignore[misc]
                f"the ends of the connections to {host}",
            )
            assert {one.stream.ended for one in connections} <= {FIN, RESET}

    def _script(self, host: str) -> Script:
        def reply(request: Message) -> bytes:
            if request.target.endswith(b"/slow"):
                assert self.released.wait(5 * PATIENCE)
            return response(host.encode())

        return replying(reply)


class NameServer:
    """dnsmasq. `say`: the addresses that each of the names has from now on."""

    def __init__(self, program: str, folder: Path, *lines: str) -> None:
        self.port = free_port(datagrams=True)
        self._program = program
        self._hosts = folder / "hosts"
        self._hosts.touch()
        self._start(*lines)

    def _start(self, *lines: str) -> None:
        options = [
            "--keep-in-foreground", "--no-resolv", "--no-hosts", f"--addn-hosts={self._hosts}", "--local=/test/",
            f"--port={self.port}", "--listen-address=127.0.0.1", "--bind-interfaces", "--user=", "--pid-file=",
            "--conf-file=/dev/null", "--log-facility=-", *lines,
        ]  # fmt: skip
        self.process = subprocess.Popen([self._program, *options], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        ends = monotonic() + PATIENCE
        while monotonic() < ends:  # until it listens, on TCP as on UDP
            with socket.socket() as sock:
                if not sock.connect_ex(("127.0.0.1", self.port)):
                    return
        raise AssertionError("dnsmasq did not start")

    def say(self, *hosts: str, names: Sequence[str] = ("api.test",)) -> None:
        self._hosts.write_text("".join(f"{host} {name}\n" for name in names for host in hosts))
        self.process.send_signal(signal.SIGHUP)

    def begin_anew(self, *lines: str) -> None:
        """With these options: records other than addresses are read at its start only."""
        self.stop()
        self._start(*lines)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


class Client:
    """Sends one request after the other, on one connection. seen: who has answered, in order."""

    def __init__(self, gateway: Gateway, news: Condition, path: str = "/x") -> None:
        self.seen: list[str] = []
        self.ends = False
        self._sock = gateway.connect()
        self._stream = Stream.of(self._sock)
        self._octets = f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode()
        self._news = news
        self.thread = Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while not self.ends:
            self._sock.sendall(self._octets)
            answer = read_response(self._stream)
            with self._news:
                self.seen.append("nobody" if answer is None else f"{answer.status} {answer.body.decode()[:200]}")
                self._news.notify_all()
            if answer is None:
                return

    def stop(self) -> None:
        self.ends = True
        self.thread.join(PATIENCE)
        self._sock.close()


class Load:
    """Clients that send all the time, so many for each path."""

    def __init__(self, gateway: Gateway, count: int, paths: Sequence[str] = ("/x",)) -> None:
        self.news = Condition()
        self.clients = [Client(gateway, self.news, path) for path in paths for _ in range(count)]

    def follow(self, change: Callable[[], None], hosts: Sequence[str]) -> None:
        """Make the change, and wait until each client has been answered by one of these hosts. From its first such
        answer on, it is answered by none of the others."""
        with self.news:
            change()
            starts = [len(client.seen) for client in self.clients]
        good = {f"200 {host}" for host in hosts}

        def have_followed() -> bool:
            return all(
                any(one in good for one in client.seen[start:])
                for client, start in zip(self.clients, starts, strict=True)
            )

        with self.news:
            assert self.news.wait_for(have_followed, PATIENCE), [client.seen[-3:] for client in self.clients]
            starts = [
                next(at for at, one in enumerate(client.seen) if at >= start and one in good)
                for client, start in zip(self.clients, starts, strict=True)
            ]
            ends = [start + 5 for start in starts]
            assert self.news.wait_for(
                lambda: all(len(client.seen) >= end for client, end in zip(self.clients, ends, strict=True)), PATIENCE
            )
            for client, start in zip(self.clients, starts, strict=True):
                assert set(client.seen[start:]) <= good

    def stop(self) -> list[str]:
        """All answers."""
        for client in self.clients:
            client.stop()
        return [one for client in self.clients for one in client.seen]


def config(*targets: str, parser: str = "fast", more: str = "", gateway: Sequence[str] = ()) -> str:
    lines = (f'parser = "{parser}"', 'admin = "127.0.0.1:0"', *gateway)
    return configs.gateway(*lines) + more + configs.upstream("one", targets) + configs.route("/", "one")


def ask(gateway: Gateway, path: str = "/x") -> tuple[int, str]:
    with gateway.connect() as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        answer = read_response(Stream.of(sock))
        assert answer is not None
        return answer.status, answer.body.decode()


def told(gateway: Gateway, path: str = "/status") -> str:
    where = gateway.wait_said("admin on ").partition("http://")[2]
    client = HTTPConnection(where, timeout=PATIENCE)
    client.request("GET", path, headers={"Connection": "close"})
    body = client.getresponse().read().decode()
    client.close()
    return body


def upstream_of(gateway: Gateway) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(told(gateway))["upstreams"][0]
    return found


def wait_until(look: Callable[[], bool], what: str) -> None:
    """Look again and again: what is looked at does not say when it has changed."""
    ends = monotonic() + PATIENCE
    while not look():
        assert monotonic() < ends, what


@contextmanager
def dnsmasq(program: Callable[[str], str], folder: Path, *lines: str) -> Iterator[NameServer]:
    server = NameServer(program("dnsmasq"), folder, *lines)
    try:
        yield server
    finally:
        server.stop()


# ── DNS ──


def test_fifty_changes_of_names_under_load_lose_no_request(program: Callable[[str], str], tmp_path: Path) -> None:
    """Three of each of seventeen services, since a TTL is a second at least: of names that tell of instances, of plain
    names, and of those that SRV records name. One change moves all of them at once."""
    kinds = ["dns+http://{}:{}", "http://{}:{}", "srv+http://_http._tcp.{}"]
    with ExitStack() as stack:
        services = Services(stack)
        names = [f"api-{number}.test" for number in range(17)]
        records = [f"--srv-host=_http._tcp.{name},{name},{services.port},0,5" for name in names[2::3]]
        server = stack.enter_context(dnsmasq(program, tmp_path, *records))
        server.say(HOSTS[0], names=names)
        text = configs.gateway(
            "workers = 2", 'admin = "127.0.0.1:0"', f'resolver = ["127.0.0.1:{server.port}"]'
        ) + "".join(
            configs.upstream(f"u{at}", [kinds[at % 3].format(name, services.port)], 'response_timeout = "2m"')
            + configs.route(f"/{at}", f"u{at}")
            for at, name in enumerate(names)
        )
        gateway = stack.enter_context(running(tmp_path, text))
        load = Load(gateway, 2, [f"/{at}" for at in range(len(names))])
        slow = Client(gateway, load.news, "/0/slow")
        services.at[HOSTS[0]].wait(
            lambda: any(one.target == b"/0/slow" for one in services.at[HOSTS[0]].requests), "the slow request"
        )
        for hosts in (HOSTS[1:2], HOSTS[2:4], HOSTS[:1]):
            load.follow(lambda hosts=hosts: server.say(*hosts, names=names), hosts)  # type: ignore[misc]
        slow.ends = True
        services.released.set()
        slow.stop()
        # Its target was gone long before it answered.
        assert slow.seen == [f"200 {HOSTS[0]}"]
        assert {one[:3] for one in load.stop()} == {"200"}
        there = f"{HOSTS[0]}:{services.port}"
        # Each worker tells of its own requests once a second.
        wait_until(lambda: upstream_of(gateway)["targets"][0]["requests"] > 0, "the requests of all workers")
        # Nobody has asked each worker for each of the names: one may follow a little later.
        up = f'rawgate_upstream_target_up{{target="{there}",upstream="u0"}} 1.0'

        def only_there() -> bool:
            found = [(one["target"], one["up"]) for one in upstream_of(gateway)["targets"]]
            metrics = told(gateway, "/metrics")
            return found == [(there, True)] and up in metrics and metrics.count("_target_up{") == len(names)

        wait_until(only_there, "those that are gone have no series")
        services.wait_left(HOSTS[1:])


def test_a_name_server_that_is_gone_is_told_and_what_it_said_last_is_used(
    program: Callable[[str], str], tmp_path: Path
) -> None:
    with ExitStack() as stack:
        services = Services(stack)
        server = stack.enter_context(dnsmasq(program, tmp_path))
        server.say(*HOSTS[:2])
        resolver = f'resolver = ["127.0.0.1:{server.port}"]'
        gateway = stack.enter_context(
            running(tmp_path, config(f"dns+http://api.test:{services.port}", gateway=(resolver,)))
        )
        wait_until(lambda: len(upstream_of(gateway)["targets"]) == 2, "two targets")
        server.stop()
        gateway.wait_said("cannot look up the addresses of api.test: no name server answers; the last answer is used")
        assert {ask(gateway)[0] for _ in range(4)} == {200}
        source = upstream_of(gateway)["sources"][0]
        assert source["source"] == f"dns+http://api.test:{services.port}"
        assert source["problem"] == "no name server answers"
        assert source["ageSeconds"] > 0
        assert 'rawgate_discovery_instances{upstream="one"} 2.0' in told(gateway, "/metrics")


def test_srv_records_as_consuls_dns_has_them(program: Callable[[str], str], tmp_path: Path) -> None:
    """At `SERVICE.service.consul`, with the nodes' addresses under names of their own; the second priority is there for
    when the first is not."""
    with ExitStack() as stack:
        services = Services(stack)
        records = [
            f"--srv-host=web.service.consul,node-{number}.node.consul,{services.port},{number},5" for number in (1, 2)
        ]
        nodes = [f"--host-record=node-{number}.node.consul,{HOSTS[number]}" for number in (1, 2)]
        server = stack.enter_context(dnsmasq(program, tmp_path, *records, *nodes, "--local=/consul/"))
        resolver = f'resolver = ["127.0.0.1:{server.port}"]'
        gateway = stack.enter_context(running(tmp_path, config("srv+http://web.service.consul", gateway=(resolver,))))
        assert {ask(gateway) for _ in range(4)} == {(200, HOSTS[1])}
        services.at[HOSTS[1]].stop()
        wait_until(lambda: ask(gateway) == (200, HOSTS[2]), "the backup")


def test_srv_records_lead_to_a_service_that_is_back_at_another_port(
    program: Callable[[str], str], tmp_path: Path
) -> None:
    with ExitStack() as stack:
        old, new = Services(stack), Services(stack)
        nodes = [f"--host-record=node-{number}.test,{HOSTS[number]}" for number in (0, 1)]

        def records(number: int, port: int) -> list[str]:
            return [f"--srv-host=_http._tcp.api.test,node-{number}.test,{port},0,5", *nodes]

        server = stack.enter_context(dnsmasq(program, tmp_path, *records(0, old.port)))
        resolver = f'resolver = ["127.0.0.1:{server.port}"]'
        text = config("srv+http://_http._tcp.api.test", gateway=("workers = 2", resolver))
        gateway = stack.enter_context(running(tmp_path, text))
        assert ask(gateway) == (200, HOSTS[0])
        load = Load(gateway, 4)
        load.follow(lambda: server.begin_anew(*records(1, new.port)), HOSTS[1:2])
        assert {one[:3] for one in load.stop()} == {"200"}
        gateway.wait_said(f"upstream one: node-1.test:{new.port} is new, node-0.test:{old.port} is gone; 1 instance")


def test_plain_names_are_asked_of_the_resolver_too_and_connections_follow_them(
    program: Callable[[str], str], tmp_path: Path
) -> None:
    with ExitStack() as stack:
        services = Services(stack)
        server = stack.enter_context(dnsmasq(program, tmp_path))
        server.say(HOSTS[0])
        resolver = f'resolver = ["127.0.0.1:{server.port}"]'
        gateway = stack.enter_context(
            running(tmp_path, config(f"http://api.test:{services.port}", gateway=(resolver,)))
        )
        load = Load(gateway, 3)
        load.follow(lambda: server.say(HOSTS[1]), HOSTS[1:2])
        assert {one[:3] for one in load.stop()} == {"200"}
        services.wait_left(HOSTS[:1])


# ── Consul ──


def consul_config(consul: Consul, *targets: str, **others: Any) -> str:
    more = f'[consul]\naddress = "{consul.url}"\ntoken = "env:CONSUL_TOKEN"\n'
    return config(*(targets or ("consul+http://web?tag=v2",)), more=more, **others)


TOKEN = {"CONSUL_TOKEN": "0b1c-2d3e"}


def test_fifty_changes_of_instances_under_load_lose_no_request(tmp_path: Path) -> None:
    """In the lane that the test above leaves out."""
    with ExitStack() as stack:
        services = Services(stack)
        consul = stack.enter_context(Consul())

        def register(*hosts: str) -> None:
            consul.register("web", *(instance(host, services.port) for host in hosts))

        register(HOSTS[0])
        text = consul_config(consul, parser="h11", gateway=("workers = 2",))
        gateway = stack.enter_context(running(tmp_path, text, TOKEN))
        load = Load(gateway, 4)
        for number in range(50):
            hosts = HOSTS[:2] if number % 2 else HOSTS[2:]
            load.follow(lambda hosts=hosts: register(*hosts), hosts)  # type: ignore[misc]
        assert {one[:3] for one in load.stop()} == {"200"}
        # One worker asks for all.
        assert len(consul.asked) <= 2 + 2 * 50
        assert consul.asked[0] == "/v1/health/service/web?passing=1&tag=v2"
        assert set(consul.tokens) == {TOKEN["CONSUL_TOKEN"]}


def test_a_worker_that_asked_and_died_has_a_successor(tmp_path: Path) -> None:
    with ExitStack() as stack:
        services = Services(stack)
        consul = stack.enter_context(Consul())
        consul.register("web", instance(HOSTS[0], services.port))
        gateway = stack.enter_context(running(tmp_path, consul_config(consul, gateway=("workers = 2",)), TOKEN))
        assert ask(gateway) == (200, HOSTS[0])
        asked = len(consul.asked)
        for pid in gateway.workers():
            os.kill(pid, signal.SIGKILL)
        gateway.wait(lambda: sum("it is replaced" in line for line in gateway.said) == 2, "two replacements")
        with consul.news:
            assert consul.news.wait_for(lambda: len(consul.asked) >= asked + 2, PATIENCE)
        consul.register("web", instance(HOSTS[1], services.port))
        wait_until(lambda: ask(gateway) == (200, HOSTS[1]), "the new target")


def test_a_consul_that_is_down_is_told_and_one_that_was_restored_is_asked_anew(tmp_path: Path) -> None:
    with ExitStack() as stack:
        services = Services(stack)
        consul = stack.enter_context(Consul())
        consul.register("web", instance(HOSTS[0], services.port))
        gateway = stack.enter_context(running(tmp_path, consul_config(consul), TOKEN))
        assert ask(gateway) == (200, HOSTS[0])
        consul.down = True
        consul.register("web", instance(HOSTS[1], services.port))
        gateway.wait_said("cannot look up Consul's web?tag=v2: status 500; the last answer is used")
        assert ask(gateway) == (200, HOSTS[0])
        consul.down = False
        gateway.wait_said("can look up Consul's web?tag=v2 again")
        wait_until(lambda: ask(gateway) == (200, HOSTS[1]), "the new target")
        new, gone = (f"{HOSTS[at]}:{services.port}" for at in (1, 0))
        gateway.wait_said(f"upstream one: {new} is new, {gone} is gone; 1 instance")
        consul.restore()
        consul.register("web", instance(HOSTS[2], services.port))
        wait_until(lambda: ask(gateway) == (200, HOSTS[2]), "the target after the index went back")


def test_a_token_that_may_see_nothing_any_more_takes_no_service_away(tmp_path: Path) -> None:
    with ExitStack() as stack:
        services = Services(stack)
        consul = stack.enter_context(Consul())
        both = [instance(host, services.port) for host in HOSTS[:2]]
        consul.register("web", *both)
        gateway = stack.enter_context(running(tmp_path, consul_config(consul), TOKEN))
        assert {ask(gateway)[1] for _ in range(4)} == set(HOSTS[:2])
        consul.hides = 1
        consul.register("web", *both)
        gateway.wait_said("Consul's web?tag=v2: left out: what the token may not see (service:read, node:read)")
        wait_until(lambda: ask(gateway) == ask(gateway) == (200, HOSTS[1]), "the instance that is left")
        consul.hides = 2
        consul.register("web", *both)
        gateway.wait_said(
            "cannot look up Consul's web?tag=v2: the token may not see its instances (service:read, node:read); "
            "the last answer is used"
        )
        assert ask(gateway) == (200, HOSTS[1])


def test_a_service_that_nobody_knows_of(tmp_path: Path) -> None:
    with ExitStack() as stack:
        services = Services(stack)
        consul = stack.enter_context(Consul())
        gateway = stack.enter_context(running(tmp_path, consul_config(consul), TOKEN))
        gateway.wait_said("no instance in Consul's web?tag=v2: requests get 503 until there is one")
        with gateway.connect() as sock:
            sock.sendall(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n")
            answer = read_response(Stream.of(sock))
        assert answer is not None
        assert (answer.status, answer.value(b"retry-after")) == (503, b"1")
        assert gateway.line(reason="no_target")["upstream"] == "one"
        consul.register("web", instance(HOSTS[0], services.port))
        wait_until(lambda: ask(gateway) == (200, HOSTS[0]), "the target")


def test_a_request_waits_for_the_first_answer_but_not_after_the_first_question_has_failed(tmp_path: Path) -> None:
    with ExitStack() as stack:
        services = Services(stack)
        consul = stack.enter_context(Consul())
        text = consul_config(consul).replace("[upstreams.one]\n", '[upstreams.one]\nconnect_timeout = "1h"\n')
        with consul.news:  # whoever asks it waits
            gateway = stack.enter_context(running(tmp_path, text, TOKEN))
            sock = stack.enter_context(gateway.connect())
            sock.sendall(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n")
            consul.register("web", instance(HOSTS[0], services.port))
        answer = read_response(Stream.of(sock))
        assert answer is not None
        assert (answer.status, answer.body) == (200, HOSTS[0].encode())
        consul.down = True
        gateway = stack.enter_context(running(tmp_path, text, TOKEN))
        gateway.wait_said("cannot look up Consul's web?tag=v2: status 500; requests get 503 until there is an answer")
        with gateway.connect() as sock:
            sock.sendall(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n")
            answer = read_response(Stream.of(sock))
        assert answer is not None
        assert (answer.status, answer.value(b"retry-after")) == (503, b"1")
        assert gateway.line(reason="no_target")["detail"] == "Cannot look up Consul's web?tag=v2: status 500."
        consul.down = False
        wait_until(lambda: ask(gateway) == (200, HOSTS[0]), "the target")


def test_a_reload_follows_another_source_and_keeps_what_stays(tmp_path: Path) -> None:
    with ExitStack() as stack:
        services = Services(stack)
        consul = stack.enter_context(Consul())
        consul.register("web", instance(HOSTS[0], services.port))
        consul.register("api", instance(HOSTS[1], services.port))
        gateway = stack.enter_context(running(tmp_path, consul_config(consul), TOKEN))
        load = Load(gateway, 2)

        def reload(text: str) -> None:
            (tmp_path / "rawgate.toml").write_text(text)
            gateway.signal(signal.SIGHUP)

        load.follow(lambda: reload(consul_config(consul, "consul+http://api")), HOSTS[1:2])
        load.follow(lambda: reload(config(f"http://{HOSTS[2]}:{services.port}")), HOSTS[2:3])
        assert {one[:3] for one in load.stop()} == {"200"}


# ── the vendor's double ──


@pytest.fixture
def double(program: Callable[[str], str]) -> Iterator[int]:
    """HashiCorp's double of Consul's API: three made-up instances of any service, on a port of its own."""
    node, here = program("node"), NODE / "node_modules" / "@hashicorp"
    if not here.is_dir():
        missing = "npm's @hashicorp/consul-api-double is not installed (npm install in tests/process/servers)"
        if os.environ.get("RAWGATE_REQUIRE") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    port = free_port()
    with subprocess.Popen(
        [node, here / "api-double/bin/index.js", "--dir", here / "consul-api-double", "--port", str(port)],
        env={**os.environ, "HC_API_DOUBLE_PORT": str(port), "CONSUL_NODE_COUNT": "3", "CONSUL_LATENCY": "0"},
        stdout=subprocess.DEVNULL,
    ) as process:
        try:
            yield port
        finally:
            process.kill()


def test_the_vendors_double_is_understood(tmp_path: Path, double: int) -> None:
    text = config("consul+http://web?dc=dc1", more=f'[consul]\naddress = "http://127.0.0.1:{double}"\n')
    with running(tmp_path, text) as gateway:
        wait_until(lambda: upstream_of(gateway)["sources"][0]["instances"] == 3, "three instances")
        assert upstream_of(gateway)["sources"][0]["problem"] is None
