"""The admin listener of the real process: what it tells is what has happened, and only the right ones are told."""

import http.client
import json
import os
import signal
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from harness import configs
from harness.certificates import DAY, Authority
from harness.exposition import parsed, series, value
from harness.gateway import PATIENCE, Gateway, running
from harness.upstream import Connection, Script, Upstream, free_port, replying, response

pytestmark = pytest.mark.process

SECRET = "0123456789abcdef0123456789abcdef"


class World:
    """A gateway with an admin listener, and a service."""

    def __init__(self, gateway: Gateway, upstream: Upstream, path: Path) -> None:
        self.gateway = gateway
        self.upstream = upstream
        self.path = path

    def get(self, path: str, status: int = 200) -> None:
        """A request through the gateway, on a connection of its own."""
        client = http.client.HTTPConnection(*self.gateway.address, timeout=PATIENCE)
        client.request("GET", path, headers={"Connection": "close"})
        answer = client.getresponse()
        answer.read()
        client.close()
        assert answer.status == status

    def ask(self, path: str, method: str = "GET", **fields: str) -> tuple[int, str, http.client.HTTPMessage]:
        """Status, body and fields of what the admin listener replies."""
        where = self.gateway.wait_said("admin on ").partition("admin on ")[2]
        if where.startswith("unix:"):
            client = http.client.HTTPConnection("localhost", timeout=PATIENCE)
            client.sock = socket.socket(socket.AF_UNIX)
            client.sock.connect(where.removeprefix("unix:"))
        else:
            client = http.client.HTTPConnection(where.removeprefix("http://"), timeout=PATIENCE)
        client.request(method, path, headers={"Connection": "close"} | fields)
        answer = client.getresponse()
        body = answer.read().decode()
        client.close()
        return answer.status, body, answer.headers

    def status(self) -> dict[str, Any]:
        code, body, fields = self.ask("/status")
        assert (code, fields["Content-Type"]) == (200, "application/json")
        found: dict[str, Any] = json.loads(body)
        return found


def config(target: str, *targets: str, admin: str = '"127.0.0.1:0"', more: str = "", workers: int = 1) -> str:
    return (
        configs.gateway(f"admin = {admin}", f"workers = {workers}", 'timeouts = { pre_stop = "1h" }')
        + configs.jwt()
        + configs.upstream("u", [target, *targets])
        + configs.route("/open", "u")
        + configs.route("/limited", "u", 'rate_limit = { max = 2, window = "1h" }')
        + configs.route("/private", "u", auth="jwt.main")
        + more
    )


@contextmanager
def served(
    folder: Path, *targets: str, admin: str = '"127.0.0.1:0"', script: Script | None = None, workers: int = 1
) -> Iterator[World]:
    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream(script or replying(response(b"twelve bytes"))))
        text = config(upstream.target, *targets, admin=admin, workers=workers)
        gateway = stack.enter_context(running(folder, text, {"JWT_SECRET": SECRET}))
        yield World(gateway, upstream, folder / "rawgate.toml")
        if gateway.process.poll() is None:
            gateway.signal()
            gateway.signal(signal.SIGINT)  # a second one: pre_stop is an hour
            gateway.wait_end(1)


def play(world: World) -> None:
    """Some traffic, all of it logged by the end."""
    for path, status in (
        *[("/open/a", 200)] * 5,
        *[("/limited", 200), ("/limited", 200), ("/limited", 429)],
        *[("/private", 401)] * 2,
        ("/none", 404),
    ):
        world.get(path, status)
    world.gateway.wait_lines(11)


