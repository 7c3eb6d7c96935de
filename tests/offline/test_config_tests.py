"""A configuration's own tests: what passes, what is reported, what nobody reaches."""

from pathlib import Path

import pytest

from harness import configs
from rawgate.config.load import load
from rawgate.errors import ConfigError
from rawgate.offline.config_tests import FORWARDED, Difference, Report, run_tests
from rawgate.serve.load import compile_draft

ENVIRON = {"JWT_SECRET": "a secret of more than 32 octets, for these tests", "API_KEYS": "acme:key-0123456789abcdef"}
CONFIG = (
    configs.gateway()
    + configs.jwt()
    + configs.api_keys("partners", "x-api-key", "API_KEYS")
    + configs.upstream("users", "http://127.0.0.1:9")
    + configs.route("/hooks", "users", 'host = "hooks.test"', auth="api_keys.partners")
    + configs.route(
        "/api/users",
        "users",
        'methods = ["GET"]',
        'rewrite = "/v2/users"',
        'rate_limit = { max = 1, window = "1h" }',
        auth="jwt.main",
    )
    + configs.route("/open", "users")
    + configs.route("/shop", "users", 'cors = { origins = ["https://shop.test"], methods = ["PUT"] }')
)


def report(directory: Path, *tests: str, config: str = CONFIG) -> Report:
    path = directory / "rawgate.toml"
    path.write_text(config + "".join(f"[[tests]]\n{test}\n" for test in tests))
    draft = load(path, ENVIRON)
    loaded = compile_draft(draft, new_id=lambda: "0" * 32, date=lambda: b"now")
    return run_tests(loaded, draft.line, new_id=lambda: "0" * 32, wall=1_700_000_000.0)


def test_keys_that_are_fetched_are_not_needed(tmp_path: Path) -> None:
    """Claims stand in for a token; a token itself cannot be verified here."""
    fetched = '[jwt.main]\nalgorithm = "HS256"\nsecret = "env:JWT_SECRET"\n'
    assert fetched in CONFIG
    remote = '[jwt.main]\nalgorithm = "ES256"\njwks = "https://idp.test/keys"\n'
    token = "eyJhbGciOiJFUzI1NiJ9.e30.AAAA"
    found = report(
        tmp_path,
        f'request = "GET /api/users"\n{ALICE}\nexpect = {{ route = "/api/users" }}',
        f'request = "GET /api/users"\nheaders = {{ Authorization = "Bearer {token}" }}\n'
        'expect = { status = 503, reason = "keys_unavailable" }',
        config=CONFIG.replace(fetched, remote),
    )
    assert not found.failed


ALICE = 'claims = { sub = "alice" }'


BEARER = 'Bearer realm="rawgate"'


@pytest.mark.parametrize(
    ("request_line", "credential", "expect"),
    [
        ("GET /api/users/7?x=1", ALICE, 'route = "/api/users", path = "/v2/users/7?x=1"'),
        ("GET /api/users/7", ALICE, 'reason = "ok", headers = { x-user-id = "alice", Via = "1.1 rawgate" }'),
        # A token without sub: its verifier is named, its bearer is not.
        ("GET /api/users/7", "claims = {}", 'reason = "ok", headers = { X-User-Id = "", X-Auth-By = "jwt.main" }'),
        (
            "GET /api/users/7",
            "",
            f"status = 401, reason = 'auth_missing', headers = {{ www-authenticate = '{BEARER}' }}",
        ),
        ("GET /api/users/7", 'api_key = "acme"', 'reason = "auth_missing"'),
        ("GET /api/users/7", 'claims = { sub = " alice" }', 'reason = "auth_bad_claim"'),
        (
            "GET http://hooks.test/hooks",
            'api_key = "acme"',
            'route = "hooks.test/hooks", headers = { X-User-Id = "acme" }',
        ),
        ("GET http://hooks.test:81/hooks", ALICE, 'reason = "auth_missing"'),
        ("GET /hooks", "", 'status = 404, reason = "no_route"'),
        ("DELETE /api/users/7", "", 'status = 405, headers = { allow = "GET, HEAD" }'),
        ("GET /open/../api/users", ALICE, 'route = "/api/users"'),
        ("GET /open/%2e%2e/%2e%2e/x", "", 'reason = "bad_request"'),
        ("CONNECT /open", "", 'status = 501, reason = "not_implemented"'),
        ("OPTIONS *", "", "status = 204"),
        ("GET /open", ALICE, 'headers = { X-User-Id = "" }'),
    ],
)
def test_passes(tmp_path: Path, request_line: str, credential: str, expect: str) -> None:
    found = report(tmp_path, f'request = "{request_line}"\n{credential}\nexpect = {{ {expect} }}')
    assert [result.differences for result in found.results] == [()]
    assert found.failed == ()


