"""The gate: the order of the steps, what each refusal says, what travels, and what is refused at load."""

import hmac
import json
from base64 import urlsafe_b64encode
from ipaddress import ip_network
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from harness.values import run
from rawgate.config.model import (
    ApiKeys,
    Config,
    Cors,
    Gateway,
    HeaderRules,
    Jwt,
    KeySetUrl,
    Limits,
    RateLimit,
    RegexRewrite,
    Rewriter,
    Route,
    Secret,
    Target,
    Upstream,
    route_names,
)
from rawgate.errors import CORS_REFUSED, INTERNAL, OK, REASONS, Problem
from rawgate.message import CHUNKED, Decision, Forward, LocalReply, Peer, Pending, RequestHead, ResponseHead
from rawgate.policy import limits
from rawgate.policy.compile import compile_gate
from rawgate.policy.gate import Gate, pick_upgrade
from rawgate.policy.jwt import JwtVerifier
from rawgate.policy.paths import compile_normaliser
from rawgate.policy.verifiers import compile_key_set

SECRET = b"a secret of more than 32 octets, for tests"
API_KEY = "key-of-partner-0123456789"
WALL = 1_700_000_000.0
CLIENT = Peer("192.0.2.7", "192.0.2.7:50000")
PROXY = Peer("10.0.0.1", "10.0.0.1:50000")
SHOP = b"https://shop.test"


def _part(value: object) -> bytes:
    return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")


def token(**claims: object) -> bytes:
    signed = _part({"alg": "HS256"}) + b"." + _part({"exp": WALL + 600, **claims})
    return signed + b"." + urlsafe_b64encode(hmac.digest(SECRET, signed, "sha256")).rstrip(b"=")


ALICE = b"Bearer " + token(sub="alice")


def route(prefix: str = "/", *, auth: str = "none", **more: Any) -> Route:
    return Route(prefix=prefix, upstream="users", auth=auth, **more)


def config(*routes: Route, **gateway: Any) -> Config:
    return Config(
        gateway=Gateway(listen=(), **gateway),
        upstreams={"users": Upstream(targets=(Target("127.0.0.1", 3001, "users:3001"), Target("127.0.0.1", 80, "b")))},
        routes=routes,
        jwt={"main": Jwt(algorithm=("HS256",), secret=(Secret("test", SECRET),))},
        api_keys={"partners": ApiKeys(header="x-api-key", keys=Secret("test", f"acme:{API_KEY}".encode()))},
    )


def problems_of(configuration: Config) -> list[Problem]:
    problems: list[Problem] = []
    gate = compile_gate(configuration, new_id=lambda: "0" * 32, date=lambda: b"D", problems=problems, warnings=[])
    assert (gate is None) == bool(problems)
    return problems


def gate_of(*routes: Route, **gateway: Any) -> Gate:
    problems: list[Problem] = []
    gate = compile_gate(
        config(*routes, **gateway), new_id=lambda: "0" * 32, date=lambda: b"D", problems=problems, warnings=[]
    )
    assert problems == []
    assert gate is not None
    return gate


def request(
    target: str = "/",
    method: str = "GET",
    parsed: dict[str, bytes] | None = None,
    *,
    passthrough: list[bytes] | None = None,
    body: int = 0,
    authority: bytes = b"api.test",
    upgrade: bytes = b"",
) -> RequestHead:
    fields = {name.encode(): value for name, value in (parsed or {}).items()}
    octets = target.encode("latin-1")
    lines = passthrough or []
    removable = tuple((index, line.partition(b":")[0].lower()) for index, line in enumerate(lines))
    runs = [run(line) for line in lines]
    return RequestHead(method.encode(), octets, 1, authority, fields, runs, body, False, False, upgrade, 0, removable)


def decide(gate: Gate, head: RequestHead, peer: Peer = CLIENT, now: float = 100.0, wall: float = WALL) -> Decision:
    return gate.decide(head, peer, now, wall)


def answer(decision: Decision) -> LocalReply:
    assert isinstance(decision, LocalReply)
    return decision


def forward(decision: Decision) -> Forward:
    assert isinstance(decision, Forward), decision
    return decision


def lines(octets: bytes) -> list[str]:
    assert not octets or octets.endswith(b"\r\n")
    return octets.decode().split("\r\n")[:-1]


def path_sent(decision: Decision) -> str:
    return lines(forward(decision).head)[0].split(" ")[1]


def response(decision: Decision, parsed: dict[str, bytes] | None = None, status: int = 200) -> list[str]:
    fields = {name.encode(): value for name, value in (parsed or {}).items()}
    head = ResponseHead(
        status, b"OK", {b"date": b"D", **fields}, [run(b"X-A: 1")], 0, 0, False, -1, b"", ((0, b"x-a"),)
    )
    return lines(forward(decision).on_response(head))


# The whole way


def test_the_whole_way() -> None:
    limited = route("/api/users", auth="jwt.main", rewrite="/v2/users", rate_limit=RateLimit(100, 60.0))
    gate = gate_of(limited)
    decision = forward(
        decide(gate, request("/api/users/7?x=1", parsed={"authorization": ALICE}, passthrough=[b"Accept: */*"]))
    )
    assert lines(decision.head) == [
        "GET /v2/users/7?x=1 HTTP/1.1",
        "Host: users:3001",
        "Accept: */*",
        "Authorization: " + ALICE.decode(),
        "X-Forwarded-For: 192.0.2.7",
        "X-Forwarded-Proto: http",
        "X-Forwarded-Prefix: /api/users",
        "X-Forwarded-Host: api.test",
        "X-Request-Id: " + "0" * 32,
        "X-User-Id: alice",
        "X-Auth-By: jwt.main",
        "Via: 1.1 rawgate",
    ]
    assert (decision.client_id, decision.request_id) == ("alice", "0" * 32)
    assert (decision.options.route, decision.options.upstream) == ("/api/users", "users")
    assert decision.options.body_limit == Limits().body
    sent = response(decision, {"server": b"nginx"})
    assert sent[:4] == ["HTTP/1.1 200 OK", "X-A: 1", "Date: D", "X-Request-Id: " + "0" * 32]
    assert sent[4].startswith('RateLimit: "/api/users";r=99;t=')
    assert sent[5:7] == ['RateLimit-Policy: "/api/users";q=100;w=64', "x-ratelimit-limit: 100"]


# The order of the steps: each request breaks the rule of its row and of all rows below it.

ORDERED = gate_of(
    route(
        "/a",
        auth="jwt.main",
        methods=("GET", "POST"),
        body=10,
        rate_limit=RateLimit(1, 60.0),
        rewrite=RegexRewrite("/a(.*)", "/b/\\1"),
    )
)
BAD = {"via": b", ".join([b"1.1 rawgate"] * 8), "authorization": b"Bearer bad"}


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (request("/../x", "PUT", BAD, body=11), "loop_detected"),
        (request("/../x", "PUT", body=11), "bad_request"),
        (request("/x%2F", "PUT", body=11), "no_route"),
        (request("/x", "PUT", body=11), "no_route"),
        (request("/a/%2F", "PUT", body=11), "method_not_allowed"),
        (request("/a/%2F", "POST", body=11), "bad_request"),
        (request("/a", "POST", body=11), "body_too_large"),
        (request("/a", "POST", body=10), "auth_missing"),
        (request("/a", "POST", {"authorization": b"Bearer bad"}), "auth_malformed"),
        (request("/a", "POST", {"authorization": b"Bearer " + token(sub="a", exp=1)}), "auth_expired"),
    ],
)
def test_the_first_broken_rule_answers(head: RequestHead, reason: str) -> None:
    refusal = answer(decide(ORDERED, head))
    assert refusal.reason.code == reason
    assert refusal.status == refusal.reason.status


