"""Tokens that must and must not verify, by hand: nothing here is made with the code under test."""

import hmac
import json
import tracemalloc
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from math import inf
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    RSAPublicKey,
    RSAPublicNumbers,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.json import decode, encode

from harness.values import Alike, Caller
from rawgate.config.model import Jwt, Secret
from rawgate.errors import (
    AUTH_BAD_CLAIM,
    AUTH_BAD_SIGNATURE,
    AUTH_EXPIRED,
    AUTH_MALFORMED,
    AUTH_NOT_YET_VALID,
    AUTH_UNKNOWN_KEY,
    AUTH_WRONG_AUDIENCE,
    AUTH_WRONG_ISSUER,
    Problem,
    Reason,
)
from rawgate.message import Identity
from rawgate.policy.algorithms import key_fault
from rawgate.policy.jwt import PLAIN, TOKEN_MEMORABLE, JwtVerifier, TokenMemory
from rawgate.policy.verifiers import compile_verifier

NOW = 1_800_000_000
ISSUER = "https://issuer.test"
SECRET = bytes(range(32))
CLAIMS: dict[str, Any] = {"iss": ISSUER, "aud": "api", "sub": "alice", "exp": NOW + 600}
ALICE = Caller("sub", "alice")

RSA = generate_private_key(65537, 2048)
OTHER_RSA = generate_private_key(65537, 2048)
VECTORS = json.loads(Path(__file__).parent.parent.joinpath("cases", "jwt_rfc7515.json").read_text())


def b64(octets: bytes) -> bytes:
    return urlsafe_b64encode(octets).rstrip(b"=")


def unb64(text: bytes | str) -> bytes:
    padded = text if isinstance(text, bytes) else text.encode()
    return urlsafe_b64decode(padded + b"==")


