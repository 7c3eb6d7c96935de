"""Tokens for trying things out: the gateway takes them, or we are told why not."""

import json
from base64 import urlsafe_b64decode
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from harness.tokens import encoded
from harness.values import Caller
from rawgate.config.model import Config, Gateway, Jwt, KeySetUrl, Route, Secret, Target, Upstream
from rawgate.errors import Problem, RawgateError
from rawgate.offline.mint import Minted, MintError, mint_token
from rawgate.policy.compile import compile_gate
from rawgate.policy.jwt import JwtVerifier
from rawgate.policy.signing import SigningError
from rawgate.serve.load import Loaded

WALL = 1_700_000_000.0
SECRETS = (
    Secret("a", b"the newer secret, of more than 32 octets"),
    Secret("b", b"the older secret, of more than 32 octets"),
)


@cache
def private_key(number: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def pem(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, passphrase: bytes = b""
) -> Secret:
    kind = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return Secret("file:private.pem", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, kind))


def public_pem(number: int) -> Secret:
    key = private_key(number).public_key()
    return Secret("file:public.pem", key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def key_set(**names: int) -> Secret:
    def jwk(kid: str, number: int) -> dict[str, str]:
        numbers = private_key(number).public_key().public_numbers()
        return {"kty": "RSA", "kid": kid, "e": "AQAB", "n": encoded(numbers.n.to_bytes(256, "big"))}

    return Secret("file:jwks.json", json.dumps({"keys": [jwk(*item) for item in names.items()]}).encode())


def loaded(**spec: Any) -> Loaded:
    config = Config(
        gateway=Gateway(listen=()),
        upstreams={"users": Upstream(targets=(Target("127.0.0.1", 9, "127.0.0.1:9"),))},
        routes=(Route(prefix="/", upstream="users", auth="none"),),
        jwt={"main": Jwt(**spec)},
    )
    problems: list[Problem] = []
    gate = compile_gate(config, new_id=lambda: "", date=lambda: b"", problems=problems, warnings=[])
    assert gate is not None, problems
    return Loaded(config, gate)


def minted(ready: Loaded, key: Secret | None = None, lifetime: float = 60.0, **claims: object) -> Minted:
    return mint_token(ready, "main", {"sub": "alice", **claims}, lifetime, key, WALL)


def verdict(ready: Loaded, token: str, wall: float = WALL) -> object:
    verifier = ready.gate.credentials["jwt.main"].by
    assert isinstance(verifier, JwtVerifier)
    return verifier.verify(token.encode(), wall)


def part(token: str, number: int) -> Any:
    text = token.split(".")[number]
    return json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def test_a_shared_secret() -> None:
    ready = loaded(algorithm=("HS256",), secret=SECRETS, issuer=("https://idp.test",), audience=("shop",))
    made = minted(ready, scope="read", groups=["a"])
    assert made.warning == ""
    assert verdict(ready, made.token) == Caller("sub", "alice")
    assert part(made.token, 0) == {"alg": "HS256", "typ": "JWT"}
    assert part(made.token, 1) == {
        "iss": "https://idp.test",
        "aud": "shop",
        "iat": WALL,
        "exp": WALL + 60,
        "sub": "alice",
        "scope": "read",
        "groups": ["a"],
    }
    first = loaded(algorithm=("HS256",), secret=SECRETS[:1], issuer=("https://idp.test",), audience=("shop",))
    assert verdict(first, made.token) == Caller("sub", "alice")


def test_any_audience_is_none() -> None:
    assert "aud" not in part(minted(loaded(algorithm=("HS256",), secret=SECRETS, audience=("*",))).token, 1)


@pytest.mark.parametrize(
    ("lifetime", "claims", "reason"),
    [
        (-300.0, {}, "auth_expired"),
        (60.0, {"iss": "somebody"}, "auth_wrong_issuer"),
        (60.0, {"nbf": WALL + 900}, "auth_not_yet_valid"),
        (60.0, {"sub": ""}, "auth_bad_claim"),
    ],
)
def test_a_token_that_the_gateway_would_refuse(lifetime: float, claims: dict[str, object], reason: str) -> None:
    ready = loaded(algorithm=("HS256",), secret=SECRETS, issuer=("https://idp.test",))
    assert minted(ready, None, lifetime, **claims).warning == f"the gateway refuses this token: {reason}"


def test_a_private_key() -> None:
    ready = loaded(algorithm=("RS256",), public_key=(public_pem(1), public_pem(2)))
    made = minted(ready, pem(private_key(2)))
    assert (made.warning, verdict(ready, made.token)) == ("", Caller("sub", "alice"))
    assert part(made.token, 0) == {"alg": "RS256", "typ": "JWT"}


def test_a_key_set_names_the_key() -> None:
    ready = loaded(algorithm=("RS256",), jwks=key_set(first=1, second=2))
    made = minted(ready, pem(private_key(2)))
    assert (made.warning, part(made.token, 0)["kid"]) == ("", "second")


KEYS: dict[str, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey] = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), private_key(1)),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "ES512": ec.generate_private_key(ec.SECP521R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


@pytest.mark.parametrize("algorithm", KEYS)
def test_each_algorithm(algorithm: str) -> None:
    key = KEYS[algorithm]
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    ready = loaded(algorithm=(algorithm,), public_key=(Secret("file:public.pem", public),))
    made = minted(ready, pem(key))
    assert part(made.token, 0) == {"alg": algorithm, "typ": "JWT"}
    assert (made.warning, verdict(ready, made.token)) == ("", Caller("sub", "alice"))


def test_the_algorithm_of_a_list_is_what_the_set_says() -> None:
    numbers = private_key(1).public_key().public_numbers()
    jwk = {"kty": "RSA", "kid": "p", "alg": "PS256", "e": "AQAB", "n": encoded(numbers.n.to_bytes(256, "big"))}
    ready = loaded(algorithm=("RS256", "PS256"), jwks=Secret("file:j", json.dumps({"keys": [jwk]}).encode()))
    made = minted(ready, pem(private_key(1)))
    assert part(made.token, 0) == {"alg": "PS256", "typ": "JWT", "kid": "p"}
    assert (made.warning, verdict(ready, made.token)) == ("", Caller("sub", "alice"))


def test_a_token_by_keys_that_are_fetched_is_not_verified() -> None:
    ready = loaded(algorithm=("RS256",), jwks=KeySetUrl("https://idp.test/keys"))
    made = minted(ready, pem(private_key(1)))
    assert made.warning == "the keys of [jwt.main] are not fetched here: nobody has verified this token"
    assert made.token.count(".") == 2


@pytest.mark.parametrize("source", ["public_key", "jwks"])
def test_a_strangers_key_is_told(source: str) -> None:
    keys = {"jwks": key_set(first=1, second=2)} if source == "jwks" else {"public_key": (public_pem(1),)}
    made = minted(loaded(algorithm=("RS256",), **keys), pem(private_key(3)))
    assert made.warning == "this key does not belong to a public key of [jwt.main]: the gateway refuses the token"
    assert made.token.count(".") == 2


@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        (None, MintError, "RS256, and a gateway holds no private key"),
        (Secret("k", b"nonsense"), SigningError, "not a private key in PEM form"),
        (public_pem(1), SigningError, "not a private key in PEM form"),
        (pem(ec.generate_private_key(ec.SECP256R1())), SigningError, "expected an RSA key, for RS256"),
        (pem(ec.generate_private_key(ec.SECP256R1()), b"secret"), SigningError, "has a passphrase"),
    ],
    ids=["none", "nonsense", "public", "elliptic", "passphrase"],
)
def test_keys_that_cannot_sign(key: Secret | None, error: type[RawgateError], message: str) -> None:
    with pytest.raises(error, match=message):
        minted(loaded(algorithm=("RS256",), public_key=(public_pem(1),)), key)


def test_what_cannot_be_asked_for() -> None:
    ready = loaded(algorithm=("HS256",), secret=SECRETS)
    with pytest.raises(MintError, match="--key is for public keys"):
        minted(ready, pem(private_key(1)))
    with pytest.raises(MintError, match=r"there is no \[jwt.mian\] in this configuration \(there is: main\)"):
        mint_token(ready, "mian", {}, 60.0, None, WALL)
