"""Key sets as identity providers publish them, and as they should not be configured."""

import json
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, generate_private_key
from hypothesis import given
from hypothesis import strategies as st

from rawgate.policy.jwks import read_jwks

if TYPE_CHECKING:
    from rawgate.errors import Problem

PATH = ("jwt", "main", "jwks")
KEY = generate_private_key(65537, 2048).public_key()
OTHER = generate_private_key(65537, 2048).public_key()
VECTOR = json.loads(Path(__file__).parent.parent.joinpath("cases", "jwt_rfc7515.json").read_text())["rs256"]["jwk"]

EC = {
    "kty": "EC",
    "crv": "P-256",
    "kid": "ec",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}


def text(number: int, octets: int = 0) -> str:
    length = octets or (number.bit_length() + 7) // 8
    return urlsafe_b64encode(number.to_bytes(length, "big")).rstrip(b"=").decode()


def jwk(key: RSAPublicKey = KEY, **members: Any) -> dict[str, Any]:
    """A key's JWK but for some members; `...` takes one away."""
    numbers = key.public_numbers()
    whole = {"kty": "RSA", "n": text(numbers.n), "e": text(numbers.e), **members}
    return {name: value for name, value in whole.items() if value is not ...}


def read(*jwks: Any, document: bytes | None = None) -> tuple[list[tuple[str | None, int]], list[str]]:
    """What was found, as (kid, modulus), and what was said."""
    problems: list[Problem] = []
    warnings: list[Problem] = []
    whole = json.dumps({"keys": jwks}).encode() if document is None else document
    keys = read_jwks(whole, ["RS256"], PATH, problems, warnings)
    assert all(problem.path == PATH for problem in (*problems, *warnings))
    assert bool(keys) != bool(problems)
    assert not (problems and warnings)
    assert {algorithm for _, algorithm, _ in keys} <= {"RS256"}
    return [(kid, key.public_numbers().n) for kid, _, key in keys if isinstance(key, RSAPublicKey)], [
        found.message for found in (*problems, *warnings)
    ]


N, OTHER_N = KEY.public_numbers().n, OTHER.public_numbers().n


def test_keys_in_order_with_and_without_a_name() -> None:
    assert read(jwk(kid="b"), jwk(OTHER)) == ([("b", N), (None, OTHER_N)], [])


def test_key_of_rfc7515_a2() -> None:
    ((kid, modulus),), said = read(VECTOR)
    assert (kid, modulus.bit_length(), said) == (None, 2048, [])


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({"use": "sig"}, id="use"),
        pytest.param({"alg": "RS256"}, id="alg"),
        pytest.param({"key_ops": ["verify"]}, id="key_ops"),
        pytest.param({"key_ops": ["sign", "verify"]}, id="key_ops-more"),
        pytest.param({"x5c": ["MIIB"], "x5t": "abc", "unknown": {"a": 1}}, id="other-members"),
        pytest.param({"n": text(N, 257)}, id="leading-zero-octet"),
    ],
)
def test_usable(members: dict[str, Any]) -> None:
    assert read(jwk(**members)) == ([(None, N)], [])


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(EC, id="elliptic-curve"),
        pytest.param({"kty": "oct", "k": "c2VjcmV0"}, id="symmetric"),
        pytest.param(
            {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}, id="edwards"
        ),
        pytest.param({"kty": "new", "n": 7, "kid": 7}, id="unknown-kty"),
        pytest.param({"kty": ["RSA"]}, id="kty-that-is-no-string"),
        pytest.param({}, id="empty"),
        pytest.param(jwk(kty="rsa"), id="kty-in-other-case"),
        pytest.param(jwk(use="enc"), id="use-enc"),
        pytest.param(jwk(alg="RS512"), id="alg-RS512"),
        pytest.param(jwk(alg="PS256"), id="alg-PS256"),
        pytest.param(jwk(alg="RSA-OAEP"), id="alg-RSA-OAEP"),
        pytest.param(jwk(key_ops=["encrypt"]), id="key_ops-encrypt"),
        pytest.param(jwk(key_ops=[]), id="key_ops-empty"),
        pytest.param(jwk(key_ops="verify"), id="key_ops-string"),
    ],
)
def test_passed_over(other: dict[str, Any]) -> None:
    assert read(other, jwk(OTHER, kid="ours")) == ([("ours", OTHER_N)], [])
    keys, (said,) = read(other)
    assert keys == []
    assert "no key in this set" in said


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        pytest.param(jwk(n=...), "no n or e", id="n-missing"),
        pytest.param(jwk(e=...), "no n or e", id="e-missing"),
        pytest.param(jwk(n=N), "no n or e", id="n-number"),
        pytest.param(jwk(n=""), "no n or e", id="n-empty"),
        pytest.param(jwk(n=text(N) + "\n"), "no n or e", id="n-newline"),
        pytest.param(jwk(n="+/" + text(N)[2:]), "no n or e", id="n-standard-alphabet"),
        pytest.param(jwk(n=text(N) + "é"), "no n or e", id="n-not-ascii"),
        pytest.param(jwk(n=text(N)[:-1]), "no n or e", id="n-impossible-length"),
        pytest.param(jwk(e="AQAC"), "n and e do not fit", id="e-even"),
        pytest.param(jwk(e="AQ"), "n and e do not fit", id="e-one"),
        pytest.param(jwk(e="AA"), "n and e do not fit", id="e-zero"),
        pytest.param(jwk(n="AQ"), "n and e do not fit", id="n-one"),
        pytest.param(jwk(kid=7), "kid that is not a string", id="kid-number"),
        pytest.param(jwk(d="AQAB"), "private key", id="private"),
        pytest.param(
            {**EC, "d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}, "private key", id="private-of-other-kind"
        ),
    ],
)
def test_broken(broken: dict[str, Any], said: str) -> None:
    keys, messages = read(jwk(OTHER, kid="good"), broken)
    assert keys == [("good", OTHER_N)]
    (message,) = messages
    assert message.startswith("key 2 ")
    assert said in message


