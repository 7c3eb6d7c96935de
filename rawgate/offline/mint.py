"""Mints a token for one of the configuration's verifiers, and asks that verifier whether it would accept it."""

from collections.abc import Mapping

from msgspec import Struct

from rawgate.config.model import Jwt, KeySetUrl, Secret
from rawgate.errors import AUTH_BAD_SIGNATURE, AUTH_UNKNOWN_KEY, RawgateError, Reason
from rawgate.policy.algorithms import PublicKey, key_fault
from rawgate.policy.jwt import JwtVerifier
from rawgate.policy.key_material import secret_octets
from rawgate.policy.signing import Signer, SigningError, mint, private_signer, secret_signer
from rawgate.policy.verifiers import published_keys
from rawgate.serve.load import Loaded


class MintError(RawgateError):
    """No token can be made. One sentence: why, and what to do."""


class Minted(Struct, frozen=True):
    """A token. `warning`: why the gateway would refuse it now; "" when it would accept it."""

    token: str
    warning: str


def mint_token(
    loaded: Loaded, name: str, claims: Mapping[str, object], lifetime: float, key: Secret | None, wall: float
) -> Minted:
    """A token for `[jwt.NAME]`, with the issuer and audience that the configuration expects.

    claims    added to those, or in their place: that is how a token with a wrong issuer is made
    lifetime  seconds from `wall` to the expiry; negative for a token that has expired
    key       the private key in PEM form; None where the configuration has a secret
    wall      Unix seconds
    Raises MintError, SigningError.
    """
    spec = loaded.config.jwt.get(name)
    if spec is None:
        known = ", ".join(loaded.config.jwt) or "none"
        raise MintError(f"there is no [jwt.{name}] in this configuration (there is: {known})")
    token = mint(_signer(name, spec, key), _expected(spec) | _dates(wall, lifetime) | dict(claims))
    verifier = loaded.gate.credentials[f"jwt.{name}"].by
    found = verifier.verify(token, wall) if isinstance(verifier, JwtVerifier) else None
    if isinstance(spec.jwks, KeySetUrl):
        return Minted(token.decode(), f"the keys of [jwt.{name}] are not fetched here: nobody has verified this token")
    return Minted(token.decode(), _warning(name, spec, found) if isinstance(found, Reason) else "")


def _signer(name: str, spec: Jwt, key: Secret | None) -> Signer:
    algorithms = " or ".join(spec.algorithm)
    if spec.secret:
        if key is not None:
            raise MintError(f"--key is for public keys; [jwt.{name}] is {algorithms} and signs with its own secret")
        octets = secret_octets(spec.secret[0], spec.secret_encoding)
        if isinstance(octets, str):
            raise MintError(octets)
        return secret_signer(spec.algorithm[0], octets)
    if key is None:
        what = f"[jwt.{name}] is {algorithms}, and a gateway holds no private key"
        raise MintError(f"{what} (expected --key file:PRIVATE.pem beside it)")

    def choose(public: PublicKey) -> tuple[str, str | None]:
        """As the key set says; else the first algorithm that the key fits."""
        for kid, algorithm, other in published_keys(name, spec):
            if other == public:
                return algorithm, kid
        faults = {algorithm: key_fault(algorithm, public, "this one") for algorithm in spec.algorithm}
        fitting = next((algorithm for algorithm, fault in faults.items() if not fault), None)
        if fitting is None:
            raise SigningError(faults[spec.algorithm[0]])
        return fitting, None

    return private_signer(key.value, choose)


def _expected(spec: Jwt) -> dict[str, object]:
    wanted = {"iss": spec.issuer[:1], "aud": () if "*" in spec.audience else spec.audience[:1]}
    return {name: value for name, values in wanted.items() for value in values}


def _dates(wall: float, lifetime: float) -> dict[str, object]:
    return {"iat": int(wall), "exp": int(wall + lifetime)}


def _warning(name: str, spec: Jwt, reason: Reason) -> str:
    if not spec.secret and reason in (AUTH_BAD_SIGNATURE, AUTH_UNKNOWN_KEY):
        return f"this key does not belong to a public key of [jwt.{name}]: the gateway refuses the token"
    return f"the gateway refuses this token: {reason.code}"