def test_who_may_not_come_in_is_not_counted() -> None:
    gate = gate_of(route("/a", auth="jwt.main", methods=("GET",), body=10, rate_limit=RateLimit(1, 60.0)))
    for head in (
        request("/a/../.."),
        request("/a", "PUT"),
        request("/a", body=11),
        request("/a"),
        request("/a", parsed={"authorization": b"Bearer bad"}),
    ):
        answer(decide(gate, head))
    good = request("/a", parsed={"authorization": ALICE})
    forward(decide(gate, good))
    assert answer(decide(gate, good)).reason.code == "rate_limited"


def test_the_limit_comes_before_the_rewrite() -> None:
    gate = gate_of(route("/a", rewrite=RegexRewrite("/a(.*)", "/b%\\1"), rate_limit=RateLimit(1, 60.0)))
    first, second = answer(decide(gate, request("/a"))), answer(decide(gate, request("/a")))
    assert (first.reason.code, second.reason.code) == ("internal", "rate_limited")
    assert lines(first.fields)[0].startswith('RateLimit: "/a";r=0;')


# Refusals


def test_405_says_what_is_allowed() -> None:
    gate = gate_of(route("/a", methods=("GET",)), route("/a", methods=("PUT", "DELETE"), name="writes"), route("/"))
    refusal = answer(decide(gate, request("/a/x", "PATCH")))
    assert (refusal.status, lines(refusal.fields)) == (405, ["Allow: GET, HEAD, PUT, DELETE"])


@pytest.mark.parametrize(
    ("parsed", "reason", "challenge"),
    [
        ({}, "auth_missing", 'Bearer realm="rawgate"'),
        ({"authorization": b""}, "auth_missing", 'Bearer realm="rawgate"'),
        ({"authorization": b"Basic " + ALICE[7:]}, "auth_missing", 'Bearer realm="rawgate"'),
        ({"authorization": ALICE[7:]}, "auth_missing", 'Bearer realm="rawgate"'),
        ({"authorization": b"Bearer"}, "auth_malformed", 'Bearer realm="rawgate", error="invalid_token"'),
        ({"authorization": b"Bearer    "}, "auth_malformed", 'Bearer realm="rawgate", error="invalid_token"'),
        ({"authorization": b"Bearer a b"}, "auth_malformed", 'Bearer realm="rawgate", error="invalid_token"'),
        ({"authorization": ALICE + b", " + ALICE}, "auth_malformed", 'Bearer realm="rawgate", error="invalid_token"'),
        ({"authorization": ALICE[:-2] + b"AA"}, "auth_bad_signature", 'Bearer realm="rawgate", error="invalid_token"'),
        ({"x-api-key": API_KEY.encode()}, "auth_missing", 'Bearer realm="rawgate"'),
    ],
)
def test_bearer_refusals(parsed: dict[str, bytes], reason: str, challenge: str) -> None:
    refusal = answer(decide(gate_of(route(auth="jwt.main")), request(parsed=parsed)))
    assert (refusal.status, refusal.reason.code) == (401, reason)
    assert lines(refusal.fields) == [f"WWW-Authenticate: {challenge}"]
    assert refusal.client_id == "192.0.2.7"


@pytest.mark.parametrize("scheme", [b"Bearer ", b"bEARER ", b"bearer   "])
def test_the_scheme_is_read_in_any_case(scheme: bytes) -> None:
    gate = gate_of(route(auth="jwt.main"))
    assert forward(decide(gate, request(parsed={"authorization": scheme + ALICE[7:]}))).client_id == "alice"


@pytest.mark.parametrize(("parsed", "reason"), [({}, "auth_missing"), ({"x-api-key": b"no"}, "api_key_unknown")])
def test_api_key_refusals(parsed: dict[str, bytes], reason: str) -> None:
    refusal = answer(decide(gate_of(route(auth="api_keys.partners")), request(parsed=parsed)))
    assert (refusal.status, refusal.reason.code) == (401, reason)
    assert lines(refusal.fields) == ["WWW-Authenticate: ApiKey"]


# Identity


def test_a_subject_travels_and_a_claimed_one_does_not() -> None:
    gate = gate_of(route("/in", auth="jwt.main"), route("/"))
    spoof = {"x-user-id": b"root", "authorization": ALICE}
    assert "X-User-Id: alice" in lines(forward(decide(gate, request("/in", parsed=spoof))).head)
    assert not [line for line in lines(forward(decide(gate, request("/", parsed=spoof))).head) if "X-User-Id" in line]


@pytest.mark.parametrize(
    ("auth", "parsed", "told"),
    [
        ("jwt.main", {"authorization": ALICE}, "jwt.main"),
        ("jwt.main", {"authorization": b"Bearer " + token()}, "jwt.main"),
        ("api_keys.partners", {"x-api-key": API_KEY.encode()}, "api_keys.partners"),
        ("none", {"authorization": ALICE, "x-api-key": API_KEY.encode()}, None),
    ],
    ids=["token", "token-without-sub", "key", "open"],
)
def test_the_service_hears_who_vouches(auth: str, parsed: dict[str, bytes], told: str | None) -> None:
    head = request(parsed={**parsed, "x-auth-by": b"jwt.root"})
    sent = lines(forward(decide(gate_of(route(auth=auth)), head)).head)
    assert [line for line in sent if "auth-by" in line.lower()] == ([f"X-Auth-By: {told}"] if told else [])


@pytest.mark.parametrize("peer", [CLIENT, PROXY], ids=["client", "proxy"])
def test_nobody_is_believed_about_the_user(peer: Peer) -> None:
    gate = gate_of(route(), trusted_proxies=(ip_network("10.0.0.0/8"),))
    assert b"root" not in forward(decide(gate, request(parsed={"x-user-id": b"root"}), peer)).head


def test_a_token_without_a_subject_is_counted_by_address() -> None:
    gate = gate_of(route(auth="jwt.main", rate_limit=RateLimit(1, 60.0)))
    head = request(parsed={"authorization": b"Bearer " + token()})
    decision = forward(decide(gate, head))
    assert decision.client_id == "192.0.2.7"
    assert b"X-User-Id" not in decision.head
    assert answer(decide(gate, head)).reason.code == "rate_limited"
    forward(decide(gate, head, Peer("192.0.2.8", "")))


@pytest.mark.parametrize(
    ("auth", "forwards", "passing"),
    [
        ("jwt.main", None, ["Authorization", "X-Api-Key"]),
        ("jwt.main", True, ["Authorization", "X-Api-Key"]),
        ("jwt.main", False, ["X-Api-Key"]),
        ("api_keys.partners", None, ["Authorization"]),
        ("api_keys.partners", True, ["Authorization", "X-Api-Key"]),
        ("none", None, ["Authorization", "X-Api-Key"]),
    ],
)
def test_which_credentials_pass(auth: str, forwards: bool | None, passing: list[str]) -> None:
    gate = gate_of(route(auth=auth, forward_credentials=forwards))
    head = request(parsed={"authorization": ALICE, "x-api-key": API_KEY.encode()})
    sent = [line.partition(":")[0] for line in lines(forward(decide(gate, head)).head)]
    assert [name for name in sent if name in ("Authorization", "X-Api-Key")] == passing


