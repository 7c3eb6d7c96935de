"""Limits over several gateways, with a real redis-server that is stopped, paused and full. `tools/stores` does it at
length."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic

import pytest

from harness import configs
from harness.exposition import Series, parsed, series, value
from harness.gateway import PATIENCE, Gateway, running
from harness.stalls import again_after_stalls
from harness.wire_reader import Message, Stream, read_response
from tools.storing.server import STORE, RedisServer, redis_server

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform != "linux", reason="several workers are for Linux"),
]


ROOT = Path(__file__).parents[2]


def configuration(store: RedisServer, *lines: str, workers: int = 1, most: int = 20) -> str:
    text = configs.gateway('admin = "127.0.0.1:0"', *([f"workers = {workers}"] if workers > 1 else []))
    text += "\n".join(["[store]", f'url = "{store.url}"', *lines, ""])
    text += '[upstreams.one]\ntargets = ["http://127.0.0.1:1"]\n'
    for name in ("exact", "leased", "host"):
        text += f'[[routes]]\nprefix = "/{name}"\nauth = "none"\nrespond = {{ body = "ok" }}\n'
        text += f'rate_limit = {{ max = {most}, window = "1h", shared = "{name}" }}\n'
    return text


def ask(gateway: Gateway, path: str = "/exact") -> Message:
    """On a connection of its own, which any worker may get."""
    with gateway.connect() as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        response = read_response(Stream.of(sock))
        assert response is not None
        return response


def told_by(gateway: Gateway, path: str) -> str:
    """What the admin listener says."""
    where = gateway.wait_said("admin on ").partition("http://")[2]
    client = http.client.HTTPConnection(where, timeout=PATIENCE)
    client.request("GET", path, headers={"Connection": "close"})
    body = client.getresponse().read().decode()
    client.close()
    return body


def wait_said(gateway: Gateway, text: str, times: int) -> None:
    gateway.wait(lambda: sum(text in line for line in gateway.said) >= times, f"{text!r}, {times} times")


def metrics(gateway: Gateway) -> Series:
    return series(parsed(told_by(gateway, "/metrics")))


def wait_up(gateway: Gateway) -> None:
    """What it has said of its store may be of an earlier time, on a machine that stopped for a moment."""
    ends = monotonic() + PATIENCE
    while value(metrics(gateway), "rawgate_store_up") != 1:
        assert monotonic() < ends


def reload(gateway: Gateway, folder: Path, text: str, times: int) -> None:
    (folder / "rawgate.toml").write_text(text)
    gateway.signal(signal.SIGHUP)
    wait_said(gateway, "reloaded in", times)


@pytest.fixture
def store(program: Callable[[str], str], tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(program(STORE), tmp_path) as server:
        yield server


def test_gateways_share_a_limit(store: RedisServer, tmp_path: Path) -> None:
    with ExitStack() as stack:
        gateways = []
        for number in range(2):
            folder = tmp_path / str(number)
            folder.mkdir()
            gateways.append(stack.enter_context(running(folder, configuration(store, 'timeout = "5s"', workers=2))))
        told = [ask(gateway).status for _ in range(12) for gateway in gateways]
        assert told == [200] * 20 + [429] * 4
        refused = ask(gateways[0])
        # An hour and what is left of the sub-window of the first; or a little less, where that ended meanwhile.
        assert int(refused.value(b"retry-after") or b"0") > 3500
        # A worker may hold slots that the others would need, and use them when these were refused already.
        leased = [ask(gateway, "/leased").status for _ in range(12) for gateway in gateways]
        assert 10 <= leased.count(200) <= 20
        assert {*leased} == {200, 429}
        document = json.loads(told_by(gateways[0], "/status"))
        assert [limit["shared"] for limit in document["limits"]] == ["exact", "leased", "host"]
        store_told = document["store"]
        assert (store_told["up"], store_told["url"], store_told["fallbacks"]) == (
            True,
            store.url,
            {"late": 0, "down": 0},
        )
        assert store_told["latencyMs"]["p99"] > 0


@again_after_stalls(0.2)
def test_without_the_store(program: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Paused, then gone, then another: each gateway does what it is told to, and comes back."""
    expected = {"local": [200, 429], "refuse": [503, 503], "allow": [200, 200]}
    with ExitStack() as stack:
        store = stack.enter_context(redis_server(program(STORE), tmp_path_factory.mktemp("store")))
        gateways = {}
        for word in expected:
            folder = tmp_path_factory.mktemp(word)
            text = configuration(store, f'on_failure = "{word}"', 'timeout = "400ms"', most=1)
            gateways[word] = stack.enter_context(running(folder, text))
        store.pause()
        for word, gateway in gateways.items():
            first, second = ask(gateway), ask(gateway)
            assert [first.status, second.status] == expected[word], word
            gateway.wait_said("does not count: no answer within 400 ms")
            assert ask(gateway, "/host").status == 200
            if word == "refuse":
                assert first.value(b"retry-after") == b"1"
                assert gateway.line(status=503)["reason"] == "limits_unavailable"
            found = metrics(gateway)
            assert value(found, "rawgate_store_up") == 0
            reasons = ("late", "down")
            assert sum(value(found, "rawgate_store_fallbacks_total", reason=reason) for reason in reasons) == 2
        store.go_on()
        for gateway in gateways.values():
            gateway.wait_said("counts again")
        store.stop()
        for word, gateway in gateways.items():
            assert ask(gateway).status == expected[word][1], word
            wait_said(gateway, "does not count", 2)
        store.start()
        for gateway in gateways.values():
            wait_said(gateway, "counts again", 2)
            wait_up(gateway)
        told = [ask(gateway).status for gateway in gateways.values()]
        assert sorted(told) == [200, 429, 429]


def test_a_gateway_stops_without_a_word_when_its_store_is_down(tmp_path: Path) -> None:
    limit = 'rate_limit = { max = 1, window = "1h", shared = "exact" }'
    text = configs.gateway() + '[store]\nurl = "redis://127.0.0.1:1"\n'
    text += configs.upstream("u", "http://127.0.0.1:1") + configs.route("/a", "u", limit)
    with running(tmp_path, text) as gateway:
        gateway.wait_said("does not count")
        gateway.stop()
        assert not [line for line in gateway.said if not line.startswith("rawgate: ")]


def test_a_reload_changes_the_store(store: RedisServer, program: Callable[[str], str], tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with (
        redis_server(program(STORE), tmp_path / "other") as other,
        running(tmp_path, configuration(store, 'timeout = "5s"', most=1)) as gateway,
    ):
        assert [ask(gateway).status, ask(gateway).status] == [200, 429]
        reload(gateway, tmp_path, configuration(other, 'timeout = "5s"', most=1), 1)
        assert [ask(gateway).status, ask(gateway).status] == [200, 429]
        reload(gateway, tmp_path, configuration(store, 'timeout = "5s"', most=2), 2)
        assert [ask(gateway).status, ask(gateway).status] == [200, 429]


def test_limits_hold_while_the_store_is_broken(program: Callable[[str], str]) -> None:
    program(STORE)
    arguments = ["--hits", "4000", "--max", "20", "--clients", "5", "--break-every", "0.4", "--timeout", "100ms"]
    command = [sys.executable, "-P", "-m", "tools.storing", "proof", *arguments]
    env = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert re.search(
        r"paused \d+ times, asleep \d+ times, full \d+ times, cut off \d+ times, restarted \d+", done.stdout
    )
