"""Each algorithm: the signatures that are good, and the kinds of forgery that test suites such as Wycheproof collect.

Signatures are made with the primitives of `cryptography`, or with arithmetic of our own where no library would make
such a thing; nothing here is signed by the code under test.
"""

import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from hashlib import sha256, sha384, sha512
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from harness.values import Caller
from rawgate.config.model import Jwt, KeySetUrl, Secret
from rawgate.errors import AUTH_BAD_SIGNATURE, AUTH_MALFORMED, AUTH_UNKNOWN_KEY, Problem
from rawgate.policy.jwt import JwtVerifier
from rawgate.policy.verifiers import compile_key_set, compile_verifier

NOW = 1_800_000_000
CLAIMS = {"sub": "alice", "exp": NOW + 600}
ALICE = Caller("sub", "alice")
HASHES: dict[str, HashAlgorithm] = {"256": SHA256(), "384": SHA384(), "512": SHA512()}


def others(size: str) -> list[HashAlgorithm]:
    """The other hashes that an issuer may take by mistake."""
    return [*(found for name, found in HASHES.items() if name != size), SHA1()]  # noqa: S303 - to be refused


PUBLIC = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
SHARED = ["HS256", "HS384", "HS512"]
CURVES = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
ORDERS = {
    "ES256": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    "ES384": 2**384 - 0x389CB27E0BC8D220A7E5F24DB74F58851313E695333AD68D,
    "ES512": 2**521 - 0x5AE79787C40D069948033FEB708F65A2FC44A36477663B851449048E16EC79BF7,
}
PRIME = {
    "ES256": 2**256 - 2**224 + 2**192 + 2**96 - 1,
    "ES384": 2**384 - 2**128 - 2**96 + 2**32 - 1,
    "ES512": 2**521 - 1,
}
HALF = {"ES256": 32, "ES384": 48, "ES512": 66}

Forge = Callable[[bytes], bytes]
"""What is signed → a signature."""
Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
RSA, OTHER_RSA = rsa.generate_private_key(65537, 2048), rsa.generate_private_key(65537, 2048)
CURVED = {algorithm: ec.generate_private_key(curve) for algorithm, curve in CURVES.items()}
EDWARDS = ed25519.Ed25519PrivateKey.generate()
SECRETS = {"HS256": bytes(range(128, 160)), "HS384": bytes(range(128, 176)), "HS512": bytes(range(128, 192))}


def b64(octets: bytes) -> bytes:
    return urlsafe_b64encode(octets).rstrip(b"=")


def private(algorithm: str) -> Private:
    return EDWARDS if algorithm == "EdDSA" else CURVED.get(algorithm, RSA)


def pem(key: Any) -> bytes:
    octets: bytes = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return octets


def raw(algorithm: str, r: int, s: int) -> bytes:
    half = HALF[algorithm]
    return r.to_bytes(half, "big") + s.to_bytes(half, "big")


def sign(algorithm: str, signed: bytes, key: Private | None = None) -> bytes:
    """As the RFCs say."""
    if algorithm in SECRETS:
        return hmac.digest(SECRETS[algorithm], signed, f"sha{algorithm[2:]}")
    key = key or private(algorithm)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(signed)
    digest = HASHES[algorithm[2:]]
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return raw(algorithm, *decode_dss_signature(key.sign(signed, ec.ECDSA(digest))))
    return key.sign(signed, PKCS1v15() if algorithm[0] == "R" else PSS(MGF1(digest), digest.digest_size), digest)


def signing_input(algorithm: str, **header: Any) -> bytes:
    return b64(json.dumps({"alg": algorithm, **header}).encode()) + b"." + b64(json.dumps(CLAIMS).encode())


def token(algorithm: str, forge: Forge | None = None, **header: Any) -> bytes:
    """A token that says `algorithm`, signed as it says, or by `forge`."""
    signed = signing_input(algorithm, **header)
    return signed + b"." + b64(sign(algorithm, signed) if forge is None else forge(signed))


def bearing(algorithm: str, signature: bytes) -> bytes:
    """A token with this signature."""
    return signing_input(algorithm) + b"." + b64(signature)


