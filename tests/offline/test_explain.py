"""An explanation: its verdict is the gate's, its words fit the verdict, and it shows no credential."""

import json
import re
from base64 import urlsafe_b64encode
from hashlib import sha256
from ipaddress import ip_network
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from hypothesis import assume, given
from hypothesis import strategies as st

from harness.tokens import signed, token
from rawgate.config.model import (
    ApiKeys,
    AuthFailures,
    Breaker,
    Config,
    Cors,
    Eject,
    Gateway,
    HashBalance,
    HeaderRules,
    HealthCheck,
    Jwt,
    KeySetUrl,
    Limits,
    Match,
    MaxBy,
    RateLimit,
    Redirect,
    RegexRewrite,
    Respond,
    Retry,
    Route,
    Secret,
    Target,
    Upstream,
)
from rawgate.errors import Problem
from rawgate.message import Forward, LocalReply, Peer, Pending
from rawgate.offline.explain.explanation import explain
from rawgate.offline.explain.fields import credentials, field_lines, masked
from rawgate.offline.explain.model import Balancing, Breaking, Checking, Ejecting, Explanation, Tunnelling
from rawgate.offline.sample import Refused, read_request, request_octets
from rawgate.policy.compile import compile_gate
from rawgate.serve.load import Loaded
from rawgate.wire import reply, request_head

SECRET = "a secret of more than 32 octets, for these tests"
OLD = "an older secret of more than 32 octets, for tests"
API_KEY = "key-of-partner-0123456789"
LATE_KEY = "key-of-another-0123456789"
WALL = 1_700_000_000.0
PEER = Peer("192.0.2.7", "192.0.2.7")


KEYS_FILE = "".join(
    f"[[keys]]\nname = '{name}'\nsha256 = '{sha256(key.encode()).hexdigest()}'\nexpires = {more}\n"
    for name, key, more in (
        ("acme", API_KEY, '2999-01-01\nclaims = { scope = "x y", realm = { roles = ["admin"] } }'),
        ("late", LATE_KEY, "2001-01-01"),
    )
)


def config(
    *routes: Route, jwt: dict[str, Any] | None = None, keys: dict[str, Any] | None = None, **gateway: Any
) -> Config:
    secrets = (Secret("env:NEW", SECRET.encode()), Secret("env:OLD", OLD.encode()))
    return Config(
        gateway=Gateway(listen=(), **gateway),
        upstreams={
            "users": Upstream(targets=(Target("10.9.9.1", 3001, "users:3001"), Target("10.9.9.2", 80, "second")))
        },
        routes=tuple(
            msgspec.structs.replace(route, name=route.name or f"route-{number}") for number, route in enumerate(routes)
        ),
        jwt={"main": Jwt(algorithm=("HS256",), secret=secrets, **(jwt or {}))},
        api_keys={
            "partners": msgspec.structs.replace(
                ApiKeys(header="x-api-key", keys=Secret("env:KEYS", f"acme:{API_KEY}".encode())), **keys or {}
            )
        },
        limits={"shared": RateLimit(2, 60.0)},
    )


def route(prefix: str = "/", *, auth: str | tuple[str, ...] = "none", **more: Any) -> Route:
    return Route(prefix=prefix, upstream="users", auth=auth, **more)


def new_id() -> str:
    return "0" * 32


def date() -> bytes:
    return b"now"


def loaded(configuration: Config) -> Loaded | None:
    problems: list[Problem] = []
    gate = compile_gate(configuration, new_id=new_id, date=date, problems=problems, warnings=[])
    return None if gate is None else Loaded(configuration, gate)


def explained(
    configuration: Config, method: str, url: str, *fields: str, peer: Peer = PEER, wall: float = WALL
) -> Explanation:
    ready = loaded(configuration)
    assert ready is not None
    octets = request_octets(method, url, fields)
    return explain(ready, octets, peer, now=0.0, wall=wall, new_id=new_id, date=date)


# The verdict is the gate's, whatever the configuration and the request.