def octets(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def pem(key: RSAPrivateKey | RSAPublicKey | ec.EllipticCurvePrivateKey) -> bytes:
    public = key if isinstance(key, RSAPublicKey) else key.public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def private_pem(key: RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def sealed(header: bytes, payload: bytes, key: bytes = SECRET, digest: str = "sha256") -> bytes:
    """A token from two texts that are base64url already, or not."""
    signed = header + b"." + payload
    return signed + b"." + b64(hmac.digest(key, signed, digest))


def hs256(claims: Any = CLAIMS, header: Any = None, key: bytes = SECRET, digest: str = "sha256") -> bytes:
    return sealed(b64(octets(header or {"alg": "HS256", "typ": "JWT"})), b64(octets(claims)), key, digest)


def claiming(**changed: Any) -> bytes:
    """A good token but for some claims; `...` takes one away."""
    return hs256({name: value for name, value in {**CLAIMS, **changed}.items() if value is not ...})


def heading(**members: Any) -> bytes:
    return hs256(header={"alg": "HS256", **members})


def rs256(
    claims: Any = CLAIMS, header: Any = None, key: RSAPrivateKey = RSA, digest: hashes.HashAlgorithm | None = None
) -> bytes:
    signed = b64(octets(header or {"alg": "RS256"})) + b"." + b64(octets(claims))
    return signed + b"." + b64(key.sign(signed, PKCS1v15(), digest or hashes.SHA256()))


DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")


def rs256_padded(before: bytes, after: bytes = b"", info: bytes = DIGEST_INFO) -> bytes:
    """A token whose signature opens to `before`, DigestInfo, digest, `after`, brought to length by 0xFF octets.

    Only the holder of the private key can make these; a forger uses them against keys with a small exponent.
    """
    signed = b64(b'{"alg":"RS256"}') + b"." + b64(octets(CLAIMS))
    tail = b"\x00" + info + sha256(signed).digest() + after
    block = before + b"\xff" * (256 - len(before) - len(tail)) + tail
    numbers = RSA.private_numbers()
    opened = pow(int.from_bytes(block, "big"), numbers.d, numbers.public_numbers.n)
    return signed + b"." + b64(opened.to_bytes(256, "big"))


def key_set(keys: list[tuple[str | None, RSAPublicKey]]) -> Secret:
    """A JWKS as a provider publishes it, without `alg`."""

    def jwk(kid: str | None, key: RSAPublicKey) -> dict[str, str]:
        numbers = key.public_numbers()
        written = {
            name: b64(number.to_bytes(512, "big").lstrip(b"\0")).decode()
            for name, number in (("n", numbers.n), ("e", numbers.e))
        }
        return {"kty": "RSA", **written} | ({} if kid is None else {"kid": kid})

    return Secret("file:j", json.dumps({"keys": [jwk(*key) for key in keys]}).encode())


def jwt(**changed: Any) -> Jwt:
    """A verifier; one algorithm, issuer or audience may stand for a list of one."""
    values = {"algorithm": "HS256", "issuer": ISSUER, "audience": "api", "leeway": 0.0, **changed}
    for name in ("algorithm", "issuer", "audience"):
        value = values[name]
        values[name] = (value,) if isinstance(value, str) else () if value is None else value
    if values["algorithm"] == ("HS256",):
        values.setdefault("secret", (Secret("env:S", SECRET),))
    elif "jwks" not in values:
        values.setdefault("public_key", (Secret("file:k.pem", pem(RSA)),))
    return Jwt(**values)


def verifier(**changed: Any) -> JwtVerifier:
    problems: list[Problem] = []
    made = compile_verifier("main", jwt(**changed), problems, [])
    assert problems == []
    assert made is not None
    return made


def verdict(token: bytes, wall: float = NOW, **changed: Any) -> Identity | Reason:
    return verifier(**changed).verify(token, wall)


# Standard vectors.


def test_rfc7515_a1_hs256() -> None:
    vector = VECTORS["hs256"]
    key = (Secret("file:a1", unb64(vector["key"])),)
    made = verifier(secret=key, issuer="joe", audience=None)
    assert made.verify(vector["token"].encode(), 1300819379.9) == Caller("sub", "")
    assert made.verify(vector["token"].encode(), 1300819380) is AUTH_EXPIRED


def test_rfc7515_a2_rs256() -> None:
    vector = VECTORS["rs256"]
    modulus, exponent = (int.from_bytes(unb64(vector["jwk"][name]), "big") for name in "ne")
    key = RSAPublicNumbers(exponent, modulus).public_key()
    made = verifier(algorithm="RS256", jwks=key_set([(None, key)]), issuer="joe", audience=None)
    assert made.verify(vector["token"].encode(), 1300819379.9) == Caller("sub", "")
    assert made.verify(vector["token"].encode(), 1300819380) is AUTH_EXPIRED


# The table. Row ids are those of a list of cases that gateways are compared by; several tokens may share one.

GOOD = hs256()
HEADER, PAYLOAD, SIGNATURE = GOOD.split(b".")
MAC = unb64(SIGNATURE)


def with_signature(signature: bytes) -> bytes:
    return HEADER + b"." + PAYLOAD + b"." + signature


def stray(text: bytes) -> bytes:
    """The same octets with another last character."""
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet[alphabet.index(text[-1:]) + 1 :][:1]
    assert unb64(text[:-1] + last) == unb64(text)
    return text[:-1] + last


def padded(text: bytes, rest: int) -> bytes:
    """Blanks added until its length is `rest` modulo 3, so that its base64url has unused bits."""
    return text + b" " * ((rest - len(text)) % 3)


def json_serialisation() -> bytes:
    parts = {"protected": HEADER.decode(), "payload": PAYLOAD.decode(), "signature": SIGNATURE.decode()}
    return json.dumps(parts).encode()


LONGEST_HEADER = b'{"alg":"HS256","x5c":["' + b"a" * 4070 + b'"]}'
assert len(LONGEST_HEADER) == 4096

ACCEPTED = [
    pytest.param(GOOD, id="J001"),
    pytest.param(hs256(header=LONGEST_HEADER), id="header-of-4096-octets"),
    pytest.param(claiming(x=[{}] * 255), id="256-objects"),
    pytest.param(hs256(header=b'{"alg":"HS256","x":[' + b",".join([b"1e308"] * 600) + b"]}"), id="numbers-in-a-header"),
    pytest.param(hs256(header=b'\n{ "typ" : "JWT",\r\n\t"alg" : "HS256" }\n'), id="J003"),
    pytest.param(heading(x="y", nested={"a": [1, {"b": None}]}), id="J005-header"),
    pytest.param(claiming(scope="a b", realm={"roles": ["x", "y"]}, n=1e3), id="J005-claims"),
    pytest.param(heading(zip="DEF"), id="J044"),
    pytest.param(heading(typ="at+jwt"), id="J045"),
    pytest.param(heading(typ="jwt"), id="J046-lower-case"),
    pytest.param(heading(typ="application/jwt"), id="J046-media-type"),
    pytest.param(heading(b64=True), id="b64-true-changes-nothing"),
    pytest.param(heading(kid="any"), id="kid-where-the-only-key-has-no-name"),
    pytest.param(heading(kid="../../etc/passwd"), id="J076-path-is-never-used"),
    pytest.param(heading(jku="https://evil.test/keys", x5u="https://evil.test/x"), id="J078-ours-not-fetched"),
    pytest.param(claiming(nbf=NOW), id="J093"),
    pytest.param(claiming(exp=NOW + 0.5, nbf=NOW - 0.5, iat=NOW + 0.25), id="fractions-of-a-second"),
    pytest.param(claiming(iat=NOW + 10_000), id="iat-in-the-future-is-only-a-number"),
    pytest.param(claiming(exp=2**53), id="exp-as-far-as-doubles-are-exact"),
    pytest.param(claiming(aud=["other", "api"]), id="J099"),
    pytest.param(claiming(pad="x" * 6_000), id="J115-8kB"),
    pytest.param(claiming(pad="x" * 48_000), id="J115-64kB"),
    pytest.param(claiming(pad="x" * 780_000), id="J115-1MB"),
]

REFUSED = [
    pytest.param(b"", AUTH_MALFORMED, id="J006"),
    pytest.param(HEADER + b"." + PAYLOAD, AUTH_MALFORMED, id="J008"),
    pytest.param(with_signature(b""), AUTH_MALFORMED, id="J009"),
    pytest.param(sealed(b"", PAYLOAD), AUTH_MALFORMED, id="J010"),
    pytest.param(sealed(HEADER, b""), AUTH_MALFORMED, id="J011"),
    pytest.param(GOOD + b".", AUTH_MALFORMED, id="J012"),
    pytest.param(GOOD + b"." + SIGNATURE, AUTH_MALFORMED, id="J013"),
    pytest.param(GOOD + b".AAAA.AAAA", AUTH_MALFORMED, id="J014"),
    pytest.param(json_serialisation(), AUTH_MALFORMED, id="J015"),
    pytest.param(GOOD + b"=", AUTH_MALFORMED, id="J016"),
    pytest.param(sealed(b64(b'{"alg":"HS256"} ') + b"==", PAYLOAD), AUTH_MALFORMED, id="J017"),
    pytest.param(with_signature(b"+/" + SIGNATURE[2:]), AUTH_MALFORMED, id="J018"),
    pytest.param(HEADER + b" ." + PAYLOAD + b"." + SIGNATURE, AUTH_MALFORMED, id="J019-space"),
    pytest.param(with_signature(SIGNATURE[:9] + b"\n" + SIGNATURE[9:]), AUTH_MALFORMED, id="J019-newline"),
    pytest.param(GOOD + b"\n", AUTH_MALFORMED, id="J019-newline-at-the-end"),
    pytest.param(with_signature(SIGNATURE[:9] + b"?" + SIGNATURE[9:]), AUTH_MALFORMED, id="J021-?"),
    pytest.param(with_signature(SIGNATURE + b"#"), AUTH_MALFORMED, id="J021-#"),
    pytest.param(with_signature(b"*" + SIGNATURE), AUTH_MALFORMED, id="J021-*"),
    pytest.param(HEADER + b"." + PAYLOAD[:8] + b"!" + PAYLOAD[8:] + b"." + SIGNATURE, AUTH_MALFORMED, id="J022"),
    pytest.param(with_signature(stray(SIGNATURE)), AUTH_MALFORMED, id="J023-signature"),
    pytest.param(sealed(stray(b64(b'{"alg":"HS256"}  ')), PAYLOAD), AUTH_MALFORMED, id="J023-header"),
    pytest.param(sealed(HEADER, stray(b64(padded(octets(CLAIMS), 2)))), AUTH_MALFORMED, id="J023-payload"),
    pytest.param(with_signature(SIGNATURE + b"AA"), AUTH_MALFORMED, id="J024-signature"),
    pytest.param(sealed(HEADER, b"A"), AUTH_MALFORMED, id="J024-payload"),
    pytest.param(HEADER + b"." + PAYLOAD + b"." + "é".encode() + SIGNATURE, AUTH_MALFORMED, id="J025"),
    pytest.param(hs256(header=b'["HS256"]'), AUTH_MALFORMED, id="J027-array"),
    pytest.param(hs256(header=b'"HS256"'), AUTH_MALFORMED, id="J027-string"),
    pytest.param(hs256(header=b"256"), AUTH_MALFORMED, id="J027-number"),
    pytest.param(hs256(header=b'{"alg":"HS256","x":"\xff"}'), AUTH_MALFORMED, id="J028"),
    pytest.param(hs256(header='{"alg":"HS256"}'.encode("utf-16")), AUTH_MALFORMED, id="J030-utf-16"),
    pytest.param(hs256(header='{"alg":"HS256"}'.encode("utf-16-le")), AUTH_MALFORMED, id="J030-utf-16-le"),
    pytest.param(hs256(header='{"alg":"HS256"}'.encode("utf-32")), AUTH_MALFORMED, id="J030-utf-32"),
    pytest.param(hs256(header=b'\xef\xbb\xbf{"alg":"HS256"}'), AUTH_MALFORMED, id="J030-byte-order-mark"),
    pytest.param(hs256(json.dumps(CLAIMS).encode("utf-16")), AUTH_MALFORMED, id="J030-payload"),
    pytest.param(heading(alg=None), AUTH_MALFORMED, id="J032-null"),
    pytest.param(heading(alg=256), AUTH_MALFORMED, id="J032-number"),
    pytest.param(heading(alg=["HS256"]), AUTH_MALFORMED, id="J032-array"),
    pytest.param(heading(alg={"HS256": 1}), AUTH_MALFORMED, id="J032-object"),
    pytest.param(hs256(header={"typ": "JWT"}), AUTH_MALFORMED, id="J032-missing"),
    pytest.param(heading(alg="hs256"), AUTH_BAD_SIGNATURE, id="J033"),
    pytest.param(heading(alg=" HS256"), AUTH_BAD_SIGNATURE, id="J034"),
    pytest.param(hs256(header=b'{"alg":"HS256","alg":"none"}'), AUTH_MALFORMED, id="J035"),
    pytest.param(hs256(header=b'{"alg":"none","alg":"HS256"}'), AUTH_MALFORMED, id="J036"),
    pytest.param(hs256(header=b'{"alg":"HS256","\\u0061lg":"HS256"}'), AUTH_MALFORMED, id="J036-escaped"),
    pytest.param(hs256(header=b'{"alg":"HS256","x":{"a":1,"a":1}}'), AUTH_MALFORMED, id="J036-nested"),
    pytest.param(hs256(header=b'{"alg":"HS256","x":"\xff"}'), AUTH_MALFORMED, id="J030-header-value-not-utf-8"),
    pytest.param(hs256(header=LONGEST_HEADER[:-1] + b" }"), AUTH_MALFORMED, id="header-of-4097-octets"),
    pytest.param(claiming(x=[{}] * 256), AUTH_MALFORMED, id="257-objects"),
    pytest.param(heading(crit=[]), AUTH_MALFORMED, id="J038"),
    pytest.param(heading(crit=["x"], x=1), AUTH_MALFORMED, id="crit-unknown"),
    pytest.param(heading(crit=None), AUTH_MALFORMED, id="crit-null"),
    pytest.param(heading(crit=["alg"]), AUTH_MALFORMED, id="J040"),
    pytest.param(heading(crit=["b64"], b64=False), AUTH_MALFORMED, id="J042"),
    pytest.param(heading(b64=False), AUTH_MALFORMED, id="J043"),
    pytest.param(heading(b64=0), AUTH_MALFORMED, id="J043-number"),
    pytest.param(hs256(header=b'{"alg":"HS256","x":' + b"[" * 100_000), AUTH_MALFORMED, id="J048-open"),
    pytest.param(
        hs256(header=b'{"alg":"HS256","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), AUTH_MALFORMED, id="J048-closed"
    ),
    pytest.param(hs256(header=b'{"x":' * 100_000 + b"1" + b"}" * 100_000), AUTH_MALFORMED, id="J048-objects"),
    pytest.param(hs256(b'{"x":' * 100_000 + b"1" + b"}" * 100_000), AUTH_MALFORMED, id="J048-payload"),
    pytest.param(b64(b'{"alg":"none"}') + b"." + PAYLOAD + b".", AUTH_BAD_SIGNATURE, id="J049"),
    pytest.param(b64(b'{"alg":"NONE"}') + b"." + PAYLOAD + b".", AUTH_BAD_SIGNATURE, id="J051"),
    pytest.param(b64(b'{"alg":"none"}') + b"." + PAYLOAD + b"." + SIGNATURE, AUTH_BAD_SIGNATURE, id="J053"),
    pytest.param(heading(alg="none"), AUTH_BAD_SIGNATURE, id="J054"),
    pytest.param(rs256(), AUTH_BAD_SIGNATURE, id="J057"),
    pytest.param(hs256(header={"alg": "HS384"}, digest="sha384"), AUTH_BAD_SIGNATURE, id="J058-384"),
    pytest.param(hs256(header={"alg": "HS512"}, digest="sha512"), AUTH_BAD_SIGNATURE, id="J058-512"),
    pytest.param(with_signature(b64(MAC[:16])), AUTH_BAD_SIGNATURE, id="J062"),
    pytest.param(with_signature(b64(MAC + b"\0")), AUTH_BAD_SIGNATURE, id="J063"),
    pytest.param(hs256(key=b""), AUTH_BAD_SIGNATURE, id="J064"),
    pytest.param(hs256(key=bytes(32)), AUTH_BAD_SIGNATURE, id="another-secret"),
    pytest.param(heading(kid=7), AUTH_MALFORMED, id="J076-number"),
    pytest.param(heading(kid=None), AUTH_MALFORMED, id="J076-null"),
    pytest.param(
        hs256(header={"alg": "HS256", "jwk": {"kty": "oct", "k": b64(b"e" * 32).decode()}}, key=b"e" * 32),
        AUTH_BAD_SIGNATURE,
        id="J077",
    ),
    pytest.param(
        hs256(header={"alg": "HS256", "jku": "https://evil.test/"}, key=b"e" * 32), AUTH_BAD_SIGNATURE, id="J078"
    ),
    pytest.param(hs256(b"alice"), AUTH_MALFORMED, id="J080-not-json"),
    pytest.param(hs256(b'["alice"]'), AUTH_MALFORMED, id="J080-array"),
    pytest.param(hs256(octets(CLAIMS)[:-1] + b',"x":"\xff"}'), AUTH_MALFORMED, id="J080-not-utf-8"),
    pytest.param(hs256(octets(CLAIMS) + b"x"), AUTH_MALFORMED, id="J080-trailing"),
    pytest.param(hs256(octets(CLAIMS) + octets(CLAIMS)), AUTH_MALFORMED, id="J080-twice"),
    pytest.param(hs256(b'{"exp":1,' + octets(CLAIMS)[1:]), AUTH_MALFORMED, id="J081"),
    pytest.param(hs256(octets({**CLAIMS, "x": {"a": 1}})[:-2] + b',"a":1}}'), AUTH_MALFORMED, id="J081-nested"),
    pytest.param(claiming(exp=NOW), AUTH_EXPIRED, id="J083"),
    pytest.param(claiming(exp=...), AUTH_MALFORMED, id="J084"),
    pytest.param(claiming(exp="9999999999"), AUTH_BAD_CLAIM, id="J085"),
    pytest.param(claiming(exp=True), AUTH_BAD_CLAIM, id="J086-true"),
    pytest.param(claiming(exp=None), AUTH_BAD_CLAIM, id="J086-null"),
    pytest.param(claiming(exp={}), AUTH_BAD_CLAIM, id="J086-object"),
    pytest.param(claiming(exp=[NOW + 600]), AUTH_BAD_CLAIM, id="J086-array"),
    pytest.param(claiming(nbf=True), AUTH_BAD_CLAIM, id="J087-nbf-true"),
    pytest.param(claiming(nbf=None), AUTH_BAD_CLAIM, id="J087-nbf-null"),
    pytest.param(claiming(iat=True), AUTH_BAD_CLAIM, id="J087-iat-true"),
    pytest.param(claiming(iat=None), AUTH_BAD_CLAIM, id="J087-iat-null"),
    pytest.param(claiming(iat="1"), AUTH_BAD_CLAIM, id="J087-iat-string"),
    pytest.param(claiming(exp=float("nan")), AUTH_MALFORMED, id="J088-nan"),
    pytest.param(claiming(exp=float("inf")), AUTH_MALFORMED, id="J088-infinity"),
    pytest.param(claiming(nbf=float("-inf")), AUTH_MALFORMED, id="J088-nbf"),
    pytest.param(hs256(octets(CLAIMS).replace(b"1800000600", b"1e400")), AUTH_BAD_CLAIM, id="J089-1e400"),
    pytest.param(hs256(octets(CLAIMS).replace(b"1800000600", b"1e300")), AUTH_BAD_CLAIM, id="J089-1e300"),
    pytest.param(hs256(octets(CLAIMS).replace(b"1800000600", b"9" * 5000)), AUTH_BAD_CLAIM, id="J089-5000-digits"),
    pytest.param(hs256(octets(CLAIMS).replace(b"1800000600", b"9" * 4000)), AUTH_BAD_CLAIM, id="J089-4000-digits"),
    pytest.param(claiming(nbf=-(10**30)), AUTH_BAD_CLAIM, id="J089-nbf"),
    pytest.param(claiming(exp=-1), AUTH_EXPIRED, id="J090-negative"),
    pytest.param(claiming(exp=0), AUTH_EXPIRED, id="J090-zero"),
    pytest.param(claiming(nbf=NOW + 1), AUTH_NOT_YET_VALID, id="J092"),
    pytest.param(claiming(nbf=str(NOW)), AUTH_BAD_CLAIM, id="J094-string"),
    pytest.param(claiming(nbf=False), AUTH_BAD_CLAIM, id="J094-bool"),
    pytest.param(claiming(iss="https://other.test"), AUTH_WRONG_ISSUER, id="J096-wrong"),
    pytest.param(claiming(iss=...), AUTH_WRONG_ISSUER, id="J096-missing"),
    pytest.param(claiming(iss="https://Issuer.test"), AUTH_WRONG_ISSUER, id="J096-other-case"),
    pytest.param(claiming(iss=ISSUER + "/"), AUTH_WRONG_ISSUER, id="J096-slash"),
    pytest.param(claiming(iss=[ISSUER]), AUTH_BAD_CLAIM, id="J097"),
    pytest.param(claiming(aud=...), AUTH_WRONG_AUDIENCE, id="aud-missing"),
    pytest.param(claiming(aud=[]), AUTH_WRONG_AUDIENCE, id="J100-array"),
    pytest.param(claiming(aud=""), AUTH_WRONG_AUDIENCE, id="J100-string"),
    pytest.param(claiming(aud=["api", 1]), AUTH_BAD_CLAIM, id="J101"),
    pytest.param(claiming(aud=["api", None]), AUTH_BAD_CLAIM, id="J101-null"),
    pytest.param(claiming(aud="api2"), AUTH_WRONG_AUDIENCE, id="aud-longer"),
    pytest.param(claiming(aud={"api": 1}), AUTH_BAD_CLAIM, id="aud-object"),
    pytest.param(claiming(sub=7), AUTH_BAD_CLAIM, id="J104-number"),
    pytest.param(claiming(sub={"a": 1}), AUTH_BAD_CLAIM, id="J104-object"),
    pytest.param(claiming(sub=None), AUTH_BAD_CLAIM, id="J104-null"),
    pytest.param(claiming(aud="client-17", nonce="n"), AUTH_WRONG_AUDIENCE, id="J106-id-token"),
    pytest.param(claiming(aud=ISSUER, typ="Refresh"), AUTH_WRONG_AUDIENCE, id="J106-refresh-token"),
    pytest.param(b"  ", AUTH_MALFORMED, id="J109"),
    pytest.param(GOOD + b" " + GOOD, AUTH_MALFORMED, id="J110-space"),
    pytest.param(GOOD + b", Bearer " + GOOD, AUTH_MALFORMED, id="J110-comma"),
    pytest.param(GOOD + b"A" * 1_000_000, AUTH_BAD_SIGNATURE, id="J115-junk"),
    pytest.param(b"." * 1_000_000, AUTH_MALFORMED, id="J115-dots"),
    pytest.param(hs256({**CLAIMS, "exp": 1}, key=bytes(32)), AUTH_BAD_SIGNATURE, id="J124-expired-and-forged"),
    pytest.param(hs256({**CLAIMS, "iss": "x"}, key=bytes(32)), AUTH_BAD_SIGNATURE, id="J124-issuer-and-forged"),
]


@pytest.mark.parametrize("token", ACCEPTED)
def test_good_token(token: bytes) -> None:
    assert verdict(token) == ALICE


@pytest.mark.parametrize(("token", "reason"), REFUSED)
def test_bad_token(token: bytes, reason: Reason) -> None:
    made = verifier()
    found = made.verify(token, NOW)
    assert isinstance(found, Reason)
    assert found.code == reason.code
    assert bool(found.note) == (reason is AUTH_BAD_CLAIM or token == claiming(exp=...))
    assert len(made.keys.memory) == 0
    # Having seen the good token, header and all, changes nothing for the bad one.
    assert made.verify(GOOD, NOW) == ALICE
    assert made.verify(token, NOW) == Alike(found)


RS_PARTS = rs256().rsplit(b".", 1)
RS_SIGNATURE = unb64(RS_PARTS[1])

RS_REFUSED = [
    pytest.param(hs256(key=pem(RSA)), id="J055"),
    pytest.param(hs256(key=pem(RSA).rstrip()), id="J056-no-newline"),
    pytest.param(hs256(key=RSA.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)), id="J056-der"),
    pytest.param(hs256(header={"alg": "RS256"}, key=pem(RSA)), id="J055-lying-header"),
    pytest.param(rs256(digest=hashes.SHA1()), id="J061-sha1"),  # noqa: S303 - what a bad issuer would send
    pytest.param(rs256(digest=hashes.SHA512()), id="J061-sha512"),
    pytest.param(rs256(key=OTHER_RSA), id="J068"),
    pytest.param(RS_PARTS[0] + b"." + b64(b"\0" + RS_SIGNATURE), id="J070"),
    pytest.param(RS_PARTS[0] + b"." + b64(RS_SIGNATURE[:-1]), id="J070-shorter"),
    pytest.param(RS_PARTS[0] + b"." + b64(bytes(256)), id="J072-zero"),
    pytest.param(RS_PARTS[0] + b"." + b64(b"\xff" * 256), id="J072-above-the-modulus"),
    pytest.param(rs256_padded(b"\0\1", after=b"garbage"), id="J072-garbage-after"),
    pytest.param(rs256_padded(b"\0\1" + b"\xff" * 8 + b"\0" + DIGEST_INFO + bytes(32)), id="J072-two-digests"),
    pytest.param(rs256_padded(b"\0\2"), id="J072-block-type-2"),
    pytest.param(rs256_padded(b"\0\1\0"), id="J072-short-ps"),
    pytest.param(
        rs256_padded(b"\0\1", info=bytes.fromhex("308131300d060960864801650304020105000420")), id="J072-ber-length"
    ),
    pytest.param(
        rs256_padded(b"\0\1", info=bytes.fromhex("302f300b0609608648016503040201") + b"\4\x20"), id="J072-no-null"
    ),
    pytest.param(
        rs256(header={"alg": "RS256", "jwk": {"kty": "RSA", "n": "AQ", "e": "AQAB"}}, key=OTHER_RSA), id="J077"
    ),
    pytest.param(rs256(header={"alg": "RS256", "x5u": "https://evil.test/"}, key=OTHER_RSA), id="J078"),
    pytest.param(rs256(header={"alg": "PS256"}), id="alg-of-the-same-key-type"),
]


def test_good_rs256_token_j002() -> None:
    assert verdict(rs256(), algorithm="RS256") == ALICE
    assert verdict(rs256_padded(b"\0\1"), algorithm="RS256") == ALICE


@pytest.mark.parametrize("token", RS_REFUSED)
def test_bad_rs256_token(token: bytes) -> None:
    assert verdict(token, algorithm="RS256") is AUTH_BAD_SIGNATURE


# Which key.

NAMED: list[tuple[str | None, RSAPublicKey]] = [("a", RSA.public_key()), ("b", OTHER_RSA.public_key())]


@pytest.mark.parametrize(
    ("header", "key", "expected"),
    [
        pytest.param({}, RSA, AUTH_UNKNOWN_KEY, id="J073"),
        pytest.param({"kid": "a"}, RSA, ALICE, id="first"),
        pytest.param({"kid": "b"}, OTHER_RSA, ALICE, id="second"),
        pytest.param({"kid": "b"}, RSA, AUTH_BAD_SIGNATURE, id="kid-of-another-key"),
        pytest.param({"kid": "c"}, RSA, AUTH_UNKNOWN_KEY, id="J075"),
        pytest.param({"kid": ""}, RSA, AUTH_UNKNOWN_KEY, id="J075-empty"),
        pytest.param({"kid": "A"}, RSA, AUTH_UNKNOWN_KEY, id="J075-case"),
        pytest.param({"kid": "../a"}, RSA, AUTH_UNKNOWN_KEY, id="J076-path"),
        pytest.param({"kid": "a' OR 1=1 --"}, RSA, AUTH_UNKNOWN_KEY, id="J076-sql"),
        pytest.param({"kid": "a\0"}, RSA, AUTH_UNKNOWN_KEY, id="J076-nul"),
        pytest.param({"kid": "$(id) %s {0}"}, RSA, AUTH_UNKNOWN_KEY, id="J076-shell"),
        pytest.param({"kid": "a" * 4000}, RSA, AUTH_UNKNOWN_KEY, id="J076-4kB"),
        pytest.param({"kid": "a" * 100_000}, RSA, AUTH_MALFORMED, id="J076-100kB"),
        pytest.param({"kid": 1}, RSA, AUTH_MALFORMED, id="J076-number"),
        pytest.param({"kid": None}, RSA, AUTH_MALFORMED, id="J076-null"),
        pytest.param({"kid": ["a"]}, RSA, AUTH_MALFORMED, id="J076-array"),
    ],
)
def test_named_keys_are_selected_by_kid(header: dict[str, Any], key: RSAPrivateKey, expected: object) -> None:
    made = verifier(algorithm="RS256", jwks=key_set(NAMED))
    assert made.verify(rs256(header={"alg": "RS256", **header}, key=key), NOW) == expected


def test_kid_of_a_key_of_another_algorithm_j074() -> None:
    made = verifier(algorithm="RS256", jwks=key_set(NAMED))
    assert made.verify(heading(kid="a"), NOW) is AUTH_BAD_SIGNATURE


def test_single_named_key_needs_no_kid_but_respects_one() -> None:
    made = verifier(algorithm="RS256", jwks=key_set(NAMED[:1]))
    assert made.verify(rs256(), NOW) == ALICE
    assert made.verify(rs256(header={"alg": "RS256", "kid": "a"}), NOW) == ALICE
    assert made.verify(rs256(header={"alg": "RS256", "kid": "b"}), NOW) is AUTH_UNKNOWN_KEY


def test_unnamed_keys_are_tried_in_order_whatever_the_kid() -> None:
    both = (Secret("a", pem(OTHER_RSA)), Secret("b", pem(RSA)))
    made = verifier(algorithm="RS256", public_key=both)
    for header in ({"alg": "RS256"}, {"alg": "RS256", "kid": "k"}):
        assert made.verify(rs256(header=header), NOW) == ALICE
        assert made.verify(rs256(header=header, key=OTHER_RSA), NOW) == ALICE
    assert verdict(rs256(), algorithm="RS256", public_key=both[:1]) is AUTH_BAD_SIGNATURE


def test_unnamed_keys_of_a_set_are_tried_in_order() -> None:
    made = verifier(algorithm="RS256", jwks=key_set([(None, key) for _, key in NAMED]))
    assert made.verify(rs256(), NOW) == ALICE
    assert made.verify(rs256(key=OTHER_RSA, header={"alg": "RS256", "kid": "z"}), NOW) == ALICE


def test_secrets_rotate() -> None:
    old, new = bytes(range(40)), bytes(range(100, 140))
    made = verifier(secret=(Secret("new", new), Secret("old", old)))
    assert made.verify(hs256(key=old), NOW) == ALICE
    assert made.verify(hs256(key=new), NOW) == ALICE
    assert made.verify(hs256(), NOW) is AUTH_BAD_SIGNATURE


# Claims under other settings.


@pytest.mark.parametrize(
    ("audience", "aud", "taken"),
    [
        pytest.param(None, ..., True, id="none-and-none"),
        pytest.param(None, "api", False, id="J103"),
        pytest.param(None, [], False, id="J103-empty-array"),
        pytest.param("*", ..., True, id="any-takes-none"),
        pytest.param("*", "x", True, id="any-takes-a-string"),
        pytest.param("*", ["x", "y"], True, id="any-takes-an-array"),
        pytest.param("*", [], False, id="any-refuses-an-empty-array"),
        pytest.param("*", "", False, id="any-refuses-an-empty-string"),
        pytest.param("api", "*", False, id="a-star-in-a-token-is-a-name"),
    ],
)
def test_audience(audience: str | None, aud: Any, taken: bool) -> None:
    assert verdict(claiming(aud=aud), audience=audience) == (ALICE if taken else AUTH_WRONG_AUDIENCE)


def test_issuer_is_not_looked_at_unless_configured() -> None:
    assert verdict(claiming(iss="anyone"), issuer=None) == ALICE
    assert verdict(claiming(iss=...), issuer=None) == ALICE


@pytest.mark.parametrize(
    ("wall", "expected"),
    [
        pytest.param(NOW - 130.1, AUTH_NOT_YET_VALID, id="before"),
        pytest.param(NOW - 130, ALICE, id="nbf-less-leeway"),
        pytest.param(NOW + 629.9, ALICE, id="just-before-exp-and-leeway"),
        pytest.param(NOW + 630, AUTH_EXPIRED, id="exp-and-leeway"),
    ],
)
def test_leeway_moves_both_borders(wall: float, expected: object) -> None:
    assert verdict(claiming(nbf=NOW - 100), wall, leeway=30.0) == expected


@pytest.mark.parametrize(("exp", "until"), [(NOW + 600, NOW + 630.0), (NOW + 0.5, NOW + 30.5), (..., inf)])
def test_the_caller_is_known_until_the_token_expires(exp: object, until: float) -> None:
    """With its leeway; also when the token is remembered, and for a caller without a name."""
    made = verifier(leeway=30.0, require_exp=False)
    for token in (claiming(exp=exp), claiming(exp=exp, sub=...)):
        for _ in range(3):
            caller = made.verify(token, NOW)
            assert isinstance(caller, Identity)
            assert caller.until == until
    assert len(made.keys.memory) == 2


def test_no_leeway_revives_what_expired_before_time_began() -> None:
    assert verdict(claiming(exp=0), 1.0, leeway=30.0) is AUTH_EXPIRED


def test_exp_may_be_optional_but_never_wrong() -> None:
    assert verdict(claiming(exp=...), require_exp=False) == ALICE
    assert verdict(claiming(exp=NOW), require_exp=False) is AUTH_EXPIRED
    assert verdict(claiming(exp=None), require_exp=False) == Alike(
        AUTH_BAD_CLAIM.because("exp is not a number of seconds")
    )


@pytest.mark.parametrize(
    "sub",
    [
        "a",
        "auth0|5f7c8ec7c33c6c004bbafe82",
        "jo@example.com",
        "a b",
        "Zoë",
        "李雷",
        "Jo\u00a0Doe",  # a no-break space is not printable, says Python, and hides nothing
        "x" * 255,
        "é" * 127 + "x",
        "😀" * 63,
    ],
)
def test_good_subject(sub: str) -> None:
    assert verdict(claiming(sub=sub)) == Caller("sub", sub)


@pytest.mark.parametrize(
    "sub",
    [
        pytest.param("", id="empty"),
        pytest.param(" a", id="blank-first"),
        pytest.param("a ", id="blank-last"),
        pytest.param("a\u00a0", id="no-break-space-last"),
        pytest.param("\u3000a", id="ideographic-space-first"),
        pytest.param("a\r\nX-Admin: 1", id="new-header"),
        pytest.param("a\tb", id="tab"),
        pytest.param("a\0b", id="nul"),
        pytest.param("a\x7fb", id="delete"),
        pytest.param("a\x85b", id="c1"),
        pytest.param("a\u2028b", id="line-separator"),
        pytest.param("a\u200db", id="zero-width-joiner"),
        pytest.param("a\u202e", id="right-to-left-override"),
        pytest.param("a\ufeff", id="byte-order-mark"),
        pytest.param("ad\u00admin", id="soft-hyphen"),
        pytest.param("x" * 256, id="256-octets"),
        pytest.param("é" * 128, id="256-octets-in-128-characters"),
        pytest.param("😀" * 64, id="256-octets-in-64-characters"),
    ],
)
def test_bad_subject(sub: str) -> None:
    found = verdict(claiming(sub=sub))
    assert isinstance(found, Reason)
    assert found.code == AUTH_BAD_CLAIM.code
    assert found.note.startswith("sub ")


@pytest.mark.parametrize(
    ("token", "note"),
    [
        (claiming(sub=7), "sub is not text"),
        (claiming(sub=None), "sub is not text"),
        (claiming(sub=""), "sub is empty"),
        (claiming(sub="a\nb"), "sub holds a control or format character"),
        (claiming(sub=" a"), "sub begins or ends with a blank"),
        (claiming(sub="a\u3000"), "sub begins or ends with a blank"),
        (claiming(sub="é" * 128), "sub has more than 255 octets"),
        (claiming(iss=7), "iss is not text"),
        (claiming(iss=None), "iss is not text"),
        (claiming(aud=7), "aud is neither text nor a list of texts"),
        (claiming(aud=None), "aud is neither text nor a list of texts"),
        (claiming(aud=["api", 7]), "aud is neither text nor a list of texts"),
        (claiming(exp="soon"), "exp is not a number of seconds"),
        (claiming(nbf="1"), "nbf is not a number of seconds"),
        (claiming(iat=True), "iat is not a number of seconds"),
    ],
)
def test_a_claim_of_the_wrong_kind_is_named(token: bytes, note: str) -> None:
    assert verdict(token) == Alike(AUTH_BAD_CLAIM.because(note))
    for audience in (None, "*") if note.startswith("aud") else ("*",):
        assert verdict(token, audience=audience) == Alike(AUTH_BAD_CLAIM.because(note))
    assert AUTH_BAD_CLAIM.public == "auth_invalid"


def test_half_a_character_is_no_json() -> None:
    assert verdict(claiming(sub="a\ud800b")) is AUTH_MALFORMED


def test_a_missing_expiry_is_named() -> None:
    assert verdict(claiming(exp=...)) == Alike(AUTH_MALFORMED.because("exp is missing"))


def test_token_without_subject_speaks_for_nobody_in_particular() -> None:
    assert verdict(claiming(sub=...)) == Caller("sub", "")


# Properties.

ANY = verifier()


@given(st.binary(max_size=300) | st.text(".AQw-_=", max_size=40).map(str.encode))
def test_no_octets_raise_or_verify(token: bytes) -> None:
    assert isinstance(ANY.verify(token, NOW), Reason)


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255), st.sampled_from(["replace", "insert", "delete"]))
def test_no_mutation_verifies(at: int, octet: int, how: str) -> None:
    token = GOOD[:at] + bytes([octet] if how != "delete" else []) + GOOD[at + (how != "insert") :]
    assume(token != GOOD)
    assert ANY.verify(GOOD, NOW) == ALICE
    assert isinstance(ANY.verify(token, NOW), Reason)


