"""From `[jwt.NAME]` to a `JwtVerifier`: its keys from secrets, PEMs and key sets, each with its algorithm."""

from collections.abc import Sequence

from rawgate.config.model import Jwt, KeySetUrl, Secret
from rawgate.errors import Key, Problem
from rawgate.policy.algorithms import Check, PublicKey, key_fault, public_check, secret_check, secret_size
from rawgate.policy.jwks import read_jwks
from rawgate.policy.jwt import JwtVerifier, KeySet
from rawgate.policy.key_material import authorities_fault, read_pem, secret_doubt, secret_fault, secret_octets

Keyed = tuple[str | None, str, Check]
"""(`kid` or None, algorithm, check)."""


def _paths(base: tuple[Key, ...], secrets: Sequence[Secret]) -> list[tuple[Key, ...]]:
    """The key path of each secret; a single one may stand in the file without brackets."""
    return [base] if len(secrets) == 1 else [(*base, position) for position in range(len(secrets))]


def _secrets(name: str, spec: Jwt, problems: list[Problem], warnings: list[Problem]) -> list[Keyed]:
    keys: list[Keyed] = []
    algorithm = spec.algorithm[0]
    for path, secret in zip(_paths(("jwt", name, "secret"), spec.secret), spec.secret, strict=True):
        octets = secret_octets(secret, spec.secret_encoding)
        fault = octets if isinstance(octets, str) else secret_fault(octets, algorithm, secret_size(algorithm))
        if fault is not None:
            problems.append(Problem(path, fault))
        elif isinstance(octets, bytes):
            keys.append((None, algorithm, secret_check(algorithm, octets)))
            if octets == secret.value and (doubt := secret_doubt(octets)):
                warnings.append(Problem(path, f"{secret.source} {doubt}"))
    return keys


def _public_keys(name: str, spec: Jwt, problems: list[Problem]) -> list[Keyed]:
    keys: list[Keyed] = []
    algorithm = spec.algorithm[0]
    for path, pem in zip(_paths(("jwt", name, "public_key"), spec.public_key), spec.public_key, strict=True):
        key = read_pem(pem.value)
        fault = key if isinstance(key, str) else key_fault(algorithm, key, "this one")
        if fault:
            problems.append(Problem(path, fault))
        elif not isinstance(key, str):
            keys.append((None, algorithm, public_check(algorithm, key)))
    return keys


def _published_keys(
    name: str, spec: Jwt, document: bytes, problems: list[Problem], warnings: list[Problem]
) -> list[Keyed]:
    path: tuple[Key, ...] = ("jwt", name, "jwks")
    fit: list[Keyed] = []
    faults: list[str] = []
    for kid, algorithm, key in read_jwks(document, spec.algorithm, path, problems, warnings):
        fault = key_fault(algorithm, key, f"that of kid {kid!r}")
        if fault:
            faults.append(fault)
        else:
            fit.append((kid, algorithm, public_check(algorithm, key)))
    if fit:
        warnings.extend(Problem(path, f"{fault}; it is passed over") for fault in faults)
    else:
        problems.extend(Problem(path, fault) for fault in faults)
    return fit


def published_keys(name: str, spec: Jwt) -> list[tuple[str | None, str, PublicKey]]:
    """The keys of the set that `spec` has as a file, in its order, as (`kid` or None, algorithm, key)."""
    if not isinstance(spec.jwks, Secret):
        return []
    return read_jwks(spec.jwks.value, spec.algorithm, ("jwt", name, "jwks"), [], [])


def compile_key_set(name: str, spec: Jwt, document: bytes) -> tuple[KeySet | None, list[str]]:
    """The keys of a set that was fetched, or None where no key of it can be used; and what is wrong with the set, or
    with the keys that are skipped, a sentence each."""
    problems: list[Problem] = []
    warnings: list[Problem] = []
    keys = _published_keys(name, spec, document, problems, warnings)
    said = [found.message for found in (*problems, *warnings)]
    return (KeySet(spec.algorithm, keys) if keys and not problems else None), said


def compile_verifier(
    name: str, spec: Jwt, problems: list[Problem], warnings: list[Problem], kept: tuple[str, ...] = ()
) -> JwtVerifier | None:
    """The verifier of `[jwt.NAME]`, or None; without keys where they are fetched. Faults of its keys are appended to
    `problems`; keys of a set that are skipped, and secrets that look like something else, to `warnings`. `kept`: names
    of the claims that routes look at."""
    if isinstance(spec.jwks, KeySetUrl):
        if spec.jwks_ca is not None and (fault := authorities_fault(spec.jwks_ca.value)):
            problems.append(Problem(("jwt", name, "jwks_ca"), fault))
            return None
        return JwtVerifier(spec, KeySet(spec.algorithm, ()), kept)
    before = len(problems)
    keys = _secrets(name, spec, problems, warnings) + _public_keys(name, spec, problems)
    if spec.jwks is not None:
        keys += _published_keys(name, spec, spec.jwks.value, problems, warnings)
    return JwtVerifier(spec, KeySet(spec.algorithm, keys), kept) if keys and len(problems) == before else None
