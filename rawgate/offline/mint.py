"""Mints a token for one of the configuration's verifiers, and asks that verifier whether it would accept it."""

from collections.abc import Mapping

from msgspec import Struct

from rawgate.config.model import Jwt, Secret
from rawgate.errors import AUTH_BAD_SIGNATURE, AUTH_UNKNOWN_KEY, RawgateError, Reason
from rawgate.policy.jwks import read_jwks
from rawgate.policy.jwt import JwtVerifier, secret_octets
from rawgate.policy.signing import Signer, hs256, mint, rs256
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
    key       the RS256 private key in PEM form; None for HS256, whose secret the configuration has
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
    return Minted(token.decode(), _warning(name, spec, found) if isinstance(found, Reason) else "")


def _signer(name: str, spec: Jwt, key: Secret | None) -> Signer:
    if spec.algorithm == "HS256":
        if key is not None:
            raise MintError(f"--key is for RS256; [jwt.{name}] is HS256 and signs with its own secret")
        octets = secret_octets(spec.secret[0], spec.secret_encoding)
        if isinstance(octets, str):
            raise MintError(octets)
        return hs256(octets)
    if key is None:
        raise MintError(
            f"[jwt.{name}] is RS256, and a gateway holds no private key (expected --key file:PRIVATE.pem beside it)"
        )
    return rs256(key.value, read_jwks(spec.jwks.value, ("jwt", name, "jwks"), [], []) if spec.jwks is not None else [])


def _expected(spec: Jwt) -> dict[str, object]:
    wanted = {"iss": spec.issuer, "aud": None if spec.audience == "*" else spec.audience}
    return {name: value for name, value in wanted.items() if value is not None}


def _dates(wall: float, lifetime: float) -> dict[str, object]:
    return {"iat": int(wall), "exp": int(wall + lifetime)}


def _warning(name: str, spec: Jwt, reason: Reason) -> str:
    if spec.algorithm == "RS256" and reason in (AUTH_BAD_SIGNATURE, AUTH_UNKNOWN_KEY):
        return f"this key does not belong to a public key of [jwt.{name}]: the gateway refuses the token"
    return f"the gateway refuses this token: {reason.code}"
