"""The commands that serve nothing, as a person meets them: the real program, its output, its exit status."""

import json
import os
import re
import subprocess
import tomllib
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import pytest

from harness import configs
from harness.gateway import command

pytestmark = pytest.mark.process

SECRETS = {"JWT_SECRET": "a secret of more than 32 octets, for these tests", "API_KEYS": "acme:key-0123456789abcdef"}
CONFIG = (
    configs.gateway()
    + configs.jwt()
    + configs.api_keys("partners", "x-api-key", "API_KEYS")
    + configs.upstream("users", "http://127.0.0.1:9")
    + configs.route(
        "/api/users",
        "users",
        'rewrite = "/v2/users"',
        'rate_limit = { max = 100, window = "60s" }',
        auth=["jwt.main", "api_keys.partners"],
    )
    + configs.route("/open", "users")
    + """\
[[tests]]
request = "GET /api/users/7?x=1"
claims = { sub = "alice" }
expect = { route = "/api/users", path = "/v2/users/7?x=1", headers = { X-User-Id = "alice" } }
"""
)
FAILING = CONFIG + '[[tests]]\nrequest = "GET /api/users"\nexpect = { status = 403, reason = "auth_missing" }\n'


def environment(more: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", *SECRETS)}
    return {**kept, **SECRETS, **more}


def rawgate(directory: Path, *arguments: str, config: str = CONFIG, **environ: str) -> subprocess.CompletedProcess[str]:
    (directory / "rawgate.toml").write_text(config)
    return subprocess.run(
        [*command(), *arguments],
        cwd=directory,
        env=environment(environ),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def on_terminal(directory: Path, *arguments: str, **environ: str) -> str:
    """What the program writes to a terminal."""
    (directory / "rawgate.toml").write_text(CONFIG)
    ours, theirs = os.openpty()
    try:
        process = subprocess.Popen(
            [*command(), *arguments], cwd=directory, env=environment({"TERM": "xterm", **environ}), stdout=theirs
        )
        os.close(theirs)
        written = b""
        while chunk := _read(ours):
            written += chunk
        assert process.wait(60) == 0
    finally:
        os.close(ours)
    return written.decode()


def test_explain_shows_what_the_client_is_told(tmp_path: Path) -> None:
    done = rawgate(tmp_path, "explain", "GET", "/api/users/7", "-H", "Authorization: Bearer x")
    assert re.search(r"✗ 401 auth_malformed; the client is told auth_invalid$", done.stdout, re.MULTILINE)


PRINTING = [
    ("check",),
    ("explain", "GET", "/open"),
    ("explain", "GET", "/open", "--json"),
    ("schema",),
    ("test",),
    ("token", "main", "--sub", "alice", "--ttl", "1m"),
    ("version",),
]


def printing(directory: Path, stdout: int, *arguments: str) -> tuple[int, str]:
    """Exit status, and what was said on stderr."""
    (directory / "rawgate.toml").write_text(CONFIG)
    done = subprocess.run(
        [*command(), *arguments],
        cwd=directory,
        env=environment({}),
        stdout=stdout,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr.decode()


@pytest.mark.parametrize("arguments", PRINTING, ids=" ".join)
def test_what_cannot_be_written_is_said(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        said = printing(tmp_path, full, *arguments)
    finally:
        os.close(full)
    assert said == (1, "rawgate: the output cannot be written: No space left on device\n")


@pytest.mark.parametrize("arguments", PRINTING, ids=" ".join)
def test_a_reader_that_has_had_enough_is_no_error(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    try:
        assert printing(tmp_path, theirs, *arguments) == (0, "")
    finally:
        os.close(theirs)


def test_nobody_reads_the_warnings_of_a_good_configuration(tmp_path: Path) -> None:
    (tmp_path / "rawgate.toml").write_text(CONFIG.replace('prefix = "/open"', 'prefix = "/open/"'))
    ours, theirs = os.pipe()
    os.close(ours)
    try:
        done = subprocess.run(
            [*command(), "check"],
            cwd=tmp_path,
            env=environment({}),
            stdout=subprocess.PIPE,
            stderr=theirs,
            timeout=60,
            check=False,
        )
    finally:
        os.close(theirs)
    assert (done.returncode, b"good, with 1 warning" in done.stdout) == (0, True)


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 65536)
    except OSError:  # how Linux says that nobody has the other end any more
        return b""


@pytest.mark.parametrize("name", ["explain", "test", "check", "token", "key", "version"])
def test_help_teaches_by_example(tmp_path: Path, name: str) -> None:
    done = rawgate(tmp_path, name, "--help")
    assert done.returncode == 0
    assert re.search(rf"examples:\n.*rawgate {name}", done.stdout, re.DOTALL)


def test_a_key_is_shown_once_and_its_digest_is_kept(tmp_path: Path) -> None:
    first, second = (rawgate(tmp_path, "key", "acme") for _ in range(2))
    key = first.stdout.strip()
    assert len(key) > 40
    assert second.stdout.strip() != key
    (entry,) = tomllib.loads(first.stderr)["keys"]
    assert entry == {"name": "acme", "sha256": sha256(key.encode()).hexdigest()}
    assert rawgate(tmp_path, "key", "a b").returncode == 2


def test_a_token_is_taken_by_explain(tmp_path: Path) -> None:
    minted = rawgate(tmp_path, "token", "main", "--sub", "alice", "--ttl", "90s", "--claim", "scope=read")
    assert (minted.returncode, minted.stderr) == (0, "")
    assert re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+\n", minted.stdout)
    token = minted.stdout.strip()

    bearer = ("-H", f"Authorization: Bearer {token}")
    told = rawgate(tmp_path, "explain", "GET", "http://api.test/api//users/7?x=1", *bearer, "-H", "X-User-Id: root")
    assert (told.returncode, told.stderr) == (0, "")
    lines = [line.rstrip() for line in told.stdout.splitlines()]
    for line in (
        "GET /api//users/7?x=1",
        "path       ✓ /api//users/7 → /api/users/7  normalised",
        "routes     ✓ /api/users  /api/users",
        "           · /open       prefix: is for /open and what lies below",
        "auth         jwt.main",
        '           ✓ sub "alice"',
        "limit      ✓ 100 in 60 s for sub:alice  a first request leaves 99",
        "rewrite    ✓ /api/users/7 → /v2/users/7  /v2/users in place of /api/users",
        "           − X-User-Id: root  only the gateway says this",
        "           + X-User-Id: alice",
        "             Authorization: Bearer …",
        "upstream     users: http://127.0.0.1:9",
        "verdict    ✓ forwarded as GET /v2/users/7?x=1 HTTP/1.1",
        "log          route /api/users · clientId alice · status the upstream's · reason ok",
    ):
        assert line in lines
    assert "\x1b" not in told.stdout
    assert token.rpartition(".")[2] not in told.stdout


def test_a_refusal_is_explained_with_exit_status_0(tmp_path: Path) -> None:
    told = rawgate(tmp_path, "explain", "GET", "/api/users", "--peer", "2001:DB8::1", "--json")
    assert told.returncode == 0
    shown = json.loads(told.stdout)
    assert (shown["verdict"]["status"], shown["verdict"]["reason"]) == (401, "auth_missing")
    assert shown["log"] == {
        "method": "GET",
        "path": "/api/users",
        "route": "/api/users",
        "clientId": "2001:db8::1",
        "status": 401,
        "upstream": None,
        "remote": "2001:db8::1",
        "reason": "auth_missing",
    }
    assert shown["limit"] is None


def test_what_the_wire_refuses_is_explained_too(tmp_path: Path) -> None:
    told = rawgate(tmp_path, "explain", "GET", "/open", "-H", "Content-Length: 1", "-H", "Transfer-Encoding: chunked")
    assert told.returncode == 0
    assert "✗ 400 bad_request" in told.stdout
    assert "Content-Length and Transfer-Encoding are both given." in told.stdout


def test_what_a_terminal_would_obey_is_written_out(tmp_path: Path) -> None:
    told = rawgate(tmp_path, "explain", "GET", "/open", "-H", "X-A: \x1b[31mred")
    assert told.returncode == 0
    assert "\x1b" not in told.stdout


def test_colour_is_for_terminals(tmp_path: Path) -> None:
    assert "\x1b[" in on_terminal(tmp_path, "explain", "GET", "/open")
    assert "\x1b[" not in on_terminal(tmp_path, "explain", "GET", "/open", NO_COLOR="1")
    assert "\x1b[" in on_terminal(tmp_path, "test")


def test_tests_that_pass(tmp_path: Path) -> None:
    done = rawgate(tmp_path, "test")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["✓ GET /api/users/7?x=1", "1 test: 1 passed", "no test reaches: /open"]
    checked = rawgate(tmp_path, "check", "rawgate.toml")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout == "rawgate.toml: good; 2 routes, 1 upstream, 2 verifiers, 1 test passed\n"


def test_a_check_fetches_no_keys(tmp_path: Path) -> None:
    remote = '\n[jwt.idp]\nalgorithm = "ES256"\njwks = "https://no-such-host.invalid/keys"\n'
    config = CONFIG + remote + configs.route("/idp", "users", auth="jwt.idp")
    checked = rawgate(tmp_path, "check", "rawgate.toml", config=config)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout.endswith("1 test passed; not fetched here: the keys of jwt.idp\n")


def test_tests_that_fail(tmp_path: Path) -> None:
    done = rawgate(tmp_path, "test", config=FAILING)
    assert (done.returncode, done.stderr) == (1, "")
    found = [re.sub(r"  +", "  ", line).strip() for line in done.stdout.splitlines()]
    assert found == [
        "✓ GET /api/users/7?x=1",
        "✗ GET /api/users  rawgate.toml:25",
        "expected  got",
        "status  403  401",
        "2 tests: 1 passed, 1 failed",
        "no test reaches: /open",
    ]
    checked = rawgate(tmp_path, "check", config=FAILING)
    assert (checked.returncode, checked.stdout) == (1, "")
    assert "✗ GET /api/users  rawgate.toml:25" in checked.stderr
    assert "✓" not in checked.stderr
    assert checked.stderr.endswith("rawgate.toml: 2 tests: 1 passed, 1 failed\n")


def test_no_tests(tmp_path: Path) -> None:
    done = rawgate(tmp_path, "test", config=CONFIG.partition("[[tests]]")[0])
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "no test reaches: /api/users, /open"
    assert done.stdout.startswith("no tests: write some under [[tests]]")


def test_warnings_fail_the_check_only_when_asked(tmp_path: Path) -> None:
    detour = CONFIG.replace('prefix = "/open"', 'prefix = "/"')
    done = rawgate(tmp_path, "check", config=detour)
    assert done.returncode == 0
    assert done.stdout == "rawgate.toml: good, with 1 warning; 2 routes, 1 upstream, 2 verifiers, 1 test passed\n"
    (line,) = done.stderr.splitlines()
    assert line.startswith('rawgate.toml:12: routes[0].prefix: warning: "/API/USERS" comes to "/"')
    strict = rawgate(tmp_path, "check", "--strict", config=detour)
    assert (strict.returncode, strict.stderr) == (1, done.stderr)
    assert strict.stdout.startswith("rawgate.toml: refused for 1 warning; 2 routes")
    clean = rawgate(tmp_path, "check", "--strict")
    assert (clean.returncode, clean.stderr) == (0, "")
    assert clean.stdout.startswith("rawgate.toml: good; 2 routes")


def test_a_refused_token_is_minted_with_a_warning(tmp_path: Path) -> None:
    done = rawgate(tmp_path, "token", "main", "rawgate.toml", "--sub", "alice", "--ttl=-5m")
    assert done.returncode == 0
    assert done.stdout.count(".") == 2
    assert done.stderr == "rawgate: the gateway refuses this token: auth_expired\n"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("token", "mian", "--sub", "a"), "rawgate: there is no [jwt.mian] in this configuration (there is: main)"),
        (
            ("token", "main", "--sub", "a", "--key", "file:none.pem"),
            'rawgate: --key: the file "none.pem" cannot be read',
        ),
        (("token", "main", "--sub", "a", "--key", "none.pem"), "rawgate: --key: does not say where the key is"),
        (("explain", "GET", "/", "--config", "none.toml"), "none.toml:1: cannot be read: No such file or directory"),
        (("test", "none.toml"), "none.toml:1: cannot be read: No such file or directory"),
        (("check", "none.toml"), "none.toml:1: cannot be read: No such file or directory"),
    ],
)
def test_what_cannot_be_done_is_one_clear_line(tmp_path: Path, arguments: tuple[str, ...], line: str) -> None:
    done = rawgate(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(line)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("explain", "GET"),
        ("explain", "GET", "/", "--peer", "here"),
        ("token", "main"),
        ("token", "main", "--sub", "a", "--ttl", "soon"),
        ("token", "main", "--sub", "a", "--claim", "scope"),
        ("version", "please"),
        ("check", "--loud"),
    ],
)
def test_a_bad_command_line(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = rawgate(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"usage: rawgate {arguments[0]} ")


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        (("explain", "GET", "/", "rawgate.toml"), "behind its flag: --config CONFIG"),
        (("explain", "rawgate.toml", "GET", "/"), "behind its flag: --config CONFIG"),
        (("check", "--config", "rawgate.toml"), "without a flag: CONFIG"),
        (("run", "--config=rawgate.toml"), "without a flag: CONFIG"),
    ],
)
def test_a_configuration_in_the_place_of_another_command(
    tmp_path: Path, arguments: tuple[str, ...], place: str
) -> None:
    done = rawgate(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(f"(the configuration goes {place})\n")
    assert f"[{place.partition(': ')[2]}]" in rawgate(tmp_path, arguments[0], "--help").stdout


def test_version_says_what_is_inside(tmp_path: Path) -> None:
    done = rawgate(tmp_path, "version")
    assert (done.returncode, done.stderr) == (0, "")
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert list(lines) == ["rawgate", "python", "uvloop", "h11", "cryptography", "msgspec", "core", "platform"]
    assert all(re.match(r"\d+\.\d+", found) for name, found in lines.items() if name not in ("core", "platform"))
    assert lines["core"].partition(" ")[0] == ("compiled" if os.environ.get("RAWGATE_BIN") else "interpreted")
    assert "SSL" in lines["cryptography"]
