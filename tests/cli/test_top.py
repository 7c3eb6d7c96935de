"""`rawgate top`: what it makes of a status, where it asks, and what it says when there is nothing to show."""

import http.client
import io
import socket
import sys
from pathlib import Path

import pytest
from rich.console import Console

from harness import configs
from harness.gateway import running
from harness.upstream import Upstream, replying, response
from rawgate.cli import top
from rawgate.cli.main import main
from rawgate.config.model import Listen

HOSTILE = "[red]x[/] <b>"


def shown(status: top.Status, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(top.view(status, width))
    return console.export_text()


@pytest.mark.process
def test_it_shows_what_a_gateway_tells(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Upstream(replying(response())) as upstream:
        text = (
            configs.gateway('admin = "unix:admin.sock"')
            + configs.upstream("users", upstream.target)
            + configs.route("/a", "users", 'rate_limit = { max = 2, window = "1h" }', f'name = "{HOSTILE}"')
            + configs.route("/b", "users", 'rate_limit = ["team", "plan"]')
            + '[limits.team]\nmax = 7\nwindow = "10s"\nkey = "all"\n'
            + '[limits.plan]\nmax = { by = "claim:plan", pro = 90, other = 9 }\nwindow = "10s"\n'
        )
        with running(tmp_path, text) as gateway:
            for _ in range(3):
                client = http.client.HTTPConnection(*gateway.address)
                client.request("GET", "/a", headers={"Connection": "close"})
                client.getresponse().read()
                client.close()
            gateway.wait_lines(3)
            monkeypatch.setenv("COLUMNS", "80")
            assert main(["top", "--once", str(tmp_path / "rawgate.toml")]) == 0
            assert max(map(len, capfd.readouterr().out.splitlines())) <= 80
            monkeypatch.delenv("COLUMNS")
            assert main(["top", "--once", str(tmp_path / "rawgate.toml")]) == 0
            said = capfd.readouterr().out
            assert f"{HOSTILE} " in said, "a name is no markup"
            assert "rate_limited 1" in said
            assert "2 in 1 h" in said
            assert "7 in 10 s" in said
            assert "for all" in said
            assert "by claim:plan, else 9 in 10 s" in said
            assert "users" in said
            assert upstream.target.removeprefix("http://") in said
            status = top.fetch(f"unix:{tmp_path / 'admin.sock'}")
            found = {limit["name"]: (limit["max"], limit["by"], limit["key"]) for limit in status["limits"]}
            assert found == {
                HOSTILE: (2, None, "client"),
                "team": (7, None, "all"),
                "plan": (9, "claim:plan", "client"),
            }
        status["upstreams"][0] |= {"breaker": {"state": "open", "probeInSeconds": 3.9}, "retries": {"made": 1234}}
        assert "circuit open, probe in 3 s" in shown(status, 200)
        assert "1,234 retries" in shown(status, 200)
        for width in (80, 109, 120, 200):
            lines = shown(status, width).splitlines()
            assert max(map(len, lines)) <= width
            assert any("users" in line for line in lines)
        targets = [status["upstreams"][0]["targets"][0] | {"target": f"10.0.0.{at}:80"} for at in (1, 2, 3)]
        status["upstreams"][0]["targets"] = targets
        for line in shown(status, 120).splitlines():
            assert line.count("10.0.0.") <= 1, "each target has a line of its own"
        status["store"] = {"up": False, "onFailure": "local"}
        assert "the store does not count: each host counts by itself" in shown(status, 200)
        assert main(["top", "--once", str(tmp_path / "rawgate.toml")]) == 1
        assert "nobody listens on unix:" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("admin", "url"),
    [
        (Listen("127.0.0.1", 9901), "http://127.0.0.1:9901"),
        (Listen("0.0.0.0", 9901), "http://127.0.0.1:9901"),  # noqa: S104 - looked up, never bound
        (Listen("::", 9901), "http://[::1]:9901"),
        (Listen(path="/run/a.sock"), "unix:/run/a.sock"),
    ],
)
def test_where_it_asks(admin: Listen, url: str) -> None:
    assert top.url_of(admin) == url


def test_what_it_says_when_there_is_nothing_to_ask(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rawgate.toml"
    for text, says in (
        (configs.one_route("http://127.0.0.1:1"), "has no admin listener"),
        (configs.one_route("http://127.0.0.1:1", gateway_has=['admin = "127.0.0.1:0"']), "--url"),
        ("[gateway", "rawgate.toml:1:"),
    ):
        path.write_text(text)
        assert main(["top", "--once", str(path)]) == 1
        assert says in capfd.readouterr().err
    for url in ("ftp://a", "127.0.0.1:9901"):
        assert main(["top", "--once", "--url", url]) == 1
        assert "is not a URL to ask" in capfd.readouterr().err
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        assert main(["top", "--once", "--url", f"http://127.0.0.1:{nobody.getsockname()[1]}"]) == 1
    assert "Connection refused" in capfd.readouterr().err


def test_without_rich_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "rich.live", None)
    assert main(["top", "--once"]) == 1
    assert "pip install 'rawgate[top]'" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.004, "0.00"), (0.5, "0.50"), (4.25, "4.2"), (42, "42"), (4200.4, "4,200")]
)
def test_rates(value: float, text: str) -> None:
    assert top.rate(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.9, "59 s"), (60, "1 min"), (7200, "2 h"), (200_000, "2 d")]
)
def test_spans(seconds: float, text: str) -> None:
    assert top.span(seconds) == text