@given(st.integers(0, 2048 - 1))
def test_no_flipped_bit_of_an_rsa_signature_verifies(bit: int) -> None:
    flipped = (int.from_bytes(RS_SIGNATURE, "big") ^ (1 << bit)).to_bytes(256, "big")
    assert RS_VERIFIER.verify(RS_PARTS[0] + b"." + b64(flipped), NOW) is AUTH_BAD_SIGNATURE


RS_VERIFIER = verifier(algorithm="RS256")

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["iss", "aud", "sub", "exp", "nbf", "iat", "x"]), JSON))
def test_no_signed_claims_raise(changed: dict[str, Any]) -> None:
    found = ANY.verify(claiming(**changed), NOW)
    assert isinstance(found, Identity | Reason)
    if isinstance(found, Identity):
        assert found.name == {**CLAIMS, **changed}["sub"]


@given(st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "zip", "jwk"]), JSON))
def test_no_signed_header_raises(members: dict[str, Any]) -> None:
    found = ANY.verify(heading(**members), NOW)
    assert found == ALICE or isinstance(found, Reason)


NAMES = st.sampled_from(["a", "b", '"', ",", "{", "}", ":", "\\", "é", "exp"])
TREES = st.recursive(
    NAMES | st.integers(0, 9),
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(NAMES, inner), max_size=3).map(tuple),
    max_leaves=12,
)