def jwk(algorithm: str, key: Private | None = None, **members: Any) -> dict[str, Any]:
    """The public key as RFC 7518 and RFC 8037 write it; `...` takes a member away."""
    public = (key or private(algorithm)).public_key()
    written: dict[str, Any]
    if isinstance(public, rsa.RSAPublicKey):
        n = public.public_numbers().n
        written = {"kty": "RSA", "n": b64(n.to_bytes((n.bit_length() + 7) // 8, "big")).decode(), "e": "AQAB"}
    elif isinstance(public, ec.EllipticCurvePublicKey):
        numbers, half = public.public_numbers(), (public.key_size + 7) // 8
        crv = {32: "P-256", 48: "P-384", 66: "P-521"}[half]
        written = {"kty": "EC", "crv": crv}
        for name, number in (("x", numbers.x), ("y", numbers.y)):
            written[name] = b64(number.to_bytes(half, "big")).decode()
    else:
        written = {"kty": "OKP", "crv": "Ed25519", "x": b64(public.public_bytes_raw()).decode()}
    whole = {**written, "alg": algorithm, **members}
    return {name: value for name, value in whole.items() if value is not ...}


def compiled(
    *algorithms: str, keys: list[Any] | None = None, public: bytes = b"", secret: bytes = b""
) -> tuple[JwtVerifier | None, list[str], list[str]]:
    """The verifier, what was wrong, and what was warned of."""
    problems: list[Problem] = []
    warnings: list[Problem] = []
    spec = Jwt(
        algorithm=algorithms,  # type: ignore[arg-type]  # a str is no Literal
        secret=(Secret("s", secret),) if secret else (),
        public_key=(Secret("p", public),) if public else (),
        jwks=None if keys is None else Secret("j", json.dumps({"keys": keys}).encode()),
    )
    made = compile_verifier("main", spec, problems, warnings)
    return made, [found.message for found in problems], [found.message for found in warnings]


def verifier(*algorithms: str, **sources: Any) -> JwtVerifier:
    made, problems, warnings = compiled(*algorithms, **sources)
    assert (problems, warnings) == ([], [])
    assert made is not None
    return made


def of(algorithm: str) -> JwtVerifier:
    """A verifier of one algorithm by its usual source."""
    if algorithm in SECRETS:
        return verifier(algorithm, secret=SECRETS[algorithm])
    return verifier(algorithm, public=pem(private(algorithm).public_key()))


# All algorithms.


@pytest.mark.parametrize("algorithm", [*SHARED, *PUBLIC])
def test_a_good_signature_is_good_for_its_own_algorithm_only(algorithm: str) -> None:
    """Each token is shown to each verifier, once as it is and once under the name that the verifier takes."""
    made = of(algorithm)
    assert made.verify(token(algorithm), NOW) == ALICE
    for other in {*SHARED, *PUBLIC} - {algorithm}:
        assert made.verify(token(other), NOW) is AUTH_BAD_SIGNATURE
        assert made.verify(bearing(algorithm, sign(other, signing_input(algorithm))), NOW) is AUTH_BAD_SIGNATURE


@pytest.mark.parametrize("algorithm", PUBLIC)
def test_a_key_of_a_set_verifies_by_its_own_algorithm(algorithm: str) -> None:
    made = verifier(algorithm, keys=[jwk(algorithm, kid="a")])
    assert made.verify(token(algorithm, kid="a"), NOW) == ALICE
    assert made.verify(token(algorithm, kid="b"), NOW) is AUTH_UNKNOWN_KEY


@pytest.mark.parametrize("algorithm", [*SHARED, *PUBLIC])
def test_what_is_no_signature(algorithm: str) -> None:
    made = of(algorithm)
    good = sign(algorithm, signing_input(algorithm))
    assert made.verify(signing_input(algorithm) + b".", NOW) is AUTH_MALFORMED
    for forged in (
        good[:-1],
        good + b"\0",
        b"\0" + good,
        good[: len(good) // 2],
        good + good,
        bytes(len(good)),
        b"\xff" * len(good),
        b"\0",
    ):
        assert made.verify(bearing(algorithm, forged), NOW) is AUTH_BAD_SIGNATURE, forged


@pytest.mark.parametrize("algorithm", [*SHARED, *PUBLIC])
@pytest.mark.parametrize("none", ["none", "None", "NONE", "nOnE", "", " none", "null"])
def test_none_is_never_an_algorithm(algorithm: str, none: str) -> None:
    for signature in (b"", b"." + b64(b"x"), b"." + b64(sign(algorithm, signing_input(none)))):
        found = of(algorithm).verify(signing_input(none) + (signature or b"."), NOW)
        assert found is AUTH_BAD_SIGNATURE


@given(st.data())
def test_no_flipped_bit_verifies(data: st.DataObject) -> None:
    algorithm = data.draw(st.sampled_from([*SHARED, *PUBLIC]))
    good = SIGNED[algorithm]
    bit = data.draw(st.integers(0, 8 * len(good) - 1))
    forged = (int.from_bytes(good, "big") ^ (1 << bit)).to_bytes(len(good), "big")
    assert VERIFIERS[algorithm].verify(bearing(algorithm, forged), NOW) is AUTH_BAD_SIGNATURE


VERIFIERS = {algorithm: of(algorithm) for algorithm in (*SHARED, *PUBLIC)}
SIGNED = {algorithm: sign(algorithm, signing_input(algorithm)) for algorithm in (*SHARED, *PUBLIC)}


# HMAC.


@pytest.mark.parametrize("public", PUBLIC)
@pytest.mark.parametrize("shared", SHARED)
def test_a_public_key_is_no_secret(public: str, shared: str) -> None:
    """The oldest confusion: everybody has the public key, and signs with it as an HMAC secret."""
    key = private(public).public_key()
    forms = [pem(key), pem(key).rstrip(), key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)]
    for form in forms:
        for said in (public, shared):
            forged = bearing(said, hmac.digest(form, signing_input(said), f"sha{shared[2:]}"))
            assert VERIFIERS[public].verify(forged, NOW) is AUTH_BAD_SIGNATURE
    for form in forms[:2]:
        assert "in PEM form, not a secret" in compiled(shared, secret=form)[1][0]


@pytest.mark.parametrize(("algorithm", "least"), [("HS256", 32), ("HS384", 48), ("HS512", 64)])
def test_a_secret_is_as_long_as_the_hash(algorithm: str, least: int) -> None:
    assert compiled(algorithm, secret=b"s" * least)[1] == []
    wanted = f"at least {least}, for {algorithm}, as from `openssl rand -hex {least}`"
    assert compiled(algorithm, secret=b"s" * (least - 1))[1] == [
        f"this secret has {least - 1} octets (expected {wanted})"
    ]


@pytest.mark.parametrize("algorithm", SHARED)
def test_a_mac_is_not_cut_short(algorithm: str) -> None:
    for size in {1, 8, 16, 32} - {len(SIGNED[algorithm])}:
        assert VERIFIERS[algorithm].verify(bearing(algorithm, SIGNED[algorithm][:size]), NOW) is AUTH_BAD_SIGNATURE


def by_mac(key: bytes, digest: Any) -> Forge:
    return lambda signed: hmac.new(key, signed, digest).digest()


@pytest.mark.parametrize(("algorithm", "digest"), [("HS256", sha256), ("HS384", sha384), ("HS512", sha512)])
def test_a_secret_longer_than_a_block_stands_for_its_hash(algorithm: str, digest: Any) -> None:
    """RFC 2104 section 2."""
    key = b"\xaa" * 131
    made = verifier(algorithm, secret=key)
    for same in (key, digest(key).digest()):
        assert made.verify(token(algorithm, by_mac(same, digest)), NOW) == ALICE


# RSASSA-PSS (RFC 8017 section 8.1, RFC 7518 section 3.5).


def pss(digest: HashAlgorithm, mask: HashAlgorithm, salt: int) -> Forge:
    return lambda signed: RSA.sign(signed, PSS(MGF1(mask), salt), digest)


@pytest.mark.parametrize("size", ["256", "384", "512"])
def test_pss_has_one_salt_length_and_one_hash(size: str) -> None:
    own, made = HASHES[size], VERIFIERS[f"PS{size}"]
    length = own.digest_size
    assert made.verify(token(f"PS{size}", pss(own, own, length)), NOW) == ALICE
    for salt in (0, 1, length - 1, length + 1, 20, 256 - length - 2):
        assert made.verify(token(f"PS{size}", pss(own, own, salt)), NOW) is AUTH_BAD_SIGNATURE, salt
    for other in others(size):
        assert made.verify(token(f"PS{size}", pss(own, other, length)), NOW) is AUTH_BAD_SIGNATURE
        assert made.verify(token(f"PS{size}", pss(other, own, length)), NOW) is AUTH_BAD_SIGNATURE
        assert made.verify(token(f"PS{size}", pss(other, other, length)), NOW) is AUTH_BAD_SIGNATURE


def opened(block: int) -> bytes:
    """The signature that opens to a block; only the holder of the private key can make it."""
    numbers = RSA.private_numbers()
    return pow(block, numbers.d, numbers.public_numbers.n).to_bytes(256, "big")


@pytest.mark.parametrize("algorithm", [name for name in PUBLIC if name[0] in "RP"])
def test_numbers_of_rsa_signatures_beyond_their_range(algorithm: str) -> None:
    made, modulus = VERIFIERS[algorithm], RSA.public_key().public_numbers().n
    good = int.from_bytes(SIGNED[algorithm], "big")
    for number in (0, 1, modulus - 1, modulus, modulus + 1, good + modulus, 2**2048 - 1):
        for length in (256, 257):
            if number < 2 ** (8 * length):
                forged = number.to_bytes(length, "big")
                assert made.verify(bearing(algorithm, forged), NOW) is AUTH_BAD_SIGNATURE, number


DIGEST_INFO = {
    "RS256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "RS384": bytes.fromhex("3041300d060960864801650304020205000430"),
    "RS512": bytes.fromhex("3051300d060960864801650304020305000440"),
}
DIGESTS = {"RS256": sha256, "RS384": sha384, "RS512": sha512}


@pytest.mark.parametrize("algorithm", DIGEST_INFO)
def test_padding_of_pkcs1_v1_5_has_one_form(algorithm: str) -> None:
    made, info = VERIFIERS[algorithm], DIGEST_INFO[algorithm]

    def block(before: bytes, info: bytes, after: bytes = b"") -> Forge:
        def forge(signed: bytes) -> bytes:
            tail = b"\0" + info + DIGESTS[algorithm](signed).digest() + after
            return opened(int.from_bytes(before + b"\xff" * (256 - len(before) - len(tail)) + tail, "big"))

        return forge

    assert made.verify(token(algorithm, block(b"\0\1", info)), NOW) == ALICE
    other = DIGEST_INFO["RS512" if algorithm == "RS256" else "RS256"]
    for forge in (
        block(b"\0\1", info, b"garbage"),  # Bleichenbacher's forgery against small exponents
        block(b"\0\1", info, b"\0"),
        block(b"\0\2", info),
        block(b"\0\0", info),
        block(b"\1\1", info),
        block(b"\0\1\xfe", info),
        block(b"\0\1\0", info),
        block(b"\0\1", b""),  # the bare digest
        block(b"\0\1", other),  # the name of another hash
        block(b"\0\1", info[:-4] + info[-2:]),  # without NULL
        block(b"\0\1", info[:1] + b"\x81" + info[1:]),  # a length in BER
        block(b"\0\1", info[:-2] + b"\4\x81" + info[-1:]),
        block(b"\0\1", info[:3] + bytes([info[3] + 1]) + info[4:]),
    ):
        assert made.verify(token(algorithm, forge), NOW) is AUTH_BAD_SIGNATURE


# ECDSA (FIPS 186-5 section 6.4, RFC 7518 section 3.4).


@pytest.mark.parametrize("algorithm", CURVES)
def test_ecdsa_signatures_beyond_their_range(algorithm: str) -> None:
    made, order, prime, half = VERIFIERS[algorithm], ORDERS[algorithm], PRIME[algorithm], HALF[algorithm]
    r, s = (int.from_bytes(part, "big") for part in (SIGNED[algorithm][:half], SIGNED[algorithm][half:]))
    assert raw(algorithm, r, s) == SIGNED[algorithm]
    most = 2 ** (8 * half)
    numbers = [0, 1, 2, order - 1, order, order + 1, prime - 1, prime, prime + 1, most - 1]
    pairs = [(one, other) for one in numbers for other in numbers]
    pairs += [(r, number) for number in numbers] + [(number, s) for number in numbers]
    pairs += [(r + order, s), (r, s + order), (s, r), (order - r, s), (r, order + s)]
    for one, other in pairs:
        if one < most and other < most:
            forged = raw(algorithm, one, other)
            assert made.verify(bearing(algorithm, forged), NOW) is AUTH_BAD_SIGNATURE, (one, other)


@pytest.mark.parametrize("algorithm", CURVES)
def test_ecdsa_signatures_are_r_and_s_of_full_length(algorithm: str) -> None:
    made, half = VERIFIERS[algorithm], HALF[algorithm]
    r, s = (int.from_bytes(part, "big") for part in (SIGNED[algorithm][:half], SIGNED[algorithm][half:]))
    der = encode_dss_signature(r, s)
    for forged in (
        der,
        der.ljust(2 * half, b"\0")[: 2 * half],
        b"\0" + SIGNED[algorithm][:half] + b"\0" + SIGNED[algorithm][half:],
        SIGNED[algorithm][1:half] + SIGNED[algorithm][half + 1 :],
        r.to_bytes(half + 8, "big") + s.to_bytes(half + 8, "big"),
    ):
        assert made.verify(bearing(algorithm, forged), NOW) is AUTH_BAD_SIGNATURE


@pytest.mark.parametrize("algorithm", CURVES)
def test_numbers_with_leading_zeros_keep_their_length(algorithm: str) -> None:
    """One signature in 256 has an r that begins with a zero octet (on P-521: one in two has a zero first bit)."""
    key, digest = CURVED[algorithm], HASHES[algorithm[2:]]
    for number in range(20_000):
        signed = signing_input(algorithm, n=number)
        found = decode_dss_signature(key.sign(signed, ec.ECDSA(digest)))
        signature = raw(algorithm, *found)
        if not signature[0] and not (algorithm == "ES512" and signature[1] >> 4):
            assert VERIFIERS[algorithm].verify(signed + b"." + b64(signature), NOW) == ALICE
            return
    pytest.fail("no such signature among twenty thousand")


@pytest.mark.parametrize("algorithm", CURVES)
def test_ecdsa_with_another_hash(algorithm: str) -> None:
    for other in others(algorithm[2:]):
        found = decode_dss_signature(CURVED[algorithm].sign(signing_input(algorithm), ec.ECDSA(other)))
        assert VERIFIERS[algorithm].verify(bearing(algorithm, raw(algorithm, *found)), NOW) is AUTH_BAD_SIGNATURE


def test_the_other_spelling_of_an_ecdsa_signature_is_good_by_definition() -> None:
    """Half of all issuers' signatures have the large s, so neither can be refused; the module's docstring says what
    follows from it."""
    half, order = HALF["ES256"], ORDERS["ES256"]
    r, s = (int.from_bytes(part, "big") for part in (SIGNED["ES256"][:half], SIGNED["ES256"][half:]))
    assert VERIFIERS["ES256"].verify(bearing("ES256", raw("ES256", r, order - s)), NOW) == ALICE


@pytest.mark.parametrize("algorithm", CURVES)
def test_a_curve_belongs_to_one_algorithm(algorithm: str) -> None:
    curve = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}
    for other, key in CURVED.items():
        said = compiled(algorithm, public=pem(key.public_key()))[1]
        wrong = f"this is a key on {curve[other]} (expected a key on {curve[algorithm]}, for {algorithm})"
        assert said == ([] if other == algorithm else [wrong])
    bitcoin = pem(ec.generate_private_key(ec.SECP256K1()).public_key())
    assert compiled(algorithm, public=bitcoin)[1][0].startswith("this is a key on secp256k1")


def test_a_zero_digest_does_not_make_any_signature_good() -> None:
    """r and s taken from the public key alone are a signature of the digest 0."""
    key, order = CURVED["ES256"], ORDERS["ES256"]
    x = key.public_key().public_numbers().x % order
    zero = encode_dss_signature(x, x)
    key.public_key().verify(zero, bytes(32), ec.ECDSA(Prehashed(SHA256())))
    assert VERIFIERS["ES256"].verify(bearing("ES256", raw("ES256", x, x)), NOW) is AUTH_BAD_SIGNATURE


# Ed25519 (RFC 8032 section 5.1.7).

L = 2**252 + 27742317777372353535851937790883648493
P = 2**255 - 19
Y8 = 2707385501144840649318225287225658788936804267575313519463743609750303402022


def test_s_of_ed25519_has_one_spelling() -> None:
    r, s = SIGNED["EdDSA"][:32], int.from_bytes(SIGNED["EdDSA"][32:], "little")
    for other in (s + L, s + 2 * L, s + 8 * L, L - s, 0, L, 2**256 - 1):
        if other < 2**256:
            forged = r + other.to_bytes(32, "little")
            assert VERIFIERS["EdDSA"].verify(bearing("EdDSA", forged), NOW) is AUTH_BAD_SIGNATURE


@pytest.mark.parametrize("r", [0, 1, P - 1, P, P + 1, Y8, 2**255 - 1, 2**255 + 1])
@pytest.mark.parametrize("s", [0, 1, L - 1])
def test_r_of_small_order_is_no_signature_of_a_good_key(r: int, s: int) -> None:
    forged = r.to_bytes(32, "little") + s.to_bytes(32, "little")
    assert VERIFIERS["EdDSA"].verify(bearing("EdDSA", forged), NOW) is AUTH_BAD_SIGNATURE


@pytest.mark.parametrize("sign_bit", [0, 2**255])
@pytest.mark.parametrize("y", [0, 1, P - 1, P, P + 1, Y8, P - Y8])
def test_points_of_small_order_are_no_keys(y: int, sign_bit: int) -> None:
    point = (y + sign_bit).to_bytes(32, "little")
    public = pem(ed25519.Ed25519PublicKey.from_public_bytes(point))
    fault = "the point of an Ed25519 key has a large order, and {} has a small one: anybody could sign"
    assert compiled("EdDSA", public=public)[1] == [fault.format("this one")]
    weak = {"kty": "OKP", "crv": "Ed25519", "x": b64(point).decode(), "kid": "w"}
    made, problems, warnings = compiled("EdDSA", keys=[weak, jwk("EdDSA", kid="a")])
    assert problems == []
    assert made is not None
    assert warnings == [fault.format("that of kid 'w'") + "; it is passed over"]


def test_with_a_key_of_small_order_anybody_signs() -> None:
    """That is why they are refused: the library takes them."""
    identity = (1).to_bytes(32, "little")
    ed25519.Ed25519PublicKey.from_public_bytes(identity).verify(identity + bytes(32), b"whatever is said")


@pytest.mark.parametrize("octets", [b"\2" + bytes(31), b"\xff" * 32, (P + 2).to_bytes(32, "little")])
def test_octets_that_are_no_point_are_no_key(octets: bytes) -> None:
    said = compiled("EdDSA", public=pem(ed25519.Ed25519PublicKey.from_public_bytes(octets)))[1]
    assert said == ["an Ed25519 key is a point of its curve, and this one is none"]


def test_keys_that_are_generated_are_points() -> None:
    for _ in range(50):
        assert compiled("EdDSA", public=pem(ed25519.Ed25519PrivateKey.generate().public_key()))[1] == []


def test_vector_of_rfc8037_a4() -> None:
    key = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    signed = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
    signature = b"hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    made = verifier("EdDSA", keys=[key])
    # Its payload is no JSON, which comes to light only where the signature is good.
    assert made.verify(signed + b"." + signature, NOW) is AUTH_MALFORMED
    assert made.verify(signed + b"." + signature[:-3] + b"KAw", NOW) is AUTH_BAD_SIGNATURE


# Which key of a set.


@pytest.mark.parametrize(
    ("algorithms", "key", "takes"),
    [
        pytest.param(["RS256"], jwk("RS256", alg=...), "RS256", id="rsa-without-alg"),
        pytest.param(["PS512"], jwk("PS512", alg=...), "PS512", id="the-verifier-says"),
        pytest.param(["PS256"], jwk("RS256"), "", id="rsa-of-another-alg"),
        pytest.param(["RS256", "ES256"], jwk("RS256", alg=...), "RS256", id="one-of-the-list-fits"),
        pytest.param(["RS256", "PS256"], jwk("PS256"), "PS256", id="alg-chooses"),
        pytest.param(["ES256", "ES384"], jwk("ES384", alg=...), "ES384", id="curve-chooses"),
        pytest.param(["ES256"], jwk("ES384", alg="ES256"), "", id="curve-of-another-alg"),
        pytest.param(["ES256"], jwk("ES256", crv=...), "", id="no-curve"),
        pytest.param(["ES256"], jwk("ES256", crv="secp256k1"), "", id="another-curve"),
        pytest.param(["ES256"], jwk("ES256", use="enc"), "", id="use-enc"),
        pytest.param(["ES256"], jwk("ES256", alg="ECDH-ES"), "", id="alg-of-encryption"),
        pytest.param(["ES256"], jwk("ES256", key_ops=["deriveKey"]), "", id="key_ops"),
        pytest.param(["EdDSA"], jwk("EdDSA", alg=...), "EdDSA", id="edwards-without-alg"),
        pytest.param(["EdDSA"], jwk("EdDSA", crv="X25519"), "", id="x25519"),
        pytest.param(["EdDSA"], jwk("EdDSA", kty="EC"), "", id="edwards-as-ec"),
        pytest.param(
            ["EdDSA"],
            {
                "kty": "OKP",
                "crv": "Ed448",
                "x": b64(ed448.Ed448PrivateKey.generate().public_key().public_bytes_raw()).decode(),
            },
            "",
            id="ed448",
        ),
    ],
)
def test_what_a_key_is_for(algorithms: list[str], key: dict[str, Any], takes: str) -> None:
    made, problems, warnings = compiled(*algorithms, keys=[key])
    assert warnings == []
    if not takes:
        assert made is None
        assert problems[0].startswith(f"no key in this set may verify {' or '.join(algorithms)} (key 1 has ")
        return
    assert made is not None
    assert made.verify(token(takes), NOW) == ALICE
    for other in {*algorithms} - {takes}:
        assert made.verify(token(other), NOW) is AUTH_UNKNOWN_KEY


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        pytest.param(jwk("RS256", alg=...), 'has no alg, and "RS256" or "PS256" would fit', id="two-algorithms"),
        pytest.param(jwk("ES256", x=...), "has no x or y", id="no-x"),
        pytest.param(jwk("ES256", y="!"), "has no x or y", id="y-no-base64url"),
        pytest.param(jwk("ES256", y=b64(b"\1" * 32).decode()), "is no point of P-256", id="off-the-curve"),
        pytest.param(jwk("ES256", x="AA", y="AA"), "is no point of P-256", id="zero"),
        pytest.param(jwk("ES256", x=b64(b"\xff" * 32).decode()), "is no point of P-256", id="beyond-the-prime"),
        pytest.param(jwk("ES256", d="AQ"), "is a private key", id="private"),
        pytest.param(jwk("EdDSA", x="AQ"), "has no x of 32 octets", id="short-x"),
        pytest.param(jwk("EdDSA", x=b64(bytes(33)).decode()), "has no x of 32 octets", id="long-x"),
        pytest.param(jwk("EdDSA", x=7), "has no x of 32 octets", id="x-a-number"),
        pytest.param(jwk("EdDSA", d="AQ"), "is a private key", id="private-okp"),
    ],
)
def test_a_key_that_is_meant_and_cannot_be_used_is_told(broken: dict[str, Any], said: str) -> None:
    made, problems, warnings = compiled("RS256", "PS256", "ES256", "EdDSA", keys=[broken, jwk("RS256", OTHER_RSA)])
    assert made is not None
    assert problems == []
    (warning,) = warnings
    assert warning.startswith(f"key 1 {said}")
    assert warning.endswith("; it is passed over")


