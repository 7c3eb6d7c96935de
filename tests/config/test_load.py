"""The way in: what a whole file becomes, what is made of a broken one, and where its mistakes are said to be."""

from ipaddress import ip_network
from pathlib import Path

import msgspec
import pytest

from rawgate.config import model
from rawgate.config.load import Draft, load
from rawgate.errors import Problem

ENVIRON = {
    "JWT_SECRET": "first secret of thirty-two octets",
    "OLD": "older secret of thirty-two octets",
    "KEYS": "a:b",
    "TOKEN": "0b1c-2d3e",
}

SMALLEST = """\
[gateway]
listen = ["127.0.0.1:8080"]

[upstreams.users]
targets = ["http://127.0.0.1:3001"]

[[routes]]
prefix = "/api/users"
upstream = "users"
auth = "none"
"""

FULL = """\
[gateway]
listen = [
    "127.0.0.1:8080", "[::1]:0", { address = "unix:run/rawgate.sock", mode = "0660" },
    { address = "127.0.0.1:8443", tls = "public", proxy_protocol = true },
]
workers = 4
parser = "h11"
half_close = "serve"
zone = "eu-1a"
trace = "make"
admin = "127.0.0.1:9901"
admin_allow = ["10.0.0.0/8"]
trusted_proxies = ["10.0.0.0/8", "::1", "unix"]
client_ip_header = "CF-Connecting-IP"
merge_slashes = false
case = "ignore"
untrusted_headers = ["X-Team"]
auth_failures = { max = 20, window = "1m", delay = "2s", shadow = true }
resolver = ["10.0.0.2", "[0::1]:8600"]

[gateway.timeouts]
head = "1s"
body = "250ms"
send = "1m"
keep_alive = "1h"
drain = "0s"
pre_stop = "5s"

[gateway.limits]
head = "32KiB"
headers = 50
target = "4KiB"
body = "1GiB"
body_rate = "0B"
connections = 20
per_address = 10
buffers = "64MiB"
limiter_keys = 1000

[gateway.log]
fields = ["User-Agent"]
quiet = ["users"]

[jwt.main]
algorithm = "HS256"
secret = ["env:JWT_SECRET", "env:OLD"]
secret_encoding = "hex"
issuer = "https://issuer.example/"
audience = "*"
leeway = "0s"
require_exp = false
token = ["header", "cookie:token"]

[jwt.rsa]
algorithm = "RS256"
public_key = "file:keys/api.pem"

[jwt.set]
algorithm = "RS256"
jwks = "file:keys/set.json"

[jwt.fetched]
algorithm = "ES256"
jwks = "https://issuer.example/keys"
jwks_ca = "file:keys/api.pem"

[jwt.discovered]
algorithm = "EdDSA"
issuer = "https://issuer.example"
jwks = "discover"

[consul]
address = "https://Consul.internal:8501"
token = "env:TOKEN"
ca = "file:keys/api.pem"

[tls.public]
certificates = [{ chain = "file:keys/api.pem", key = "file:keys/api.pem" }]
min_version = "1.3"
client_ca = "file:keys/api.pem"
client_auth = "ask"
handshake_timeout = "3s"

[api_keys.partners]
header = "X-Api-Key"
keys = "file:keys/partners"
query = "key"

[upstreams.users]
targets = [
    "http://Users.internal",
    { url = "http://[0::1]:3002/", weight = 3, zone = "eu-1a" },
    { url = "https://users.internal", backup = true },
    "unix:run/users.sock",
    "consul+http://Users?tag=v2&dc=eu",
]
balance = { hash = "header:X-Session" }
tls.ca = "file:keys/api.pem"
tls.certificate = { chain = "file:keys/api.pem", key = "file:keys/api.pem" }
tls.server_name = "Users.internal"
tls.min_version = "1.3"
tls.verify = false
health = { path = "/up", interval = "7s", timeout = "2s", rise = 1, fall = 4, status = "200-299, 401", host = "Up" }
eject = { failures = 3, for = "20s", at_most = "30%", status = "500, 502-504" }
slow_start = "30s"
connect_timeout = "1s"
response_timeout = "2s"
idle_timeout = "3s"
total_timeout = "4s"
max_connections = 5
keep_alive = "6s"
queue = 0
queue_timeout = "8s"
per_client = 3
reuse = "after-bodiless"
max_tunnels = 7
tunnel_idle = "9s"
tunnel_max_age = "10s"
breaker = { errors = "60%", of = 21, within = "11s", for = "12s" }
retry = { attempts = 3, on = ["timeout", 500], budget = "30%" }

[store]
url = "rediss+sentinel://alice@10.0.0.1:26380,s2/main/1"
password = "env:JWT_SECRET"
ca = "file:keys/api.pem"
certificate = { chain = "file:keys/api.pem", key = "file:keys/api.pem" }
sentinel_password = "env:JWT_SECRET"
timeout = "20ms"
on_failure = "refuse"

[limits.all]
max = 100
window = "1h"
key = "all"
shared = "leased"

[[routes]]
name = "users"
host = "API.example.com"
methods = ["GET", "PROPFIND"]
prefix = "/api/users"
upstream = "users"
rewrite = "/v2/users"
auth = ["jwt.main", "api_keys.partners"]
require = { scope = "users:read", realm_access.roles = ["admin", 1, true] }
allow = ["10.0.0.0/8"]
deny = ["10.1.0.0/16"]
rate_limit = ["all", { max = { by = "claim:plan", free = 5, other = 1 }, window = "60s", key = "ip", shadow = true }]
concurrency = 5
shadow = ["require"]
upstream_host = "pass"
request_headers = { set = { X-Team = "a b" }, remove = ["Cookie"], add = { X-A = "1" } }
response_headers = { set = { Server = "" } }
rewrite_location = false
response_timeout = "7s"
body = "0B"
upgrade = []
encoded_slash = "keep"
path_parameters = "keep"
case = "exact"
cors.origins = ["https://app.example"]
cors.methods = ["PUT"]
cors.headers = ["X-A"]
cors.max_age = "1m"
cors.credentials = true
cors.expose = ["X-B"]
forward_credentials = false

[[routes]]
prefix = "/"
upstream = "users"
rewrite = { pattern = "/(.*)", to = "/x/\\\\1" }
auth = "api_keys.partners"

[[routes]]
path = "/old/{id}"
redirect = { to = "/new/{id}", status = 301 }
match = { headers = { X-Version = "2" }, query = { v = "*" }, scheme = "http" }
auth = "none"

[[routes]]
path = "/health"
respond = { status = 201, body = "fine", type = "text/html" }
auth = "none"

[[tests]]
request = "GET http://api.example.com/api/users/7?x=1"
headers = { Origin = "https://app.example" }
claims = { sub = "alice" }
expect = { route = "users", path = "/v2/users/7?x=1", headers = { X-User-Id = "alice" } }

[[tests]]
request = "GET /"
api_key = "team"
certificate = "CN=a"
from = "203.0.113.7"
at = 2027-01-01T00:00:00Z
times = 3
expect = { status = 401, reason = "auth_missing" }
"""