@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text; version=1.0.0"])
def test_metrics_say_what_happened(tmp_path: Path, accept: str) -> None:
    with served(tmp_path, f"http://127.0.0.1:{free_port()}") as world:
        play(world)
        code, text, fields = world.ask("/metrics", Accept=accept)
        is_open = accept != "text/plain"
        assert code == 200
        assert fields["Content-Type"].startswith(accept.partition(";")[0])
        assert text.endswith("# EOF\n") == is_open
        found = series(parsed(text, is_open=is_open))

        def requests(route: str, status: str, reason: str) -> float:
            return value(found, "rawgate_requests_total", route=route, status=status, reason=reason)

        assert requests("/open", "2xx", "ok") == 5
        assert requests("/limited", "2xx", "ok") == 2
        assert requests("/limited", "4xx", "rate_limited") == 1
        assert requests("/private", "4xx", "auth_missing") == 2
        assert requests("/private", "2xx", "ok") == 0
        assert requests("", "4xx", "no_route") == 1
        assert value(found, "rawgate_request_duration_seconds_count", route="/open") == 5
        assert 0 < value(found, "rawgate_request_duration_seconds_sum", route="/open") < PATIENCE
        assert value(found, "rawgate_upstream_duration_seconds_count", upstream="u") == 7
        assert value(found, "rawgate_limiter_decisions_total", limit="/limited", decision="admitted") == 2
        assert value(found, "rawgate_limiter_decisions_total", limit="/limited", decision="refused") == 1
        assert value(found, "rawgate_limiter_keys") == 1
        assert value(found, "rawgate_requests_in_flight", route="/open") == 0
        assert value(found, "rawgate_upstream_target_up", upstream="u", target=world.upstream.target[7:]) == 1
        down = [labels for (name, labels), up in found.items() if name == "rawgate_upstream_target_up" and not up]
        assert len(down) == 1
        refused = sum(line["bytesOut"] for line in world.gateway.log if line["status"] >= 400)
        assert value(found, "rawgate_sent_bytes_total") == 7 * 12 + refused
        assert 0 <= value(found, "rawgate_keys_age_seconds", jwt="main") < PATIENCE


def test_status_says_the_same_as_json(tmp_path: Path) -> None:
    with served(tmp_path) as world:
        play(world)
        status = world.status()
        routes = {route["name"]: route for route in status["routes"]}
        assert {name: route["requests"] for name, route in routes.items()} == {
            "/open": 5,
            "/limited": 3,
            "/private": 2,
            "": 1,
        }
        assert routes["/limited"]["reasons"] == {"rate_limited": 1}
        assert routes["/limited"]["statuses"] == {"2xx": 2, "4xx": 1}
        assert routes["/open"]["perSecond"] > 0
        latency = routes["/open"]["latencyMs"]
        assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"]
        (upstream,) = status["upstreams"]
        (target,) = upstream["targets"]
        assert target == {
            "target": world.upstream.target[7:],
            "up": True,
            "requests": upstream["responses"],
            "share": 1.0,
            "inFlight": 0,
            "why": "",
            "ejections": 0,
        }
        assert upstream["connections"]["limit"] == 256
        assert status["limits"][0]["max"] == 2
        assert (status["limits"][0]["admitted"], status["limits"][0]["refused"]) == (2, 1)
        assert [one["name"] for one in status["keySets"]] == ["main"]
        assert SECRET not in json.dumps(status)
        assert (status["workers"], status["state"]) == ({"configured": 1, "alive": 1}, "serving")


def test_certificates_and_connections_that_failed_to_come_in(tmp_path: Path) -> None:
    authority = Authority()
    for name, days in (("a", 20), ("b", 90), ("new", 50)):
        authority.issue(f"{name}.test", ends=days * DAY).write(tmp_path, name)

    def text(*names: str) -> str:
        shown = ", ".join(f'{{ chain = "file:{name}.pem", key = "file:{name}.key" }}' for name in names)
        listen = '"127.0.0.1:0", { address = "127.0.0.1:0", tls = "public" }'
        table = f"[tls.public]\ncertificates = [{shown}]\n"
        return config("http://127.0.0.1:1", more=table).replace('listen = ["127.0.0.1:0"]', f"listen = [{listen}]")

    def expiry() -> float:
        found = series(parsed(world.ask("/metrics")[1]))
        return found["rawgate_certificate_expiry_seconds", frozenset({("name", "public")})]

    with running(tmp_path, text("b", "a"), {"JWT_SECRET": SECRET}) as gateway:
        world = World(gateway, Upstream(replying(response())), tmp_path / "rawgate.toml")
        gateway.wait(lambda: len(gateway.addresses) == 2)
        with socket.create_connection(gateway.addresses[1], PATIENCE) as client:
            client.sendall(b"\x16\x03\x01\x00\x05\x07\x00\x00\x01x")  # no message that begins a handshake
            while client.recv(64):
                pass
        gateway.wait_said("no TLS: ")
        failed = "rawgate_client_connections_failed_total"
        assert value(series(parsed(world.ask("/metrics")[1])), failed) == 1
        status = world.status()
        assert status["clients"]["failed"] == 1
        assert [(one["name"], one["for"]) for one in status["certificates"]] == [
            ("public", ["b.test"]),
            ("public", ["a.test"]),
        ]
        day = DAY.total_seconds()
        assert [round(one["expirySeconds"] / day) for one in status["certificates"]] == [90, 20]
        assert round(expiry() / day) == 20
        world.path.write_text(text("new"))
        gateway.signal(signal.SIGHUP)
        gateway.wait_said("reloaded")
        assert round(expiry() / day) == 50
        gateway.kill()