def test_coordinates_without_their_leading_zeros_are_read() -> None:
    """Not what RFC 7518 section 6.2.1.2 asks for, and it can be meant in one way only."""
    key = next(
        key
        for key in iter(lambda: ec.generate_private_key(ec.SECP256R1()), None)
        if key.public_key().public_numbers().x < 2**248
    )
    x = key.public_key().public_numbers().x
    made = verifier("ES256", keys=[jwk("ES256", key, x=b64(x.to_bytes(31, "big")).decode())])
    assert made.verify(token("ES256", lambda signed: sign("ES256", signed, key)), NOW) == ALICE


MIXED = [jwk("RS256", kid="r"), jwk("ES256", kid="e"), jwk("EdDSA", kid="d"), jwk("PS256", OTHER_RSA, kid="p")]
MIX = ("RS256", "PS256", "ES256", "EdDSA")


@pytest.mark.parametrize(
    ("algorithm", "kid", "expected"),
    [
        ("RS256", "r", ALICE),
        ("ES256", "e", ALICE),
        ("EdDSA", "d", ALICE),
        ("RS256", None, ALICE),
        ("EdDSA", None, ALICE),
        ("PS256", "r", AUTH_BAD_SIGNATURE),
        ("PS256", "p", AUTH_BAD_SIGNATURE),  # signed with the key of r
        ("ES256", "r", AUTH_BAD_SIGNATURE),
        ("RS256", "x", AUTH_UNKNOWN_KEY),
        ("RS512", "r", AUTH_BAD_SIGNATURE),
        ("HS256", "r", AUTH_BAD_SIGNATURE),
    ],
)
def test_a_set_with_several_algorithms(algorithm: str, kid: str | None, expected: object) -> None:
    made, named = verifier(*MIX, keys=MIXED), {} if kid is None else {"kid": kid}
    assert made.verify(token(algorithm, forge=None, **named), NOW) == expected
    assert made.verify(token("ES256", kid="e"), NOW) == ALICE


