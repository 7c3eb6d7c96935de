"""CORS: what a preflight and an ordinary answer say."""

import pytest

from rawgate.config.model import Cors
from rawgate.policy.cors import CorsPolicy, compile_cors

SHOP = "https://shop.test"
POLICY = compile_cors(
    Cors(origins=(SHOP, "https://b.test"), methods=("GET", "PUT"), headers=("X-Team", "Content-Type"), max_age=90.0)
)
CREDENTIALS = compile_cors(Cors(origins=(SHOP,), credentials=True))
ANYONE = compile_cors(Cors(origins=("*",)))
PREFLIGHT_VARY = "Vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers"


def answer(policy: CorsPolicy, origin: str, method: str, names: str | None = None) -> list[str]:
    known = {b"origin": origin.encode(), b"access-control-request-method": method.encode()}
    if names is not None:
        known[b"access-control-request-headers"] = names.encode()
    return policy.answer(known).decode().splitlines()


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
    ("origin", "method", "names"),
    [
        ("https://evil.test", "GET", None),
        ("https://shop.test.evil.test", "GET", None),
        ("http://shop.test", "GET", None),
        ("HTTPS://SHOP.TEST", "GET", None),
        ("null", "GET", None),
        ("", "GET", None),
        (SHOP, "DELETE", None),
        (SHOP, "put", None),
        (SHOP, "GET", "x-other"),
        (SHOP, "GET", "x-team, x-other"),
        (SHOP + ", " + SHOP, "GET", None),
    ],
)
def test_a_refused_preflight_says_nothing_that_allows(origin: str, method: str, names: str | None) -> None:
    assert answer(POLICY, origin, method, names) == [PREFLIGHT_VARY]


@pytest.mark.parametrize("names", [None, "", " , ,", "X-Team"])
def test_lists_of_fields_may_be_empty(names: str | None) -> None:
    assert answer(POLICY, SHOP, "GET", names)[0] == "Access-Control-Allow-Origin: https://shop.test"


@pytest.mark.parametrize(
    ("policy", "origin", "expected"),
    [
        (POLICY, SHOP, ["Access-Control-Allow-Origin: https://shop.test", "Vary: Origin"]),
        (POLICY, "https://evil.test", ["Vary: Origin"]),
        (POLICY, None, ["Vary: Origin"]),
        (
            CREDENTIALS,
            SHOP,
            [
                "Access-Control-Allow-Origin: https://shop.test",
                "Access-Control-Allow-Credentials: true",
                "Vary: Origin",
            ],
        ),
        (ANYONE, "https://x.test", ["Access-Control-Allow-Origin: *"]),
        (ANYONE, None, ["Access-Control-Allow-Origin: *"]),
    ],
    ids=["allowed", "refused", "same-origin", "credentials", "any", "any-same-origin"],
)
def test_fields_of_an_ordinary_answer(policy: CorsPolicy, origin: str | None, expected: list[str]) -> None:
    assert fields(policy, origin) == expected
