"""What a credential says of its caller."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.providers import AUTH0, COGNITO, ENTRA_ID, KEYCLOAK, OKTA
from rawgate.policy.claims import CERTIFICATE, LONGEST, as_text, compile_find, compile_require, compile_tell, roots


@pytest.mark.parametrize(
    ("claims", "name", "found"),
    [
        (KEYCLOAK, "preferred_username", "alice"),
        (KEYCLOAK, "realm_access.roles", ["offline_access", "admin", "uma_authorization"]),
        (KEYCLOAK, "resource_access.orders.roles", ["write"]),
        (KEYCLOAK, "resource_access.other.roles", None),
        (KEYCLOAK, "scope.x", None),
        (AUTH0, "https://example.com/roles", ["admin"]),
        (AUTH0, "https://example.com/app_metadata.tenant", "acme"),
        (AUTH0, "https://example.com/app_metadata", {"tenant": "acme"}),
        (COGNITO, "cognito:groups", ["admin", "ops"]),
        (ENTRA_ID, "tid", "9122040d-6c67-4c5b-b112-36a304b66dad"),
        ({"a.b": 1, "a": {"b": 2}}, "a.b", 1),
        ({"a": {"b.c": 1, "b": {"c": 2}}}, "a.b.c", 1),
        ({"a": {"b": {"c": 2}}}, "a.b.c", 2),
        ({"a": [{"b": 1}]}, "a.b", None),
        ({}, "a", None),
    ],
)
def test_a_claim_is_found_by_its_name(claims: Mapping[str, Any], name: str, found: object) -> None:
    assert compile_find(name)(claims) == found
    # The claims that the verifier has to keep for it are enough.
    assert compile_find(name)({root: claims[root] for root in roots(name) if root in claims}) == found


@pytest.mark.parametrize(
    ("claims", "require", "lacking"),
    [
        (KEYCLOAK, {"realm_access.roles": ("admin",)}, ""),
        (KEYCLOAK, {"realm_access.roles": ("ops", "admin"), "scope": ("email",)}, ""),
        (KEYCLOAK, {"realm_access.roles": ("ops",)}, "realm_access.roles"),
        (KEYCLOAK, {"scope": ("openid email",)}, "scope"),
        (KEYCLOAK, {"email_verified": (True,), "azp": ("web", "app")}, ""),
        (KEYCLOAK, {"email_verified": (1,)}, "email_verified"),
        (KEYCLOAK, {"acr": (1,)}, "acr"),
        (KEYCLOAK, {"acr": ("1",)}, ""),
        (KEYCLOAK, {"realm_access": ("roles",)}, "realm_access"),
        (AUTH0, {"scope": ("orders:write",), "permissions": ("orders:read",)}, ""),
        (AUTH0, {"https://example.com/roles": ("admin",)}, ""),
        (AUTH0, {"aud": ("https://orders.example.com",)}, ""),
        (ENTRA_ID, {"scp": ("Orders.Write",), "roles": ("Orders.Admin", "x")}, ""),
        (ENTRA_ID, {"scp": ("Orders",)}, "scp"),
        (COGNITO, {"cognito:groups": ("ops",), "scope": ("orders/write",), "custom:plan": ("pro",)}, ""),
        (COGNITO, {"username": ("janedoe",)}, "username"),
        (OKTA, {"scp": ("orders.write",), "groups": ("admin",)}, ""),
        (OKTA, {"scp": ("orders",)}, "scp"),
        # Words are words of a scope alone; a name with blanks in it is one name.
        ({"team": "red blue"}, {"team": ("red",)}, "team"),
        ({"scope": "a  b "}, {"scope": ("",)}, ""),
        ({"a": None}, {"a": ("x",)}, "a"),
        ({"a": [["x"]]}, {"a": ("x",)}, "a"),
        ({"a": 1.0}, {"a": (1,)}, "a"),
        ({"a": True}, {"a": (1, "true")}, "a"),
        ({}, {"a": ("x",), "b": ("y",)}, "a"),
    ],
)
def test_what_is_asked_of_claims(claims: Mapping[str, Any], require: Mapping[str, Any], lacking: str) -> None:
    check = compile_require(require)
    assert check is not None
    assert check(claims, "") == lacking


@pytest.mark.parametrize(
    ("names", "held"),
    [(("spiffe://a/b",), True), (("x", "spiffe://a/b"), True), (("x",), False), ((True,), True)],
)
def test_what_is_asked_of_a_certificate(names: tuple[str | bool, ...], held: bool) -> None:
    check = compile_require({CERTIFICATE: names, "a": ("x",)})
    assert check is not None
    assert check({"a": "x"}, "spiffe://a/b") == ("" if held else CERTIFICATE)
    assert check({"a": "x", "certificate": {"name": "x"}}, "") == CERTIFICATE, "no claim takes its place"
    assert not held or check({}, "spiffe://a/b") == "a"


def test_nothing_asked_is_no_step() -> None:
    assert compile_require({}) is None


@pytest.mark.parametrize(
    ("claim", "text"),
    [
        ("acme", "acme"),
        (7, "7"),
        (True, "true"),
        (["a", 1, False], "a,1,false"),
        ([], ""),
        (["a,b", "c"], ""),
        (["a", ""], ""),
        (["a", " b"], ""),
        ([["a"]], ""),
        ({"a": 1}, ""),
        (None, ""),
    ],
)
def test_a_claim_as_text(claim: object, text: str) -> None:
    assert as_text(claim) == text


@pytest.mark.parametrize(
    "unfit", ["a\r\nX-Admin: 1", "a\nb", "a\x00", " a", "a ", "a\u202eb", "\ud800", "a" * (LONGEST + 1), ""]
)
def test_what_fits_in_no_field_is_not_told(unfit: str) -> None:
    assert compile_tell("a")({"a": unfit}) == ""


TEXT = st.text() | st.text(" \t\r\n\x00\x7f\x85\xa0\u2028:,aé\ud800", max_size=6)
"""Half of it of what fits in no field, or not at its ends."""
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
)


CLAIM = TEXT | st.lists(TEXT, max_size=3) | JSON


@given(CLAIM)
def test_what_is_told_is_always_one_value_of_a_field(claim: object) -> None:
    told = compile_tell("a")({"a": claim}).encode()
    assert told == told.strip()
    assert not set(told) & {*range(32), 127}


@given(JSON, st.sampled_from(["a", "a.b", "a.b.c"]))
def test_no_claims_are_a_mistake(claim: object, name: str) -> None:
    compile_find(name)({"a": claim})
    check = compile_require({name: ("x", 1, True)})
    assert check is not None
    assert check({"a": claim}, "") in ("", name)