def test_each_difference_is_reported(tmp_path: Path) -> None:
    found = report(
        tmp_path,
        'request = "GET /open/a"\nexpect = { route = "/api/users", path = "/b", status = 404, reason = "no_route" }',
        'request = "GET /nothing"\nexpect = { route = "/open", path = "/nothing", headers = { X-User-Id = "alice" } }',
        'request = "GET /open"\nexpect = { reason = "ok" }',
    )
    assert [result.differences for result in found.results] == [
        (
            Difference("route", "/api/users", "/open"),
            Difference("path", "/b", "/open/a"),
            Difference("status", "404", FORWARDED),
            Difference("reason", "no_route", "ok"),
        ),
        (
            Difference("reason", "ok", "404 no_route"),
            Difference("route", "/open", ""),
            Difference("path", "/nothing", ""),
            Difference("X-User-Id", "alice", ""),
        ),
        (),
    ]
    assert found.failed == found.results[:2]
    assert [result.line for result in found.results] == [32, 35, 38]


def test_a_refusal_passes_only_where_it_is_expected(tmp_path: Path) -> None:
    """All of these requests are given the route that is expected, and all are refused."""
    config = CONFIG + configs.route("/scoped", "users", 'require = { scope = "orders:write" }', auth="jwt.main")
    expects = ('route = "{}"', 'headers = {{ X-Absent = "" }}')
    for request, route, got in (
        ('request = "GET /api/users/7"', "/api/users", "401 auth_missing"),
        (f'request = "GET /api/users/7"\n{ALICE}\ntimes = 2', "/api/users", "429 rate_limited (Used up: /api/users.)"),
        (f'request = "GET /scoped"\n{ALICE}', "/scoped", "403 forbidden (require: scope)"),
    ):
        tests = [f"{request}\nexpect = {{ {expect.format(route)} }}" for expect in expects]
        for result in report(tmp_path, *tests, config=config).results:
            assert result.differences == (Difference("reason", "ok", got),)
        status, reason = got.split(" ")[:2]
        tests = [
            f'{request}\nexpect = {{ route = "{route}", {said} }}'
            for said in (f"status = {status}", f'reason = "{reason}"')
        ]
        assert report(tmp_path, *tests, config=config).failed == ()


def test_routes_that_no_test_reaches(tmp_path: Path) -> None:
    assert report(tmp_path).unreached == ("hooks.test/hooks", "/api/users", "/open", "/shop")
    refused = 'request = "GET /api/users"\nexpect = { status = 401 }'
    assert report(tmp_path, refused).unreached == ("hooks.test/hooks", "/open", "/shop")


def test_tests_do_not_use_up_each_others_limits(tmp_path: Path) -> None:
    """The route admits one request an hour."""
    once = f'request = "GET /api/users"\n{ALICE}\nexpect = {{ reason = "ok" }}'
    assert report(tmp_path, *[once] * 5).failed == ()


