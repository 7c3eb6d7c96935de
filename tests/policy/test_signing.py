"""Signing is the other half of verifying: what is minted is taken, by its own key only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.values import Caller
from rawgate.config.model import Jwt, Secret
from rawgate.errors import AUTH_BAD_SIGNATURE
from rawgate.policy.jwt import JwtVerifier
from rawgate.policy.signing import mint, openssl_version, secret_signer
from rawgate.policy.verifiers import compile_verifier

SECRET = b"a secret of more than 32 octets, for tests"
WALL = 1_700_000_000.0


def verifier(secret: bytes) -> JwtVerifier:
    found = compile_verifier("main", Jwt(algorithm=("HS256",), secret=(Secret("test", secret),)), [], [])
    assert found is not None
    return found


OWN, OTHER = verifier(SECRET), verifier(SECRET[::-1])


@given(
    st.text("abcäöü@. ", min_size=1, max_size=20).filter(lambda sub: sub == sub.strip()),
    st.dictionaries(st.text("xyz", min_size=1), st.none() | st.booleans() | st.text() | st.lists(st.integers(0, 9))),
)
def test_what_is_minted_is_taken(sub: str, more: dict[str, object]) -> None:
    token = mint(secret_signer("HS256", SECRET), {**more, "sub": sub, "exp": WALL + 60})
    assert OWN.verify(token, WALL) == Caller("sub", sub)
    assert OTHER.verify(token, WALL) is AUTH_BAD_SIGNATURE


def test_a_reading_shows_what_is_said_and_who_signed() -> None:
    token = mint(secret_signer("HS256", SECRET), {"sub": "alice"})
    assert OWN.read(token).claims == {"sub": "alice"}
    assert (OWN.read(token).candidates, OWN.read(token).signer) == (1, 0)
    assert (OTHER.read(token).candidates, OTHER.read(token).signer) == (1, None)


@given(st.binary(max_size=60))
def test_reading_never_raises(octets: bytes) -> None:
    assert OWN.read(octets).signer is None


def test_the_library_says_its_name() -> None:
    assert "SSL" in openssl_version()


SECRETS = {"HS256": b"s" * 32, "HS384": b"s" * 48, "HS512": b"s" * 64}


@pytest.mark.parametrize("algorithm", SECRETS)
def test_each_hash_of_a_shared_secret(algorithm: str) -> None:
    spec = Jwt(algorithm=(algorithm,), secret=(Secret("test", SECRETS[algorithm]),))  # type: ignore[arg-type]
    made = compile_verifier("main", spec, [], [])
    assert made is not None
    token = mint(secret_signer(algorithm, SECRETS[algorithm]), {"sub": "alice", "exp": WALL + 60})
    assert made.verify(token, WALL) == Caller("sub", "alice")
