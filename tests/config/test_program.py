"""A configuration in Python is held to the same rules as one in TOML, and its mistakes have lines too."""

from pathlib import Path

import pytest

from rawgate.config import model
from rawgate.config.load import Draft, load
from rawgate.config.program import program_lines

ENVIRON = {"JWT_SECRET": "first secret of thirty-two octets"}

TOML = """\
[gateway]
listen = ["127.0.0.1:8080", "unix:run/rawgate.sock"]
trusted_proxies = ["10.0.0.0/8"]
timeouts = { head = "1500ms", drain = "1m" }
limits = { body = "1MiB", per_address = 4 }

[jwt.main]
algorithm = "HS256"
secret = "env:JWT_SECRET"

[upstreams.users]
targets = ["http://127.0.0.1:3001", "http://users.internal"]

[[routes]]
prefix = "/api/users"
upstream = "users"
auth = "jwt.main"
methods = ["GET"]
rewrite = { pattern = "/api/(.*)", to = "/\\\\1" }
rate_limit = { max = 100, window = "60s" }

[[tests]]
request = "GET /api/users"
expect = { status = 401 }
"""

WRITTEN = """\
from rawgate.config.model import *

config = Config(
    gateway=Gateway(
        listen=["127.0.0.1:8080", "unix:run/rawgate.sock"],
        trusted_proxies=["10.0.0.0/8"],
        timeouts=Timeouts(head=1.5, drain="1m"),
        limits=Limits(body="1MiB", per_address=4),
    ),
    jwt={"main": Jwt(algorithm="HS256", secret="env:JWT_SECRET")},
    upstreams={"users": Upstream(targets=["http://127.0.0.1:3001", "http://users.internal"])},
    routes=[
        Route(
            prefix="/api/users",
            upstream="users",
            auth="jwt.main",
            methods=["GET"],
            rewrite=RegexRewrite("/api/(.*)", "/\\\\1"),
            rate_limit=RateLimit(100, window="60s"),
        )
    ],
    tests=[Test(request="GET /api/users", expect=Expect(status=401))],
)
"""

RESOLVED = """\
from ipaddress import ip_network
from pathlib import Path
from rawgate.config.model import *

socket = str(Path(__file__).parent / "run/rawgate.sock")
config = Config(
    gateway=Gateway(
        listen=(Listen(host="127.0.0.1", port=8080), Listen(path=socket)),
        trusted_proxies=(ip_network("10.0.0.0/8"),),
        timeouts=Timeouts(head=1.5, drain=60),
        limits=Limits(body=1048576, per_address=4),
    ),
    jwt={"main": Jwt(algorithm=("HS256",), secret=(Secret("env:JWT_SECRET", b"first secret of thirty-two octets"),))},
    upstreams={
        "users": Upstream(
            targets=(Target("127.0.0.1", 3001, "127.0.0.1:3001"), Target("users.internal", 80, "users.internal"))
        )
    },
    routes=(
        Route(
            prefix="/api/users",
            upstream="users",
            auth="jwt.main",
            methods=("GET",),
            rewrite=RegexRewrite("/api/(.*)", "/\\\\1"),
            rate_limit=RateLimit(100, 60.0),
        ),
    ),
    tests=(Test(request="GET /api/users", expect=Expect(status=401)),),
)
"""

SMALLEST = """\
from rawgate.config.model import *

def make(**route):
    return Config(
        gateway=Gateway(listen=["127.0.0.1:8080"]),
        upstreams={"users": Upstream(targets=["http://127.0.0.1:3001"])},
        routes=[Route(prefix="/a", upstream="users", auth="none", **route)],
    )

"""


def draft_of(folder: Path, text: str, name: str = "c.py") -> Draft:
    (folder / name).write_text(text, "utf-8")
    return load(folder / name, ENVIRON)


