"""How a route authenticates: by bearer token, by API key, or by the first of several that a request has.

A credential knows where it is looked for, who checks it, and what a 401 says (RFC 9110 section 11.6.1).
"""

from collections.abc import Callable
from typing import Final

from rawgate.errors import API_KEY_EXPIRED, API_KEY_UNKNOWN, AUTH_MALFORMED, AUTH_MISSING, Reason
from rawgate.message import Identity, RequestHead
from rawgate.policy.api_keys import ApiKeyTable
from rawgate.policy.fetched_keys import FetchedKeys
from rawgate.policy.jwt import JwtVerifier
from rawgate.policy.places import Place

Authenticate = Callable[[RequestHead, bytes, float], Identity | Reason]
"""`(head, query with its "?", wall)` → the caller, or the reason of the refusal."""
Verify = Callable[[bytes, float], Identity | Reason]
"""`(token, wall)` → the caller, or the reason of the refusal."""
Lookup = Callable[[bytes], Identity | None]
"""An API key → the caller, or None for an unknown key."""


class Credential:
    """How a route authenticates.

    name      "jwt.NAME" or "api_keys.NAME"; of several, the first
    by        the verifier or key table
    check     the step
    missing   field lines of a 401 for a request without a credential (RFC 9110 section 11.6.1)
    invalid   field lines of every other 401 (RFC 6750 section 3.1)
    fetched   of a verifier whose keys are fetched
    places    where the credential may be
    parts     the credentials that are asked in turn, or () for one alone
    """

    __slots__ = ("by", "check", "fetched", "invalid", "missing", "name", "parts", "places")

    def __init__(
        self,
        name: str,
        by: JwtVerifier | ApiKeyTable,
        check: Authenticate,
        missing: bytes,
        invalid: bytes,
        places: tuple[Place, ...],
        parts: "tuple[Credential, ...]" = (),
        fetched: FetchedKeys | None = None,
    ) -> None:
        self.name: Final = name
        self.by: Final = by
        self.check: Final = check
        self.missing: Final = missing
        self.invalid: Final = invalid
        self.fetched: Final = fetched
        self.places: Final = places
        self.parts: Final = parts

    def checked_by(self, check: Authenticate) -> "Credential":
        """The same with another step."""
        return Credential(self.name, self.by, check, self.missing, self.invalid, self.places, self.parts, self.fetched)

    def deciding(self, head: RequestHead, query: bytes, wall: float) -> "Credential":
        """The one of `parts` that decides on a request."""
        found = (part for part in self.parts if part.check(head, query, wall) is not AUTH_MISSING)
        return next(found, self)

    def challenge(self, reason: Reason) -> bytes:
        """The field lines of a 401 for this reason."""
        if reason is AUTH_MISSING:
            return self.missing
        if not self.parts:
            return self.invalid
        is_key = reason.code.startswith("api_key")
        return b"".join(
            part.invalid if isinstance(part.by, ApiKeyTable) is is_key else part.missing for part in self.parts
        )


def bearer(
    name: str, verifier: JwtVerifier, verify: Verify, places: tuple[Place, ...], fetched: FetchedKeys | None = None
) -> Credential:
    """A credential by bearer token (RFC 6750). `verify` is `verifier.verify` or a wrapper of it; `places`: besides
    Authorization, or in its place; `fetched`: where its keys are fetched."""

    def check_header(head: RequestHead, query: bytes, wall: float) -> Identity | Reason:
        value = head.parsed.get(b"authorization")
        if value is None:
            return AUTH_MISSING
        # RFC 9110 section 11.1 and RFC 6750 section 2.1: the scheme in any case, 1*SP, the token.
        if value.startswith(b"Bearer "):
            token = value[7:]
        else:
            scheme, _, token = value.partition(b" ")
            if scheme.lower() != b"bearer":
                return AUTH_MISSING
        return verify(token.lstrip(b" ") if token.startswith(b" ") else token, wall)

    def check(head: RequestHead, query: bytes, wall: float) -> Identity | Reason:
        for place in places:
            if place.find is None:
                found = check_header(head, query, wall)
                if found is not AUTH_MISSING:
                    return found
                continue
            token = place.find(head, query)
            if token is not None:
                # Readers differ in which of two they believe.
                return verify(token, wall) if token else AUTH_MALFORMED
        return AUTH_MISSING

    challenge = b'WWW-Authenticate: Bearer realm="rawgate"'
    only_header = len(places) == 1 and places[0].find is None
    step = check_header if only_header else check
    missing, invalid = challenge + b"\r\n", challenge + b', error="invalid_token"\r\n'
    return Credential(name, verifier, step, missing, invalid, places, (), fetched)


def api_key(name: str, table: ApiKeyTable, lookup: Lookup, places: tuple[Place, ...]) -> Credential:
    """A credential by API key. `lookup` is `table.lookup` or a wrapper of it; `places`: besides its field."""
    header = table.header

    def check(head: RequestHead, query: bytes, wall: float) -> Identity | Reason:
        value = head.parsed.get(header)
        for place in places:
            if value is None and place.find is not None:
                value = place.find(head, query)
        if value is None:
            return AUTH_MISSING
        found = lookup(value)
        if found is None:
            return API_KEY_UNKNOWN
        return found if wall < found.until else API_KEY_EXPIRED

    challenge = b"WWW-Authenticate: ApiKey\r\n"
    return Credential(name, table, check, challenge, challenge, places)


def first_of(parts: tuple[Credential, ...]) -> Credential:
    """A credential by any of several verifiers: the first of them that the request has a credential for decides."""

    def check(head: RequestHead, query: bytes, wall: float) -> Identity | Reason:
        for part in parts:
            found = part.check(head, query, wall)
            if isinstance(found, Identity):
                return Identity(found.kind, found.name, found.until, found.claims, part.name, found.since)
            if found is not AUTH_MISSING:
                return found
        return AUTH_MISSING

    missing = b"".join(dict.fromkeys(part.missing for part in parts))
    places = tuple(place for part in parts for place in part.places)
    return Credential(parts[0].name, parts[0].by, check, missing, missing, places, parts)
