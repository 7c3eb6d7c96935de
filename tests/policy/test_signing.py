"""Signing is the other half of verifying: what is minted is taken, by its own key only."""

from hypothesis import given
from hypothesis import strategies as st

from harness.values import Caller
from rawgate.config.model import Jwt, Secret
from rawgate.errors import AUTH_BAD_SIGNATURE
from rawgate.policy.jwt import JwtVerifier, compile_verifier
from rawgate.policy.signing import hs256, mint, openssl_version

SECRET = b"a secret of more than 32 octets, for tests"
WALL = 1_700_000_000.0


def verifier(secret: bytes) -> JwtVerifier:
    found = compile_verifier("main", Jwt(algorithm="HS256", secret=(Secret("test", secret),)), [], [], [])
    assert found is not None
    return found


OWN, OTHER = verifier(SECRET), verifier(SECRET[::-1])


@given(
    st.text("abcäöü@. ", min_size=1, max_size=20).filter(lambda sub: sub == sub.strip()),
    st.dictionaries(st.text("xyz", min_size=1), st.none() | st.booleans() | st.text() | st.lists(st.integers(0, 9))),
)
def test_what_is_minted_is_taken(sub: str, more: dict[str, object]) -> None:
    token = mint(hs256(SECRET), {**more, "sub": sub, "exp": WALL + 60})
    assert OWN.verify(token, WALL) == Caller("sub", sub)
    assert OTHER.verify(token, WALL) is AUTH_BAD_SIGNATURE


def test_a_reading_shows_what_is_said_and_who_signed() -> None:
    token = mint(hs256(SECRET), {"sub": "alice"})
    assert OWN.read(token).claims == {"sub": "alice"}
    assert (OWN.read(token).candidates, OWN.read(token).signer) == (1, 0)
    assert (OTHER.read(token).candidates, OTHER.read(token).signer) == (1, None)


@given(st.binary(max_size=60))
def test_reading_never_raises(octets: bytes) -> None:
    assert OWN.read(octets).signer is None


def test_the_library_says_its_name() -> None:
    assert "SSL" in openssl_version()