PEM = model.Secret(source="file:keys/api.pem", value=b"PEM\n")


def full(folder: Path) -> model.Config:
    """What `FULL` says, as values."""
    return model.Config(
        gateway=model.Gateway(
            listen=(
                model.Listen(host="127.0.0.1", port=8080),
                model.Listen(host="::1", port=0),
                model.Listen(path=str(folder / "run/rawgate.sock"), mode=0o660),
                model.Listen("127.0.0.1", 8443, tls="public", proxy_protocol=True),
            ),
            workers=4,
            parser="h11",
            half_close="serve",
            zone="eu-1a",
            trace="make",
            admin=model.Listen("127.0.0.1", 9901),
            admin_allow=(ip_network("10.0.0.0/8"),),
            trusted_proxies=(ip_network("10.0.0.0/8"), ip_network("::1/128"), "unix"),
            client_ip_header="cf-connecting-ip",
            merge_slashes=False,
            case="ignore",
            untrusted_headers=("x-team",),
            auth_failures=model.AuthFailures(20, 60.0, delay=2.0, shadow=True),
            resolver=("10.0.0.2:53", "[::1]:8600"),
            timeouts=model.Timeouts(head=1.0, body=0.25, send=60.0, keep_alive=3600.0, drain=0.0, pre_stop=5.0),
            limits=model.Limits(
                head=32768,
                headers=50,
                target=4096,
                body=2**30,
                body_rate=0,
                connections=20,
                per_address=10,
                buffers=64 * 1024 * 1024,
                limiter_keys=1000,
            ),
            log=model.Log(fields=("user-agent",), quiet=("users",)),
        ),
        jwt={
            "main": model.Jwt(
                algorithm=("HS256",),
                secret=(
                    model.Secret("env:JWT_SECRET", ENVIRON["JWT_SECRET"].encode()),
                    model.Secret("env:OLD", ENVIRON["OLD"].encode()),
                ),
                secret_encoding="hex",
                issuer=("https://issuer.example/",),
                audience=("*",),
                leeway=0.0,
                require_exp=False,
                token=("header", "cookie:token"),
            ),
            "rsa": model.Jwt(algorithm=("RS256",), public_key=(model.Secret("file:keys/api.pem", b"PEM\n"),)),
            "set": model.Jwt(algorithm=("RS256",), jwks=model.Secret("file:keys/set.json", b"{}\n")),
            "fetched": model.Jwt(
                algorithm=("ES256",),
                jwks=model.KeySetUrl("https://issuer.example/keys"),
                jwks_ca=model.Secret("file:keys/api.pem", b"PEM\n"),
            ),
            "discovered": model.Jwt(algorithm=("EdDSA",), issuer=("https://issuer.example",), jwks=model.KeySetUrl()),
        },
        api_keys={
            "partners": model.ApiKeys(
                header="x-api-key", query="key", keys=model.Secret("file:keys/partners", b"a:b\nc:d\r\n")
            )
        },
        tls={
            "public": model.Tls(
                certificates=(model.Certificate(chain=PEM, key=PEM),),
                min_version="1.3",
                client_ca=PEM,
                client_auth="ask",
                handshake_timeout=3.0,
            )
        },
        consul=model.Consul(
            address=model.Target("consul.internal", 8501, "consul.internal:8501", "https"),
            token=model.Secret("env:TOKEN", ENVIRON["TOKEN"].encode()),
            ca=PEM,
        ),
        upstreams={
            "users": model.Upstream(
                targets=(
                    model.Target("users.internal", 80, "users.internal"),
                    model.Target("::1", 3002, "[::1]:3002", weight=3, zone="eu-1a"),
                    model.Target("users.internal", 443, "users.internal", "https", backup=True),
                    model.Target("", 0, "localhost", path=str(folder / "run/users.sock")),
                    model.Target(
                        "Users",
                        0,
                        "users.service.eu.consul",
                        source="consul",
                        query=(("dc", "eu"), ("tag", "v2")),
                    ),
                ),
                tls=model.UpstreamTls(
                    ca=PEM,
                    certificate=model.Certificate(chain=PEM, key=PEM),
                    server_name="users.internal",
                    min_version="1.3",
                    verify=False,
                ),
                balance=model.HashBalance(hash="header:x-session"),
                health=model.HealthCheck(
                    path="/up",
                    interval=7.0,
                    timeout=2.0,
                    rise=1,
                    fall=4,
                    status=((200, 299), (401, 401)),
                    host="up",
                ),
                eject=model.Eject(failures=3, for_=20.0, at_most=0.3, status=((500, 500), (502, 504))),
                slow_start=30.0,
                connect_timeout=1.0,
                response_timeout=2.0,
                idle_timeout=3.0,
                total_timeout=4.0,
                breaker=model.Breaker(errors=0.6, of=21, within=11.0, for_=12.0),
                retry=model.Retry(attempts=3, on=("timeout", 500), budget=0.3),
                max_connections=5,
                keep_alive=6.0,
                queue=0,
                queue_timeout=8.0,
                per_client=3,
                reuse="after-bodiless",
                max_tunnels=7,
                tunnel_idle=9.0,
                tunnel_max_age=10.0,
            )
        },
        routes=(
            model.Route(
                name="users",
                host="api.example.com",
                methods=("GET", "PROPFIND"),
                prefix="/api/users",
                upstream="users",
                rewrite="/v2/users",
                auth=("jwt.main", "api_keys.partners"),
                require={"scope": ("users:read",), "realm_access.roles": ("admin", 1, True)},
                allow=(ip_network("10.0.0.0/8"),),
                deny=(ip_network("10.1.0.0/16"),),
                rate_limit=(
                    "all",
                    model.RateLimit(
                        max=model.MaxBy(by="claim:plan", amounts={"free": 5}, other=1),
                        window=60.0,
                        key="ip",
                        shadow=True,
                    ),
                ),
                concurrency=5,
                shadow=("require",),
                upstream_host="pass",
                request_headers=model.HeaderRules(set={"X-Team": "a b"}, remove=("Cookie",), add={"X-A": "1"}),
                response_headers=model.HeaderRules(set={"Server": ""}),
                rewrite_location=False,
                response_timeout=7.0,
                body=0,
                upgrade=(),
                encoded_slash="keep",
                path_parameters="keep",
                case="exact",
                cors=model.Cors(
                    origins=("https://app.example",),
                    methods=("PUT",),
                    headers=("X-A",),
                    max_age=60.0,
                    credentials=True,
                    expose=("X-B",),
                ),
                forward_credentials=False,
            ),
            model.Route(
                name="/",
                prefix="/",
                upstream="users",
                rewrite=model.RegexRewrite("/(.*)", "/x/\\1"),
                auth="api_keys.partners",
            ),
            model.Route(
                name="/old/{id}",
                path="/old/{id}",
                redirect=model.Redirect(to="/new/{id}", status=301),
                match=model.Match(headers={"X-Version": "2"}, query={"v": "*"}, scheme="http"),
                auth="none",
            ),
            model.Route(
                name="/health",
                path="/health",
                respond=model.Respond(status=201, body="fine", type="text/html"),
                auth="none",
            ),
        ),
        limits={"all": model.RateLimit(max=100, window=3600.0, key="all", shared="leased")},
        store=model.Store(
            url=model.StoreUrl(
                text="rediss+sentinel://alice@10.0.0.1:26380,s2/main/1",
                kind="sentinel",
                tls=True,
                hosts=(("10.0.0.1", 26380), ("s2", 26379)),
                user="alice",
                service="main",
                database=1,
            ),
            password=model.Secret("env:JWT_SECRET", ENVIRON["JWT_SECRET"].encode()),
            ca=model.Secret("file:keys/api.pem", b"PEM\n"),
            certificate=model.Certificate(chain=PEM, key=PEM),
            sentinel_password=model.Secret("env:JWT_SECRET", ENVIRON["JWT_SECRET"].encode()),
            timeout=0.02,
            on_failure="refuse",
        ),
        tests=(
            model.Test(
                request="GET http://api.example.com/api/users/7?x=1",
                headers={"Origin": "https://app.example"},
                claims={"sub": "alice"},
                expect=model.Expect(route="users", path="/v2/users/7?x=1", headers={"X-User-Id": "alice"}),
            ),
            model.Test(
                request="GET /",
                api_key="team",
                certificate="CN=a",
                from_="203.0.113.7",
                at=1_798_761_600.0,
                times=3,
                expect=model.Expect(status=401, reason="auth_missing"),
            ),
        ),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/api.pem").write_bytes(b"PEM\n")
    (tmp_path / "keys/set.json").write_bytes(b"{}\n")
    (tmp_path / "keys/partners").write_bytes(b"a:b\nc:d\r\n")
    return tmp_path


def draft_of(folder: Path, text: str, name: str = "c.toml") -> Draft:
    (folder / name).write_text(text, "utf-8")
    return load(folder / name, ENVIRON)


def test_every_key(folder: Path) -> None:
    draft = draft_of(folder, FULL)
    assert draft.report(draft.problems) == []
    assert draft.config == full(folder)


def test_what_is_left_out_has_the_defaults_of_the_model(tmp_path: Path) -> None:
    assert draft_of(tmp_path, SMALLEST).config == model.Config(
        gateway=model.Gateway(listen=(model.Listen(host="127.0.0.1", port=8080),)),
        upstreams={"users": model.Upstream(targets=(model.Target("127.0.0.1", 3001, "127.0.0.1:3001"),))},
        routes=(model.Route(prefix="/api/users", upstream="users", auth="none", name="/api/users"),),
    )


def test_a_broken_optional_value_leaves_its_default(tmp_path: Path) -> None:
    draft = draft_of(tmp_path, SMALLEST + 'body = "big"\nunknown = 1\nrate_limit = { max = 1 }\n')
    assert len(draft.problems) == 3
    assert draft.config == draft_of(tmp_path, SMALLEST).config


BROKEN = """\
[gateway]
listen = ["127.0.0.1:8080"]

[jwt.gone]
algorithm = "HS256"
secret = "env:GONE"

[jwt.keyless]
algorithm = "HS256"

[upstreams.bad]
targets = ["ftp://a", "ftp://b"]
queue = 3

[[routes]]
prefix = "no-slash"
upstream = "bad"
auth = "none"

[[routes]]
prefix = "/1"
upstream = "bad"
auth = "jwt.gone"

[[routes]]
prefix = "/2"
host = "a b"
upstream = "bad"
auth = "none"

[[routes]]
prefix = "/3"
upstream = "absent"
auth = "jwt.absent"
"""


class TestBroken:
    """What is made of a broken file is sound in itself, so that policy can look at it."""

    def test_a_route_that_would_match_something_else_is_left_out(self, tmp_path: Path) -> None:
        config = draft_of(tmp_path, BROKEN).config
        assert config is not None
        assert [route.prefix for route in config.routes] == ["/1", "/3"]

    def test_every_name_leads_somewhere(self, tmp_path: Path) -> None:
        config = draft_of(tmp_path, BROKEN).config
        assert config is not None
        assert config.jwt == {}
        assert [route.auth for route in config.routes] == ["none", "none"]
        assert all(config.upstreams[route.upstream].targets for route in config.routes)
        assert config.upstreams["bad"].queue == 3

    def test_problems_of_the_config_are_told_where_the_file_has_them(self, tmp_path: Path) -> None:
        draft = draft_of(tmp_path, BROKEN)
        found = [Problem(("routes", 1, "prefix"), "b"), Problem(("routes", 0), "a"), Problem(("routes",), "c")]
        assert draft.report(found) == [
            f"{tmp_path}/c.toml:15: routes: c",
            f"{tmp_path}/c.toml:20: routes[1]: a",
            f"{tmp_path}/c.toml:32: routes[3].prefix: b",
        ]

    def test_all_problems_in_one_report(self, tmp_path: Path) -> None:
        draft = draft_of(tmp_path, BROKEN)
        report = draft.report([*draft.problems, Problem(("routes", 1, "rewrite"), "from policy")])
        assert [line.removeprefix(f"{tmp_path}/c.toml:").split(": ")[:2] for line in report] == [
            ["6", "jwt.gone.secret"],
            ["8", "jwt.keyless"],
            ["12", "upstreams.bad.targets[0]"],
            ["12", "upstreams.bad.targets[1]"],
            ["16", "routes[0].prefix"],
            ["27", "routes[2].host"],
            ["31", "routes[3].rewrite"],
            ["33", "routes[3].upstream"],
            ["34", "routes[3].auth"],
        ]

    def test_without_a_gateway_the_rest_can_be_looked_at(self, tmp_path: Path) -> None:
        config = draft_of(tmp_path, SMALLEST.replace("listen", "listn")).config
        assert config is not None
        assert config.gateway == model.Gateway(listen=())
        assert len(config.routes) == 1


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (("routes", 0, "prefix"), 8),
        (("routes", 0), 7),
        (("routes", 0, "rewrite", "pattern"), 7),
        (("upstreams", "users", "targets", 0), 5),
        (("upstreams", "absent"), 4),
        (("jwt",), 1),
        ((), 1),
    ],
)
def test_the_line_is_the_nearest_one(tmp_path: Path, path: tuple[str | int, ...], expected: int) -> None:
    assert draft_of(tmp_path, SMALLEST).line(path) == expected


