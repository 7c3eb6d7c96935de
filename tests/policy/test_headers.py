"""Fields on the way up and on the way down."""

import pytest

from harness.values import run
from rawgate.config.model import HeaderRules
from rawgate.message import Forward, Removable, RequestHead, ResponseHead, RouteOptions
from rawgate.policy.headers import (
    LIMIT_NAMES,
    REQUEST_NAMES,
    RESPONSE_NAMES,
    compile_down,
    compile_trailer_filter,
    compile_turn_back,
    compile_untrusted,
    compile_up,
    is_loop,
    next_max_forwards,
    own_lines,
    replaced_prefix,
    trusted_request_id,
)

NO_RULES = HeaderRules()


def removable(lines: list[bytes]) -> Removable:
    """All of them, as `wire` says it."""
    return tuple((index, line.partition(b":")[0].lower()) for index, line in enumerate(lines))


def request(
    parsed: dict[bytes, bytes], passthrough: list[bytes], minor: int = 1, authority: bytes = b"api.test"
) -> RequestHead:
    return RequestHead(
        b"GET",
        b"/unused",
        minor,
        authority,
        parsed,
        [run(line) for line in passthrough],
        0,
        False,
        False,
        b"",
        0,
        removable=removable(passthrough),
    )


def up(
    parsed: dict[bytes, bytes] | None = None,
    passthrough: list[bytes] | None = None,
    *,
    trusted: bool = False,
    user: str = "",
    minor: int = 1,
    authority: bytes = b"api.test",
    rules: HeaderRules = NO_RULES,
    pass_host: bool = False,
    withheld: frozenset[bytes] = frozenset(),
    by_method: bool = False,
    verified_by: str = "",
    prefix: bytes = b"",
    families: tuple[str, ...] = (),
    scheme: str = "http",
) -> list[str]:
    """The lines of the head that goes up."""
    untrusted = compile_untrusted(["x-team-secret", "x-internal-*", *families])
    write = compile_up(
        b"users:3001",
        rules,
        pass_host=pass_host,
        parsed_names=REQUEST_NAMES | {b"cf-connecting-ip", b"x-api-key", b"origin"},
        withheld=withheld,
        ip_header=b"cf-connecting-ip",
        untrusted=untrusted.with_overrides() if by_method else untrusted,
        verified_by=verified_by,
        prefix=prefix,
    )
    head = request(parsed or {}, passthrough or [], minor, authority)
    octets = write(head, b"/v2", b"?q", b"192.0.2.7", scheme, trusted, b"abc123", user.encode())
    assert octets.endswith(b"\r\n")
    return octets.decode().split("\r\n")[:-1]


def test_wire_is_told_which_fields_may_have_to_go() -> None:
    told = compile_untrusted(["X-Team", "X-Internal-*"]).with_overrides().removable
    assert {b"x-team", b"x-internal-*", b"x-real-ip", b"x-original-*", b"x-http-method-override"} <= told


def test_a_plain_request() -> None:
    assert up(passthrough=[b"User-Agent: curl", b"accept: */*"], user="alice") == [
        "GET /v2?q HTTP/1.1",
        "Host: users:3001",
        "User-Agent: curl",
        "accept: */*",
        "X-Forwarded-For: 192.0.2.7",
        "X-Forwarded-Proto: http",
        "X-Forwarded-Host: api.test",
        "X-Request-Id: abc123",
        "X-User-Id: alice",
        "Via: 1.1 rawgate",
    ]


def test_http_1_0_without_a_host() -> None:
    assert up(minor=0, authority=b"", pass_host=True) == [
        "GET /v2?q HTTP/1.1",
        "Host: users:3001",
        "X-Forwarded-For: 192.0.2.7",
        "X-Forwarded-Proto: http",
        "X-Request-Id: abc123",
        "Via: 1.0 rawgate",
    ]


def test_host_is_passed_when_asked() -> None:
    assert up(pass_host=True)[1] == "Host: api.test"


@pytest.mark.parametrize("authority", [b"api.test", b""])
@pytest.mark.parametrize("trusted", [False, True])
def test_the_scheme_of_the_clients_connection_is_told(trusted: bool, authority: bytes) -> None:
    lines = {scheme: up(scheme=scheme, trusted=trusted, authority=authority) for scheme in ("http", "https")}
    assert "X-Forwarded-Proto: https" in lines["https"]
    assert [line.replace("Proto: https", "Proto: http") for line in lines["https"]] == lines["http"]
    proxied = up({b"x-forwarded-proto": b"http"}, scheme="https", trusted=trusted)
    assert ("X-Forwarded-Proto: https" in proxied) is not trusted