def test_names_that_wire_is_asked_for() -> None:
    gate = gate_of(route(), client_ip_header="cf-connecting-ip")
    asked = {
        b"authorization",
        b"x-api-key",
        b"x-user-id",
        b"x-forwarded-for",
        b"forwarded",
        b"via",
        b"cf-connecting-ip",
    }
    assert asked <= gate.wanted
    assert {b"authorization", b"x-api-key", b"x-user-id", b"x-request-id", b"cf-connecting-ip"} <= gate.protected
    assert b"origin" not in gate.wanted
    assert b"ratelimit" not in gate.response_wanted


# Addresses


def test_a_trusted_proxy_names_client_and_request() -> None:
    gate = gate_of(route(rate_limit=RateLimit(1, 60.0)), trusted_proxies=(ip_network("10.0.0.0/8"),))
    parsed = {"x-forwarded-for": b"203.0.113.9, 192.0.2.50", "x-request-id": b"theirs"}
    decision = forward(decide(gate, request(parsed=parsed), PROXY))
    assert (decision.client_id, decision.request_id) == ("192.0.2.50", "theirs")
    assert "X-Forwarded-For: 203.0.113.9, 192.0.2.50, 10.0.0.1" in lines(decision.head)
    # Counted as that client, whichever way it comes.
    assert answer(decide(gate, request(), Peer("192.0.2.50", ""))).reason.code == "rate_limited"


def test_names_that_are_left_out() -> None:
    routes = (
        route("/a", host="x.test"),
        route("/a", host="y.test"),
        route("/a", methods=("GET", "HEAD")),
        route("/a"),
        route("/b", methods=("GET",)),
        route("/b", methods=("PUT",), name="writes"),
    )
    names = ["x.test/a", "y.test/a", "GET,HEAD /a", "/a", "/b", "writes"]
    assert route_names(routes) == names
    gate = gate_of(*routes)
    for name, target, method, authority in zip(
        names,
        ["/a", "/a", "/a", "/a", "/b", "/b"],
        ["GET", "GET", "GET", "PUT", "GET", "PUT"],
        [b"X.test", b"y.test:8080", b"z.test", b"z.test", b"z.test", b"z.test"],
        strict=True,
    ):
        assert forward(decide(gate, request(target, method, authority=authority))).options.route == name


def test_whoever_comes_over_a_trusted_unix_socket_names_clients() -> None:
    limited = route(rate_limit=RateLimit(1, 60.0))
    gate, here = gate_of(limited, trusted_proxies=("unix",)), Peer("unix", "unix")
    for address in (b"203.0.113.9", b"203.0.113.10"):
        decision = forward(decide(gate, request(parsed={"x-forwarded-for": address, "x-request-id": b"theirs"}), here))
        assert (decision.client_id, decision.request_id) == (address.decode(), "theirs")
        # It has no address that could be added.
        assert f"X-Forwarded-For: {address.decode()}" in lines(decision.head)
    assert "X-Forwarded-For: unknown" in lines(forward(decide(gate, request(), here)).head)
    told = request(parsed={"x-forwarded-for": b"203.0.113.9"})
    assert forward(decide(gate, told)).client_id == CLIENT.address
    assert forward(decide(gate_of(limited), told, here)).client_id == "unix"


def test_a_client_cannot_name_itself() -> None:
    gate = gate_of(route(), trusted_proxies=(ip_network("10.0.0.0/8"),))
    decision = forward(decide(gate, request(parsed={"x-forwarded-for": b"203.0.113.9", "x-request-id": b"mine"})))
    assert (decision.client_id, decision.request_id) == ("192.0.2.7", "0" * 32)
    assert "X-Forwarded-For: 192.0.2.7" in lines(decision.head)


def test_ipv6_clients_are_counted_by_their_network() -> None:
    gate = gate_of(route(rate_limit=RateLimit(1, 60.0)))
    forward(decide(gate, request(), Peer("2001:db8::1", "")))
    assert answer(decide(gate, request(), Peer("2001:db8::2", ""))).reason.code == "rate_limited"
    forward(decide(gate, request(), Peer("2001:db8:0:1::1", "")))


# Limits


def test_429_tells_when_to_come_back() -> None:
    gate = gate_of(route("/a", name='my "route"', rate_limit=RateLimit(2, 0.5)))
    kept = [forward(decide(gate, request("/a"))) for _ in range(2)]
    refusal = answer(decide(gate, request("/a")))
    assert (refusal.status, refusal.route) == (429, 'my "route"')
    assert lines(refusal.fields) == [
        'RateLimit: "my \\"route\\"";r=0;t=1',
        'RateLimit-Policy: "my \\"route\\"";q=2;w=1',
        "x-ratelimit-limit: 2",
        "x-ratelimit-remaining: 0",
        "x-ratelimit-reset: 1",
        "Retry-After: 1",
    ]
    sent = response(kept[0], {"ratelimit": b"theirs"})
    assert not any("theirs" in line for line in sent)
    assert sent[-5:] == [
        'RateLimit: "my \\"route\\"";r=1;t=1',
        *lines(refusal.fields)[1:3],
        "x-ratelimit-remaining: 1",
        "x-ratelimit-reset: 1",
    ]
    forward(decide(gate, request("/a"), now=101.0))


@pytest.mark.parametrize(("window", "told"), [(0.5, 1), (1.0, 2), (16.0, 17), (60.0, 64), (3600.0, 3825)])
def test_a_window_is_told_that_a_client_may_rely_on(window: float, told: int) -> None:
    """One request in each such window is admitted each time."""
    gate = gate_of(route("/a", rate_limit=RateLimit(1, window)))
    for turn in range(50):
        decision = forward(decide(gate, request("/a"), now=100.0 + turn * told))
        assert f'RateLimit-Policy: "/a";q=1;w={told}' in lines(decision.fields)


def test_only_so_many_lines_of_a_limit_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_LIMIT_LINES", 2)
    limit = limits.LimitLines("a", 5, 60.0)
    assert [limit[number, 1].count(b"x-ratelimit-remaining: %d\r\n" % number) for number in range(4)] == [1] * 4
    assert set(limit) == {(0, 1), (1, 1)}


def test_limits_of_two_routes_are_two() -> None:
    gate = gate_of(route("/a", rate_limit=RateLimit(1, 60.0)), route("/b", rate_limit=RateLimit(1, 60.0)))
    for path in ("/a", "/b"):
        forward(decide(gate, request(path)))


