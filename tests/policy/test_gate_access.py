"""Who may come in, as the gate decides it: addresses, claims, several verifiers, tokens in other places."""

from hashlib import sha256
from ipaddress import ip_network
from typing import Any

import msgspec
import pytest

from harness.providers import AUTH0, COGNITO, ENTRA_ID, KEYCLOAK, OKTA
from policy.test_gate import ALICE, API_KEY, PROXY, WALL, answer, config, decide, forward, lines, request, token
from rawgate.config.model import ApiKeys, Config, HeaderRules, Jwt, RateLimit, Redirect, Route, Secret, Tls
from rawgate.errors import Problem
from rawgate.message import Peer, ResponseHead
from rawgate.policy.compile import compile_gate
from rawgate.policy.gate import Gate

SECRET = b"a secret of more than 32 octets, for tests"


def route(auth: str | tuple[str, ...] = "jwt.main", **more: Any) -> Route:
    return Route(prefix="/", upstream="users", auth=auth, **more)


def found(configuration: Config) -> tuple[Gate | None, list[Problem]]:
    problems: list[Problem] = []
    made = compile_gate(configuration, new_id=lambda: "0" * 32, date=lambda: b"D", problems=problems, warnings=[])
    return made, problems


def gate_of(
    *routes: Route, jwt: dict[str, Any] | None = None, tls: dict[str, Tls] | None = None, **gateway: Any
) -> Gate:
    spec = Jwt(algorithm=("HS256",), secret=(Secret("test", SECRET),), audience=("*",), **(jwt or {}))
    gate, problems = found(msgspec.structs.replace(config(*routes, **gateway), jwt={"main": spec}, tls=tls or {}))
    assert problems == []
    assert gate is not None
    return gate


def bearer(**claims: object) -> dict[str, bytes]:
    return {"authorization": b"Bearer " + token(**claims)}


@pytest.mark.parametrize(
    ("claims", "require"),
    [
        (KEYCLOAK, {"realm_access.roles": ("admin",), "resource_access.orders.roles": ("write",)}),
        (AUTH0, {"permissions": ("orders:write",), "https://example.com/roles": ("admin", "ops")}),
        (ENTRA_ID, {"scp": ("Orders.Write",), "roles": ("Orders.Admin",)}),
        (COGNITO, {"cognito:groups": ("ops",), "scope": ("orders/write",)}),
        (OKTA, {"scp": ("orders.write",), "groups": ("admin",)}),
    ],
)
def test_claims_of_five_identity_providers(claims: dict[str, Any], require: dict[str, Any]) -> None:
    gate = gate_of(route(require=require))
    for _ in range(3):  # the third token is a remembered one
        forward(decide(gate, request(parsed=bearer(**claims))))
    poorer = {name: value for name, value in claims.items() if name.partition(".")[0] not in require}
    poorer = {name: value for name, value in poorer.items() if name not in {key.split(".")[0] for key in require}}
    refused = answer(decide(gate, request(parsed=bearer(**poorer))))
    assert (refused.status, refused.reason.code, refused.note) == (403, "forbidden", f"require: {next(iter(require))}")
    assert lines(refused.fields) == ['WWW-Authenticate: Bearer realm="rawgate", error="insufficient_scope"']


def test_who_may_not_come_in_is_not_counted() -> None:
    gate = gate_of(route(require={"role": ("admin",)}, rate_limit=RateLimit(max=1, window=60.0)))
    for _ in range(3):
        assert answer(decide(gate, request(parsed=bearer(sub="a")))).reason.code == "forbidden"
    forward(decide(gate, request(parsed=bearer(sub="a", role="admin"))))


@pytest.mark.parametrize(
    ("allow", "deny", "address", "let_in"),
    [
        (("10.0.0.0/8",), (), "10.1.2.3", True),
        (("10.0.0.0/8",), (), "192.0.2.7", False),
        (("10.0.0.0/8",), ("10.1.0.0/16",), "10.1.2.3", False),
        (("10.0.0.0/8",), ("10.1.0.0/16",), "10.2.2.3", True),
        ((), ("10.0.0.0/8",), "192.0.2.7", True),
        ((), ("10.0.0.0/8",), "unix", True),
        (("10.0.0.0/8",), (), "unix", False),
        (("2001:db8::/32",), (), "2001:db8::1", True),
        (("0.0.0.0/0",), (), "2001:db8::1", False),
    ],
)
def test_addresses(allow: tuple[str, ...], deny: tuple[str, ...], address: str, let_in: bool) -> None:
    rules = {"allow": tuple(map(ip_network, allow)), "deny": tuple(map(ip_network, deny))}
    decision = decide(gate_of(route("none", **rules)), request(), Peer(address, address))
    if let_in:
        forward(decision)
    else:
        assert (answer(decision).status, answer(decision).reason.code) == (403, "address_denied")