def test_sets_as_they_come() -> None:
    """None of these is what RFC 7517 asks for, and each can be meant in one way only."""
    assert read(jwk(kid="a", n=text(N) + "==", e="AQAB=")) == ([("a", N)], [])
    assert read(jwk(use=None, alg=None, key_ops=None, kid=None)) == ([(None, N)], [])
    assert read(jwk(kid="a"), jwk(OTHER, kid="a")) == ([("a", N), ("a", OTHER_N)], [])
    only_certificate = jwk(n=..., e=..., x5c=["MIIC"])
    assert read(jwk(kid="a"), None, 7, only_certificate) == (
        [("a", N)],
        [
            "key 2 is not a JSON object; it is passed over",
            "key 3 is not a JSON object; it is passed over",
            "key 4 has no n or e, or not in base64url; it is passed over",
        ],
    )


def test_a_set_in_which_no_key_can_be_used_is_an_error() -> None:
    (said,) = read(jwk(kid=7), EC, jwk(d="AQAB"))[1]
    assert said.startswith(
        'no key in this set may verify RS256 (key 1 has a kid that is not a string; key 2 has kty "EC"; key 3 is a'
    )
    assert read()[1] == ["there is no key in this set"]
    (said,) = read(*[EC] * 10)[1]
    assert said.endswith('; key 8 has kty "EC"; and 2 more)')


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (jwk(kty=...), "has no kty"),
        (jwk(kty=["RSA"]), 'has kty ["RSA"]'),
        (jwk(use="enc"), 'has use "enc"'),
        (jwk(alg="RSA-OAEP"), 'has alg "RSA-OAEP"'),
        (jwk(alg="x" * 1000), f'has alg "{"x" * 39}'),
        (jwk(key_ops=["encrypt"]), 'has key_ops without "verify"'),
    ],
)
def test_what_other_keys_are_for_is_told_when_there_are_no_others(other: dict[str, Any], said: str) -> None:
    assert read(other)[1] == [f"no key in this set may verify RS256 (key 1 {said})"]


def test_keys_without_a_name() -> None:
    assert read(jwk(), jwk(OTHER)) == ([(None, N), (None, OTHER_N)], [])
    assert read(EC, jwk(kid="ec")) == ([("ec", N)], [])


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": null}',
        b'{"keys": [',
        b'\xff\xfe{"keys": []}',
        b'{"keys": [{"kty": "\xff"}]}',
        b'{"keys": ' + b"[" * 100_000,
        b'{"x": ' + b'{"x": ' * 100_000,
    ],
    ids=lambda document: repr(document[:24]),
)
def test_no_key_set(document: bytes) -> None:
    assert read(document=document) == ([], ['this is not a JSON Web Key Set (expected {"keys": [...]})'])


def test_something_else_than_a_set_is_named() -> None:
    alone = 'this is a single JSON Web Key (expected {"keys": [...]}, with the key in that list)'
    assert read(document=json.dumps(jwk()).encode()) == ([], [alone])
    pem = "this is a PEM, not a JSON Web Key Set (did you mean public_key?)"
    assert read(document=b"-----BEGIN PUBLIC KEY-----\n") == ([], [pem])


MEMBERS = st.fixed_dictionaries(
    {},
    optional={
        "kty": st.sampled_from(["RSA", "EC", "oct", 1]),
        "n": st.sampled_from([text(N), "", "AQ", "!", 5, None]),
        "e": st.sampled_from(["AQAB", "AQ", "A", [], None]),
        "kid": st.sampled_from(["a", "b", None, 1, {}]),
        "use": st.sampled_from(["sig", "enc", None]),
        "alg": st.sampled_from(["RS256", "ES256", None]),
        "key_ops": st.sampled_from([["verify"], [None], "verify", {}]),
        "d": st.just("AQ"),
    },
)


@given(st.lists(MEMBERS, max_size=4))
def test_whatever_a_set_holds_its_keys_are_sound_or_something_is_said(jwks: list[dict[str, Any]]) -> None:
    keys, said = read(*jwks)
    assert keys or said
    names = [kid for kid, _ in keys if kid is not None]
    assert len(names) == len(set(names))
    assert all(modulus == N for _, modulus in keys)


@given(st.binary(max_size=200))
def test_no_octets_raise(document: bytes) -> None:
    keys, said = read(document=document)
    assert keys == []
    assert said
