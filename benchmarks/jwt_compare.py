"""rawgate's check of a token beside PyJWT's and joserfc's: `.venv/bin/python benchmarks/jwt_compare.py`.

All verify the same tokens, each of them new: signature, `exp` (required, 30 s of leeway), `sub`. Each library has read
and prepared its key beforehand, and must refuse the same tokens signed with another key. rawgate is measured once more
with tokens that it has seen: it remembers whole tokens, so it only checks the time.

    µs a token       CPU time, best of ROUNDS rounds in which all take turns, with the loop around them
"""

import secrets
import sys
import time
from collections.abc import Callable, Sequence

import jwt
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from joserfc import jwt as joserfc_jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey, RSAKey
from suite.tokens import hs256_tokens, rs256_tokens, rsa_key

from rawgate.config.model import Jwt, Secret
from rawgate.errors import Reason
from rawgate.policy.jwt import JwtVerifier
from rawgate.policy.verifiers import compile_verifier

TOKENS = 2000
ROUNDS = 7
LEEWAY = 30

Verify = Callable[[bytes], str | None]
"""Token → its subject; None: refused."""


def rawgate(algorithm: str, key: bytes, *, remembering: bool) -> Verify:
    verifier = _verifier(algorithm, key)
    if not remembering:
        # A capacity of 0 turns remembering off.
        verifier.keys.memory.capacity = 0

    def verify(token: bytes) -> str | None:
        # The gateway reads the clock once per event; the other libraries read it for each token.
        found = verifier.verify(token, time.time())
        return None if isinstance(found, Reason) else found.name

    return verify


def _verifier(algorithm: str, key: bytes) -> JwtVerifier:
    secret = (Secret("memory", key),)
    spec = (
        Jwt(algorithm=("HS256",), secret=secret)
        if algorithm == "HS256"
        else Jwt(algorithm=("RS256",), public_key=secret)
    )
    verifier = compile_verifier("main", spec, [], [])
    if verifier is None:
        raise SystemExit("jwt_compare: the verifier does not compile")
    return verifier


def pyjwt(algorithm: str, key: bytes) -> Verify:
    prepared = jwt.get_algorithm_by_name(algorithm).prepare_key(
        key if algorithm == "HS256" else load_pem_public_key(key)
    )

    def verify(token: bytes) -> str | None:
        try:
            claims = jwt.decode(
                token, prepared, algorithms=[algorithm], leeway=LEEWAY, options={"require": ["exp", "sub"]}
            )
        except jwt.InvalidTokenError:
            return None
        return str(claims["sub"])

    return verify


def joserfc(algorithm: str, key: bytes) -> Verify:
    prepared = OctKey.import_key(key) if algorithm == "HS256" else RSAKey.import_key(key)
    registry = joserfc_jwt.JWTClaimsRegistry(leeway=LEEWAY, exp={"essential": True}, sub={"essential": True})

    def verify(token: bytes) -> str | None:
        try:
            claims = joserfc_jwt.decode(token, prepared, algorithms=[algorithm]).claims
            registry.validate(claims)
        except JoseError:
            return None
        return str(claims["sub"])

    return verify


def microseconds(verifiers: dict[str, Verify], tokens: Sequence[bytes]) -> dict[str, float]:
    """CPU time for one token, for each verifier."""
    best = dict.fromkeys(verifiers, float("inf"))
    for _ in range(ROUNDS):
        for name, verify in verifiers.items():
            began = time.process_time()
            for token in tokens:
                verify(token)
            best[name] = min(best[name], time.process_time() - began)
    return {name: seconds / len(tokens) * 1e6 for name, seconds in best.items()}


def measure(algorithm: str, key: bytes, tokens: Sequence[bytes], forged: Sequence[bytes]) -> None:
    verifiers = {
        "rawgate": rawgate(algorithm, key, remembering=False),
        "PyJWT": pyjwt(algorithm, key),
        "joserfc": joserfc(algorithm, key),
        "rawgate, seen before": rawgate(algorithm, key, remembering=True),
    }
    for name, verify in verifiers.items():
        if any(verify(token) for token in forged) or not all(verify(token) for token in tokens):
            raise SystemExit(f"jwt_compare: {name} accepts forged tokens, or refuses good ones")
    figures = microseconds(verifiers, tokens)
    for name, figure in figures.items():
        times = figure / figures["rawgate"]
        sys.stdout.write(f"| {algorithm} | {name} | {figure:,.1f} | {times:.2f} |\n")


def main() -> None:
    secret, other = secrets.token_hex(32).encode(), secrets.token_hex(32).encode()
    (private, public), (other_private, _) = rsa_key(), rsa_key()
    sys.stdout.write("| algorithm | | µs a token | ÷ rawgate, new token |\n|---|---|--:|--:|\n")
    measure("HS256", secret, hs256_tokens(secret, TOKENS), hs256_tokens(other, 10))
    measure("RS256", public, rs256_tokens(private, TOKENS), rs256_tokens(other_private, 10))


if __name__ == "__main__":
    main()