def test_addresses_push_out_nobody_who_is_known_by_a_credential() -> None:
    told: list[str] = []

    def report(about: str, text: str) -> None:
        told.append(text)

    limited = route("/a", auth="jwt.main", rate_limit=RateLimit(1, 60.0))
    configuration = config(limited, route(rate_limit=RateLimit(1, 60.0)), limits=Limits(limiter_keys=10))
    gate = compile_gate(
        configuration, new_id=lambda: "0" * 32, date=lambda: b"D", problems=[], warnings=[], report=report
    )
    assert gate is not None
    head = request("/a", parsed={"authorization": ALICE})
    forward(decide(gate, head))
    for number in range(21):
        forward(decide(gate, request(), Peer(f"192.0.2.{number}", "")))
    assert answer(decide(gate, head)).reason.code == "rate_limited"
    # That their own promise no longer holds is told when it begins, and each time that it is ten times as much.
    assert gate.limiters.evicted == 11
    assert [text.split(" are not enough: ")[1].split(" ")[0] for text in told] == ["1", "10"]
    assert all("limits.limiter_keys = 10 addresses" in text for text in told)


def test_a_new_gate_goes_on_with_the_counters_of_the_old_one() -> None:
    """Those of a client with a credential and those of an address; a gate that is not used changes nothing."""
    limited = (route("/a", auth="jwt.main", rate_limit=RateLimit(1, 60.0)), route(rate_limit=RateLimit(1, 60.0)))
    raised = (route("/a", auth="jwt.main", rate_limit=RateLimit(3, 60.0)), limited[1])
    old = gate_of(*limited)
    heads = [request("/a", parsed={"authorization": ALICE}), request()]
    for head in heads:
        forward(decide(old, head))
    same, other, apart = (
        compile_gate(
            config(*routes), new_id=lambda: "0" * 32, date=lambda: b"D", problems=[], warnings=[], limiters=limiters
        )
        for routes, limiters in ((limited, old.limiters), (raised, old.limiters), (limited, None))
    )
    assert same is not None
    assert other is not None
    assert apart is not None
    assert same.limiters is old.limiters
    for gate in (same, old):
        assert [answer(decide(gate, head)).reason.code for head in heads] == ["rate_limited"] * 2
        assert b"x-ratelimit-limit: 1\r\n" in answer(decide(gate, heads[0])).fields
    assert b"x-ratelimit-remaining: 1\r\n" in forward(decide(other, heads[0])).fields
    for head in heads:
        forward(decide(apart, head))


def test_a_percent_sign_in_a_name_is_only_a_sign() -> None:
    sent = response(decide(gate_of(route(name="100%d", rate_limit=RateLimit(5, 60.0))), request()))
    assert 'RateLimit-Policy: "100%d";q=5;w=64' in sent


# Paths


@given(
    st.lists(st.sampled_from(["a", "b", "..", ".", "", "%2e", "%2F", "%41", "%c3%a9", "x;y", "..;"]), max_size=6).map(
        lambda parts: "/" + "/".join(parts)
    )
)
def test_the_path_that_is_forwarded_is_the_path_that_was_matched(path: str) -> None:
    decision = decide(PLAIN, request(path + "?q=/../"))
    normal = compile_normaliser(True)(path.encode())
    if isinstance(decision, Forward):
        assert path_sent(decision) == normal.path.decode() + "?q=/../"
        inside = normal.path == b"/a" or normal.path.startswith(b"/a/")
        assert decision.options.route == ("/a" if inside else "/")
    else:
        assert answer(decision).reason.code == "bad_request"
        assert normal.flaw


PLAIN = gate_of(route("/a"), route("/"))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/public/../admin", "admin"),
        ("/public/%2e%2e/admin", "admin"),
        ("//admin", "admin"),
        ("/%61dmin", "admin"),
        ("/caf%c3%a9", "caf\u00e9"),
        ("/caf%C3%A9/x", "caf\u00e9"),
        ("/%40me", "@me"),
        ("/ADMIN", "/"),
    ],
)
def test_no_spelling_leads_around_a_route(path: str, name: str) -> None:
    gate = gate_of(
        route("/admin", name="admin"), route("/caf\u00e9", name="caf\u00e9"), route("/@me", name="@me"), route("/")
    )
    assert forward(decide(gate, request(path))).options.route == name


WITH_PARAMETERS = ["/admin;x", "/;/admin", "/;x/admin", "/admin;/y", "/admin;a=b;c/y", "/admin%3Bx", "/;;/;/admin/"]


@pytest.mark.parametrize("path", WITH_PARAMETERS)
def test_parameters_lead_around_no_route(path: str) -> None:
    """Java's servers cut them off before they look for a servlet."""
    gate = gate_of(route("/admin", auth="jwt.main"), route())
    for parsed in ({}, {"authorization": ALICE}):
        refused = answer(decide(gate, request(path, parsed=parsed)))
        assert (refused.reason.code, refused.route) == ("bad_request", "/admin")
    keeping = gate_of(route("/admin", auth="jwt.main", path_parameters="keep"), route())
    assert answer(decide(keeping, request(path))).reason.code == "auth_missing"
    assert path_sent(decide(keeping, request(path, parsed={"authorization": ALICE}))) == path
    other = gate_of(route("/admin", auth="jwt.main"), route(path_parameters="keep"))
    assert answer(decide(other, request(path))).reason.code == "bad_request"


@pytest.mark.parametrize(
    "path", ["/shop/cart;jsessionid=1", "/shop/a;v=1/b;w=2", "/shop/;/x", "/shop/a%3Bb", "/else;x"]
)
def test_parameters_that_lead_nowhere_else_are_sent_as_they_came(path: str) -> None:
    gate = gate_of(route("/shop", name="shop"), route(name="rest"))
    sent = forward(decide(gate, request(path)))
    assert path_sent(sent) == path
    assert sent.options.route == ("shop" if path.startswith("/shop") else "rest")


def test_parameters_are_cut_off_below_a_route_that_is_alone() -> None:
    gate = gate_of(route("/shop"))
    assert answer(decide(gate, request("/shop;x"))).reason.code == "bad_request"
    assert answer(decide(gate, request("/shopping;x"))).reason.code == "no_route"


@pytest.mark.parametrize("path", ["/ADMIN", "/adm%49n", "/Admin/X", "/aDMIN/"])
def test_case_is_ignored_where_a_service_ignores_it(path: str) -> None:
    protected, rest = route("/admin", auth="jwt.main"), route()
    forward(decide(gate_of(protected, rest), request(path)))
    for gate in (
        gate_of(protected, rest, case="ignore"),
        gate_of(route("/Admin", auth="jwt.main", case="ignore"), rest),
    ):
        assert answer(decide(gate, request(path))).reason.code == "auth_missing"
    kept = gate_of(route("/admin", auth="jwt.main", case="exact"), rest, case="ignore")
    forward(decide(kept, request(path)))


def test_a_prefix_is_replaced_in_either_case() -> None:
    gate = gate_of(route("/Api", rewrite="/v2", case="ignore"))
    assert path_sent(decide(gate, request("/aPI/Users"))) == "/v2/Users"


def test_a_pattern_is_matched_in_either_case() -> None:
    gate = gate_of(route("/api", rewrite=RegexRewrite("/api/Users/(.*)", "/v2/\\1"), case="ignore"))
    assert path_sent(decide(gate, request("/API/uSERS/Bob"))) == "/v2/Bob"
    runs_away = RegexRewrite("/api/(a|A)*b", "/v2")
    assert problems_of(config(route("/api", rewrite=runs_away))) == []
    (problem,) = problems_of(config(route("/api", rewrite=runs_away, case="ignore")))
    assert problem.path == ("routes", 0, "rewrite", "pattern")


OVERRIDE = [b"X-HTTP-Method-Override: DELETE", b"x_http_method: DELETE", b"X-Method-Override: DELETE"]