def test_a_key_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        report(tmp_path, 'request = "GET /open"\napi_key = "acne"\nexpect = { reason = "ok" }')
    (line,) = error.value.lines
    assert line.endswith(
        'rawgate.toml:34: tests[0].api_key: "acne" is not the name of an API key (did you mean "acme"?)'
    )


def test_a_table_that_cannot_be_read_may_have_that_key(tmp_path: Path) -> None:
    path = tmp_path / "rawgate.toml"
    path.write_text(CONFIG + '[[tests]]\nrequest = "GET /open"\napi_key = "acme"\nexpect = { reason = "ok" }\n')
    with pytest.raises(ConfigError) as error:
        compile_draft(load(path, {"JWT_SECRET": ENVIRON["JWT_SECRET"]}), new_id=lambda: "", date=lambda: b"")
    (line,) = error.value.lines
    assert 'api_keys.partners.keys: the environment variable "API_KEYS" is not set' in line


def test_the_body_of_a_token_can_be_pasted(tmp_path: Path) -> None:
    claims = '{ sub = "alice", iat = 1, exp = 1.5e9, ok = true, aud = ["a", 1], "realm" = { roles = [{ id = 7 }] } }'
    found = report(
        tmp_path, f'request = "GET /api/users"\nclaims = {claims}\nexpect = {{ headers = {{ X-User-Id = "alice" }} }}'
    )
    assert found.failed == ()


def test_a_name_beyond_ascii_is_expected_as_it_is_sent(tmp_path: Path) -> None:
    expect = 'expect = { headers = { X-User-Id = "auth0|63fé" } }'
    found = report(tmp_path, f'request = "GET /api/users"\nclaims = {{ sub = "auth0|63fé" }}\n{expect}')
    assert found.failed == ()


def test_fields_of_a_request(tmp_path: Path) -> None:
    preflight = 'headers = { Origin = "https://shop.test", Access-Control-Request-Method = "PUT" }'
    allowed = 'headers = { Access-Control-Allow-Origin = "https://shop.test", Access-Control-Allow-Methods = "PUT" }'
    found = report(
        tmp_path,
        f'request = "OPTIONS /shop"\n{preflight}\nexpect = {{ status = 204, {allowed} }}',
        'request = "GET /open"\nheaders = { X-Team = "é", X-User-Id = "eve" }\n'
        'expect = { headers = { X-Team = "é", X-User-Id = "" } }',
        'request = "GET /hooks"\nheaders = { Host = "hooks.test" }\n'
        'expect = { status = 401, route = "hooks.test/hooks" }',
        'request = "POST /open"\nheaders = { Content-Length = "99999999" }\nexpect = { reason = "body_too_large" }',
        'request = "GET /open"\nheaders = { Connection = "authorization" }\nexpect = { reason = "bad_request" }',
    )
    assert [result.differences for result in found.results] == [()] * 5


def test_a_credential_among_them_is_checked(tmp_path: Path) -> None:
    bad = 'headers = { Authorization = "Bearer x" }'
    key = 'headers = { Host = "hooks.test", X-Api-Key = "key-0123456789abcdef" }'
    found = report(
        tmp_path,
        f'request = "GET /api/users"\n{bad}\nexpect = {{ reason = "auth_malformed" }}',
        f'request = "GET /api/users"\n{bad}\n{ALICE}\nexpect = {{ reason = "ok" }}',
        f'request = "GET /hooks"\n{key}\nexpect = {{ headers = {{ X-User-Id = "acme" }} }}',
    )
    assert [result.differences for result in found.results] == [()] * 3


def test_the_dot_of_the_root_does_not_go_up(tmp_path: Path) -> None:
    for target, host in (("users.ns.:9", "users.ns:9"), ("users.ns.", "users.ns")):
        config = CONFIG.replace("127.0.0.1:9", target)
        test = f'request = "GET /open"\nexpect = {{ headers = {{ Host = "{host}" }} }}'
        assert report(tmp_path, test, config=config).failed == ()