def write(tree: Any) -> tuple[str, bool]:
    """JSON text of a tree in which a tuple of pairs is an object, and whether an object in it repeats a name."""
    if isinstance(tree, tuple):
        values = [write(value) for _, value in tree]
        names = [name for name, _ in tree]
        members = ",".join(f"{json.dumps(name)}: {text}" for name, (text, _) in zip(names, values, strict=True))
        return "{" + members + "}", len(set(names)) < len(names) or any(twice for _, twice in values)
    if isinstance(tree, list):
        values = [write(value) for value in tree]
        return "[" + " ,".join(text for text, _ in values) + "]", any(twice for _, twice in values)
    return json.dumps(tree), False


@given(st.lists(st.tuples(NAMES, TREES), max_size=4))
def test_duplicate_members_are_refused_at_every_depth(members: list[tuple[str, Any]]) -> None:
    text, twice = write((*CLAIMS.items(), *((f"x{name}", value) for name, value in members)))
    expected = AUTH_MALFORMED if twice else ALICE
    assert ANY.verify(hs256(text.encode()), NOW) == expected
    header = text.encode().replace(b"{", b'{"alg":"HS256",', 1)
    assert ANY.verify(hs256(header=header), NOW) == expected


def outcome(claims: bytes) -> tuple[object, ...]:
    found = ANY.verify(hs256(claims), NOW)
    return (found.code, found.note) if isinstance(found, Reason) else (found.name, found.until, found.claims)