def test_a_name_travels_as_utf_8() -> None:
    assert "X-User-Id: zo\u00eb" in up(user="zo\u00eb")


def test_who_vouches_is_told_with_and_without_a_name() -> None:
    for user in ("alice", ""):
        told = up(user=user, verified_by="jwt.main")
        assert told == [*up(user=user)[:-1], "X-Auth-By: jwt.main", "Via: 1.1 rawgate"]
    assert up({b"via": b"1.0 fred"}, verified_by="api_keys.a")[-2:] == [
        "X-Auth-By: api_keys.a",
        "Via: 1.0 fred, 1.1 rawgate",
    ]


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize("name", [b"x-auth-by", b"x-user-id"])
def test_nobody_says_who_a_caller_is_whatever_is_configured(name: bytes, trusted: bool) -> None:
    for families in ((), ("x-*",), ("x-auth-*", "x-user-*")):
        assert up({name: b"jwt.root"}, trusted=trusted, families=families) == up(trusted=trusted, families=families)


def test_the_prefix_that_was_replaced_is_told() -> None:
    told = "X-Forwarded-Prefix: /api"
    for authority in (b"api.test", b""):
        plain = up(authority=authority)
        at = plain.index("X-Forwarded-Proto: http") + 1
        assert up({b"x-forwarded-prefix": b"/evil"}, authority=authority, prefix=b"/api") == [
            *plain[:at],
            told,
            *plain[at:],
        ]
    for own, sent in ((b"", told), (b"/", told), (b"/outer/", "X-Forwarded-Prefix: /outer/api")):
        lines = up({b"x-forwarded-prefix": own}, prefix=b"/api", trusted=True)
        assert [line for line in lines if "Prefix" in line] == [sent]
    assert "X-Forwarded-Prefix: /outer" in up({b"x-forwarded-prefix": b"/outer"}, trusted=True)
    for trusted in (False, True):
        lines = up(prefix=b"/api", trusted=trusted, rules=HeaderRules(set={"X_Forwarded-Prefix": "/mine"}))
        assert [line for line in lines if "Prefix" in line] == ["X_Forwarded-Prefix: /mine"]


SPOOFED = {
    b"x-user-id": b"root",
    b"x-auth-by": b"jwt.main",
    b"x-request-id": b"mine",
    b"x-forwarded-for": b"203.0.113.9",
    b"x-forwarded-proto": b"https",
    b"x-forwarded-host": b"evil.test",
    b"x-forwarded-port": b"1",
    b"forwarded": b"for=203.0.113.9",
    b"x-real-ip": b"203.0.113.9",
    b"cf-connecting-ip": b"203.0.113.9",
    b"proxy": b"http://evil.test",
}


def test_what_a_client_claims_is_dropped() -> None:
    assert up(SPOOFED) == up()


@pytest.mark.parametrize(
    "line",
    [
        b"X-Forwarded-Client-Cert: CN=root",
        b"x-FORWARDED-anything: 1",
        b"X_Forwarded_For: 203.0.113.9",
        b"x-forwarded_client-cert: CN=root",
        b"X-Forwarded-: empty",
    ],
)
def test_the_forwarded_family_is_dropped_in_any_spelling(line: bytes) -> None:
    assert up(passthrough=[b"A: 1", line, b"B: forwarded"]) == up(passthrough=[b"A: 1", b"B: forwarded"])
    assert up(passthrough=[line]) == up()


def test_a_trusted_proxy_is_believed() -> None:
    lines = up(SPOOFED, [b"X-Forwarded-Client-Cert: CN=a", b"X_Forwarded_Client_Cert: CN=b"], trusted=True)
    assert lines == [
        "GET /v2?q HTTP/1.1",
        "Host: users:3001",
        "X-Forwarded-Client-Cert: CN=a",
        "X-Forwarded-Port: 1",
        "Forwarded: for=203.0.113.9",
        "X-Real-IP: 203.0.113.9",
        "Cf-Connecting-Ip: 203.0.113.9",
        "X-Forwarded-For: 203.0.113.9, 192.0.2.7",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: evil.test",
        "X-Request-Id: abc123",
        "Via: 1.1 rawgate",
    ]