def test_a_url_says_whether_it_comes_over_tls(tmp_path: Path) -> None:
    secure = configs.route("/secure", "users", 'match = { scheme = "https" }')
    tests = [
        f'request = "GET {scheme}://a.test/secure"\nexpect = {{ {expected} }}'
        for scheme, expected in (
            ("https", 'route = "/secure", headers = { Host = "127.0.0.1:9", X-Forwarded-Proto = "https" }'),
            ("http", 'reason = "no_route"'),
        )
    ]
    assert report(tmp_path, *tests, config=CONFIG + secure).failed == ()


def test_a_forwarded_request_has_no_status(tmp_path: Path) -> None:
    """What it is told then says what to expect in its place."""
    (result,) = report(tmp_path, 'request = "GET /open"\nexpect = { status = 200 }').results
    assert result.differences == (Difference("status", "200", FORWARDED),)
    assert "expect its route or path" in FORWARDED


def test_where_when_and_how_often(tmp_path: Path) -> None:
    (tmp_path / "keys.toml").write_text(
        f'[[keys]]\nname = "old"\nsha256 = "{"a" * 64}"\nexpires = 2020-01-01\nclaims = {{ plan = "pro" }}\n'
    )
    config = (
        configs.gateway()
        + '[api_keys.filed]\nheader = "x-key"\nkeys = "file:keys.toml"\n'
        + configs.upstream("users", "http://127.0.0.1:9")
        + configs.route("/in", "users", 'allow = ["203.0.113.0/24"]')
        + configs.route("/key", "users", 'require = { plan = "pro" }', auth="api_keys.filed")
        + configs.route("/twice", "users", 'rate_limit = { max = 2, window = "1m" }')
        + configs.route("/shadow", "users", "concurrency = 1", 'shadow = ["concurrency"]')
    )
    found = report(
        tmp_path,
        'request = "GET /in"\nexpect = { reason = "address_denied" }',
        'request = "GET /in"\nfrom = "203.0.113.7"\nexpect = { reason = "ok" }',
        'request = "GET /key"\napi_key = "old"\nexpect = { reason = "api_key_expired" }',
        'request = "GET /key"\napi_key = "old"\nat = 2019-12-31T23:59:59Z\nexpect = { reason = "ok" }',
        'request = "GET /twice"\ntimes = 2\nexpect = { reason = "ok" }',
        'request = "GET /twice"\ntimes = 3\nexpect = { reason = "rate_limited", status = 429 }',
        'request = "GET /shadow"\ntimes = 3\nexpect = { reason = "ok" }',
        config=config,
    )
    assert [result.differences for result in found.results] == [()] * 7


def test_claims_of_a_test_are_asked_and_told(tmp_path: Path) -> None:
    config = (
        configs.gateway()
        + configs.jwt()
        + configs.upstream("users", "http://127.0.0.1:9")
        + configs.route(
            "/",
            "users",
            'require = { realm_access.roles = ["admin"] }',
            'request_headers = { set = { X-Tenant = "{claim.tenant}" } }',
            auth="jwt.main",
        )
    )
    roles = 'claims = { sub = "a", tenant = "acme", realm_access = { roles = ["admin"] } }'
    found = report(
        tmp_path,
        f'request = "GET /"\n{roles}\nexpect = {{ headers = {{ X-Tenant = "acme" }} }}',
        f'request = "GET /"\n{ALICE}\nexpect = {{ reason = "forbidden" }}',
        config=config,
    )
    assert [result.differences for result in found.results] == [()] * 2


def test_a_gateway_without_services(tmp_path: Path) -> None:
    alone = configs.gateway() + '[[routes]]\npath = "/healthz"\nauth = "none"\nrespond = { body = "ok" }\n'
    found = report(tmp_path, 'request = "GET /healthz"\nexpect = { status = 200 }', config=alone)
    assert (len(found.results), found.failed, found.unreached) == (1, (), ())
