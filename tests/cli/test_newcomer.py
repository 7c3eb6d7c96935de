"""What goes wrong in the first ten minutes: each is one clear line that says what to do, and never a traceback."""

import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.gateway import command, running
from harness.upstream import free_port
from harness.wire_reader import Stream, read_response

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]

GOOD = """\
[gateway]
listen = ["{listen}"]

[upstreams.users]
targets = ["http://127.0.0.1:{port}"]

[[routes]]
prefix = "/"
upstream = "users"
auth = "none"
"""


def good(listen: str = "127.0.0.1:0", port: int = 9) -> str:
    return GOOD.format(listen=listen, port=port)


def rawgate(folder: Path, *arguments: str, prefix: tuple[str, ...] = ()) -> tuple[int, list[str]]:
    """Exit status, and the lines on stderr. Nothing may be on stdout, which is for the log."""
    done = subprocess.run([*prefix, *command(), *arguments], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.stdout == ""
    return done.returncode, done.stderr.splitlines()


# ── the configuration ──


@pytest.mark.parametrize("word", ["run", "check", "test"])
def test_no_configuration(tmp_path: Path, word: str) -> None:
    said = "rawgate.toml:1: cannot be read: No such file or directory; `rawgate demo --config` prints one to start from"
    assert rawgate(tmp_path, word) == (1, [said])


def test_that_one_to_start_from_is_good(tmp_path: Path) -> None:
    printed = subprocess.run([*command(), "demo", "--config"], capture_output=True, check=True, timeout=60).stdout
    (tmp_path / "rawgate.toml").write_bytes(printed)
    secrets = {"JWT_SECRET": "s" * 32, "API_KEYS": "acme:" + "k" * 32}
    done = subprocess.run(
        [*command(), "check"], cwd=tmp_path, env={**os.environ, **secrets}, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_folder_in_place_of_a_configuration(tmp_path: Path) -> None:
    (tmp_path / "conf.toml").mkdir()
    said = "conf.toml:1: cannot be read: Is a directory; name a file in it"
    assert rawgate(tmp_path, "run", "conf.toml") == (1, [said])


@pytest.mark.parametrize("name", ["rawgate.yaml", "rawgate", "rawgate.toml.bak"])
def test_a_suffix_that_means_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(good())
    said = f"{name}:1: is not a configuration (expected a file that ends in .toml or .py)"
    assert rawgate(tmp_path, "run", name) == (1, [said])


@pytest.fixture
def unprivileged(program: Callable[[str], str]) -> tuple[str, ...]:
    """What to put before a command so that it has no privileges, whoever runs the tests."""
    if os.geteuid():
        return ()
    taken = "-dac_override,-dac_read_search,-net_bind_service"
    return program("setpriv"), f"--bounding-set={taken}", f"--inh-caps={taken}"


def test_a_configuration_that_may_not_be_read(tmp_path: Path, unprivileged: tuple[str, ...]) -> None:
    (tmp_path / "rawgate.toml").write_text(good())
    (tmp_path / "rawgate.toml").chmod(0)
    said = "rawgate.toml:1: cannot be read: Permission denied; the user who starts rawgate must be allowed to read it"
    assert rawgate(tmp_path, "run", prefix=unprivileged) == (1, [said])


def test_a_secret_that_is_not_set(tmp_path: Path) -> None:
    verifier = '\n[jwt.main]\nalgorithm = "HS256"\nsecret = "env:NO_SUCH_VARIABLE"\n'
    (tmp_path / "rawgate.toml").write_text(good() + verifier)
    said = 'rawgate.toml:14: jwt.main.secret: the environment variable "NO_SUCH_VARIABLE" is not set'
    assert rawgate(tmp_path, "run") == (1, [said])


def test_several_problems_are_counted(tmp_path: Path) -> None:
    (tmp_path / "rawgate.toml").write_text(good() + 'rewrit = "/x"\nbody = 10\n')
    status, said = rawgate(tmp_path, "run")
    assert status == 1
    assert [line.split(" (")[0] for line in said] == [
        "rawgate.toml:11: routes[0].rewrit: is not a key of this table",
        "rawgate.toml:12: routes[0].body: 10 has no unit",
        "rawgate: 2 problems; nothing was started",
    ]
    # Other commands would not have started anything.
    for words in (("check",), ("test",), ("explain", "GET", "/")):
        assert rawgate(tmp_path, *words) == (1, [*said[:-1], "rawgate: 2 problems"])


# ── where it listens ──


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        (tmp_path / "rawgate.toml").write_text(good(address))
        said = (
            f"rawgate: cannot listen on {address}: Address already in use; another program has this port: stop it, "
            "or change gateway.listen"
        )
        assert rawgate(tmp_path, "run") == (1, [said])


def test_a_gateway_that_runs_already(tmp_path: Path) -> None:
    """Most often nobody else has the port."""
    with running(tmp_path, good()) as gateway:
        text = good(f"127.0.0.1:{gateway.address[1]}")
        (tmp_path / "rawgate.toml").write_text(text)
        status, said = rawgate(tmp_path, "run")
    assert (status, len(said)) == (1, 1)
    assert said[0] == (
        f"rawgate: cannot listen on 127.0.0.1:{gateway.address[1]}: Address already in use; process {gateway.pid} "
        "serves rawgate.toml already: rawgate reload rawgate.toml has it read the file again, kill "
        f"{gateway.pid} stops it"
    )


def test_a_port_for_the_privileged(tmp_path: Path, unprivileged: tuple[str, ...]) -> None:
    first = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    if not first.exists() or int(first.read_text()) < 2:
        pytest.skip("every port is for everyone here")
    (tmp_path / "rawgate.toml").write_text(good("127.0.0.1:1"))
    said = (
        "rawgate: cannot listen on 127.0.0.1:1: Permission denied; ports under 1024 need privileges: take a higher "
        "one, or give CAP_NET_BIND_SERVICE"
    )
    assert rawgate(tmp_path, "run", prefix=unprivileged) == (1, [said])


def test_an_address_of_another_host(tmp_path: Path) -> None:
    (tmp_path / "rawgate.toml").write_text(good("203.0.113.7:8080"))  # RFC 5737: nobody's
    status, said = rawgate(tmp_path, "run")
    assert (status, len(said)) == (1, 1)
    assert said[0].endswith("is this an address of this host?")


def test_a_unix_socket_in_no_folder(tmp_path: Path) -> None:
    (tmp_path / "rawgate.toml").write_text(good("unix:run/rawgate.sock"))
    said = (
        "rawgate: cannot listen on unix:run/rawgate.sock: No such file or directory; its folder must be there, and "
        "the user who starts rawgate must be allowed to write to it"
    )
    warning = (
        'rawgate: rawgate.toml:2: gateway.listen[0]: warning: the folder "run" is not there (expected one that is, by '
        "the time it starts)"
    )
    assert rawgate(tmp_path, "run") == (1, [warning, said])


# ── the service ──


def test_a_service_that_is_down_when_the_gateway_starts(tmp_path: Path) -> None:
    """Nothing is probed at a start, as with nginx: a service may come up after its gateway. A request finds out."""
    with running(tmp_path, good(port=free_port())) as gateway:
        with gateway.connect() as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = read_response(Stream.of(client))
        assert answer is not None
        assert answer.status == 502
        assert b"upstream_connect_failed" in answer.body
        assert gateway.line(path="/")["reason"] == "upstream_connect_failed"


# ── the command line ──


def test_no_command_shows_what_there_is(tmp_path: Path) -> None:
    status, said = rawgate(tmp_path)
    assert status == 2
    assert said[0] == "usage: rawgate [-h] COMMAND ..."
    assert any(line.split()[:1] == ["demo"] for line in said)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("runn", 'rawgate: "runn" is not a command; rawgate --help shows them (did you mean "run"?)'),
        ("fly", 'rawgate: "fly" is not a command; rawgate --help shows them'),
        ("my.toml", 'rawgate: "my.toml" is not a command; to serve it: rawgate run my.toml'),
        ("my.py", 'rawgate: "my.py" is not a command; to serve it: rawgate run my.py'),
        ("-t", 'rawgate: "-t" is not a command; rawgate --help shows them (did you mean "check"?)'),
        ("help", 'rawgate: "help" is not a command; rawgate --help shows them (did you mean "--help"?)'),
        ("serve", 'rawgate: "serve" is not a command; rawgate --help shows them (did you mean "run"?)'),
        (
            "stop",
            'rawgate: "stop" is not a command; kill PID stops a gateway, which said its pid when it was ready',
        ),
        ("--version", 'rawgate: "--version" is not a command; rawgate --help shows them (did you mean "version"?)'),
    ],
)
def test_a_word_that_is_no_command(tmp_path: Path, word: str, said: str) -> None:
    assert rawgate(tmp_path, word) == (2, [said])