@pytest.mark.parametrize("value", [None, b"", b",", b" , "])
def test_a_trusted_proxy_that_says_nothing(value: bytes | None) -> None:
    assert up({} if value is None else {b"x-forwarded-for": value}, trusted=True) == up()


def test_an_empty_value_says_nothing() -> None:
    parsed = dict.fromkeys((b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-prefix"), b"")
    assert up(parsed, trusted=True, prefix=b"/api") == up(prefix=b"/api")


@pytest.mark.parametrize("earlier", [b"203.0.113.9", b"203.0.113.9,", b"203.0.113.9, , "])
def test_the_list_of_a_trusted_proxy_gets_no_empty_members(earlier: bytes) -> None:
    assert "X-Forwarded-For: 203.0.113.9, 192.0.2.7" in up({b"x-forwarded-for": earlier}, trusted=True)


@pytest.mark.parametrize(
    ("earlier", "sent"),
    [
        (b"/outer, /inner", b"/outer/inner/api"),
        (b"/outer/,/inner/", b"/outer/inner/api"),
        (b"/outer,", b"/outer/api"),
        (b"/a%20b/~c", b"/a%20b/~c/api"),
        *(
            (garbage, b"/api")
            for garbage in (
                b"outer",
                b"//evil.test",
                b"/outer//evil.test",
                b"/outer, evil",
                b"https://evil.test",
                b"/\\evil.test",
                b"/..",
                b"/outer/%2e%2E/x",
                b"/a?b",
                b"/a#b",
                b"/a b",
                b'/"><script>',
                b"/\xff",
            )
        ),
    ],
)
def test_a_prefix_before_ours_is_a_path_or_nothing(earlier: bytes, sent: bytes) -> None:
    lines = up({b"x-forwarded-prefix": earlier}, prefix=b"/api", trusted=True)
    assert [line for line in lines if "Prefix" in line] == [f"X-Forwarded-Prefix: {sent.decode()}"]


def test_credentials_pass_unless_withheld() -> None:
    parsed = {b"authorization": b"Bearer t", b"x-api-key": b"k"}
    assert up(parsed)[2:4] == ["Authorization: Bearer t", "X-Api-Key: k"]
    assert up(parsed, withheld=frozenset((b"x-api-key",)))[2:4] == [
        "Authorization: Bearer t",
        "X-Forwarded-For: 192.0.2.7",
    ]


def test_framing_fields_are_not_written_again() -> None:
    assert up({b"host": b"api.test", b"content-length": b"5", b"transfer-encoding": b"chunked"}) == up()


def test_via_is_appended() -> None:
    assert up({b"via": b"1.0 fred, 1.1 p.test"})[-1] == "Via: 1.0 fred, 1.1 p.test, 1.1 rawgate"
    assert up({b"via": b""})[-1] == "Via: 1.1 rawgate"


def test_rules_come_last() -> None:
    rules = HeaderRules(set={"X-Team": "red", "Authorization": "Basic eA=="}, remove=("cookie", "Origin"))
    lines = up(
        {b"authorization": b"Bearer t", b"origin": b"https://a.test"},
        [b"Cookie: a=b", b"x-team: blue", b"X_Team: blue", b"X-Teams: 2"],
        rules=rules,
    )
    assert lines[2] == "X-Teams: 2"
    assert lines[-2:] == ["X-Team: red", "Authorization: Basic eA=="]
    assert len(lines) == len(up()) + 3


@pytest.mark.parametrize(
    ("value", "identifier"),
    [
        (b"a", "a"),
        (b"A.b_c-9" + b"x" * 121, "A.b_c-9" + "x" * 121),
        (b"x" * 129, ""),
        (b"", ""),
        (b"a b", ""),
        (b"a, b", ""),
        (b"a\n", ""),
        (b"\xe9", ""),
    ],
)
def test_believed_request_ids(value: bytes, identifier: str) -> None:
    assert trusted_request_id({b"x-request-id": value}) == identifier


@pytest.mark.parametrize(
    ("via", "loop"),
    [
        (b"1.1 rawgate", False),
        (b", ".join([b"1.1 rawgate"] * 7), False),
        (b", ".join([b"1.1 rawgate"] * 8), True),
        (b",".join([b"HTTP/1.1 rawgate (comment)", b"1.0 fred"] * 8), True),
        (b",".join([b"1.1 rawgate.test", b"1.1 x-rawgate", b"1.1 fred (rawgate)"] * 8), False),
        (b"rawgate" * 50, False),
    ],
    ids=["one", "seven", "eight", "among-others", "other-names", "garbage"],
)
def test_loops(via: bytes, loop: bool) -> None:
    assert is_loop(via) is loop


@pytest.mark.parametrize(
    ("value", "left"),
    [
        (b"0", b""),
        (b"000", b""),
        (b"1", b"0"),
        (b"010", b"9"),
        (b"1000000", b"999999"),
        (b"9" * 9000, b"999999"),
        (b"", None),
        (b"-1", None),
        (b"1, 1", None),
        (b"1.0", None),
        (b"+1", None),
        (b"\xb2", None),
    ],
)
def test_max_forwards(value: bytes, left: bytes | None) -> None:
    assert next_max_forwards(value) == left


@pytest.mark.parametrize(
    ("name", "passes"),
    [
        (b"x-checksum", True),
        (b"server-timing", True),
        (b"x-user-id", False),
        (b"x_user_id", False),
        (b"x.auth~by", False),
        (b"x-forwarded-anything", False),
        (b"x_forwarded_anything", False),
        (b"authorization", False),
        (b"content-length", False),
        (b"content_length", False),
        (b"transfer-encoding", False),
        (b"host", False),
        (b"x-team", False),
        (b"x.team", False),
        (b"x.user~id", False),
        (b"content|length", False),
        (b"client-ip", False),
        (b"x-original-anything", False),
        (b"x-http-method-override", False),
        (b"x-more", False),
    ],
)
def test_trailers(name: bytes, passes: bool) -> None:
    untrusted = compile_untrusted(["x-more"]).with_overrides()
    assert compile_trailer_filter(REQUEST_NAMES, HeaderRules(remove=("X-Team",)), untrusted)(name) is passes


def down(
    parsed: dict[bytes, bytes],
    passthrough: list[bytes],
    *,
    status: int = 200,
    phrase: bytes = b"OK",
    rules: HeaderRules = NO_RULES,
    removed: frozenset[bytes] = RESPONSE_NAMES - {b"date"},
) -> list[str]:
    write = compile_down(removed, RESPONSE_NAMES | LIMIT_NAMES, rules, lambda: b"Thu, 01 Jan 1970 00:00:00 GMT")
    runs = [run(line) for line in passthrough]
    head = ResponseHead(status, phrase, parsed, runs, 0, 0, False, -1, b"", removable=removable(passthrough))
    options = RouteOptions("r", "u", None, 0)
    sent = Forward(
        options, b"", write, lambda name: True, b"", "abc123", "", own_lines(rules, frozenset()) + b"RateLimit: x\r\n"
    )
    octets = sent.on_response(head)
    assert octets.endswith(b"\r\n")
    return octets.decode().split("\r\n")[:-1]


def test_an_answer() -> None:
    parsed = {
        b"server": b"nginx",
        b"x-powered-by": b"PHP",
        b"x-request-id": b"theirs",
        b"date": b"D",
        b"content-length": b"2",
    }
    assert down(parsed, [b"Set-Cookie: a=1", b"set-cookie: b=2", b"Vary: A", b"Set-Cookie: a=1"]) == [
        "HTTP/1.1 200 OK",
        "Set-Cookie: a=1",
        "set-cookie: b=2",
        "Vary: A",
        "Set-Cookie: a=1",
        "Date: D",
        "X-Request-Id: abc123",
        "RateLimit: x",
    ]


def test_an_answer_without_a_date_gets_one() -> None:
    assert down({}, [], status=404, phrase=b"") == [
        "HTTP/1.1 404 ",
        "Date: Thu, 01 Jan 1970 00:00:00 GMT",
        "X-Request-Id: abc123",
        "RateLimit: x",
    ]


def test_limit_fields_pass_where_nothing_is_limited() -> None:
    parsed = {b"ratelimit": b'"a";r=1', b"x-ratelimit-limit": b"9", b"date": b"D"}
    assert down(parsed, [])[1:4] == ['RateLimit: "a";r=1', "X-Ratelimit-Limit: 9", "Date: D"]
    assert down(parsed, [], removed=RESPONSE_NAMES - {b"date"} | LIMIT_NAMES)[1:] == [
        "Date: D",
        "X-Request-Id: abc123",
        "RateLimit: x",
    ]


@pytest.mark.parametrize("status", [100, 101, 103])
def test_interim_answers_and_upgrades_go_as_they_are(status: int) -> None:
    assert down({b"server": b"nginx"}, [b"Link: </a>"], status=status, phrase=b"X") == [
        f"HTTP/1.1 {status} X",
        "Link: </a>",
    ]


def test_rules_on_the_way_down() -> None:
    rules = HeaderRules(set={"Server": "mine", "X-Frame-Options": "DENY"}, remove=("X-Debug", "date"))
    assert down({b"date": b"D"}, [b"x-debug: 1", b"X-FRAME-OPTIONS: SAMEORIGIN", b"X_Debug: 2"], rules=rules) == [
        "HTTP/1.1 200 OK",
        "X_Debug: 2",
        "X-Request-Id: abc123",
        "Server: mine",
        "X-Frame-Options: DENY",
        "RateLimit: x",
    ]


@pytest.mark.parametrize(
    ("prefix", "replacement", "told"),
    [
        (b"/api", b"/", b"/api"),
        (b"/api/", b"/", b"/api"),
        (b"/api/users", b"/users", b"/api"),
        (b"/api/users", b"/users/", b"/api"),
        (b"/api/users", b"/v2/users", b"/api/users"),
        (b"/", b"/v2", b""),
        (b"", b"", b""),
    ],
)
def test_what_a_service_puts_before_its_paths(prefix: bytes, replacement: bytes, told: bytes) -> None:
    assert replaced_prefix(prefix, replacement) == told


SENT = b"GET /v2 HTTP/1.1\r\nHost: users:3001\r\nX-Forwarded-Host: Api.test:8080\r\nVia: 1.1 rawgate\r\n"


@pytest.mark.parametrize(
    ("swap", "location", "turned"),
    [
        # a path under what replaced the prefix
        ("/api/users /v2/users", "/v2/users/8?x=/v2#f", "/api/users/8?x=/v2#f"),
        ("/api/users /v2/users", "/v2/users", "/api/users"),
        ("/api/users /v2/users", "/v2/users?x", "/api/users?x"),
        ("/api/users /v2/users", "/v2/users#f", "/api/users#f"),
        ("/api/users /v2/users", "/v2/usersX", "/v2/usersX"),
        ("/api/users /v2/users", "/login", "/login"),
        ("/api/users /v2/users", "/v2/users/../x", "/v2/users/../x"),
        ("/api/users /v2/users", "/v2/users/%2e%2E", "/v2/users/%2e%2E"),
        ("/api/users /v2/users", "/v2/users/.well-known", "/api/users/.well-known"),
        ("/api/users /v2/users", "8", "8"),
        ("/api/users /v2/users", "?x", "?x"),
        ("/api/users /v2/users", "", ""),
        ("/api /", "/x", "/api/x"),
        ("/api /", "/", "/api/"),
        ("/api/ /v2/", "/v2/x", "/api/x"),
        ("/api/ /v2/", "/v2", "/api/"),
        ("/ /v2", "/v2", "/"),
        ("/ /v2", "/v2/x", "/x"),
        # a service that has read X-Forwarded-Prefix
        ("/api /", "/api/x", "/api/x"),
        ("/api/v2 /api", "/api/v2/x", "/api/v2/x"),
        ("/api /api/v2", "/api/v2/x", "/api/x"),
        # never another host
        ("/ /v2", "/v2//evil.test", "/evil.test"),
        ("/ /v2", "/v2/\\evil.test", "/evil.test"),
        (" ", "http://users:3001//evil.test", "/evil.test"),
        (" ", "http://users:3001/\\evil.test", "/evil.test"),
        (" ", "//evil.test/x", "//evil.test/x"),
        ("/api /", "//evil.test/x", "//evil.test/x"),
        # the upstream's own authority
        (" ", "http://users:3001/x?y", "/x?y"),
        (" ", "HTTP://USERS:3001/x", "/x"),
        (" ", "//users:3001/x", "/x"),
        (" ", "http://other/x", "/x"),
        (" ", "http://other:80/x", "/x"),
        (" ", "http://[::1]:80/x", "/x"),
        (" ", "http://users:3001", "/"),
        (" ", "http://users:3001?x", "/?x"),
        (" ", "http://users/x", "http://users/x"),
        (" ", "http://users:30010/x", "http://users:30010/x"),
        (" ", "http://users:3001.evil.test/x", "http://users:3001.evil.test/x"),
        (" ", "http://users:3001@evil.test/x", "http://users:3001@evil.test/x"),
        (" ", "http://users:3001\\@evil.test/x", "/@evil.test/x"),
        (" ", "https://users:3001/x", "https://users:3001/x"),
        ("/api/users /v2/users", "http://users:3001/v2/users/8", "/api/users/8"),
        ("/api/users /v2/users", "http://users:3001/login", "/login"),
        ("/api /", "http://users:3001", "/api/"),
        # the gateway's, as the upstream was told it; the scheme may be what it is about
        ("/api/users /v2/users", "https://api.test:8080/v2/users/8", "https://api.test:8080/api/users/8"),
        ("/api/users /v2/users", "//api.test:8080/v2/users/8", "//api.test:8080/api/users/8"),
        ("/api/users /v2/users", "https://api.test:8080/login", "https://api.test:8080/login"),
        ("/api/users /v2/users", "https://api.test/v2/users/8", "https://api.test/v2/users/8"),
        ("/api/users /v2/users", "https://idp.test/v2/users/8", "https://idp.test/v2/users/8"),
    ],
)
def test_a_location_is_turned_back(swap: str, location: str, turned: str) -> None:
    prefix, replacement = swap.encode().split(b" ")
    turn_back = compile_turn_back((("http", "users:3001"), ("http", "other"), ("http", "[::1]")), prefix, replacement)
    assert turn_back(location.encode(), SENT).decode() == turned


@pytest.mark.parametrize(
    ("told", "location", "turned"),
    [
        (b"gw.test", b"http://gw.test:80/v2/x", b"http://gw.test:80/api/x"),
        (b"gw.test:80", b"http://gw.test/v2/x", b"http://gw.test/api/x"),
        (b"gw.test", b"https://gw.test:443/v2/x", b"https://gw.test:443/api/x"),
        (b"gw.test", b"https://gw.test:80/v2/x", b"https://gw.test:80/v2/x"),
        (b"gw.test", b"http://gw.test:443/v2/x", b"http://gw.test:443/v2/x"),
    ],
)
def test_a_port_that_goes_without_saying_may_be_written(told: bytes, location: bytes, turned: bytes) -> None:
    turn_back = compile_turn_back((("http", "users:3001"),), b"/api", b"/v2")
    sent = b"GET / HTTP/1.1\r\nHost: users:3001\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: %b\r\n" % told
    assert turn_back(location, sent) == turned


def test_nobody_is_told_a_host_where_there_is_none() -> None:
    turn_back = compile_turn_back((("http", "users:3001"),), b"/api", b"/v2")
    for location in (b"http:///v2/x", b"https://api.test/v2/x"):
        assert turn_back(location, b"GET / HTTP/1.1\r\nHost: users:3001\r\n") == location


SERVICES_BELIEVE = [
    *("Client-IP", "True-Client-IP", "X-Client-IP", "X-Cluster-Client-IP", "CF-Connecting-IPv6", "X-Forwarded"),
    *(
        "X-Original-Forwarded-For",
        "X-Forwarded-Whatever",
        "X-Original-URL",
        "X-Original-Host",
        "X-Rewrite-URL",
        "X-Host",
    ),
    *("Remote-User", "X-Remote-User", "Script-Name", "Path-Info", "X-Team-Secret", "X-Internal-Role", "X-Internal-"),
]
ODD = "!#$%&'*+.^_`|~"


@pytest.mark.parametrize("name", SERVICES_BELIEVE)
def test_what_services_believe_is_a_trusted_proxys_to_say(name: str) -> None:
    """Another spelling is nobody's: a service may read it as the same name."""
    line = f"{name}: root".encode()
    aliases = [f"{name.replace('-', octet)}: root".encode() for octet in ODD]
    assert not [sent for sent in up(passthrough=[line, *aliases]) if "root" in sent]
    assert [sent for sent in up(passthrough=[line, *aliases], trusted=True) if "root" in sent] == [line.decode()]


UNRULED = up() + up(trusted=True)


@pytest.mark.parametrize("octet", ["-", *ODD])
def test_what_a_route_overrides_is_overridden_in_any_spelling(octet: str) -> None:
    rules = HeaderRules(set={"X-Plan": "gold"}, remove=("X-Old_Team",))
    received = [f"X{octet}Plan: free".encode(), f"X{octet}Old{octet}Team: a".encode(), b"X-Planet: kept"]
    for trusted in (False, True):
        sent = up(passthrough=received, rules=rules, trusted=trusted)
        others = [line for line in sent if line not in UNRULED]
        assert others == ["X-Planet: kept", "X-Plan: gold"]
