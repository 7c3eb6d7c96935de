"""CORS: what a preflight and an ordinary answer say."""

import pytest

from rawgate.config.model import Cors
from rawgate.policy.cors import CorsPolicy, compile_cors

SHOP = "https://shop.test"
POLICY = compile_cors(
    Cors(origins=(SHOP, "https://b.test"), methods=("GET", "PUT"), headers=("X-Team", "Content-Type"), max_age=90.0),
    limited=False,
)
CREDENTIALS = compile_cors(Cors(origins=(SHOP,), credentials=True), limited=False)
ANYONE = compile_cors(Cors(origins=("*",), expose=("X-Total", "retry-after")), limited=True)
EVERY_FIELD = (
    "Access-Control-Expose-Headers: X-Total, Retry-After, X-Request-Id, RateLimit, RateLimit-Policy, "
    "x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-reset"
)
PREFLIGHT_VARY = "Vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers"


def answer(policy: CorsPolicy, origin: str, method: str, names: str | None = None) -> list[str]:
    parsed = {b"origin": origin.encode(), b"access-control-request-method": method.encode()}
    if names is not None:
        parsed[b"access-control-request-headers"] = names.encode()
    return policy.preflight_fields(parsed)[0].decode().splitlines()


def fault(policy: CorsPolicy, origin: str, method: str, names: str = "") -> str:
    parsed = {b"origin": origin.encode("latin-1"), b"access-control-request-method": method.encode()}
    return policy.preflight_fields({**parsed, b"access-control-request-headers": names.encode()})[1]


def fields(policy: CorsPolicy, origin: str | None) -> list[str]:
    return policy.fields({} if origin is None else {b"origin": origin.encode()}).decode().splitlines()


def test_an_allowed_preflight() -> None:
    assert answer(POLICY, SHOP, "PUT", "content-type, x-TEAM") == [
        "Access-Control-Allow-Origin: https://shop.test",
        "Access-Control-Allow-Methods: GET, PUT",
        "Access-Control-Max-Age: 90",
        "Access-Control-Allow-Headers: X-Team, Content-Type",
        PREFLIGHT_VARY,
    ]


def test_a_preflight_with_credentials() -> None:
    assert answer(CREDENTIALS, SHOP, "GET") == [
        "Access-Control-Allow-Origin: https://shop.test",
        "Access-Control-Allow-Credentials: true",
        "Access-Control-Allow-Methods: GET, HEAD, POST",
        "Access-Control-Max-Age: 600",
        PREFLIGHT_VARY,
    ]


def test_a_preflight_from_anywhere() -> None:
    assert answer(ANYONE, "https://x.test", "GET")[0] == "Access-Control-Allow-Origin: *"


@pytest.mark.parametrize(
    ("origin", "method", "names", "why"),
    [
        ("https://evil.test", "GET", "", "https://evil.test is not in cors.origins"),
        ("https://shop.test.evil.test", "GET", "", "https://shop.test.evil.test is not in cors.origins"),
        ("http://shop.test", "GET", "", "http://shop.test is not in cors.origins"),
        ("HTTPS://SHOP.TEST", "GET", "", "HTTPS://SHOP.TEST is not in cors.origins"),
        ("null", "GET", "", "null is not in cors.origins"),
        ("", "GET", "", " is not in cors.origins"),
        (SHOP + ", " + SHOP, "GET", "", "https://shop.test, https://shop.test is not in cors.origins"),
        (SHOP, "DELETE", "", "DELETE is not in cors.methods"),
        (SHOP, "put", "", "put is not in cors.methods"),
        (SHOP, "DELETE", "x-other", "DELETE is not in cors.methods"),
        (SHOP, "GET", "x-other", "x-other is not in cors.headers"),
        (SHOP, "GET", "x-team, X-Other, x-third", "x-other is not in cors.headers"),
        (SHOP, "GET", "x" * 9000, "x" * 64 + " is not in cors.headers"),
        (SHOP, "PUT", "content-type", ""),
    ],
)
def test_why_a_preflight_is_refused(origin: str, method: str, names: str, why: str) -> None:
    assert fault(POLICY, origin, method, names) == why
    lines = answer(POLICY, origin, method, names)
    if "origins" in why:
        assert lines == [PREFLIGHT_VARY]
    else:
        # So that the browser can name what is missing.
        assert lines[:3] == [
            "Access-Control-Allow-Origin: https://shop.test",
            "Access-Control-Allow-Methods: GET, PUT",
            "Access-Control-Max-Age: 90",
        ]
        assert ("Access-Control-Allow-Headers: X-Team, Content-Type" in lines) is bool(names)


def test_no_field_is_listed_where_none_is_allowed() -> None:
    assert fault(CREDENTIALS, SHOP, "GET", "x-team") == "x-team is not in cors.headers"
    assert not [line for line in answer(CREDENTIALS, SHOP, "GET", "x-team") if "Headers:" in line]


@pytest.mark.parametrize("names", [None, "", " , ,", "X-Team"])
def test_lists_of_fields_may_be_empty(names: str | None) -> None:
    assert answer(POLICY, SHOP, "GET", names)[0] == "Access-Control-Allow-Origin: https://shop.test"


@pytest.mark.parametrize(
    ("policy", "origin", "expected"),
    [
        (
            POLICY,
            SHOP,
            [
                "Access-Control-Allow-Origin: https://shop.test",
                "Access-Control-Expose-Headers: X-Request-Id, Retry-After",
                "Vary: Origin",
            ],
        ),
        (POLICY, "https://evil.test", ["Vary: Origin"]),
        (POLICY, None, ["Vary: Origin"]),
        (
            CREDENTIALS,
            SHOP,
            [
                "Access-Control-Allow-Origin: https://shop.test",
                "Access-Control-Allow-Credentials: true",
                "Access-Control-Expose-Headers: X-Request-Id, Retry-After",
                "Vary: Origin",
            ],
        ),
        (ANYONE, "https://x.test", ["Access-Control-Allow-Origin: *", EVERY_FIELD]),
        (ANYONE, None, ["Access-Control-Allow-Origin: *", EVERY_FIELD]),
    ],
    ids=["allowed", "refused", "same-origin", "credentials", "any", "any-same-origin"],
)
def test_fields_of_an_ordinary_answer(policy: CorsPolicy, origin: str | None, expected: list[str]) -> None:
    assert fields(policy, origin) == expected