def outcomes(claims: bytes) -> tuple[object, object]:
    """On a short payload, which is decoded at once, and on the same with blanks behind it."""
    return outcome(claims), outcome(claims + b" " * PLAIN)


@given(st.dictionaries(st.sampled_from(["iss", "aud", "sub", "exp", "nbf", "iat", "x"]), JSON))
def test_claims_are_read_alike_short_or_long(changed: dict[str, Any]) -> None:
    short, long = outcomes(json.dumps({**CLAIMS, **changed}).encode())
    assert short == long


@pytest.mark.parametrize(
    "value",
    [
        *("1e999", "-1e999", "1" * 400, "NaN", "0x1", "01", "true", "tru", "", "null"),
        *('"\\ud800"', '"\xff"', '"\x00"', '",,"', '"{"'),
        *("[]", "[1]", "[1,2", "[,]", "[[1,2],3]", "{}", '{"a":1,"a":2}', '1,"sub":"bob"', '1,"x":2'),
    ],
)
@pytest.mark.parametrize("name", ["exp", "x", "aud"])
def test_odd_values_are_read_alike_short_or_long(name: str, value: str) -> None:
    head = json.dumps({member: told for member, told in CLAIMS.items() if member != name}).encode()[:-1]
    short, long = outcomes(head + b',"' + name.encode() + b'":' + value.encode("latin-1") + b"}")
    assert short == long


