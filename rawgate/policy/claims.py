"""What a verified credential says of its caller: finding a claim, telling it as text, and asking something of it.

Claims come as identity providers write them (RFC 7519 section 4): a string, a list, words with blanks between
(`scope`, RFC 8693 section 4.2; Entra ID calls it `scp`), objects inside objects (Keycloak's `realm_access.roles`),
names with dots and slashes in them (Auth0's "https://example.com/roles") or colons (Cognito's "cognito:groups").
"""

from collections.abc import Callable, Mapping, Sequence

LONGEST = 4096
"""Octets of a claim as the value of a field; a longer one is none. Servers take heads of 8 KiB and more."""

Find = Callable[[Mapping[str, object]], object]
"""All claims → one of them; None if there is none."""
Tell = Callable[[Mapping[str, object]], str]
"""All claims → one of them as the value of a header field; "" if there is none that fits."""
Require = Callable[[Mapping[str, object], str], str]
"""`(all claims, name of the client certificate)` → "" if all that is asked of them holds; else the name of the first
claim of which it does not, or `CERTIFICATE`."""
CERTIFICATE = "certificate.name"
"""What `require` calls the name of the verified client certificate: see `message.Peer`. It is no claim, so a claim of
this name cannot be asked for."""
Wanted = str | int | bool
_WORDS = frozenset(("scope", "scp"))
"""Claims whose text is a list of words."""


def roots(name: str) -> list[str]:
    """The names of the claims at the top of a token in which the claim of this name may be."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]


def compile_find(name: str) -> Find:
    """Finds a claim by its name. Dots lead into objects; of names that have dots themselves the longest that is there
    counts."""
    if "." not in name:
        return lambda claims: claims.get(name)
    parts = name.split(".")
    shorter = range(len(parts) - 1, 0, -1)
    ways: list[tuple[str, Find | None]] = [(name, None)]
    ways += [(".".join(parts[:count]), compile_find(".".join(parts[count:]))) for count in shorter]

    def find(claims: Mapping[str, object]) -> object:
        for first, inner in ways:
            found = claims.get(first)
            if inner is None and found is not None:
                return found
            if inner is not None and isinstance(found, dict):
                return inner(found)
        return None

    return find


def compile_tell(name: str) -> Tell:
    """Tells a claim as text. It is the issuer's word, not the gateway's, so only what fits in a header field is told:
    it holds no control or format character, so it can add no line, and has no blank at its ends."""
    find = compile_find(name)

    def tell(claims: Mapping[str, object]) -> str:
        text = as_text(find(claims))
        return text if _is_fit(text) else ""

    return tell


def as_text(claim: object) -> str:
    """A claim as text: a string, a number, true or false; of a list of those its members with commas between. "" for
    what cannot be told so: an object, or a list with a member that is empty or could be read as two."""
    if isinstance(claim, str):
        return claim
    if isinstance(claim, bool):
        return "true" if claim else "false"
    if isinstance(claim, int | float):
        return str(claim)
    if not isinstance(claim, list):
        return ""
    members = ["" if isinstance(member, list) else as_text(member) for member in claim]
    is_clear = all(member and "," not in member and member == member.strip() for member in members)
    return ",".join(members) if is_clear else ""


def _is_fit(text: str) -> bool:
    return (
        0 < len(text) <= LONGEST
        and text.isprintable()
        and not text[0].isspace()
        and not text[-1].isspace()
        and (text.isascii() or len(text.encode()) <= LONGEST)
    )


def compile_require(wanted: Mapping[str, Sequence[Wanted]]) -> Require | None:
    """Asks that each claim has one of the values that are listed for it: it is that value, or a list in which it is. A
    value and a claim of another kind are never the same: "1" is not 1, and true is not 1. The name of the certificate
    has one of the values, or is any where true is one of them. None if nothing is asked."""
    if not wanted:
        return None
    names = wanted.get(CERTIFICATE, ())
    rules = [
        (name, compile_find(name), frozenset((type(value), value) for value in values), name in _WORDS)
        for name, values in wanted.items()
        if name != CERTIFICATE
    ]

    def require(claims: Mapping[str, object], certificate: str) -> str:
        if names and certificate not in names and not (certificate and True in names):
            return CERTIFICATE
        for name, find, values, words in rules:
            found = find(claims)
            if isinstance(found, str):
                members: Sequence[object] = found.split(" ") if words else (found,)
            else:
                members = found if isinstance(found, list) else (found,)
            if not any((type(member), member) in values for member in members if isinstance(member, str | int)):
                return name
        return ""

    return require