GOOD = token({"sub": "alice", "exp": WALL + 600}, SECRET)
TOKENS = {
    "good": GOOD,
    "old key": token({"sub": "bob", "exp": WALL + 600}, OLD),
    "no sub": token({"exp": WALL + 600}, SECRET),
    "expired": token({"sub": "alice", "exp": WALL - 600}, SECRET),
    "early": token({"sub": "alice", "exp": WALL + 600, "nbf": WALL + 300}, SECRET),
    "stranger": token({"sub": "alice", "exp": WALL + 600}, "nobody's secret of more than 32 octets, for tests"),
    "issuer": token({"sub": "alice", "exp": WALL + 600, "iss": "https://other.test"}, SECRET),
    "audience": token({"sub": "alice", "exp": WALL + 600, "aud": "other"}, SECRET),
    "unfit sub": token({"sub": " alice", "exp": WALL + 600}, SECRET),
    "no exp": token({"sub": "alice"}, SECRET),
    "odd exp": token({"sub": "alice", "exp": "soon"}, SECRET),
    "huge exp": token({"sub": "alice", "exp": 10**400}, SECRET),
    "enormous exp": signed(b'{"alg":"HS256"}', b'{"exp":1%s}' % (b"0" * 5000), SECRET),
    "infinite exp": signed(b'{"alg":"HS256"}', b'{"exp":1e999}', SECRET),
    "deep": signed(b'{"alg":"HS256","kid":%s1%s}' % (b"[" * 500, b"]" * 500), b"{}", SECRET),
    "doubled": signed(b'{"alg":"HS256"}', b'{"exp":1,"exp":2}', SECRET),
    "no claims": signed(b'{"alg":"HS256"}', b"[1]", SECRET),
    "algorithm": signed(b'{"alg":"RS256"}', b"{}", SECRET),
    "none": signed(b'{"alg":"none"}', b"{}", SECRET),
    "crit": signed(b'{"alg":"HS256","crit":["b64"]}', b"{}", SECRET),
    "kid": signed(b'{"alg":"HS256","kid":7}', b"{}", SECRET),
    "no header": signed(b"[]", b"{}", SECRET),
    "no JSON": signed(b"\xff", b"\xff", SECRET),
    "two parts": "a.b",
    "four parts": GOOD + ".x",
    "padded": GOOD + "=",
    "foreign": GOOD + "é",
    "no signature": GOOD.rpartition(".")[0] + ".",
    "short": "x",
    "blank": "",
}
CREDENTIALS = st.sampled_from(
    [
        *(f"Authorization: Bearer {text}" for text in TOKENS.values()),
        f"X-Api-Key: {API_KEY}",
        "X-Api-Key: another-key-0123456789",
        f"X-Api-Key: {LATE_KEY}",
        *(f"Cookie: a=b; t={TOKENS[name]}" for name in ("good", "expired", "blank")),
        f"Cookie: t={GOOD}; t=x",
        f"Sec-WebSocket-Protocol: chat, bearer, {GOOD}",
        "Authorization: Basic dXNlcjpwYXNz",
    ]
)
USUAL_FIELDS = st.sampled_from(
    [
        "Host: h.test",
        "Host: H.TEST:81",
        "Via: 1.1 proxy",
        "Max-Forwards: 3",
        "Origin: https://shop.test",
        "Access-Control-Request-Method: POST",
        "Access-Control-Request-Headers: x-a",
        "Content-Length: 5",
        "Expect: 100-continue",
        "X-Forwarded-For: 203.0.113.9, 10.0.0.2",
        "X-Forwarded-Odd: 1",
        "X-Client: 203.0.113.10",
        "X-User-Id: root",
        "X-Request-Id: mine",
        "Connection: close, x-a, upgrade",
        "Upgrade: websocket",
        "X-A: 1",
        "x-a: 2",
        "Cookie: session=1",
        "Proxy: http://evil.test",
    ]
)
ODD_FIELDS = st.sampled_from(
    [
        "Via: " + ", ".join(["1.1 rawgate"] * 9),
        "Max-Forwards: 0",
        "Max-Forwards: x",
        "Content-Length: 50000",
        "Transfer-Encoding: chunked",
        "Connection: authorization",
        "Authorization: Bearer twice",
        "X-Api-Key: twice",
        "no colon",
        "Bad Name: 1",
    ]
)
USUAL = st.lists(USUAL_FIELDS, max_size=4, unique_by=lambda line: line.partition(":")[0])
ROUTE_KEYS: dict[str, st.SearchStrategy[Any]] = {
    "auth": st.sampled_from(["none", "jwt.main", "api_keys.partners", ("jwt.main", "api_keys.partners")]),
    "require": st.sampled_from([{}, {"sub": ("alice", "acme")}, {"realm.roles": ("admin",), "scope": ("x",)}]),
    "allow": st.sampled_from([(), (ip_network("192.0.2.0/24"), "unix")]),
    "deny": st.sampled_from([(), (ip_network("2001:db8::/32"),)]),
    "concurrency": st.sampled_from([None, 1]),
    "shadow": st.sampled_from([(), ("auth", "require"), ("rate_limit", "concurrency")]),
    "match": st.sampled_from(
        [None, None, Match(scheme="http"), Match(headers={"x-a": "1"}, query={"x": "1"}), Match(headers={"x-a": "*"})]
    ),
    "rewrite": st.sampled_from(
        [None, "/v2", "/", RegexRewrite("/a(.*)", "/b/\\1"), lambda path: "//" if "b" in path else path + "/x"]
    ),
    "rate_limit": st.sampled_from(
        [
            *(None, RateLimit(1, 60.0), "shared", ("shared", RateLimit(1, 60.0, key="ip"))),
            RateLimit(MaxBy(by="claim:sub", amounts={"alice": 2}, other=1), 60.0, key="all"),
            ("shared", RateLimit(1, 60.0, key="claim:realm.roles"), RateLimit(1, 60.0, key="header:x-a", shadow=True)),
        ]
    ),
    "cors": st.sampled_from([None, Cors(origins=("https://shop.test",), methods=("POST",), headers=("x-a",))]),
    "encoded_slash": st.sampled_from(["reject", "keep"]),
    "path_parameters": st.sampled_from(["strict", "keep"]),
    "body": st.sampled_from([None, 10]),
    "forward_credentials": st.sampled_from([None, True, False]),
    "upstream_host": st.sampled_from(["upstream", "pass"]),
    "request_headers": st.sampled_from(
        [HeaderRules(), HeaderRules({"X-Env": "{sub}"}, ("x-a*",), {"X-Ip": "{client_ip}"})]
    ),
    "response_timeout": st.sampled_from([None, 2.0]),
}
NARROW_ROUTES = st.builds(
    route,
    st.sampled_from(["/a", "/a/", "/a/b", "/b%20c"]),
    host=st.sampled_from([None, "h.test", "*.test"]),
    methods=st.sampled_from([None, ("GET",), ("POST", "OPTIONS")]),
    **ROUTE_KEYS,
)
LOCAL_ROUTES = st.builds(
    lambda path, reply, auth: Route(path=path, auth=auth, **reply),
    st.sampled_from(["/a/{x}", "/a/b", "/{x}/{rest*}"]),
    st.sampled_from([{"respond": Respond(body="x")}, {"redirect": Redirect(to="https://{host}/{x}")}]),
    st.sampled_from(["none", "jwt.main"]),
)
# Narrow routes of both kinds hide one another too often.
LAST_ROUTES = st.builds(route, st.just("/"), case=st.sampled_from([None, "ignore", "exact"]), **ROUTE_KEYS)
CONFIGS = st.builds(
    lambda routes, jwt, keys, gateway: config(*routes, jwt=jwt, keys=keys, **gateway),
    st.tuples(st.lists(NARROW_ROUTES | LOCAL_ROUTES, max_size=3), LAST_ROUTES).map(
        lambda routes: [*routes[0], routes[1]]
    ),
    st.sampled_from(
        [
            *(
                {},
                {"issuer": ("https://idp.test",)},
                {"audience": ("shop",)},
                {"audience": ("*",), "require_exp": False},
            ),
            *({"token": ("cookie:t", "query:t")}, {"token": ("header", "subprotocol")}),
        ]
    ),
    st.sampled_from([{}, {"keys": Secret("file:keys.toml", KEYS_FILE.encode())}, {"query": "k"}]),
    st.fixed_dictionaries(
        {},
        optional={
            "trusted_proxies": st.just((ip_network("10.0.0.0/8"),)),
            "client_ip_header": st.just("x-client"),
            "merge_slashes": st.booleans(),
            "case": st.sampled_from(["exact", "ignore"]),
            "parser": st.sampled_from(["fast", "h11"]),
            "limits": st.just(Limits(target=64)),
            "untrusted_headers": st.just(("x-a",)),
            "auth_failures": st.sampled_from([AuthFailures(1, 60.0), AuthFailures(1, 60.0, 0.0, shadow=True)]),
        },
    ),
)
ODD_URLS = st.sampled_from(
    ["/b c", "/../a", "/a%2Fb", "/%zz", "*", "foo", "", "/" + "x" * 99, "http://user@h.test/a"]
) | st.text(max_size=12)
USUAL_URLS = st.sampled_from(
    [
        *("/A", "/a;x", "/a/B;v=1/c", "/;/a", "/%41/b"),
        *("/", "/a", "/a/", "/a/b", "/a/b/c?x=1", "/b%20c", "//a//b", "/a/../b", "/a/%2e%2e/b", "/a./b"),
        *("http://h.test/a", "http://h.test?q", "https://H.test:9/a#b", "http://a.h.test.:9/a/b"),
        *(f"/a?x=1&t={GOOD}", f"/a?%74={GOOD}&t=x", f"/a?k={API_KEY}&x=1"),
    ]
)
ODD_METHODS = st.sampled_from(["PURGE", "HEAD", "CONNECT", "get", "G ET", ""])
PEERS = st.sampled_from([PEER, Peer("10.0.0.1", "10.0.0.1:9"), Peer("2001:db8::1", "[::1]:9"), Peer("unix", "unix")])