def test_the_method_cannot_be_overridden_where_it_selects_the_route() -> None:
    by_method = gate_of(route("/items", methods=("GET",)), route("/items", auth="jwt.main"), route())
    head = request("/items", passthrough=OVERRIDE)
    assert not any("DELETE" in line for line in lines(forward(decide(by_method, head)).head))
    assert sum("DELETE" in line for line in lines(forward(decide(by_method, request(passthrough=OVERRIDE))).head)) == 3
    trusted = gate_of(route("/items", methods=("GET",)), trusted_proxies=(ip_network("10.0.0.0/8"),))
    kept = lines(forward(decide(trusted, head, PROXY)).head)
    assert [line for line in kept if "DELETE" in line] == [OVERRIDE[0].decode(), OVERRIDE[2].decode()]


def test_encoded_slashes_pass_where_they_are_kept() -> None:
    gate = gate_of(route("/keep", encoded_slash="keep"), route("/"))
    assert path_sent(decide(gate, request("/keep/group%2fproject"))) == "/keep/group%2fproject"
    assert answer(decide(gate, request("/other/group%2fproject"))).reason.code == "bad_request"


def test_slashes_stay_when_they_are_not_merged() -> None:
    gate = gate_of(route(), merge_slashes=False)
    assert path_sent(decide(gate, request("/a//b"))) == "/a//b"
    assert path_sent(decide(gate, request("//a//b"))) == "/a//b"  # or a reader may take `a` for a host


def _raises(path: str) -> str:
    raise RuntimeError(path)


@pytest.mark.parametrize(
    "rewrite", [_raises, lambda path: "/a b", lambda path: "//evil.test", RegexRewrite("/a(.*)", "/\\1")]
)
def test_a_rewrite_that_makes_nonsense_is_an_internal_error(rewrite: Rewriter | RegexRewrite) -> None:
    refusal = answer(decide(gate_of(route("/a", rewrite=rewrite)), request("/a/..b")))
    assert (refusal.status, refusal.reason, refusal.route) == (500, INTERNAL, "/a")


@pytest.mark.parametrize(
    ("rewrite", "words"),
    [
        (RegexRewrite("/a(.*)", "/\\1"), "the rewrite pattern made '//..b', which is no path that can be sent"),
        (lambda path: "//", "the rewrite function returned '//', which is no path that can be sent"),
    ],
)
def test_a_rewrite_that_makes_nonsense_is_told_with_its_route(rewrite: Rewriter | RegexRewrite, words: str) -> None:
    said: list[tuple[str, str]] = []
    gate = compile_gate(
        config(route("/a", name="pages", rewrite=rewrite)),
        new_id=lambda: "0" * 32,
        date=lambda: b"D",
        problems=[],
        warnings=[],
        report=lambda *told: said.append(told),
    )
    assert gate is not None
    refusal = answer(decide(gate, request("/a/..b")))
    ((about, text),) = said
    assert about == "route pages"
    assert text.startswith(f"route pages: {words}")
    assert text.endswith("; request " + "0" * 32)
    # The log has it, the client does not.
    assert refusal.note in text
    assert refusal.detail == ""


@pytest.mark.parametrize(
    ("prefix", "pattern", "target", "sent"),
    [
        ("/@me", "/@me/(.*)", "/%40me/x", "/users/x"),
        ("/@me", "/@me/(.*)", "/@me/%C3%a9?q=%40", "/users/%C3%a9?q=%40"),
        ("/caf\u00e9", "/caf\u00e9/(.*)", "/caf%C3%A9/x", "/users/x"),
        ("/caf\u00e9", "/caf\u00e9/(.*)", "/caf%c3%a9/x", "/users/x"),
    ],
)
def test_no_spelling_gets_past_a_pattern(prefix: str, pattern: str, target: str, sent: str) -> None:
    gate = gate_of(route(prefix, rewrite=RegexRewrite(pattern, "/users/\\1")))
    assert path_sent(decide(gate, request(target))) == sent


def test_a_prefix_that_is_taken_off_leaves_no_two_slashes() -> None:
    gate = gate_of(route("/api", rewrite="/"), merge_slashes=False)
    assert path_sent(decide(gate, request("/api//evil.test/x"))) == "/evil.test/x"


def test_a_function_rewrites() -> None:
    gate = gate_of(route("/a", rewrite=lambda path: path + "/index.html"))
    assert path_sent(decide(gate, request("/a/b?c"))) == "/a/b/index.html?c"


def test_a_location_leads_through_the_gateway_again() -> None:
    swap = route("/api/users", rewrite="/v2/users")
    off = route("/api/users", rewrite="/v2/users", rewrite_location=False)
    for status, location, turned in (
        (201, b"/v2/users/8", "/api/users/8"),
        (302, b"http://users:3001/v2/users/8", "/api/users/8"),
        (302, b"http://b/v2/users/8", "/api/users/8"),
        (302, b"http://api.test/v2/users/8", "http://api.test/api/users/8"),
        (302, b"https://elsewhere.test/v2/users/8", "https://elsewhere.test/v2/users/8"),
        (200, b"/v2/users/8", "/v2/users/8"),
    ):
        decision = decide(gate_of(swap), request("/api/users/7"))
        assert f"Location: {turned}" in response(decision, {"location": location}, status)
        kept = decide(gate_of(off, route()), request("/api/users/7"))
        assert f"Location: {location.decode()}" in response(kept, {"location": location}, status)
    assert b"location" not in gate_of(off).response_wanted


def test_a_location_that_a_route_removes_is_not_turned_back() -> None:
    gate = gate_of(route("/a", rewrite="/b", response_headers=HeaderRules(remove=("location",))))
    assert not any("ocation" in line for line in response(decide(gate, request("/a")), {"location": b"/b"}, 302))


# CORS

CORS = Cors(origins=(SHOP.decode(),), methods=("GET", "PUT"), headers=("x-team",))


OWN_FIELDS = "Access-Control-Expose-Headers: X-Request-Id, Retry-After"
LIMITED_FIELDS = (
    OWN_FIELDS + ", RateLimit, RateLimit-Policy, x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-reset"
)


def preflight(target: str, method: bytes = b"PUT", origin: bytes = SHOP) -> RequestHead:
    return request(target, "OPTIONS", {"origin": origin, "access-control-request-method": method})


SHARED = gate_of(
    route("/a", auth="jwt.main", methods=("GET",), cors=CORS, rate_limit=RateLimit(1, 60.0)),
    route("/a", methods=("PUT",), name="open writes"),
    route("/b", auth="jwt.main", cors=CORS),
    route("/"),
)


def test_preflights_need_no_credential_and_are_not_counted() -> None:
    for _ in range(3):
        reply = answer(decide(SHARED, preflight("/a", b"GET")))
        assert (reply.status, reply.reason, reply.route) == (204, OK, "/a")
        assert "Access-Control-Allow-Origin: https://shop.test" in lines(reply.fields)


def test_the_method_asked_about_selects_the_route() -> None:
    refusal = answer(decide(SHARED, preflight("/a", b"PUT")))
    assert (refusal.status, lines(refusal.fields)) == (
        405,
        ["Allow: GET, HEAD, PUT", "Access-Control-Allow-Origin: https://shop.test", LIMITED_FIELDS, "Vary: Origin"],
    )