def test_positions_follow_what_is_written(folder: Path) -> None:
    draft = draft_of(folder, FULL)
    found = [Problem(("jwt", "main", "secret", 1), "x"), Problem(("jwt", "rsa", "public_key", 0), "y")]
    # A key that is written alone has no position.
    assert [line.split(": ", 1)[1] for line in draft.report(found)] == [
        "jwt.main.secret[1]: x",
        "jwt.rsa.public_key: y",
    ]


def test_keys_that_toml_would_quote_are_quoted(tmp_path: Path) -> None:
    problem = Problem(("a b", 'c"', "", "d-_1", 0), "x")
    assert draft_of(tmp_path, SMALLEST).report([problem]) == [f'{tmp_path}/c.toml:1: "a b"."c\\""."".d-_1[0]: x']


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a = 1\nb = = 2", "2: is not valid TOML: Invalid value, column 5"),
        (b"a = 1\n\nb = [", "3: is not valid TOML: Invalid value"),
        (b'a = "x', "1: is not valid TOML: Unterminated string"),
        (b"a = 1\nb = '\xff'", "2: is not UTF-8"),
        (b"a = " + b"[" * 100_000, "1: is nested too deeply"),
        (b"a = " + b"9" * 10_000, "1: is not valid TOML"),
        (b"", "1: gateway: is missing (expected [gateway] with"),
    ],
    ids=["line", "end", "string", "UTF-8", "depth", "integer", "empty"],
)
def test_not_a_configuration(tmp_path: Path, content: bytes, expected: str) -> None:
    file = tmp_path / "c.toml"
    file.write_bytes(content)
    draft = load(file, {})
    assert draft.report(draft.problems)[0].startswith(f"{file}:{expected}")