# Two properties, because of whole requests few are refused early, and of odd ones few come far.


@given(CONFIGS, st.sampled_from(["GET", "POST", "OPTIONS"]), USUAL_URLS, CREDENTIALS, USUAL, PEERS, st.integers(0, 2))
def test_the_verdict_on_a_whole_request_is_the_gates(
    configuration: Config, method: str, url: str, credential: str, fields: list[str], peer: Peer, before: int
) -> None:
    hold_to_the_gate(configuration, method, url, [credential, *fields], peer, before)


@given(
    CONFIGS, ODD_METHODS, USUAL_URLS | ODD_URLS, st.lists(CREDENTIALS | USUAL_FIELDS | ODD_FIELDS, max_size=4), PEERS
)
def test_the_verdict_on_an_odd_request_is_the_gates(
    configuration: Config, method: str, url: str, fields: list[str], peer: Peer
) -> None:
    hold_to_the_gate(configuration, method, url, fields, peer)


def hold_to_the_gate(
    configuration: Config, method: str, url: str, fields: list[str], peer: Peer, before: int = 0
) -> None:
    """`before`: how often the same request has come already."""
    asked, real = loaded(configuration), loaded(configuration)
    assume(asked is not None and real is not None)
    assert asked is not None
    assert real is not None
    octets = request_octets(method, url, fields)
    head = read_request(real, octets)
    if not isinstance(head, Refused):
        for ready in (asked, real) * before:
            ready.gate.decide(head, peer, 5.0, WALL)
    told = explain(asked, octets, peer, now=5.0, wall=WALL, new_id=new_id, date=date)
    shown = msgspec.json.encode(told).decode()
    # In a query only what may be one is a credential. What is none there is shown, wherever else it stands.
    shown_in_query = "" if "query:t" in configuration.jwt["main"].token else signature(url)
    keys = () if "k=" in url and configuration.api_keys["partners"].query is None else (API_KEY,)
    secrets = (SECRET, OLD, *keys, *map(signature, (url, *fields)))
    assert not [text for text in secrets if text not in ("", shown_in_query) and text in shown]
    if isinstance(head, Refused):
        assert (told.verdict.reason, told.verdict.status) == (head.error.reason.code, head.error.reason.status)
        assert (told.verdict.detail, told.log.reason) == (head.error.detail, head.error.reason.code)
        return
    decision = real.gate.decide(head, peer, 5.0, WALL)
    if isinstance(decision, Pending):
        assert (told.verdict.action, told.verdict.reason) == ("wait", decision.reason.code)
        return
    assert told.log.client_id == decision.client_id
    selected = [route.name for route in told.routes if route.outcome == "selected"]
    if isinstance(decision, LocalReply):
        assert (told.verdict.action, told.verdict.status) == ("answer", decision.status)
        assert (told.verdict.reason, told.log.reason) == (decision.reason.code, decision.reason.code)
        assert told.log.route == decision.route
        whole = reply(decision, date=date(), head_only=False, connection=b"")
        assert list(told.verdict.fields) == field_lines(veiled(configuration, whole))
        assert selected == ([decision.route] if decision.route else [])
        assert (told.fields, told.target) == (None, None)
        return
    assert isinstance(decision, Forward)
    assert (told.verdict.action, told.verdict.reason, told.log.reason) == ("forward", "ok", "ok")
    assert told.log.route == decision.options.route
    assert selected == [decision.options.route]
    assert told.target is not None
    assert told.fields is not None
    sent = request_head(decision.head, head.body, head.expect, decision.upgrade, b"content-length" in head.parsed)
    assert told.target.request_line.encode("latin-1") == veiled(configuration, sent.partition(b"\r\n")[0])
    hidden = credentials(configuration)
    travelling = sorted(
        ((field.name.lower(), field.value) for field in (*told.fields.added, *told.fields.kept)), key=repr
    )
    expected = [masked(field, hidden) for field in field_lines(sent)]
    assert travelling == sorted(((field.name.lower(), field.value) for field in expected), key=repr)