def test_a_set_without_names_tries_the_keys_of_the_algorithm_only() -> None:
    made = verifier(*MIX, keys=[{**key, "kid": None} for key in MIXED] + [jwk("RS256", OTHER_RSA)])
    assert made.verify(token("RS256", lambda signed: sign("RS256", signed, OTHER_RSA), kid="any"), NOW) == ALICE
    assert made.verify(token("PS256", lambda signed: sign("PS256", signed, OTHER_RSA)), NOW) == ALICE
    assert made.verify(token("PS256"), NOW) is AUTH_BAD_SIGNATURE


def test_keys_that_go_take_what_is_remembered_along() -> None:
    # Each call of `token` makes another signature.
    made, seen = verifier("ES256", keys=[jwk("ES256", kid="e")]), token("ES256", kid="e")
    assert [made.verify(seen, NOW) for _ in range(2)] == [ALICE] * 2
    known = made.keys
    assert known.memory.recall(seen) is not None
    other = ec.generate_private_key(ec.SECP256R1())
    for kid, reason in (("f", AUTH_UNKNOWN_KEY), ("e", AUTH_BAD_SIGNATURE)):
        made.replace(verifier("ES256", keys=[jwk("ES256", other, kid=kid)]).keys)
        assert [made.verify(seen, NOW) for _ in range(3)] == [reason] * 3
    made.replace(known)
    assert made.verify(seen, NOW) == ALICE