SAMPLE = "`rawgate demo --config` prints one to start from"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("absent.toml", f"cannot be read: No such file or directory; {SAMPLE}"),
        ("absent.py", f"cannot be read: No such file or directory; {SAMPLE}"),
        ("folder.toml", "cannot be read: Is a directory; name a file in it"),
        ("c.toml/c.toml", "cannot be read: Not a directory"),
        ("c.yaml", "is not a configuration (expected a file that ends in .toml or .py)"),
    ],
)
def test_not_a_file(tmp_path: Path, name: str, expected: str) -> None:
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "c.toml").touch()
    draft = load(tmp_path / name, {})
    assert draft.config is None
    assert draft.report(draft.problems) == [f"{tmp_path / name}:1: {expected}"]


def test_what_consul_is_asked_with_must_fit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(text: str) -> list[str]:
        draft = draft_of(folder, text)
        return [line.partition(": ")[2] for line in draft.report(draft.problems)]

    assert said(FULL.replace("https://Consul", "http://Consul")) == [
        "consul.ca: is for https://, and address has http:// (expected https:// in address)"
    ]
    monkeypatch.setitem(ENVIRON, "TOKEN", "a b")
    assert said(FULL) == ["consul.token: holds what cannot be sent in a header field (expected printable ASCII)"]