# The memory.


def remembering(token: bytes, **changed: Any) -> JwtVerifier:
    """A verifier that remembers this token."""
    made = verifier(**changed)
    assert [made.verify(token, NOW), made.verify(token, NOW)] == [ALICE, ALICE]
    assert made.keys.memory.recall(token) is not None
    return made


def test_a_token_is_remembered_when_it_comes_again() -> None:
    made = verifier()
    found = []
    for remembered in (0, 1, 1, 1):
        found.append(made.verify(GOOD, NOW))
        assert len(made.keys.memory) == remembered
    assert found[1] is found[2] is found[3]
    assert found[0] is not found[1]


def test_remembered_token_dies_at_its_exp_j118() -> None:
    made = remembering(GOOD)
    assert made.verify(GOOD, NOW + 599.9) == ALICE
    assert made.verify(GOOD, NOW + 600) is AUTH_EXPIRED


def test_keys_that_go_take_their_tokens_along_j119() -> None:
    assert remembering(GOOD).verify(GOOD, NOW) == ALICE
    assert verifier(secret=(Secret("new", bytes(32)),)).verify(GOOD, NOW) is AUTH_BAD_SIGNATURE


def test_remembered_is_the_whole_token_j120() -> None:
    made = remembering(GOOD)
    assert made.verify(with_signature(b64(bytes(32))), NOW) is AUTH_BAD_SIGNATURE
    assert made.verify(with_signature(stray(SIGNATURE)), NOW) is AUTH_MALFORMED
    forged = HEADER + b"." + b64(octets({**CLAIMS, "sub": "root"})) + b"." + SIGNATURE
    assert made.verify(forged, NOW) is AUTH_BAD_SIGNATURE


def test_clock_steps_j122() -> None:
    token = claiming(nbf=NOW - 10)
    made = remembering(token)
    assert made.verify(token, NOW - 11) is AUTH_NOT_YET_VALID
    assert made.verify(token, NOW + 10_000) is AUTH_EXPIRED
    assert made.verify(token, NOW) == ALICE
    assert made.verify(token, 0.0) is AUTH_NOT_YET_VALID


def test_token_without_exp_is_remembered() -> None:
    token = claiming(exp=...)
    made = remembering(token, require_exp=False)
    assert made.verify(token, NOW + 10**9) == ALICE


@pytest.mark.parametrize("changed", [{"exp": NOW - 1}, {"nbf": NOW + 1}])
def test_token_that_is_not_good_now_is_not_remembered(changed: dict[str, Any]) -> None:
    made = verifier()
    for _ in range(3):
        made.verify(claiming(**changed), NOW)
    assert len(made.keys.memory) == 0


def test_long_token_is_verified_each_time() -> None:
    made = verifier()
    token = claiming(pad="x" * TOKEN_MEMORABLE)
    assert [made.verify(token, NOW) for _ in range(3)] == [ALICE] * 3
    assert len(made.keys.memory) == 0


def test_forgotten_token_still_verifies() -> None:
    made = verifier()
    made.keys.memory.capacity = 5_000
    tokens = [claiming(jti=number) for number in range(30)]
    assert [made.verify(token, NOW) for token in [*tokens, *tokens]] == [ALICE] * 60
    assert 0 < len(made.keys.memory) < 10
    assert made.keys.memory.octets <= 5_000


def filled(capacity: int, octets: int = 400) -> tuple[TokenMemory, list[bytes], Identity]:
    """A memory with so many tokens, which has no place for another one of their size."""
    identity = Identity("sub", "alice", inf)
    memory = TokenMemory(1 << 40)
    tokens = [b"old %0*d" % (octets - 4, number) for number in range(capacity)]
    for token in tokens:
        while memory.recall(token) is None:
            memory.keep(token, identity)
    memory.capacity = memory.octets
    return memory, tokens, identity


def test_tokens_that_come_once_do_not_displace_those_in_use() -> None:
    memory, tokens, identity = filled(200)
    for number in range(2_000):
        memory.keep(b"new %0396d" % number, identity)
    # One in 255 is taken for one that has come before.
    assert sum(memory.recall(token) is not None for token in tokens) > 100