# PEM texts.


@pytest.mark.parametrize("algorithm", PUBLIC)
def test_a_key_of_another_kind_is_named(algorithm: str) -> None:
    kinds = {"R": "an RSA key", "P": "an RSA key", "S": "a key on P-256", "E": "an Ed25519 key"}
    own = {"ES256": "a key on P-256", "ES384": "a key on P-384", "ES512": "a key on P-521"}.get(
        algorithm, kinds[algorithm[0]]
    )
    for found, key in (("an RSA key", RSA), ("a key on P-384", CURVED["ES384"]), ("an Ed25519 key", EDWARDS)):
        said = compiled(algorithm, public=pem(key.public_key()))[1]
        assert said == ([] if found == own else [f"this is {found} (expected {own}, for {algorithm})"])


def test_keys_of_no_kind_that_is_known() -> None:
    key = ed448.Ed448PrivateKey.generate().public_key()
    assert compiled("EdDSA", public=pem(key))[1] == [
        "this is a key of another kind (expected an RSA, elliptic-curve or Ed25519 key)"
    ]


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512", "EdDSA"])
def test_der_and_bare_base64_are_named(algorithm: str) -> None:
    key = private(algorithm).public_key()
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert "-inform DER" in compiled(algorithm, public=der)[1][0]
    assert "without its first and last line" in compiled(algorithm, public=b"".join(pem(key).splitlines()[1:-1]))[1][0]