def test_a_preflight_about_what_is_not_allowed_is_refused() -> None:
    for head, route_, why, lists in (
        (preflight("/b", b"DELETE"), "/b", "DELETE is not in cors.methods", True),
        (preflight("/b", b"GET", b"https://evil.test"), "/b", "https://evil.test is not in cors.origins", False),
        # No route takes it: the first that speaks of origins says so.
        (preflight("/a", b"DELETE"), "/a", "DELETE is not in cors.methods", True),
    ):
        reply = answer(decide(SHARED, head))
        assert (reply.status, reply.reason, reply.detail, reply.route) == (204, CORS_REFUSED, why, route_)
        assert ("Access-Control-Allow-Methods: GET, PUT" in lines(reply.fields)) is lists


def test_options_that_a_route_takes_are_no_preflight_of_its_siblings() -> None:
    gate = gate_of(route("/a", methods=("GET",), cors=CORS), route("/a", methods=("OPTIONS",), name="own"))
    assert forward(decide(gate, preflight("/a", b"DELETE"))).options.route == "own"


def test_options_that_are_no_preflight_are_requests() -> None:
    for parsed in ({"origin": SHOP}, {"access-control-request-method": b"GET"}):
        assert answer(decide(SHARED, request("/b", "OPTIONS", parsed))).reason.code == "auth_missing"
    assert path_sent(decide(SHARED, preflight("/x"))) == "/x"


def test_refusals_can_be_read_by_the_page() -> None:
    refusal = answer(decide(SHARED, request("/b", parsed={"origin": SHOP})))
    assert lines(refusal.fields) == [
        "Access-Control-Allow-Origin: https://shop.test",
        OWN_FIELDS,
        "Vary: Origin",
        'WWW-Authenticate: Bearer realm="rawgate"',
    ]


def test_cors_replaces_what_the_upstream_says() -> None:
    theirs = {"access-control-allow-origin": b"*", "access-control-expose-headers": b"X"}
    ours = response(decide(SHARED, request("/b", parsed={"origin": SHOP, "authorization": ALICE})), theirs)
    assert [line for line in ours if line.startswith("Access-")] == [
        "Access-Control-Allow-Origin: https://shop.test",
        OWN_FIELDS,
    ]
    assert "Vary: Origin" in ours
    other = response(decide(SHARED, request("/x", parsed={"origin": SHOP})), theirs)
    assert "Access-Control-Allow-Origin: *" in other
    assert "Access-Control-Expose-Headers: X" in other


def test_the_origin_reaches_the_upstream() -> None:
    assert "Origin: https://shop.test" in lines(forward(decide(SHARED, request("/x", parsed={"origin": SHOP}))).head)


# OPTIONS


def test_options_about_the_server() -> None:
    reply = answer(decide(PLAIN, request("*", "OPTIONS")))
    assert (reply.status, reply.reason) == (204, OK)
    assert lines(reply.fields) == ["Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"]
    assert answer(decide(PLAIN, request("*", "GET"))).status == 400


def test_max_forwards() -> None:
    gate = gate_of(route("/a", auth="jwt.main", methods=("GET", "OPTIONS")), route("/"))

    def options(value: bytes, target: str = "/", method: str = "OPTIONS") -> Decision:
        return decide(gate, request(target, method, {"max-forwards": value}))

    reply = answer(options(b"0", "/a"))
    assert (reply.status, lines(reply.fields)) == (204, ["Allow: GET, HEAD, OPTIONS"])
    assert answer(options(b"x")).status == 400
    assert "Max-Forwards: 4" in lines(forward(options(b"5")).head)
    assert "Max-Forwards: 0" in lines(forward(options(b"0", method="GET")).head)
    assert answer(options(b"5", "/a")).reason.code == "auth_missing"


# Bodies, upgrades, rules


def test_body_limits() -> None:
    gate = gate_of(route("/small", body=5), route("/"), limits=Limits(body=7))
    assert forward(decide(gate, request("/small", body=5))).options.body_limit == 5
    assert answer(decide(gate, request("/small", body=6))).reason.code == "body_too_large"
    assert answer(decide(gate, request("/", body=8))).reason.code == "body_too_large"
    forward(decide(gate, request("/", body=CHUNKED)))


def test_413_says_the_limit_and_what_sets_it() -> None:
    gate = gate_of(route("/small", body=2048), route("/"))
    for target, limit, key in (
        ("/small", "2KiB", "`body` of the route"),
        ("/", "10MiB", "`limits.body` of the gateway"),
    ):
        said = f"The request body is larger than {limit}, which {key} sets."
        assert answer(decide(gate, request(target, body=2**40))).detail == said
        assert forward(decide(gate, request(target))).options.too_large == said


@pytest.mark.parametrize(
    ("offered", "token"),
    [
        (b"websocket", b"websocket"),
        (b"h2c, websocket", b"websocket"),
        (b"spice/1.0,\twebsocket/13", b"websocket/13"),
        (b"h2c", b""),
        (b"", b""),
        (b", ,", b""),
    ],
)
def test_upgrades(offered: bytes, token: bytes) -> None:
    assert pick_upgrade(offered, frozenset((b"websocket",))) == token
    assert forward(decide(PLAIN, request(upgrade=offered))).upgrade == token


def test_header_rules_both_ways() -> None:
    up, down = HeaderRules(set={"X-Team": "red"}, remove=("Cookie",)), HeaderRules(set={"X-B": "2"}, remove=("x-a",))
    decision = forward(
        decide(gate_of(route(request_headers=up, response_headers=down)), request(passthrough=[b"Cookie: a"]))
    )
    assert lines(decision.head)[-1] == "X-Team: red"
    assert b"Cookie" not in decision.head
    assert response(decision) == ["HTTP/1.1 200 OK", "Date: D", "X-Request-Id: " + "0" * 32, "X-B: 2"]
    assert not decision.trailer(b"x-team")


SECURED = HeaderRules(
    set={"Strict-Transport-Security": "max-age=9", "Vary": "Accept", "Cache-Control": "public", "ETag": '"1"'}
)
HSTS = ["Strict-Transport-Security: max-age=9", "Vary: Accept"]


def test_what_a_route_sets_is_on_the_gateways_own_replies() -> None:
    """But for what the gateway says there itself, and what speaks of an answer that this one is not."""
    gate = gate_of(
        route(
            "/a",
            auth="jwt.main",
            methods=("GET", "OPTIONS"),
            body=5,
            cors=CORS,
            rate_limit=RateLimit(1, 60.0),
            rewrite=lambda path: path if path == "/a" else "",
            response_headers=SECURED,
        ),
        route("/a", methods=("PUT",), name="writes"),
    )
    alice = {"authorization": ALICE}
    served = forward(decide(gate, request("/a", parsed=alice)))
    for head, status in (
        (request("/a/%2F", parsed=alice), 400),
        (request("/a"), 401),
        (request("/a", "POST"), 405),
        (request("/a", body=6, parsed=alice), 413),
        (request("/a", parsed=alice), 429),
        (preflight("/a", b"GET"), 204),
        (request("/a", "OPTIONS", {"max-forwards": b"0"}), 204),
        (request("/a", "OPTIONS", {"max-forwards": b"x"}), 400),
        (request("/a/x", parsed={"authorization": b"Bearer " + token(sub="bob")}), 500),
    ):
        reply = answer(decide(gate, head))
        assert reply.status == status
        assert [line for line in lines(reply.fields) if line in HSTS] == HSTS
        assert not any(line.startswith(("Cache-Control", "ETag")) for line in lines(reply.fields))
    # What is sent in place of an answer that does not come, and with the answer that does, once.
    assert [line for line in lines(served.fields) if line in HSTS] == HSTS
    assert "ETag" not in served.fields.decode()
    sent = response(served)
    assert all(sent.count(line) == 1 for line in (*HSTS, "Cache-Control: public", 'ETag: "1"'))