def report(folder: Path, text: str) -> list[str]:
    draft = draft_of(folder, text)
    return [line.removeprefix(f"{folder}/c.py:") for line in draft.report(draft.problems)]


@pytest.mark.parametrize("program", [WRITTEN, RESOLVED], ids=["as in TOML", "as values"])
def test_same_as_toml(tmp_path: Path, program: str) -> None:
    expected = draft_of(tmp_path, TOML, "c.toml")
    draft = draft_of(tmp_path, program)
    assert draft.report([*draft.problems, *expected.problems]) == []
    assert draft.config is not None
    assert draft.config == expected.config


def test_rewrite_by_a_function(tmp_path: Path) -> None:
    draft = draft_of(tmp_path, SMALLEST + "PREFIX = '/v2'\nconfig = make(rewrite=lambda path: PREFIX + path)\n")
    assert draft.config is not None
    rewrite = draft.config.routes[0].rewrite
    assert callable(rewrite)
    assert rewrite("/a/7") == "/v2/a/7"


def test_an_authority_of_its_own(tmp_path: Path) -> None:
    text = SMALLEST.replace('"http://127.0.0.1:3001"', 'Target("127.0.0.1", 3001, "users.internal")')
    draft = draft_of(tmp_path, text + "config = make()\n")
    assert draft.config is not None
    assert draft.config.upstreams["users"].targets == (model.Target("127.0.0.1", 3001, "users.internal"),)


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("x = (\n", ["1: the program is not valid Python: '(' was never closed"]),
        ("x = 1\ny = = 2\n", ["2: the program is not valid Python: invalid syntax"]),
        ("x = 1\n\nx / 0\n", ["3: the program raised ZeroDivisionError: division by zero"]),
        ("def f():\n    raise ValueError\nf()\n", ["2: the program raised ValueError"]),
        ("import json\n\njson.loads('{')\n", ["3: the program raised JSONDecodeError: Expecting property name"]),
        ("raise ValueError('two\\nlines')\n", ["1: the program raised ValueError: two lines"]),
        ("import sys\nsys.exit(3)\n", ["2: the program raised SystemExit: 3"]),
        ("import absent_module\n", ["1: the program raised ModuleNotFoundError: No module named 'absent_module'"]),
        ("exec('x = = 1')\n", ["1: the program is not valid Python: invalid syntax"]),
        (
            "from rawgate.config.model import *\nconfig = Config(\n    gateway=Gateway(lsten=[]))\n",
            ["3: the program raised TypeError: "],
        ),
        ("x = 1\n", ["1: the program makes no configuration (expected a variable named config)"]),
        ("x = 1\nconfig = {}\n", ["2: config is of type dict (expected rawgate.config.model.Config)"]),
        ("config: object = None\n", ["1: config is of type NoneType (expected rawgate.config.model.Config)"]),
        ("def config(): ...\n", ["1: config is of type function (expected rawgate.config.model.Config)"]),
    ],
)
def test_no_configuration(tmp_path: Path, program: str, expected: list[str]) -> None:
    draft = draft_of(tmp_path, program)
    assert draft.config is None
    found = report(tmp_path, program)
    assert [line[: len(start)] for line, start in zip(found, expected, strict=True)] == expected