def test_no_secret_is_ever_shown(folder: Path) -> None:
    draft = draft_of(folder, FULL + "wrong = 1\n")
    shown = f"{draft!r} {draft} {draft.config!r} {draft.config} {draft.report(draft.problems)}"
    for secret in (*ENVIRON.values(), "PEM", "a:b", "c:d"):
        assert secret not in shown
    assert "<secret env:JWT_SECRET>" in shown


def test_the_model_is_frozen_and_complete(folder: Path) -> None:
    """Every field of the model appears in `full`, so that a new one cannot be forgotten here."""
    seen: dict[type, set[str]] = {}

    def visit(value: object) -> None:
        if isinstance(value, msgspec.Struct):
            fields = msgspec.structs.fields(type(value))
            written = {f.name for f in fields if f.required or getattr(value, f.name) != default(f)}
            seen.setdefault(type(value), set()).update(written)
            for field in fields:
                visit(getattr(value, field.name))
        elif isinstance(value, dict):
            for item in value.values():
                visit(item)
        elif isinstance(value, tuple):
            for item in value:
                visit(item)

    visit(full(folder))
    for cls, written in seen.items():
        names = {field.name for field in msgspec.structs.fields(cls)}
        # A store has either hosts or a socket.
        assert {(cls, name) for name in names - written} <= {(model.StoreUrl, "path")}


def default(field: msgspec.structs.FieldInfo) -> object:
    factory: object = field.default_factory
    return factory() if callable(factory) else field.default


def test_a_route_without_a_name_is_referred_to_by_host_and_prefix(tmp_path: Path) -> None:
    text = (
        SMALLEST.replace('prefix = "/api/users"', 'prefix = "/api/users"\nhost = "API.example"')
        + """
[[routes]]
prefix = "/b"
upstream = "users"
auth = "none"
methods = ["GET", "HEAD"]

[[routes]]
prefix = "/b"
upstream = "users"
auth = "none"

[[tests]]
request = "GET http://api.example/api/users"
expect = { route = "api.example/api/users" }

[[tests]]
request = "GET /b"
expect = { route = "GET,HEAD /b" }

[[tests]]
request = "GET /b"
expect = { route = "/api/users" }
"""
    )
    file = tmp_path / "c.toml"
    file.write_text(text)
    draft = load(file, {})
    assert draft.config is not None
    assert [route.name for route in draft.config.routes] == ["api.example/api/users", "GET,HEAD /b", "/b"]
    (problem,) = draft.problems
    assert problem.path == ("tests", 2, "expect", "route")