def test_an_address_on_a_unix_socket_may_be_allowed() -> None:
    gate = gate_of(route("none", allow=("unix",)))
    forward(decide(gate, request(), Peer("unix", "unix")))
    assert answer(decide(gate, request())).reason.code == "address_denied"


def test_the_address_is_the_clients_and_comes_before_its_credential() -> None:
    gate = gate_of(route(allow=(ip_network("192.0.2.0/24"),)), trusted_proxies=(ip_network("10.0.0.0/8"),))
    told = {"x-forwarded-for": b"192.0.2.9"}
    assert answer(decide(gate, request(parsed=told), PROXY)).reason.code == "auth_missing"
    assert answer(decide(gate, request(parsed={**told, **bearer(sub="a")}), Peer("203.0.113.1", "x"))).status == 403
    forward(decide(gate, request(parsed={**told, **bearer(sub="a")}), PROXY))


@pytest.mark.parametrize(("name", "auth"), [("CN=a", "none"), ("CN=a", "jwt.main"), ("CN=b", "none"), ("", "none")])
def test_a_certificate_is_asked_for_with_a_credential_or_without(name: str, auth: str) -> None:
    public = Tls(certificates=(), client_ca=Secret("file:ca.pem", b"x"))
    gate = gate_of(route(auth, require={"certificate.name": ("CN=a",)}), tls={"public": public})
    peer = Peer("192.0.2.7", "x", "https", name)
    fields = {"x-forwarded-proto": b"http"} if auth == "none" else bearer(sub="alice")
    decision = decide(gate, request(parsed=fields), peer)
    if name == "CN=a":
        assert "X-Forwarded-Proto: https" in lines(forward(decision).head)
    else:
        assert answer(decision).note == "require: certificate.name"


BOTH = ("jwt.main", "api_keys.partners")
KEY = {"x-api-key": API_KEY.encode()}


@pytest.mark.parametrize(
    ("fields", "user", "by"),
    [
        (bearer(sub="alice"), "alice", "jwt.main"),
        (KEY, "acme", "api_keys.partners"),
        ({**KEY, **bearer(sub="alice")}, "alice", "jwt.main"),
        ({**KEY, "authorization": b"Basic x"}, "acme", "api_keys.partners"),
    ],
)
def test_the_first_verifier_that_has_a_credential(fields: dict[str, bytes], user: str, by: str) -> None:
    sent = lines(forward(decide(gate_of(route(BOTH)), request(parsed=fields))).head)
    assert f"X-User-Id: {user}" in sent
    assert [line for line in sent if line.startswith("X-Auth-By")] == [f"X-Auth-By: {by}"]
    # The key stays here and the token goes on, as on routes for one of them.
    assert [line for line in sent if line.startswith("X-Api-Key")] == []


MISSING = 'WWW-Authenticate: Bearer realm="rawgate"'
INVALID = f'{MISSING}, error="invalid_token"'


@pytest.mark.parametrize(
    ("fields", "reason", "challenges"),
    [
        ({}, "auth_missing", [MISSING, "WWW-Authenticate: ApiKey"]),
        ({"authorization": b"Bearer x"}, "auth_malformed", [INVALID, "WWW-Authenticate: ApiKey"]),
        # A bad credential is never made good by another one.
        ({"authorization": b"Bearer x", **KEY}, "auth_malformed", [INVALID, "WWW-Authenticate: ApiKey"]),
        ({"x-api-key": b"no"}, "api_key_unknown", [MISSING, "WWW-Authenticate: ApiKey"]),
    ],
)
def test_several_verifiers_refuse(fields: dict[str, bytes], reason: str, challenges: list[str]) -> None:
    refused = answer(decide(gate_of(route(BOTH)), request(parsed=fields)))
    assert (refused.reason.code, lines(refused.fields)) == (reason, challenges)


