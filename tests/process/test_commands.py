"""The commands that decide about requests without serving any, as the program that people have: in the single file the
modules that they share with the gateway are machine code, and their values no Structs."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from harness import configs
from harness.examples import ENVIRON, EXAMPLES, write_keys
from harness.gateway import command

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("examples")
    write_keys(made)
    for example in EXAMPLES:
        shutil.copy(example, made)
    return made


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environ = os.environ | ENVIRON
    return subprocess.run(
        [*command(), *arguments], cwd=folder, env=environ, capture_output=True, encoding="utf-8", timeout=60
    )


@pytest.mark.parametrize("name", [example.name for example in EXAMPLES])
def test_an_example_passes_its_own_tests(folder: Path, name: str) -> None:
    done = run(folder, "check", name)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"[3-9] tests passed", done.stdout)


CONFIG = (
    configs.gateway('trusted_proxies = ["10.0.0.0/8"]')
    + configs.jwt()
    + configs.upstream("users", "http://127.0.0.1:3001")
    + configs.route(
        "/api/users",
        "users",
        'rewrite = "/v2/users"',
        'rate_limit = { max = 10, window = "60s" }',
        'cors = { origins = ["https://app.example"], methods = ["GET"] }',
        'request_headers = { remove = ["X-Debug"], set = { X-Gateway = "here" } }',
        auth="jwt.main",
    )
)


@pytest.fixture(scope="module")
def token(folder: Path) -> str:
    """Of alice, for the configuration that decisions are explained of."""
    (folder / "explained.toml").write_text(CONFIG, "utf-8")
    done = run(folder, "token", "main", "explained.toml", "--sub", "alice")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("request_line", "fields", "peer", "told"),
    [
        (("GET", "/api/users/7"), (), "192.0.2.7", "auth_missing"),
        (("GET", "/api/users/7"), ("Authorization: Bearer TOKEN", "X-Debug: 1"), "192.0.2.7", "/v2/users/7"),
        (("GET", "/api/users/7"), ("X-Forwarded-For: 203.0.113.9",), "10.0.0.1", "203.0.113.9"),
        (
            ("OPTIONS", "/api/users"),
            ("Origin: https://app.example", "Access-Control-Request-Method: GET"),
            "::1",
            "204",
        ),
        (("OPTIONS", "*"), (), "127.0.0.1", "204"),
        (("GET", "/api/%2e%2e/other"), (), "127.0.0.1", "no_route"),
    ],
    ids=["no token", "a token", "behind a proxy", "preflight", "the server itself", "no route"],
)
@pytest.mark.parametrize("json", [(), ("--json",)], ids=["for people", "JSON"])
def test_a_decision_is_explained(
    folder: Path,
    token: str,
    request_line: tuple[str, str],
    fields: tuple[str, ...],
    peer: str,
    told: str,
    json: tuple[str, ...],
) -> None:
    headers = [word for field in fields for word in ("-H", field.replace("TOKEN", token))]
    done = run(folder, "explain", *request_line, *headers, "--peer", peer, "--config", "explained.toml", *json)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert told in done.stdout