# ── Python ──

NEEDED = ("bash", "cat", "cksum", "dirname", "flock", "grep", "rm", "sed")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """tools/ alone, as a fresh clone has it; `bin`, the only folder that programs are found in, has no Python."""
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "bin").mkdir()
    for name in NEEDED:
        path = shutil.which(name)
        if path is not None:
            (tmp_path / "bin" / name).symlink_to(path)
    return tmp_path


def tool(tree: Path, name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    bash = str(tree / "bin" / "bash")
    only = {"PATH": str(tree / "bin")}
    command = [bash, f"tools/{name}", *arguments]
    return subprocess.run(command, cwd=tree, env=only, capture_output=True, text=True, timeout=60)


WRONG_PYTHON = "rawgate: Python 3.11 or later is needed (looked for python3.11 and python3)"


@pytest.mark.parametrize("name", ["run", "test", "build-binary"])
def test_no_python(tree: Path, name: str) -> None:
    done = tool(tree, name)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[0] == WRONG_PYTHON
    assert not (tree / ".venv").exists()


def test_an_old_python(tree: Path) -> None:
    old = tree / "bin" / "python3"
    # What `python3 -c "… sys.exit(sys.version_info < (3, 11))"` answers where it is older.
    old.write_text(f"#!{tree}/bin/bash\nexit 1\n")
    old.chmod(0o755)
    done = tool(tree, "run")
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == WRONG_PYTHON


def test_the_builder_says_how_it_is_called(tree: Path) -> None:
    done = tool(tree, "build-binary", "--help")
    assert done.returncode == 0
    assert "tools/build-binary [FILE]" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["--force"], "takes the name of a file (there is no option --force)"),
        (["one", "two"], "makes one file (got 2: one two)"),
    ],
)
def test_the_builder_refuses_what_it_does_not_know(tree: Path, arguments: list[str], fault: str) -> None:
    done = tool(tree, "build-binary", *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"rawgate: tools/build-binary {fault}\n")
    assert not (tree / "dist").exists()