def test_where_no_route_is_selected_none_has_a_say() -> None:
    gate = gate_of(route("/a", response_headers=SECURED))
    assert answer(decide(gate, request("/b"))).fields == b""


def test_fields_of_cors_are_not_doubled_on_own_replies() -> None:
    rules = HeaderRules(set={"Access-Control-Allow-Origin": "*", "X-B": "2"})
    refusal = answer(decide(gate_of(route(auth="jwt.main", cors=CORS, response_headers=rules)), preflight("/", b"GET")))
    assert [line for line in lines(refusal.fields) if "-Origin:" in line or "X-B" in line] == [
        "Access-Control-Allow-Origin: https://shop.test",
        "X-B: 2",
    ]


def test_host_passes_when_asked() -> None:
    assert lines(forward(decide(gate_of(route(upstream_host="pass")), request())).head)[1] == "Host: api.test"


# Load


@pytest.mark.parametrize(
    ("routes", "path", "words"),
    [
        ((route("/a//b"),), ("routes", 0, "prefix"), "not a normalised path"),
        ((route("/a/../b"),), ("routes", 0, "prefix"), "not a normalised path"),
        ((route("/a?b"),), ("routes", 0, "prefix"), "not a normalised path"),
        ((route("/a"), route("/b", rewrite="/c/./d")), ("routes", 1, "rewrite"), "not a normalised path"),
        ((route("/b", rewrite=RegexRewrite("(", "/")),), ("routes", 0, "rewrite", "pattern"), "regular expression"),
        ((route("/b", rewrite=RegexRewrite("a", "/\\1")),), ("routes", 0, "rewrite", "to"), "group"),
        ((route("/b", rewrite=RegexRewrite("/(.*)", "//\\1")),), ("routes", 0, "rewrite", "to"), "never makes a path"),
        (
            (route("/re", rewrite=RegexRewrite(r"/re/(\w+/?)*\.json", "/x")),),
            ("routes", 0, "rewrite", "pattern"),
            "doubles the time",
        ),
        ((route("/"), route("/b")), ("routes", 1), "never be reached"),
        ((route("/b;c"),), ("routes", 0, "prefix"), "has parameters"),
        ((route("/b", auth="jwt.nobody"),), ("routes", 0, "auth"), "names no verifier"),
        ((route("/b", auth="nonsense"),), ("routes", 0, "auth"), "names no verifier"),
        ((Route(prefix="/b", upstream="x", auth="none"),), ("routes", 0, "upstream"), "not an upstream"),
        ((route("/caf\u00e9", rate_limit=RateLimit(1, 1.0)),), ("routes", 0, "name"), "visible ASCII"),
        ((route("/b", upgrade=("websocket", "H2C")),), ("routes", 0, "upgrade"), "h2c"),
    ],
)
def test_problems(routes: tuple[Route, ...], path: tuple[str | int, ...], words: str) -> None:
    problems = problems_of(config(*routes))
    assert [problem.path for problem in problems] == [path]
    assert words in problems[0].message


@pytest.mark.parametrize(
    ("pattern", "merge_slashes", "words"),
    [
        ("/b/(.*)", True, "matches no path of this route"),
        ("/a/;(.*)", True, "on paths without parameters and repeated slashes"),
        ("/a//(.*)", True, "on paths without parameters and repeated slashes"),
        ("/a/;(.*)", False, "on paths without parameters"),
        ("/a//(.*)", False, ""),
        ("/a/(.*)", True, ""),
    ],
)
def test_a_pattern_that_changes_no_path_is_warned_of(pattern: str, merge_slashes: bool, words: str) -> None:
    warnings: list[Problem] = []
    written = config(route("/a", rewrite=RegexRewrite(pattern, "/x")), merge_slashes=merge_slashes)
    compile_gate(written, new_id=lambda: "0" * 32, date=lambda: b"D", problems=[], warnings=warnings)
    assert [warning.path for warning in warnings] == [("routes", 0, "rewrite", "pattern")] * bool(words)
    assert all(words in warning.message for warning in warnings)


@pytest.mark.parametrize(("case", "warned"), [("exact", True), ("ignore", False)])
def test_whether_a_pattern_changes_a_path_is_asked_in_the_route_s_case(case: str, warned: bool) -> None:
    warnings: list[Problem] = []
    written = config(route("/a", rewrite=RegexRewrite("/A/(.*)", "/x"), case=case))
    compile_gate(written, new_id=lambda: "0" * 32, date=lambda: b"D", problems=[], warnings=warnings)
    assert len(warnings) == warned


def test_routes_that_cannot_be_matched_are_not_compared_with_each_other() -> None:
    problems = problems_of(config(route("/a//"), route("/b//")))
    assert [problem.path for problem in problems] == [("routes", 0, "prefix"), ("routes", 1, "prefix")]


def test_all_problems_at_once() -> None:
    weak = Config(
        gateway=Gateway(listen=()),
        upstreams={},
        routes=(route("/a//", rewrite="b"), route("/a", auth="jwt.weak")),
        jwt={"weak": Jwt(algorithm=("HS256",), secret=(Secret("test", b"short"),))},
        api_keys={"bad": ApiKeys(header="x-api-key", keys=Secret("test", b"no name:short"))},
    )
    assert {problem.path[:2] for problem in problems_of(weak)} == {
        ("jwt", "weak"),
        ("api_keys", "bad"),
        ("routes", 0),
        ("routes", 1),
    }


# Whatever comes

_octets = st.binary(max_size=24)
_value = _octets | st.sampled_from([ALICE, b"Bearer ", SHOP, b"10.0.0.1", b"0", API_KEY.encode(), b"1.1 rawgate"])


def _heads(names: list[bytes]) -> st.SearchStrategy[RequestHead]:
    return st.builds(
        RequestHead,
        method=st.sampled_from([b"GET", b"OPTIONS", b"PUT", b"x!"]),
        target=_octets.map(lambda octets: b"/" + octets) | st.sampled_from([b"*", b"/a/7", b"/b", b"/k/%2F", b""]),
        minor=st.integers(0, 1),
        authority=_octets,
        parsed=st.dictionaries(st.sampled_from(names), _value, max_size=6),
        passthrough=st.lists(_octets.map(lambda octets: run(b"X-Forwarded-" + octets)), max_size=3),
        body=st.integers(-1, 2**70),
        close=st.booleans(),
        expect=st.booleans(),
        upgrade=_octets,
        size=st.just(0),
    )