def test_a_request_in_flight_is_seen(tmp_path: Path) -> None:
    go = Event()

    def waits(connection: Connection) -> None:
        while connection.request() is not None:
            assert go.wait(PATIENCE)
            connection.send(response())

    with served(tmp_path, script=waits) as world, world.gateway.connect() as client:
        client.sendall(b"GET /open HTTP/1.1\r\nHost: h\r\n\r\n")
        world.upstream.wait_requests(1)
        status = world.status()
        assert status["clients"]["connections"] == 1
        assert {route["name"]: route["inFlight"] for route in status["routes"] if route["inFlight"]} == {"/open": 1}
        assert status["upstreams"][0]["connections"]["leased"] == 1
        go.set()
        assert client.recv(64).startswith(b"HTTP/1.1 200")
        world.gateway.wait_lines(1)
        assert not any(route["inFlight"] for route in world.status()["routes"])


def test_its_own_requests_are_in_no_count_and_no_log(tmp_path: Path) -> None:
    with served(tmp_path) as world:
        for path in ("/", "/status", "/metrics", "/healthz", "/none"):
            world.ask(path)
        world.get("/open")
        world.gateway.wait_lines(1)
        status = world.status()
        assert sum(route["requests"] for route in status["routes"]) == 1
        assert len(world.gateway.log) == 1


def test_ready_until_a_stop_begins_healthy_until_the_end(tmp_path: Path) -> None:
    with served(tmp_path) as world:
        assert [world.ask(path)[0] for path in ("/readyz", "/healthz")] == [200, 200]
        world.gateway.signal()
        world.gateway.wait_said("stopping in")
        assert [world.ask(path)[0] for path in ("/readyz", "/healthz")] == [503, 200]
        assert world.status()["state"] == "stopping"
        world.get("/open")


def test_one_can_only_look(tmp_path: Path) -> None:
    with served(tmp_path) as world:
        code, body, fields = world.ask("/status", "HEAD")
        assert (code, body) == (200, "")
        assert int(fields["Content-Length"]) > 0
        assert [world.ask("/status", method)[0] for method in ("POST", "DELETE", "OPTIONS")] == [405] * 3
        assert world.ask("/elsewhere")[0] == 404
        assert world.ask("/healthz?probe=1")[0] == 200


def test_a_page_of_somebody_else_s_name_is_told_nothing(tmp_path: Path) -> None:
    with served(tmp_path) as world:
        for host, status in (
            ("rebound.example", 421),
            ("localhost.example", 421),
            ("", 400),
            ("LOCALHOST:1", 200),
            ("127.0.0.1", 200),
            ("[::1]:9901", 200),
        ):
            assert world.ask("/status", Host=host)[0] == status, host