def test_a_verifier_that_is_never_asked_is_refused_at_load() -> None:
    other = Jwt(algorithm=("HS256",), secret=(Secret("test", b"x" * 32),))
    elsewhere = msgspec.structs.replace(other, token=("cookie:t",))
    plain = config(route(("jwt.main", "jwt.other")))
    for spec, count in ((other, 1), (elsewhere, 0)):
        _, problems = found(msgspec.structs.replace(plain, jwt={**plain.jwt, "other": spec}))
        assert len(problems) == count


PLACES = {"token": ("header", "cookie:t", "query:t", "subprotocol")}
TOKEN = token(sub="alice")


@pytest.mark.parametrize(
    ("target", "fields"),
    [
        (f"/x?a=1&t={TOKEN.decode()}", []),
        ("/x?a=1", [b"Cookie: t=" + TOKEN]),
        ("/x?a=1", [b"Sec-WebSocket-Protocol: bearer, " + TOKEN]),
    ],
)
def test_a_token_elsewhere_goes_no_further(target: str, fields: list[bytes]) -> None:
    gate = gate_of(route(), jwt=PLACES)
    head = request(target, passthrough=[*fields, b"Cookie: a=b"])
    sent = forward(decide(gate, head)).head
    assert TOKEN not in sent
    assert lines(sent)[0] == "GET /x?a=1 HTTP/1.1"
    assert "X-User-Id: alice" in lines(sent)
    assert "Cookie: a=b" in lines(sent)


def test_a_token_elsewhere_is_taken_out_though_another_one_is_used() -> None:
    head = request(f"/x?t={TOKEN.decode()}", parsed={"authorization": ALICE})
    sent = lines(forward(decide(gate_of(route(), jwt=PLACES), head)).head)
    assert sent[0] == "GET /x HTTP/1.1"
    assert f"Authorization: {ALICE.decode()}" in sent


def test_a_redirect_does_not_repeat_the_token() -> None:
    gate = gate_of(Route(prefix="/", auth="jwt.main", redirect=Redirect(to="https://b.test{path}")), jwt=PLACES)
    reply = answer(decide(gate, request(f"/x?t={TOKEN.decode()}&a=1")))
    assert "Location: https://b.test/x?a=1" in lines(reply.fields)


def test_two_tokens_in_one_place_are_malformed() -> None:
    gate = gate_of(route(), jwt=PLACES)
    assert answer(decide(gate, request(f"/?t=x&t={TOKEN.decode()}"))).reason.code == "auth_malformed"
    assert answer(decide(gate, request("/"))).reason.code == "auth_missing"


@pytest.mark.parametrize(
    ("offers", "chosen", "told"),
    [
        (b"bearer, " + TOKEN, b"", ["bearer"]),
        (b"bearer, " + TOKEN + b", chat", b"chat", ["chat"]),
        (b"chat", b"", []),
    ],
)
def test_a_websocket_gets_one_of_the_protocols_that_it_offered(offers: bytes, chosen: bytes, told: list[str]) -> None:
    gate = gate_of(route(), jwt=PLACES)
    assert b"sec-websocket-protocol" in gate.response_removable
    fields = {"authorization": ALICE} if offers == b"chat" else {}
    head = request("/", parsed=fields, passthrough=[b"Sec-WebSocket-Protocol: " + offers], upgrade=b"websocket")
    decision = forward(decide(gate, head))
    lines_down = [b"\r\nSec-WebSocket-Protocol: " + chosen] if chosen else []
    removable = ((0, b"sec-websocket-protocol"),) if chosen else ()
    answered = decision.on_response(
        ResponseHead(101, b"Switching", {}, lines_down, 0, 0, False, -1, b"websocket", removable)
    )
    assert [line.partition(": ")[2] for line in lines(answered) if line.startswith("Sec-")] == told


def test_claims_are_kept_only_where_a_route_looks_at_them() -> None:
    plain = gate_of(route())
    assert plain.credentials["jwt.main"].check(request(parsed=bearer(sub="a", x=1)), b"", WALL).claims == {}  # type: ignore[union-attr]
    asking = gate_of(route(require={"x.y": ("a",)}))
    who = asking.credentials["jwt.main"].check(request(parsed=bearer(sub="a", x={"y": 1}, z=2)), b"", WALL)
    assert who.claims == {"x": {"y": 1}}  # type: ignore[union-attr]