EVERYTHING = gate_of(
    route("/a", auth="jwt.main", rewrite="/v2", cors=CORS, rate_limit=RateLimit(5, 60.0)),
    route("/b", auth="api_keys.partners", rewrite=RegexRewrite("/b(.*)", "/\\1"), rate_limit=RateLimit(5, 60.0)),
    route("/k", encoded_slash="keep", upstream_host="pass", request_headers=HeaderRules(set={"X-A": "b"})),
    route("/", host="a.test", methods=("GET",)),
    route("/", rewrite=lambda path: path[1:] + path),
    trusted_proxies=(ip_network("10.0.0.0/8"),),
)


@given(
    _heads(sorted(EVERYTHING.wanted | {b"host"})), st.sampled_from([CLIENT, PROXY, Peer("unix", "unix"), Peer("", "")])
)
def test_every_head_is_decided(head: RequestHead, peer: Peer) -> None:
    decision = decide(EVERYTHING, head, peer)
    if isinstance(decision, Forward):
        assert decision.head.count(b"\r\nHost: ") == 1 + sum(b"\r\nHost: " in lines for lines in head.passthrough)
        assert decision.head.endswith(b"\r\n")
        assert response(decision)[0] == "HTTP/1.1 200 OK"
    else:
        assert answer(decision).status in range(200, 600)


def test_the_steps_can_be_run_one_by_one() -> None:
    """What `decide` forwards is what its own steps, called in turn, make."""
    gate, head = SHARED, request("/b/x?y", parsed={"authorization": ALICE, "origin": SHOP})
    sender = gate.peer_of(CLIENT.address)
    target = gate.normalise(head.target)
    group = gate.router.find(head.authority, target.key)
    assert group is not None
    chosen = group.methods.get(head.method, group.other)
    assert chosen is not None
    assert chosen.credential is not None
    who = chosen.credential.check(head, b"", WALL)
    octets = chosen.up(
        head,
        target.path,
        target.query,
        sender.octets,
        CLIENT.scheme,
        sender.trusted,
        b"0" * 32,
        getattr(who, "name", "").encode(),
    )
    assert octets == forward(decide(gate, head)).head


# Keys that are fetched

EDWARDS = Ed25519PrivateKey.generate()


def signed_token(key: Ed25519PrivateKey = EDWARDS, **claims: object) -> bytes:
    signed = _part({"alg": "EdDSA", "kid": "a"}) + b"." + _part({"exp": WALL + 600, **claims})
    return b"Bearer " + signed + b"." + urlsafe_b64encode(key.sign(signed)).rstrip(b"=")


def key_set() -> bytes:
    x = urlsafe_b64encode(EDWARDS.public_key().public_bytes_raw()).rstrip(b"=").decode()
    return json.dumps({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": x}]}).encode()


class Remote:
    """A gate with one route, whose verifier's keys come from elsewhere."""

    def __init__(self) -> None:
        self.spec = Jwt(algorithm=("EdDSA",), jwks=KeySetUrl("https://idp.test/keys"))
        limited = route("/api", auth="jwt.main", rate_limit=RateLimit(max=1, window=60.0))
        whole = msgspec.structs.replace(config(limited), jwt={"main": self.spec})
        gate = compile_gate(whole, new_id=lambda: "0" * 32, date=lambda: b"D", problems=[], warnings=[])
        assert gate is not None
        self.gate = gate
        credential = gate.credentials["jwt.main"]
        assert isinstance(credential.by, JwtVerifier)
        assert credential.fetched is not None
        self.verifier, self.fetched = credential.by, credential.fetched

    def ask(self, authorization: bytes | None = None) -> Decision:
        value = signed_token(sub="alice") if authorization is None else authorization
        return decide(self.gate, request("/api", parsed={"authorization": value}))

    def arrive(self) -> None:
        keys, _ = compile_key_set("main", self.spec, key_set())
        assert keys is not None
        self.verifier.replace(keys)
        self.fetched.settle(empty=False, retry_at=0.0)


def pending(decision: Decision) -> Pending:
    assert isinstance(decision, Pending), decision
    return decision


def test_a_request_waits_for_keys_that_are_coming_and_is_counted_once() -> None:
    remote, called = Remote(), list[str]()
    remote.fetched.begin()
    waiting = pending(remote.ask())
    assert (waiting.reason.code, waiting.route, waiting.client_id) == ("keys_unavailable", "/api", CLIENT.address)
    waiting.subscribe(lambda: called.append("ready"))
    other = pending(remote.ask())
    other.subscribe(lambda: called.append("cancelled"))()
    remote.arrive()
    assert called == ["ready"]
    decided = forward(waiting.resume(101.0, WALL))
    assert (decided.client_id, decided.request_id) == ("alice", waiting.request_id)
    assert answer(other.resume(101.0, WALL)).reason.code == "rate_limited"


def test_without_keys_and_without_hope_the_answer_comes_at_once() -> None:
    remote = Remote()
    remote.fetched.settle(empty=True, retry_at=104.2)
    refused = answer(remote.ask())
    assert (refused.status, refused.reason.code) == (503, "keys_unavailable")
    assert "Retry-After: 5" in lines(refused.fields)
    # What no key would make good is told as always.
    assert [answer(remote.ask(value)).status for value in (b"Bearer a.b.c", ALICE, b"Basic x")] == [401, 401, 401]


def test_a_fetch_that_brings_nothing_ends_the_wait() -> None:
    remote = Remote()
    remote.fetched.begin()
    waiting = pending(remote.ask())
    remote.fetched.settle(empty=True, retry_at=108.0)
    refused = answer(waiting.resume(101.0, WALL))
    assert (refused.status, lines(refused.fields)) == (503, ["Retry-After: 7"])
    late = waiting.refused(waiting.reason)
    assert (late.status, lines(late.fields)) == (503, ["Retry-After: 1"])
    assert lines(waiting.refused(REASONS["draining"]).fields) == []


def test_an_unknown_key_waits_for_one_fetch_and_no_more() -> None:
    remote, asked = Remote(), list[str]()
    remote.arrive()

    def ask() -> None:
        asked.append("asked")
        remote.fetched.begin()

    remote.fetched.ask = ask
    unknown = signed_token(sub="alice").replace(
        _part({"alg": "EdDSA", "kid": "a"}), _part({"alg": "EdDSA", "kid": "b"})
    )
    waiting = pending(remote.ask(unknown))
    assert waiting.reason.code == "auth_unknown_key"
    assert forward(remote.ask())
    remote.fetched.settle(empty=False, retry_at=0.0)
    for refused in (answer(waiting.resume(101.0, WALL)), waiting.refused(waiting.reason), answer(remote.ask(unknown))):
        assert (refused.status, refused.reason.code) == (401, "auth_unknown_key")
        assert lines(refused.fields) == ['WWW-Authenticate: Bearer realm="rawgate", error="invalid_token"']
    assert asked == ["asked"]


@pytest.mark.parametrize("upgrade", [b"websocket", b"other", b""])
@pytest.mark.parametrize("auth", ["none", "jwt.main", "api_keys.partners"])
def test_only_a_tunnel_ends_with_its_credential(auth: str, upgrade: bytes) -> None:
    parsed = {"none": {}, "jwt.main": {"authorization": ALICE}, "api_keys.partners": {"x-api-key": API_KEY.encode()}}
    decision = forward(decide(gate_of(route(auth=auth)), request(parsed=parsed[auth], upgrade=upgrade)))
    ends = auth == "jwt.main" and upgrade == b"websocket"  # the key has no end
    assert (None if decision.extras is None else decision.extras.until) == (WALL + 630 if ends else None)