# Issuers and audiences.


@pytest.mark.parametrize(
    ("spec", "claims", "taken"),
    [
        ({"issuer": ("a", "b")}, {"iss": "b"}, True),
        ({"issuer": ("a", "b")}, {"iss": "ab"}, False),
        ({"issuer": ("a", "b")}, {"iss": "c"}, False),
        ({"issuer": ("a", "b")}, {}, False),
        ({"issuer": ("a", "b")}, {"iss": ["a"]}, False),
        ({"audience": ("a", "b")}, {"aud": "b"}, True),
        ({"audience": ("a", "b")}, {"aud": ["x", "a"]}, True),
        ({"audience": ("a", "b")}, {"aud": ["x", "y"]}, False),
        ({"audience": ("a", "b")}, {"aud": "x"}, False),
        ({"audience": ("a", "b")}, {"aud": []}, False),
        ({"audience": ("a", "b")}, {}, False),
    ],
)
def test_one_of_several(spec: dict[str, Any], claims: dict[str, Any], taken: bool) -> None:
    made = compile_verifier("main", Jwt(algorithm=("HS256",), secret=(Secret("s", SECRETS["HS256"]),), **spec), [], [])
    assert made is not None
    signed = b64(b'{"alg":"HS256"}') + b"." + b64(json.dumps({**CLAIMS, **claims}).encode())
    assert (made.verify(signed + b"." + b64(sign("HS256", signed)), NOW) == ALICE) == taken