def test_tokens_that_come_once_take_no_room() -> None:
    memory = TokenMemory(1 << 40)
    for number in range(2_000):
        memory.keep(b"new %0396d" % number, Identity("sub", "alice", inf))
    assert len(memory) < 100


def test_tokens_that_come_again_displace_the_oldest_whatever_place_their_marks_have() -> None:
    # Some 68 pairs of these have one place for their marks.
    count = 3_000
    memory, tokens, identity = filled(count)
    came = [b"new %0396d" % number for number in range(count)]
    for _ in range(150):
        for token in came:
            if memory.recall(token) is None:
                memory.keep(token, identity)
    assert all(memory.recall(token) is not None for token in came)
    assert not any(memory.recall(token) for token in tokens)
    assert memory.octets == memory.capacity


def test_many_headers_take_no_more_room_than_few() -> None:
    made = verifier()
    made.keys.memory.capacity = 0
    tokens = [heading(kid=f"{number:0500}") for number in range(1_000)]
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        assert all(made.verify(token, NOW) == ALICE for token in tokens)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 200_000


@pytest.mark.parametrize("name", ["n" * 100, "é" * 60, "x" * 200 + "😀"], ids=["ascii", "latin", "astral"])
def test_memory_keeps_within_its_octets(name: str) -> None:
    memory = TokenMemory(1_000_000)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(4_000):
            identity = Identity("sub", "".join([name, str(number)]), number + 0.25, since=number + 0.5)
            token = b"%0400d" % number
            while memory.recall(token) is None:
                memory.keep(token, identity)
            assert memory.octets <= memory.capacity
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(memory) > 400
    assert after - before <= memory.capacity