REWRITE = '(expected a path such as "/api/users" or a table or a function in a Python configuration)'
TARGET = (
    "upstreams.users.targets[0]: is not a host, a port and an authority "
    '(expected "http://HOST:PORT", "https://HOST" or "unix:PATH")'
)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            "rate_limit=RateLimit(1, 0)",
            "rate_limit.window: 0 is out of range (expected a duration from 1ms to 8760h; 0 does not turn it off)",
        ),
        (
            "rate_limit=RateLimit(True, 1)",
            "rate_limit.max: true is not a whole number (expected a whole number from 1 to 1000000000)",
        ),
        (
            "rate_limit=RateLimit(1, float('inf'))",
            'rate_limit.window: inf is not a duration (expected a duration such as "250ms", "5s", "1m" or "1h")',
        ),
        (
            "rate_limit=Timeouts()",
            'rate_limit: a value of type Timeouts is not possible here (expected { max = 100, window = "1m" })',
        ),
        ("body=1.5", 'body: 1.5 is not a whole number of octets (expected a size such as "240B", "16KiB" or "10MiB")'),
        ("body=-1", "body: -1 is out of range (expected a size from 0B to 1024GiB)"),
        (
            "rewrite=RateLimit(1, 1)",
            f"rewrite: a value of type RateLimit is not possible here {REWRITE}",
        ),
        (
            "rewrite=str",
            f"rewrite: a value of type type is not possible here {REWRITE}",
        ),
        (
            "methods=None, upgrade=1",
            'upgrade: 1 is not a list (expected a list, each a protocol name such as "websocket")',
        ),
        (
            "request_headers=HeaderRules({1: '2'})",
            'request_headers.set.1: 1 is not text (expected a field name such as "X-Team")',
        ),
        (
            "cors={'origins': ['*'], 'max_agee': 1}",
            'cors.max_agee: is not a key of this table (did you mean "max_age"?)',
        ),
    ],
)
def test_values(tmp_path: Path, arguments: str, expected: str) -> None:
    assert report(tmp_path, f"{SMALLEST}config = make({arguments})\n") == [f"10: routes[0].{expected}"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('"127.0.0.1:8080"', "Listen()", None),
        (
            '"127.0.0.1:8080"',
            'Listen("::1", 70000)',
            "gateway.listen[0]: 70000 is not a port (expected a port from 0 to 65535)",
        ),
        (
            '"http://127.0.0.1:3001"',
            'Target("a b", 80, "a")',
            TARGET,
        ),
        (
            '"http://127.0.0.1:3001"',
            'Target("a", 0, "a")',
            TARGET,
        ),
        (
            '"http://127.0.0.1:3001"',
            'Target("a", 80, "a\\r\\nb")',
            TARGET,
        ),
        (
            "upstreams={",
            'jwt={"main": Jwt(algorithm="HS256", secret=Secret("here", b""))}, upstreams={',
            "jwt.main.secret: is a Secret without value (expected bytes)",
        ),
    ],
)
def test_made_values_are_checked_too(tmp_path: Path, old: str, new: str, expected: str | None) -> None:
    found = report(tmp_path, SMALLEST.replace(old, new) + "config = make()\n")
    if expected is None:
        assert len(found) == 1
    else:
        assert found == [f"10: {expected}"]


LINES = """\
from rawgate.config.model import *

users = Upstream(
    targets=["http://127.0.0.1:3001"],
)
more = [Route(prefix="/b", upstream="users", auth="none")]
twice = 1
twice = 2
circle = circle if "circle" in globals() else None

config = None
config: Config = Config(
    gateway=Gateway(
        listen=[
            "127.0.0.1:8080",
            "[::1]:8080",
        ],
    ),
    upstreams={
        "users": users,
        "x" + "y": Upstream(targets=[]),
        "odd": Upstream(
            queue=twice, targets=circle),
    },
    routes=[
        *more,
    ],
    tests=more +
        more,
)
"""


def test_lines() -> None:
    lines = program_lines(LINES.encode())
    assert lines[()] == 12
    assert lines["gateway",] == 13
    assert lines["gateway", "listen"] == 14
    assert lines["gateway", "listen", 1] == 16
    assert lines["upstreams", "users"] == 3
    assert lines["upstreams", "users", "targets", 0] == 4
    assert lines["upstreams", "odd", "queue"] == 23
    assert lines["routes",] == 25
    assert ("routes", 0) not in lines  # it may be any
    assert lines["tests",] == 28


def test_lines_of_a_circle() -> None:
    assert (
        program_lines(b"a = [b]\nb = [a]\nconfig = a\n")[
            0,
            0,
        ]
        == 2
    )