def test_a_route_without_any_of_it_has_nothing_more() -> None:
    group = gate_of(route()).router.find(b"", b"/")
    assert group is not None
    assert group.other is not None
    assert group.other.more is None


FILE = f"""
[[keys]]
name = "acme"
sha256 = "{sha256(API_KEY.encode()).hexdigest()}"
expires = 2023-11-14T22:13:21Z
claims = {{ plan = "pro", scope = "reports:read" }}
"""


def keyed(*routes: Route, query: str | None = None) -> Gate:
    keys = ApiKeys(header="x-api-key", keys=Secret("file:keys.toml", FILE.encode()), query=query)
    gate, problems = found(msgspec.structs.replace(config(*routes), api_keys={"partners": keys}))
    assert problems == []
    assert gate is not None
    return gate


def test_a_key_expires() -> None:
    gate = keyed(route("api_keys.partners"))
    forward(decide(gate, request(parsed=KEY), wall=WALL + 0.5))
    late = answer(decide(gate, request(parsed=KEY), wall=WALL + 1.0))
    assert (late.reason.code, late.reason.public, late.status) == ("api_key_expired", "auth_expired", 401)
    assert lines(late.fields) == ["WWW-Authenticate: ApiKey"]


def test_what_holds_for_a_tokens_claims_holds_for_a_keys() -> None:
    gate = keyed(
        route(
            "api_keys.partners",
            require={"scope": ("reports:read",)},
            request_headers=HeaderRules({"X-Plan": "{claim.plan}"}),
        )
    )
    assert "X-Plan: pro" in lines(forward(decide(gate, request(parsed=KEY))).head)
    gate = keyed(route("api_keys.partners", require={"scope": ("reports:write",)}))
    refused = answer(decide(gate, request(parsed=KEY)))
    # RFC 6750 is about bearer tokens.
    assert (refused.reason.code, refused.fields) == ("forbidden", b"")


def test_claims_that_no_key_has() -> None:
    """Only a keys file gives keys claims; elsewhere nobody would ever come in."""

    def said(keys: Secret, auth: str | tuple[str, ...], **claims: tuple[str, ...]) -> tuple[list[str], list[str]]:
        problems: list[Problem] = []
        warnings: list[Problem] = []
        tables = {"partners": ApiKeys(header="x-api-key", keys=keys)}
        made = msgspec.structs.replace(config(route(auth, require=claims)), api_keys=tables)
        compile_gate(made, new_id=lambda: "0" * 32, date=lambda: b"D", problems=problems, warnings=warnings)
        found = [*problems, *warnings]
        assert all(one.path == ("routes", 0, "require") for one in found)
        return [one.message for one in problems], [one.message for one in warnings]

    plain, file = Secret("env:KEYS", b"acme:" + b"k" * 32), Secret("file:keys.toml", FILE.encode())
    refused = (
        "asks for claims, and no key of api_keys.partners has any: it would refuse all of them (expected keys = "
        '"file:PATH.toml" in [api_keys.partners], with claims)'
    )
    assert said(plain, "api_keys.partners", plan=("pro",)) == ([refused], [])
    assert said(plain, ("jwt.main", "api_keys.partners"), plan=("pro",)) == ([refused], [])
    assert said(plain, "api_keys.partners") == ([], [])
    assert said(plain, "jwt.main", plan=("pro",)) == ([], [])
    assert said(file, "api_keys.partners", plan=("free", "pro")) == ([], [])
    warned = (
        "no key of api_keys.partners has the claims that it asks for: it refuses all of them (expected them in the "
        "claims of a key)"
    )
    assert said(file, "api_keys.partners", plan=("free",)) == ([], [warned])


def test_a_key_in_the_query() -> None:
    gate = keyed(route("api_keys.partners"), query="key")
    sent = lines(forward(decide(gate, request(f"/x?a=1&key={API_KEY}"))).head)
    assert sent[0] == "GET /x?a=1 HTTP/1.1"
    assert "X-User-Id: acme" in sent
    assert answer(decide(gate, request("/x?key=no"))).reason.code == "api_key_unknown"
    assert answer(decide(gate, request("/x"))).reason.code == "auth_missing"