def test_a_parameter_that_may_be_a_credential_is_not_shown_where_no_route_takes_it() -> None:
    moved = Route(path="/old/{x}", auth="none", redirect=Redirect(to="https://{host}/{x}"))
    open_routes = config(moved, route("/"), keys={"query": "k"})
    up = explained(open_routes, "GET", f"/a?k={API_KEY}&x=1")
    assert up.target is not None
    assert up.target.request_line == "GET /a?k=...&x=1 HTTP/1.1"
    away = explained(open_routes, "GET", f"/old/new?k={API_KEY}")
    assert "https://localhost/new?k=..." in [field.value for field in away.verdict.fields]


def veiled(configuration: Config, text: bytes) -> bytes:
    """The text without the parameters of a query that may be credentials here."""
    names = [rb"t|%74"] if "query:t" in configuration.jwt["main"].token else []
    names += [b"k"] if configuration.api_keys["partners"].query == "k" else []
    return re.sub(rb"([?&](?:%b)=)[^& \r]*" % b"|".join(names), rb"\1...", text) if names else text


def signature(field: str) -> str:
    """The last part of a token that has three."""
    found = re.search(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*\.([A-Za-z0-9_-]{20,})", field)
    return found[1] if found else ""


# What it says

GUARDED = config(route("/api", auth="jwt.main"), jwt={"issuer": ("https://idp.test",)})
CLAIMS = {"sub": "alice", "exp": WALL + 300, "iss": "https://idp.test"}


def steps(told: Explanation) -> list[tuple[bool | None, str]]:
    assert told.authentication is not None
    return [(step.passed, step.text) for step in told.authentication.steps]


def test_a_good_token_step_by_step() -> None:
    told = explained(GUARDED, "GET", "/api", f"Authorization: Bearer {token(CLAIMS, OLD)}")
    size = len(token(CLAIMS, OLD))
    assert steps(told) == [
        (True, f"a bearer token of {size} octets in Authorization, in 3 parts"),
        (True, 'header: alg "HS256", typ "JWT"'),
        (True, "key: HS256, 2 from env:NEW, env:OLD fit"),
        (True, "signature: good, by the key from env:OLD"),
        (True, 'sub "alice"'),
        (True, 'iss "https://idp.test" (expected "https://idp.test")'),
        (True, "exp 1700000300.0: in 5 min"),
    ]
    assert told.authentication is not None
    assert (told.authentication.verifier, told.authentication.kind, told.authentication.name) == (
        "jwt.main",
        "sub",
        "alice",
    )


@pytest.mark.parametrize(
    ("authorization", "reason", "failed"),
    [
        (None, "auth_missing", "no bearer token"),
        ("Basic dXNlcjpwYXNz", "auth_missing", "no bearer token"),
        ("Bearer a.b", "auth_malformed", "in 2 parts"),
        (f"Bearer {signed(b'[]', b'{}')}", "auth_malformed", "header: no JSON object"),
        (f"Bearer {signed(b'{}', b'{}')}", "auth_malformed", "header: without alg"),
        (f"Bearer {TOKENS['algorithm']}", "auth_bad_signature", "key: alg RS256, this verifier takes HS256"),
        (f"Bearer {TOKENS['stranger']}", "auth_bad_signature", "signature: by none of 2 keys tried"),
        (f"Bearer {TOKENS['no signature']}", "auth_malformed", "signature"),
        (f"Bearer {TOKENS['no claims']}", "auth_malformed", "claims: no JSON object"),
        (f"Bearer {TOKENS['unfit sub']}", "auth_bad_claim", 'sub " alice": sub begins or ends with a blank'),
        (
            "Bearer " + signed(b'{"alg":"HS256"}', b'{"iss":"https://idp.test","exp":1%s}' % (b"0" * 5000), SECRET),
            "auth_bad_claim",
            "exp is not a number of seconds",
        ),
        (f"Bearer {token({**CLAIMS, 'iat': 'now'}, SECRET)}", "auth_bad_claim", "iat is not a number of seconds"),
        (f"Bearer {TOKENS['issuer']}", "auth_wrong_issuer", 'iss "https://other.test" (expected "https://idp.test")'),
        (f"Bearer {token({**CLAIMS, 'aud': 'x'}, SECRET)}", "auth_wrong_audience", 'aud "x" (expected none)'),
        (f"Bearer {token({**CLAIMS, 'exp': WALL - 120}, SECRET)}", "auth_expired", "2 min ago"),
        (f"Bearer {token({**CLAIMS, 'nbf': WALL + 7200}, SECRET)}", "auth_not_yet_valid", "in 2 h"),
        (f"Bearer {token({'iss': CLAIMS['iss']}, SECRET)}", "auth_malformed", "exp is missing (required)"),
        (f"Bearer {token({**CLAIMS, 'exp': True}, SECRET)}", "auth_bad_claim", "exp true, no date"),
    ],
)
def test_the_step_that_failed(authorization: str | None, reason: str, failed: str) -> None:
    told = explained(GUARDED, "GET", "/api", *([f"Authorization: {authorization}"] if authorization else []))
    assert (told.verdict.status, told.verdict.reason) == (401, reason)
    marks = [passed for passed, _ in steps(told)]
    at = marks.index(False)
    assert failed in steps(told)[at][1]
    assert marks == [True] * at + [False] + [None] * (len(marks) - at - 1)


def test_a_claim_is_named_to_the_operator_alone() -> None:
    told = explained(GUARDED, "GET", "/api", f"Authorization: Bearer {TOKENS['unfit sub']}")
    assert told.verdict.detail == "sub begins or ends with a blank"
    assert told.verdict.public_reason == "auth_invalid"


def test_a_preflight_that_is_refused() -> None:
    open_route = config(route(cors=Cors(origins=("https://shop.test",))))
    asked = ("Origin: https://shop.test", "Access-Control-Request-Method: GET", "Access-Control-Request-Headers: x-foo")
    verdict = explained(open_route, "OPTIONS", "/", *asked).verdict
    assert (verdict.status, verdict.reason, verdict.detail) == (204, "cors_refused", "x-foo is not in cors.headers")


def test_what_a_rewrite_function_raised() -> None:
    def fails(path: str) -> str:
        raise LookupError(path)

    told = explained(config(route("/a", rewrite=fails)), "GET", "/a")
    line = fails.__code__.co_firstlineno + 1
    assert told.verdict.detail == f"the rewrite function raised LookupError('/a') at {__file__}:{line}"
    assert told.rewrite is not None
    assert told.rewrite.sent == ""


@pytest.mark.parametrize("text", TOKENS.values(), ids=TOKENS.keys())
def test_every_refused_token_has_one_failed_step(text: str) -> None:
    told = explained(GUARDED, "GET", "/api", f"Authorization: Bearer {text}")
    assert [passed for passed, _ in steps(told)].count(False) == (told.verdict.action == "answer")


def test_an_api_key() -> None:
    guarded = config(route(auth="api_keys.partners"))
    assert steps(explained(guarded, "GET", "/")) == [(False, "no x-api-key field")]
    good = explained(guarded, "GET", "/", f"X-API-Key: {API_KEY}")
    assert steps(good) == [(True, "a key of 25 octets in x-api-key"), (True, "it is the key of acme")]
    assert good.fields is not None
    assert [(field.name, field.value, field.why) for field in good.fields.removed][1:] == [
        ("X-API-Key", "…", "the credential stays here")
    ]
    bad = explained(guarded, "GET", "/", "X-API-Key: nope")
    assert steps(bad)[1] == (False, "it is nobody's in this table")


def test_why_each_route_lost() -> None:
    told = explained(
        config(
            route("/api/users", host="h.test", name="host"),
            route("/orders", name="prefix"),
            route("/api/users", methods=("POST",), name="method"),
            route("/api/users", methods=("GET",), name="get"),
            route("/api/users", name="rest"),
            route("/", name="all"),
        ),
        "GET",
        "/api/users/7",
    )
    assert [(tried.name, tried.outcome) for tried in told.routes] == [
        ("host", "host"),
        ("prefix", "prefix"),
        ("method", "method"),
        ("get", "selected"),
        ("rest", "method"),
        ("all", "earlier"),
    ]
    assert told.routes[2].why == "takes POST"


def test_what_was_not_reached_is_null() -> None:
    climbed = explained(config(route(auth="jwt.main", rate_limit=RateLimit(1, 1.0))), "GET", "/../x")
    assert climbed.path is not None
    assert climbed.path.flaw == climbed.verdict.detail == "The path climbs above its root."
    assert climbed.routes == ()
    assert (climbed.authentication, climbed.limit, climbed.rewrite, climbed.fields, climbed.target) == (None,) * 5
    refused = explained(config(route()), "GET", "nowhere")
    assert (refused.client, refused.path, refused.routes) == (None, None, ())
    assert (refused.log.method, refused.log.path) == ("GET", "")  # it may be an authority


def test_the_way_through() -> None:
    told = explained(
        config(
            route(
                "/api/users",
                name="users",
                auth="jwt.main",
                rewrite="/v2/users",
                rate_limit=RateLimit(10, 60.0),
                response_timeout=2.0,
                request_headers=HeaderRules({"X-Env": "test"}, ("X-Debug",)),
            ),
            trusted_proxies=(ip_network("10.0.0.0/8"),),
        ),
        "GET",
        "http://api.test/api//users/./7?x=1",
        f"Authorization: Bearer {GOOD}",
        "X-Forwarded-For: 203.0.113.9",
        "X-User-Id: root",
        "X-Debug: 1",
        "Connection: x-a",
        "X-A: 1",
        "Accept: */*",
        peer=Peer("10.0.0.1", "10.0.0.1"),
    )
    assert told.client == msgspec.convert(
        {"peer": "10.0.0.1", "trusted": True, "address": "203.0.113.9"}, type(told.client)
    )
    assert told.path is not None
    assert (told.path.received, told.path.normalised, told.path.query) == ("/api//users/./7", "/api/users/7", "?x=1")
    assert told.rewrite is not None
    assert (told.rewrite.path, told.rewrite.sent) == ("/api/users/7", "/v2/users/7")
    assert told.limit is not None
    assert (told.limit.rule, told.limit.key, told.limit.admitted, told.limit.remaining) == (
        "users",
        "sub:alice",
        True,
        9,
    )
    assert told.fields is not None
    assert {(field.name, field.why) for field in told.fields.removed} == {
        ("Host", "the upstream has its own"),
        ("X-Forwarded-For", "only the gateway says this"),
        ("X-User-Id", "only the gateway says this"),
        ("X-Debug", "the route's request_headers"),
        ("Connection", "ends at this hop"),
        ("X-A", "ends at this hop"),
    }
    assert ("Authorization", "Bearer …") in [(field.name, field.value) for field in told.fields.kept]
    assert ("X-User-Id", "alice") in [(field.name, field.value) for field in told.fields.added]
    assert [field.name for field in told.fields.answer][:3] == ["Date", "X-Request-Id", "RateLimit"]
    assert told.target is not None
    assert told.target.targets == ("http://users:3001", "http://second")
    assert told.target.balance == Balancing("round_robin", (0.5, 0.5), "", "")
    assert (told.target.request_line, told.target.response_timeout) == ("GET /v2/users/7?x=1 HTTP/1.1", 2.0)
    assert told.log == msgspec.convert(
        {
            "method": "GET",
            "path": "/api//users/./7",
            "route": "users",
            "clientId": "alice",
            "status": None,
            "upstream": "users",
            "remote": "10.0.0.1",
            "reason": "ok",
        },
        type(told.log),
    )


def test_a_first_request_is_always_the_first() -> None:
    """Each explanation has a gate of its own: nothing is used up."""
    once = config(route(rate_limit=RateLimit(1, 60.0)))
    assert [explained(once, "GET", "/").verdict.action for _ in range(2)] == ["forward", "forward"]


def test_the_shape() -> None:
    """Names that programs rely on."""
    shown = json.loads(msgspec.json.encode(explained(GUARDED, "GET", "/api", f"Authorization: Bearer {GOOD}")))
    assert list(shown) == [
        *("request", "client", "path", "routes", "authentication", "access", "limit", "limits", "rewrite", "fields"),
        *("target", "verdict", "log"),
    ]
    assert list(shown["verdict"]) == ["action", "status", "reason", "publicReason", "detail", "fields", "shadow"]
    assert list(shown["log"]) == ["method", "path", "route", "clientId", "status", "upstream", "remote", "reason"]
    assert shown["request"]["fields"][1] == {"name": "Authorization", "value": "Bearer …", "why": ""}
    assert not [name for name in re.findall(r'"(\w+)":', json.dumps(shown)) if "_" in name]


# Paths that services read in more ways than one


def read_as(told: Explanation) -> list[tuple[str, str, str]]:
    assert told.path is not None
    return [(reading.reader, reading.path, reading.route) for reading in told.path.readings]


TWO_READINGS = config(route("/admin", auth="jwt.main", name="admin"), route("/", name="all"))


def test_parameters_that_lead_elsewhere() -> None:
    told = explained(TWO_READINGS, "GET", "/admin;x")
    assert read_as(told) == [("without parameters", "/admin", "admin"), ("with parameters", "/admin;x", "all")]
    assert told.verdict.reason == "bad_request"
    assert read_as(explained(TWO_READINGS, "GET", "/admin/a;x"))[1] == ("with parameters", "/admin/a;x", "admin")


def test_letters_that_lead_elsewhere() -> None:
    told = explained(TWO_READINGS, "GET", "/ADMIN")
    assert read_as(told) == [("in either case", "/admin", "admin")]
    assert told.routes[0].why == "is for /admin and what lies below, in these letters"
    assert read_as(explained(TWO_READINGS, "GET", "/admin")) == read_as(explained(TWO_READINGS, "GET", "/X")) == []
    folding = config(route("/admin", auth="jwt.main", case="ignore", name="admin"), route("/", name="all"))
    told = explained(folding, "GET", "/ADMIN")
    assert read_as(told) == []
    assert told.routes[0].why == "/admin, in either case"


def test_a_path_that_no_route_takes() -> None:
    alone = config(route("/admin", name="admin"))
    assert read_as(explained(alone, "GET", "/x;y")) == [
        ("without parameters", "/x", ""),
        ("with parameters", "/x;y", ""),
    ]


@pytest.mark.parametrize(
    ("rewrite", "path", "sent", "rule", "matched"),
    [
        ("/v2", "/a/b", "/v2/b", "/v2 in place of /a", True),
        (RegexRewrite("/a/(.*)", "/b/\\1"), "/a/x", "/b/x", "/a/(.*) → /b/\\1", True),
        (RegexRewrite("/a/(.*)", "/a/\\1"), "/a/x", "/a/x", "/a/(.*) → /a/\\1", True),
        (RegexRewrite("/a/(.*)", "/b/\\1"), "/a", "/a", "/a/(.*) → /b/\\1", False),
        (lambda path: path + "x", "/a", "/ax", "the route's own function", True),
    ],
)
def test_the_rule_that_rewrote_a_path(rewrite: Any, path: str, sent: str, rule: str, matched: bool) -> None:
    told = explained(config(route("/a", rewrite=rewrite)), "GET", path)
    assert told.rewrite is not None
    assert (told.rewrite.sent, told.rewrite.rule, told.rewrite.matched) == (sent, rule, matched)


# Fields


def test_a_name_beyond_ascii_is_shown_as_it_is_sent() -> None:
    claims = {**CLAIMS, "sub": "auth0|63fé"}
    told = explained(GUARDED, "GET", "/api", f"Authorization: Bearer {token(claims, SECRET)}")
    assert told.fields is not None
    assert [field.value for field in told.fields.added if field.name == "X-User-Id"] == ["auth0|63fé"]
    assert field_lines(b"GET / HTTP/1.1\r\nX-A: \xff\r\n\r\n")[0].value == "ÿ"


def test_who_may_say_what() -> None:
    sent = ("X-Forwarded-For: 203.0.113.9", "X_Forwarded_Host: a", "X-Request-Id: mine", "X-User-Id: root")
    told = explained(config(route()), "GET", "/", *sent)
    assert told.fields is not None
    why = {field.name: field.why for field in told.fields.removed}
    proxys = "only a trusted proxy may say this"
    assert why == {
        "Host": "the upstream has its own",
        "X-Forwarded-For": proxys,
        "X_Forwarded_Host": proxys,
        "X-Request-Id": proxys,
        "X-User-Id": "only the gateway says this",
    }


# Keys


def key_sets(*kids: str | None) -> Config:
    keys = [public_jwk(kid) for kid in kids]
    spec = Jwt(algorithm=("RS256",), jwks=Secret("file:jwks.json", json.dumps({"keys": keys}).encode()))
    return msgspec.structs.replace(config(route("/api", auth="jwt.main")), jwt={"main": spec})


def public_jwk(kid: str | None) -> dict[str, str]:
    numbers = generate_private_key(65537, 2048).public_key().public_numbers()
    modulus = urlsafe_b64encode(numbers.n.to_bytes(256, "big")).rstrip(b"=").decode()
    return {"kty": "RSA", "e": "AQAB", "n": modulus} | ({} if kid is None else {"kid": kid})


def test_keys_that_are_fetched_are_not_asked_for() -> None:
    whole = key_sets("kc-1")
    spec = Jwt(algorithm=("RS256",), jwks=KeySetUrl("https://idp.test/keys"))
    whole = msgspec.structs.replace(whole, jwt={"main": spec})
    made = signed(b'{"alg":"RS256","kid":"kc-1"}', b"{}", SECRET)
    told = explained(whole, "GET", "/api", f"Authorization: Bearer {made}")
    said = "key: RS256, from https://idp.test/keys, which is not asked here: only a gateway that serves has its keys"
    assert [text for passed, text in steps(told) if passed is False] == [said]
    assert told.verdict.reason == "keys_unavailable"


def test_a_list_of_algorithms_issuers_and_audiences() -> None:
    more = {"algorithm": ("RS256", "ES256"), "issuer": ("a", "b"), "audience": ("c", "d")}
    whole = key_sets("kc-1", "kc-2")
    whole = msgspec.structs.replace(whole, jwt={"main": msgspec.structs.replace(whole.jwt["main"], **more)})
    for header, said in (
        (b'{"alg":"PS256"}', "key: alg PS256, this verifier takes RS256 or ES256"),
        (b'{"alg":"ES256"}', "key: ES256, and none from file:jwks.json fits this header"),
        (b'{"alg":"ES256","kid":"kc-1"}', "key: kid kc-1 is a key of another algorithm than ES256"),
    ):
        told = explained(whole, "GET", "/api", f"Authorization: Bearer {signed(header, b'{}', SECRET)}")
        assert [text for passed, text in steps(told) if passed is False] == [said]
        texts = [text for _, text in steps(told)]
        assert 'iss is missing (expected "a" or "b")' in texts
        assert 'aud is missing (expected "c" or "d")' in texts


@pytest.mark.parametrize(
    ("header", "kids", "said"),
    [
        (b'{"alg":"RS256","kid":"a0-1"}', ("kc-1", "kc-2"), "key: kid a0-1; the file has kc-1, kc-2"),
        (b'{"alg":"RS256"}', ("kc-1", "kc-2"), "key: the token has no kid, and several keys fit"),
        (b'{"alg":"RS256","kid":"a, b"}', ("k", None), 'key: kid "a, b"; the file has k'),
        (b'{"alg":"HS256","kid":"kc-1"}', ("kc-1",), "key: alg HS256, this verifier takes RS256"),
        (b'{"alg":"RS256","kid":"kc-1"}', ("kc-1", "kc-1"), "signature: by none of 2 keys tried"),
    ],
)
def test_why_no_key_fits(header: bytes, kids: tuple[str | None, ...], said: str) -> None:
    told = explained(key_sets(*kids), "GET", "/api", f"Authorization: Bearer {signed(header, b'{}', SECRET)}")
    assert [text for passed, text in steps(told) if passed is False] == [said]


# What else a route may ask for


def test_what_is_asked_of_a_caller_is_shown_step_by_step() -> None:
    asking = config(route(auth="jwt.main", allow=(ip_network("192.0.2.0/24"),), require={"a": ("x",), "b": (1, True)}))
    claims = {"sub": "alice", "exp": WALL + 600, "a": "x", "b": 2}
    told = explained(asking, "GET", "/", f"Authorization: Bearer {token(claims, SECRET)}")
    assert [(check.passed, check.text) for check in told.access] == [
        (True, "192.0.2.7 may come in, by allow and deny"),
        (True, "a has 'x'"),
        (False, "b has not 1 or True"),
    ]
    assert (told.verdict.reason, told.verdict.detail) == ("forbidden", "require: b")
    assert [(check.passed, check.text) for check in explained(asking, "GET", "/", peer=Peer("::1", "::1")).access] == [
        (False, "::1 may not come in, by allow and deny")
    ]


def test_every_limit_is_shown() -> None:
    limited = config(route(rate_limit=("shared", RateLimit(1, 60.0, key="all", shadow=True))))
    told = explained(limited, "GET", "/")
    assert [(limit.rule, limit.key, limit.max, limit.remaining, limit.shadow) for limit in told.limits] == [
        ("shared", "ip:192.0.2.7", 2, 1, False),
        ("route-0 2", "all", 1, 0, True),
    ]
    assert told.limit == told.limits[0]


def test_a_shadow_is_shown() -> None:
    told = explained(config(route(auth="jwt.main", shadow=("auth",))), "GET", "/")
    assert (told.verdict.action, told.verdict.shadow) == ("forward", ("auth_missing",))


@pytest.mark.parametrize(
    ("url", "outcomes"),
    [("/users/7", ["selected", "path"]), ("/users/7/x", ["path", "path"]), ("/files/", ["path", "selected"])],
)
def test_paths_that_lost(url: str, outcomes: list[str]) -> None:
    paths = config(*(Route(path=path, upstream="users", auth="none") for path in ("/users/{id}", "/files/{rest*}")))
    assert [tried.outcome for tried in explained(paths, "GET", url).routes] == outcomes


def test_a_match_that_did_not_hold() -> None:
    routes = config(route(match=Match(headers={"X-A": "1"})), route())
    assert [tried.outcome for tried in explained(routes, "GET", "/").routes] == ["match", "selected"]
    assert [tried.outcome for tried in explained(routes, "GET", "/", "X-A: 1").routes] == ["selected", "earlier"]


def test_of_several_verifiers_the_one_that_decided_is_shown() -> None:
    either = config(route(auth=("jwt.main", "api_keys.partners")))
    told = explained(either, "GET", "/", f"X-Api-Key: {API_KEY}").authentication
    assert told is not None
    assert (told.verifier, told.name) == ("api_keys.partners", "acme")


def test_a_token_in_another_place_is_never_shown() -> None:
    anywhere = config(route(auth="jwt.main"), jwt={"token": ("query:t", "cookie:t", "subprotocol")})
    for fields in (("Cookie: t=" + GOOD,), ("Sec-WebSocket-Protocol: bearer, " + GOOD,), ()):
        told = explained(anywhere, "GET", "/x?a=1" if fields else f"/x?a=1&t={GOOD}", *fields)
        assert told.verdict.action == "forward"
        assert GOOD not in msgspec.json.encode(told).decode()


@pytest.mark.parametrize(
    ("targets", "balance", "expected"),
    [
        (((1, ""),), "round_robin", Balancing("round_robin", (1.0,), "", "http://t0")),
        (((3, ""), (1, "")), "least_requests", Balancing("least_requests", (0.75, 0.25), "", "")),
        (((1, "far"), (1, "near")), "round_robin", Balancing("round_robin", (0.0, 1.0), "", "http://t1")),
        (((1, ""), (1, "")), HashBalance(hash="client"), Balancing("hash", (0.5, 0.5), "ip:10.0.0.1", "http://t0")),
        (((1, ""), (1, "")), HashBalance(hash="header:x-a"), Balancing("hash", (0.5, 0.5), "", "")),
    ],
)
def test_which_target_is_told_as_far_as_it_is_known(
    targets: tuple[tuple[int, str], ...], balance: Any, expected: Balancing
) -> None:
    given = config(route(), zone="near")
    found = tuple(Target(f"t{at}", 80, f"t{at}", weight=weight, zone=zone) for at, (weight, zone) in enumerate(targets))
    given = msgspec.structs.replace(given, upstreams={"users": Upstream(targets=found, balance=balance)})
    told = explained(given, "GET", "/", peer=Peer("10.0.0.1", "10.0.0.1"))
    assert told.target is not None
    assert told.target.balance == expected


def test_what_is_done_about_targets_that_fail_is_told() -> None:
    targets = (Target("t", 80, "t"), Target("web", 0, "web.service.consul", source="consul"))
    plain = Upstream(targets=targets[:1])
    users = Upstream(
        targets=targets, health=HealthCheck(path="/up"), eject=Eject(failures=3), breaker=Breaker(within=20.0)
    )
    found = []
    for spec in (plain, users):
        given = msgspec.structs.replace(config(route()), upstreams={"users": spec})
        target = explained(given, "GET", "/").target
        assert target is not None
        found.append((target.sources, target.health, target.eject, target.breaker))
    assert found == [
        ((), None, None, None),
        (("consul+http://web",), Checking("/up", 5.0), Ejecting(3, 10.0, 0.5, "502-504"), Breaking(0.5, 20, 20.0, 5.0)),
    ]


@pytest.mark.parametrize(
    ("method", "fields", "attempts"),
    [("GET", (), 3), ("POST", (), 1), ("POST", ("Idempotency-Key: k",), 3), ("POST", ("X-Idempotency-Key: k",), 1)],
)
def test_whether_it_may_be_sent_again_is_told(method: str, fields: tuple[str, ...], attempts: int) -> None:
    users = Upstream(targets=(Target("t", 80, "t"),), retry=Retry(attempts=3, on=("reset", 503)))
    given = msgspec.structs.replace(config(route()), upstreams={"users": users})
    told = explained(given, method, "/", *fields)
    assert told.target is not None
    assert told.target.attempts == attempts
    assert told.target.retry_on == (("reset", 503) if attempts > 1 else ())


@pytest.mark.parametrize(
    ("auth", "fields", "ends"),
    [
        # A tenth of the 630 s that are left, leeway included, would be more than 10 s.
        ("jwt.main", (f"Authorization: Bearer {GOOD}",), (WALL + 620, WALL + 630)),
        (
            "jwt.main",
            (f"Authorization: Bearer {token({'sub': 'a', 'exp': WALL + 20}, SECRET)}",),
            (WALL + 45, WALL + 50),
        ),
        ("api_keys.partners", (f"X-Api-Key: {API_KEY}",), (None, None)),
        ("none", (), (None, None)),
    ],
)
def test_when_a_tunnel_would_end(auth: str, fields: tuple[str, ...], ends: tuple[float | None, float | None]) -> None:
    told = explained(config(route(auth=auth)), "GET", "/", "Upgrade: websocket", "Connection: upgrade", *fields)
    assert told.target is not None
    assert told.target.tunnel == Tunnelling(3600.0, 86400.0, *ends)
    plain = explained(config(route(auth=auth)), "GET", "/", *fields).target
    assert plain is not None
    assert plain.tunnel is None