def test_the_page_may_ask_nobody_else(tmp_path: Path) -> None:
    with served(tmp_path) as world:
        code, page, fields = world.ask("/")
        assert (code, fields["Content-Type"]) == (200, "text/html; charset=utf-8")
        policy = fields["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "://" not in page.replace("http://www.w3.org/2000/svg", "")


def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with served(tmp_path, admin='{ address = "unix:admin.sock", mode = "0600" }') as world:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert world.ask("/readyz", Host="anything")[0] == 200
    assert not path.exists()


def test_a_reload_is_counted_and_told_and_what_it_adds_is_counted(tmp_path: Path) -> None:
    with served(tmp_path) as world:
        world.get("/open")
        assert world.status()["lastReload"] is None
        world.path.write_text(config(world.upstream.target, more=configs.route("/new", "u")))
        world.gateway.signal(signal.SIGHUP)
        world.gateway.wait_said("added: routes./new")
        world.get("/new")
        world.gateway.wait_lines(2)
        status = world.status()
        assert {route["name"]: route["requests"] for route in status["routes"] if route["requests"]} == {
            "/open": 1,
            "/new": 1,
        }
        assert status["lastReload"]["done"] is True
        assert "added: routes./new" in status["lastReload"]["lines"]
        world.path.write_text("[gateway")
        world.gateway.signal(signal.SIGHUP)
        world.gateway.wait_said("reload refused")
        status = world.status()
        assert (status["lastReload"]["done"], status["reloads"]) == (False, {"done": 1, "refused": 1})


def test_it_moves_at_a_restart_only(tmp_path: Path) -> None:
    with served(tmp_path) as world:
        world.path.write_text(config(world.upstream.target).replace('admin = "127.0.0.1:0"\n', ""))
        world.gateway.signal(signal.SIGHUP)
        world.gateway.wait_said("not before a restart: gateway.admin")
        assert world.ask("/readyz")[0] == 200


def test_an_address_in_use_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        path = tmp_path / "rawgate.toml"
        path.write_text(config("http://127.0.0.1:1", admin=f'"127.0.0.1:{port}"'))
        gateway = Gateway(path, {"JWT_SECRET": SECRET})
        try:
            gateway.wait_end(1)
            assert any(f"cannot listen on 127.0.0.1:{port}" in line for line in gateway.said)
            assert any("change gateway.admin" in line for line in gateway.said)
        finally:
            gateway.kill()


# ── several workers ──


def totals(status: dict[str, Any]) -> dict[str, int]:
    return {route["name"]: route["requests"] for route in status["routes"] if route["requests"]}


def eventually(world: World, expected: dict[str, int]) -> dict[str, Any]:
    """Ask until all workers have told: each copies its counts after a tenth of a second, and says once a second what
    its limits decided, and which keys they hold."""
    ends = time.monotonic() + PATIENCE
    while True:
        status = world.status()
        if (totals(status), status["limits"][0]["admitted"], status["limiter"]["keys"]) == (expected, 1, 1):
            return status
        assert time.monotonic() < ends, status


def test_any_worker_answers_for_all_and_one_that_is_replaced_goes_on_with_its_counts(tmp_path: Path) -> None:
    with served(tmp_path, workers=2, admin='"unix:admin.sock"') as world:
        for _ in range(20):
            world.get("/open")
        world.get("/limited")
        world.get("/none", 404)
        expected = {"/open": 20, "/limited": 1, "": 1}
        for _ in range(6):
            status = eventually(world, expected)
        assert status["workers"] == {"configured": 2, "alive": 2}

        gone = min(world.gateway.workers())
        os.kill(gone, signal.SIGKILL)
        world.gateway.wait_said("was killed by SIGKILL")
        world.get("/open")
        eventually(world, expected | {"/open": 21})

        world.path.write_text(
            config(world.upstream.target, workers=2, admin='"unix:admin.sock"', more=configs.route("/new", "u"))
        )
        world.gateway.signal(signal.SIGHUP)
        world.gateway.wait_said("added: routes./new")
        for _ in range(6):
            world.get("/new")
        eventually(world, expected | {"/open": 21, "/new": 6})
        # The supervisor says what was added, then counts the reload, then tells its workers of it.
        while not (status := world.status())["lastReload"]:
            pass
        assert status["reloads"] == {"done": 1, "refused": 0}, "counted once, whoever answers"
        world.gateway.signal()
        world.gateway.wait_said("stopping in")
        while world.ask("/readyz")[0] != 503:
            pass