# Keys that are fetched.


@pytest.mark.parametrize(
    ("authorities", "said"),
    [
        (b"garbage", "this is not a certificate in PEM form (expected -----BEGIN CERTIFICATE-----)"),
        (pem(RSA.public_key()), "this is not a certificate in PEM form (expected -----BEGIN CERTIFICATE-----)"),
        (
            b"-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY-----\n",
            "this holds a private key (expected certificates alone: -----BEGIN CERTIFICATE-----)",
        ),
    ],
)
def test_what_is_no_authority(authorities: bytes, said: str) -> None:
    problems: list[Problem] = []
    spec = Jwt(algorithm=("RS256",), jwks=KeySetUrl("https://idp.test"), jwks_ca=Secret("file:ca.pem", authorities))
    assert compile_verifier("main", spec, problems, []) is None
    assert problems == [Problem(("jwt", "main", "jwks_ca"), said)]


def test_a_verifier_begins_without_the_keys_that_are_fetched() -> None:
    spec = Jwt(algorithm=("ES256",), jwks=KeySetUrl("https://idp.test"))
    made = compile_verifier("main", spec, [], [])
    assert made is not None
    assert made.verify(token("ES256", kid="e"), NOW) is AUTH_UNKNOWN_KEY
    keys, said = compile_key_set("main", spec, json.dumps({"keys": [jwk("ES256", kid="e"), jwk("RS256")]}).encode())
    assert said == []
    assert keys is not None
    made.replace(keys)
    assert made.verify(token("ES256", kid="e"), NOW) == ALICE
    assert compile_key_set("main", spec, b"{}") == (None, ['this is not a JSON Web Key Set (expected {"keys": [...]})'])