def many(claim: Any, count: int) -> bytes:
    """A kept claim with one value so many times."""
    return octets({"x": [claim] * count})


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param(many("7f9c2ba4-e88f-827d-6160-455076058420", 140), id="groups-by-number"),
        pytest.param(many("role-12", 500), id="roles"),
        pytest.param(json.dumps({"x": ["é"] * 900}, ensure_ascii=False).encode(), id="latin"),
        pytest.param(json.dumps({"x": ["😀" * 40] * 30}, ensure_ascii=False).encode(), id="astral"),
        pytest.param(many([], 1500), id="lists"),
        pytest.param(many([1], 1000), id="lists-of-one"),
        pytest.param(many({}, 250), id="objects"),
        pytest.param(many({"a": 1.5}, 250), id="objects-of-one"),
        pytest.param(octets({"x": {f"name {number}": 1000 + number for number in range(300)}}), id="members"),
        pytest.param(octets({f"x{number}": number for number in range(400)}), id="claims"),
        pytest.param(many(0.5, 1200), id="fractions"),
        pytest.param(many(10**1000, 5), id="digits"),
    ],
)
def test_memory_keeps_within_its_octets_whatever_claims_are_kept(claims: bytes) -> None:
    memory = TokenMemory(1_000_000)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(400):
            identity = Identity("sub", str(number), number + 0.25, decode(claims), since=number + 0.5)
            token = b"%0*d" % (len(claims) * 4 // 3, number)
            assert len(token) <= TOKEN_MEMORABLE
            while memory.recall(token) is None:
                memory.keep(token, identity)
        # Their UTF-8 is made when they are sent on.
        for number in range(400):
            kept = memory.recall(b"%0*d" % (len(claims) * 4 // 3, number))
            if kept is not None:
                encode(kept.claims)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(memory) > 3
    assert after - before <= memory.capacity
    # What goes gives back what it took.
    memory.capacity = 0
    for _ in range(50):
        memory.keep(b"another", identity)
    assert (len(memory), memory.octets) == (0, 0)


def test_memory_shows_its_state() -> None:
    assert repr(TokenMemory(1000)) == "<0 tokens, 0 of 1000 octets>"


# Keys at load.


def problems_of(**changed: Any) -> list[Problem]:
    problems: list[Problem] = []
    assert compile_verifier("main", jwt(**changed), problems, []) is None
    return problems


JWK_TEXT = b'{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T"}'
CERTIFICATE = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        pytest.param(b"", "is blank", id="J065-empty"),
        pytest.param(b"s" * 31, "has 31 octets (expected at least 32", id="J065"),
        pytest.param(b" \t" * 20, "is blank", id="J065-blanks"),
        pytest.param(pem(RSA), "PEM", id="J067"),
        pytest.param(private_pem(RSA), "PEM", id="J067-private-key"),
        pytest.param(CERTIFICATE, "PEM", id="J067-certificate"),
        pytest.param(b"ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQC7", "PEM", id="J067-ssh"),
        pytest.param(JWK_TEXT, "JSON Web Key", id="J067-jwk"),
        pytest.param(b'{"keys":[' + JWK_TEXT + b"]}", "JSON Web Key", id="J067-jwks"),
    ],
)
def test_bad_secret(value: bytes, said: str) -> None:
    (problem,) = problems_of(secret=(Secret("env:S", value),))
    assert problem.path == ("jwt", "main", "secret")
    assert said in problem.message
    assert value == b"" or value.decode() not in problem.message


def test_every_bad_secret_of_a_list_is_reported_at_its_place() -> None:
    secrets = (Secret("a", b"short"), Secret("b", SECRET), Secret("c", pem(RSA)))
    assert [problem.path for problem in problems_of(secret=secrets)] == [
        ("jwt", "main", "secret", 0),
        ("jwt", "main", "secret", 2),
    ]


def der(tag: int, content: bytes) -> bytes:
    size = len(content)
    return bytes([tag, size] if size < 128 else [tag, 0x82, size >> 8, size & 255]) + content


def pem_with_exponent(exponent: int) -> bytes:
    """A SubjectPublicKeyInfo that no library would write."""
    numbers = (RSA.public_key().public_numbers().n, exponent)
    integers = [der(0x02, number.to_bytes(number.bit_length() // 8 + 1, "big")) for number in numbers]
    rsa_encryption = bytes.fromhex("300d06092a864886f70d0101010500")
    info = der(0x30, rsa_encryption + der(0x03, b"\0" + der(0x30, b"".join(integers))))
    return b"-----BEGIN PUBLIC KEY-----\n" + b64encode(info) + b"\n-----END PUBLIC KEY-----\n"


def test_handmade_pem_is_right_but_for_its_exponent() -> None:
    assert verdict(rs256(), algorithm="RS256", public_key=(Secret("k", pem_with_exponent(65537)),)) == ALICE


def weak_pem() -> bytes:
    return pem(generate_private_key(65537, 1024))  # noqa: S505 - to be refused


@pytest.mark.parametrize(
    ("value", "said"),
    [
        pytest.param(weak_pem(), "at least 2048 bits, this one has 1024", id="1024-bits"),
        pytest.param(b"garbage", "not a public key in PEM form", id="garbage"),
        pytest.param(b"-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----\n", "not a public key", id="broken"),
        pytest.param(b"", "not a public key", id="empty"),
        pytest.param(private_pem(RSA), "private key", id="private"),
        pytest.param(CERTIFICATE, "openssl x509", id="certificate"),
        pytest.param(pem_with_exponent(1), "not a public key", id="exponent-1"),
        pytest.param(pem_with_exponent(65536), "not a public key", id="exponent-even"),
        pytest.param(pem(RSA) + pem(OTHER_RSA), "more than one key", id="two-in-one"),
        pytest.param(
            pem(ec.generate_private_key(ec.SECP256R1())),
            "this is a key on P-256 (expected an RSA key, for RS256)",
            id="elliptic-curve",
        ),
        pytest.param(b'{"kty":"RSA","n":"AQ"}', "did you mean jwks?", id="jwk"),
        pytest.param(b'{"keys":[]}', "did you mean jwks?", id="jwks"),
        pytest.param(b"ssh-rsa AAAA a@b", "ssh-keygen -e -m PKCS8", id="openssh"),
        pytest.param(b64decode(b"".join(pem(RSA).splitlines()[1:-1])), "-inform DER", id="der"),
        pytest.param(b"".join(pem(RSA).splitlines()[1:-1]), "without its first and last line", id="bare-base64"),
        pytest.param(b64encode(pem(RSA)), "a PEM in base64", id="base64-of-pem"),
    ],
)
def test_bad_public_key(value: bytes, said: str) -> None:
    (problem,) = problems_of(algorithm="RS256", public_key=(Secret("file:k", value),))
    assert problem.path == ("jwt", "main", "public_key")
    assert said in problem.message


@pytest.mark.parametrize(
    ("end", "around"), [(b"\\n", b""), (b"\\n", b'"'), (b"\\r\\n", b""), (b"\r\n", b""), (b" ", b""), (b"\n  ", b"")]
)
def test_line_ends_of_a_pem_in_other_forms(end: bytes, around: bytes) -> None:
    """As environment files, charts and shells leave them."""
    value = around + pem(RSA).replace(b"\n", end) + around
    assert verdict(rs256(), algorithm="RS256", public_key=(Secret("k", value),)) == ALICE


def odd(bits: int) -> int:
    return (1 << (bits - 1)) | 1


@pytest.mark.parametrize(
    ("exponent", "modulus", "less", "said"),
    [
        (17, 1024, 0, "an RS256 key must have at least 2048 bits, this one has 1024"),
        (17, 16385, 0, "an RS256 key may have at most 16384 bits, this one has 16385"),
        (17, 2048, 1, "the modulus of an RSA key is odd, and this one has an even one"),
        (65, 3073, 0, "the exponent of an RS256 key may have at most 64 bits here, this one has 65"),
        (64, 3073, 0, ""),
        (65, 3072, 0, ""),
        (17, 16384, 0, ""),
    ],
)
def test_a_key_by_which_nothing_can_be_verified(exponent: int, modulus: int, less: int, said: str) -> None:
    key = RSAPublicNumbers(odd(exponent), odd(modulus) - less).public_key()
    assert key_fault("RS256", key, "this one") == said
    written = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    problems: list[Problem] = []
    made = compile_verifier("main", jwt(algorithm="RS256", public_key=(Secret("k", written),)), problems, [])
    assert (made is None) == bool(said)
    assert [problem.message for problem in problems] == ([said] if said else [])


def test_bad_public_key_of_a_list_is_reported_at_its_place() -> None:
    keys = (Secret("a", pem(RSA)), Secret("b", b"garbage"))
    assert [problem.path for problem in problems_of(algorithm="RS256", public_key=keys)] == [
        ("jwt", "main", "public_key", 1)
    ]


def test_weak_key_of_a_set_is_passed_over() -> None:
    problems: list[Problem] = []
    warnings: list[Problem] = []
    weak = ("w", generate_private_key(65537, 1024).public_key())  # noqa: S505 - to be refused
    spec = jwt(algorithm="RS256", jwks=key_set([("a", RSA.public_key()), weak]))
    verifier = compile_verifier("main", spec, problems, warnings)
    assert verifier is not None
    assert verifier.verify(rs256(header={"alg": "RS256", "kid": "w"}), NOW) is AUTH_UNKNOWN_KEY
    assert [warning.path for warning in warnings] == [("jwt", "main", "jwks")]
    assert (
        warnings[0].message == "an RS256 key must have at least 2048 bits, that of kid 'w' has 1024; it is passed over"
    )
    assert compile_verifier("main", jwt(algorithm="RS256", jwks=key_set([weak])), problems, warnings) is None
    assert [problem.path for problem in problems] == [("jwt", "main", "jwks")]


def test_all_keys_of_one_name_are_tried() -> None:
    keys: list[tuple[str | None, RSAPublicKey]] = [
        ("a", OTHER_RSA.public_key()),
        ("a", RSA.public_key()),
        ("b", OTHER_RSA.public_key()),
    ]
    verifier = compile_verifier("main", jwt(algorithm="RS256", jwks=key_set(keys)), [], [])
    assert verifier is not None
    assert verifier.verify(rs256(header={"alg": "RS256", "kid": "a"}), NOW) == ALICE
    assert verifier.verify(rs256(header={"alg": "RS256", "kid": "b"}), NOW) is AUTH_BAD_SIGNATURE


ENCODED = [
    ("base64", b64encode(SECRET)),
    ("base64", b64encode(SECRET).rstrip(b"=")),
    ("base64", b"\n".join((b64encode(SECRET)[:9], b64encode(SECRET)[9:]))),
    ("base64url", urlsafe_b64encode(SECRET)),
    ("hex", SECRET.hex().encode()),
    ("hex", SECRET.hex().upper().encode()),
]


@pytest.mark.parametrize(("encoding", "written"), ENCODED)
def test_secrets_in_other_notations(encoding: str, written: bytes) -> None:
    made = compile_verifier("main", jwt(secret=(Secret("s", written),), secret_encoding=encoding), [], [])
    assert made is not None
    assert made.verify(GOOD, NOW) == ALICE


@pytest.mark.parametrize(
    ("encoding", "written", "words"),
    [
        ("base64", b"\xfb" * 40, "this is not base64"),
        ("base64", b"-_" * 20, 'did you mean secret_encoding = "base64url"?'),
        ("base64url", b"+/" * 20, 'did you mean secret_encoding = "base64"?'),
        ("hex", b"0" * 65, "this is not hex"),
        ("hex", b"zz" * 40, 'did you mean secret_encoding = "base64"?'),
        ("hex", b"0x" + SECRET.hex().encode(), "expected digits without 0x and colons"),
        ("hex", SECRET.hex(":").encode(), "expected digits without 0x and colons"),
        ("base64", b64encode(b"short"), "this secret has 5 octets"),
    ],
)
def test_a_secret_that_is_not_in_its_notation(encoding: str, written: bytes, words: str) -> None:
    (problem,) = problems_of(secret=(Secret("s", written),), secret_encoding=encoding)
    assert words in problem.message
    assert written.decode("latin-1") not in problem.message


WORDS = b"a secret of more than 32 octets, in words"


@pytest.mark.parametrize(
    ("written", "doubt"),
    [
        (b"JWT_SECRET=" + WORDS, "looks like an assignment"),
        (b"export JWT_SECRET=" + WORDS, "looks like an assignment"),
        (b"secret: " + WORDS, "looks like an assignment"),
        (b'{"secret":"%b"}' % WORDS, "is a JSON object"),
        (WORDS + b"\n" + WORDS, "has several lines"),
        (WORDS, ""),
        (b64encode(b"x" * 34), ""),
        (b"a:b=" * 10, ""),
        (bytes(range(128, 192)) + b"\n" + bytes(64), ""),
    ],
)
def test_a_secret_that_looks_like_something_else_is_warned_of(written: bytes, doubt: str) -> None:
    warnings: list[Problem] = []
    assert compile_verifier("main", jwt(secret=(Secret("env:S", written),)), [], warnings) is not None
    assert [found.path for found in warnings] == [("jwt", "main", "secret")] * bool(doubt)
    assert all(found.message.startswith(f"env:S {doubt}") for found in warnings)
    # What was written in a notation is no text that somebody kept.
    encoded = jwt(secret=(Secret("env:S", b64encode(written)),), secret_encoding="base64")
    warnings.clear()
    assert compile_verifier("main", encoded, [], warnings) is not None
    assert warnings == []


def test_no_keys_no_verifier() -> None:
    (problem,) = problems_of(algorithm="RS256", jwks=Secret("file:j", b""))
    assert problem == Problem(("jwt", "main", "jwks"), 'this is not a JSON Web Key Set (expected {"keys": [...]})')


@given(st.lists(st.tuples(NAMES, st.integers(0, 99) | NAMES | st.lists(st.integers(0, 9))), min_size=1, max_size=5))
def test_duplicates_are_found_in_what_is_written_without_blanks(members: list[tuple[str, Any]]) -> None:
    text = ",".join(f"{json.dumps(f'x{name}')}:{json.dumps(value, separators=(',', ':'))}" for name, value in members)
    claims = json.dumps(CLAIMS, separators=(",", ":")).encode()[:-1] + b"," + text.encode() + b"}"
    twice = len({name for name, _ in members}) < len(members)
    assert ANY.verify(hs256(claims), NOW) == (AUTH_MALFORMED if twice else ALICE)
