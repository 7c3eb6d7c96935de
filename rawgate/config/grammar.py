"""Readers of text with a grammar: tokens, names, paths, field values, references.

They are as strict as the code that serves requests, so that what they accept can match a request. A prefix that no
normalised path has is an error, and not a route that silently never matches.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import date, time
from math import isfinite
from urllib.parse import quote

from rawgate.config.addresses import HOST, in_ascii
from rawgate.config.constraints import (
    Auth,
    Choice,
    ClaimRules,
    Failure,
    FieldValue,
    Json,
    Label,
    Location,
    Pathname,
    PathPrefix,
    PathTemplate,
    Reference,
    RequestLine,
    Statuses,
    TableName,
    Text,
    Token,
    TokenPlace,
)
from rawgate.config.context import Context
from rawgate.config.invalid import InvalidError, choice, method_meant, nearest, one_meant, pieces, plain, quoted, shown
from rawgate.config.reserved_names import FIELD, METHOD, NOT_MATCHED, USUAL_METHODS, read_as

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
TABLE_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
LABEL = re.compile(r"[!#-\[\]-~](?:[ !#-\[\]-~]{0,253}[!#-\[\]-~])?")
FIELD_VALUE = re.compile(r"(?:[!-~](?:[ -~]*[!-~])?)?")
_PATH_CHARACTERS = re.compile(r"(?:[^%\\\x00-\x20\x7f-\xa0]|%[0-9A-Fa-f]{2})*")
_ENCODED = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")  # RFC 3986 section 2.3
_DOT_SEGMENT = re.compile(r"/\.{1,2}(?=[;/]|$)")
STATUSES = re.compile(r" *[1-5][0-9]{2}(?: *- *[1-5][0-9]{2})?(?: *, *[1-5][0-9]{2}(?: *- *[1-5][0-9]{2})?)* *")
ORIGIN_FORM = re.compile(r"/[!-~]*")
_REQUEST_LINE = re.compile(rf"(?P<method>\S+) (?:(?:https?://(?P<host>{HOST})(?::[0-9]{{1,5}})?)?/[!-~]*|\*)")
_LISTED = 8


def text(constraint: Text, value: object, context: Context) -> str:
    """Printable text, not empty."""
    found = _string(value, constraint.expected)
    if not found:
        raise InvalidError("is empty", expected=constraint.expected)
    if not found.isprintable():
        raise InvalidError(f"{shown(found)} has a control character", expected=constraint.expected)
    return found


def label(constraint: Label, value: object, context: Context) -> str:
    """A route's name."""
    return _matching(LABEL, value, constraint.expected, "a name that fits in a header field")


def looked_at(name: str) -> str:
    """The name, in lower case, of a field by whose value requests are told apart. One that the gateway writes itself
    would be sent twice, and one with a credential is the caller's secret."""
    refused = dict(NOT_MATCHED)
    why = refused.get(name.lower()) or refused.get(read_as(name))
    if why:
        raise InvalidError(f"{quoted(name)} {why}", expected='"client", or another field')
    return name.lower()


def statuses(constraint: Statuses, value: object, context: Context) -> tuple[tuple[int, int], ...]:
    """Ranges of statuses, both ends included."""
    if isinstance(value, int) and not isinstance(value, bool):
        meant = quoted(str(value)) if STATUSES.fullmatch(str(value)) else ""
        raise InvalidError(f"{shown(value)} is not text", expected=constraint.expected, meant=meant)
    found = _string(value, constraint.expected)
    if not STATUSES.fullmatch(found):
        spelt = re.sub(r"([1-5])[xX]{2}", r"\g<1>00-\g<1>99", found)
        meant = quoted(spelt) if STATUSES.fullmatch(spelt) else ""
        raise InvalidError(f"{shown(found)} is no list of statuses", expected=constraint.expected, meant=meant)
    ranges = []
    for part in found.split(","):
        first, _, last = part.partition("-")
        ranges.append((int(first), int(last or first)))
    backwards = next((f"{first}-{last}" for first, last in ranges if first > last), "")
    if backwards:
        raise InvalidError(f"{quoted(backwards)} has its end before its beginning", expected=constraint.expected)
    if any(first < constraint.least for first, _ in ranges):
        which = "of interim responses" if constraint.least == 200 else "that are no failure of the service"
        raise InvalidError(f"{shown(found)} has statuses {which}", expected=f"{constraint.least} to 599")
    return tuple(ranges)


def statuses_text(ranges: Iterable[tuple[int, int]]) -> str:
    """Ranges as one writes them."""
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def table_name(constraint: TableName, value: object, context: Context) -> str:
    """The name of an upstream or a verifier."""
    return _matching(TABLE_NAME, value, constraint.expected, "a name")


def token(constraint: Token, value: object, context: Context) -> str:
    """A method, a field name or a protocol name; in lower case where the constraint says so."""
    found = _string(value, constraint.expected)
    if found in constraint.besides:
        return found
    if not TOKEN.fullmatch(found):
        raise InvalidError(
            f"{shown(found)} is not a token", expected=constraint.expected, meant=_token_meant(constraint, found)
        )
    refused = dict(constraint.refused)
    why = refused.get(found.lower()) or refused.get(read_as(found))
    if why:
        raise InvalidError(f"{quoted(found)} {why}")
    if "*" in found:
        _check_family(constraint, found)
    return found.lower() if constraint.lower else found


def _check_family(constraint: Token, found: str) -> None:
    """Check a name with a star: where families are possible, "x-team-*" stands for all names that begin with
    "x-team-"."""
    if not constraint.family:
        raise InvalidError(
            f"{quoted(found)} has a star, which stands for nothing here", expected=f"{constraint.what}, by name"
        )
    if found.index("*") != len(found) - 1 or len(found) == 1:
        raise InvalidError(f"{quoted(found)} is no family of names", expected='one star, at the end, as in "x-team-*"')
    for name, why in constraint.refused:
        if name.startswith(read_as(found[:-1])):
            raise InvalidError(f"{quoted(found)} takes {quoted(name)} too, which {why}")


def _token_meant(constraint: Token, found: str) -> str:
    """The names that were meant by "X-A:", "X-A: value" or "GET, POST", or ""."""
    if constraint.what == FIELD:
        name, colon, _ = found.partition(":")
        return quoted(name) if colon and TOKEN.fullmatch(name) else ""
    names = [str(piece) for piece in pieces(found)]
    is_method = constraint.what == METHOD and all(name.upper() in USUAL_METHODS for name in names)
    return ", ".join(map(method_meant, names)) if names and is_method else ""


def field_value(constraint: FieldValue, value: object, context: Context) -> str:
    """A field value, which may be empty."""
    if isinstance(value, bool | int | float):
        raise InvalidError(f"{shown(value)} is not text", expected=constraint.expected, meant=quoted(shown(value)))
    if constraint.beyond_ascii and isinstance(value, str) and value.isprintable() and value == value.strip():
        return value
    return _matching(FIELD_VALUE, value, constraint.expected, "a field value")


def json_value(constraint: Json, value: object, context: Context) -> object:
    """A value as in JSON: text, numbers, true and false, lists and tables of them; null in a Python configuration."""
    if isinstance(value, Mapping):
        return {str(name): json_value(constraint, item, context) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(constraint, item, context) for item in value]
    if value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and isfinite(value)):
        return value
    expected = "the number of seconds since 1970" if isinstance(value, date | time) else constraint.expected
    raise InvalidError(f"{shown(value)} is not JSON", expected=expected)


def path_prefix(constraint: PathPrefix, value: object, context: Context) -> str:
    """A path as it is after normalisation. Characters beyond ASCII stand for their encoded UTF-8 octets."""
    found = _string(value, constraint.expected)
    _no_pattern(constraint, found)
    if not found.startswith("/"):
        meant = quoted(f"/{found}") if _PLAIN_PATH.fullmatch(found) else ""
        raise InvalidError(f"{shown(found)} does not start with a slash", expected=constraint.expected, meant=meant)
    for sign, name in (("?", "a query"), ("#", "a fragment")):
        if sign in found:
            raise InvalidError(f"{shown(found)} has {name}", expected=constraint.expected)
    if not _PATH_CHARACTERS.fullmatch(found) or not found.isprintable():
        raise InvalidError(f"{shown(found)} has a character that no path has", expected="others written as %XX")
    _normalised(constraint, found, context)
    return found


NAME = re.compile(r"\{([a-z][a-z0-9_]*)\}")
"""A name in a path, a rewrite or a value."""
_NAMED_SEGMENT = re.compile(r"\{([^{}/]*?)(\*?)\}")


def path_template(constraint: PathTemplate, value: object, context: Context) -> str:
    """A whole path with names for segments: "/users/{id}", "/files/{rest*}"."""
    found = _string(value, constraint.expected)
    segments = found.split("/")[1:]
    names: list[str] = []
    plain = [""]
    for position, segment in enumerate(segments):
        named = _NAMED_SEGMENT.fullmatch(segment)
        plain.append("x" if named else segment)
        if named is None:
            if "{" in segment or "}" in segment:
                what = f"{quoted(segment)} is a segment with braces in it"
                raise InvalidError(what, expected="a name for a whole segment, or { as %7B")
            continue
        name, star = named.groups()
        if not NAME.fullmatch(f"{{{name}}}"):
            what = f"{quoted(name)} is not a name"
            raise InvalidError(what, expected="lower-case letters, digits and _, a letter first; * behind the last one")
        if star and position < len(segments) - 1:
            raise InvalidError(f"{quoted(segment)} stands for the rest of the path", expected="it at the end")
        if name in names or name in RESERVED:
            why = "stands twice in the path" if name in names else "stands for something else in values"
            raise InvalidError(f"{quoted(name)} {why}", expected="another name")
        names.append(name)
    if not found.startswith("/"):
        raise InvalidError(f"{shown(found)} does not start with a slash", expected=constraint.expected)
    path_prefix(PathPrefix("a path is no pattern; names in braces stand for segments"), "/".join(plain), context)
    return found


RESERVED = frozenset(("claim", "client_ip", "host", "path", "prefix", "query", "request_id", "route", "sub"))
"""Names that values have for parts of every request."""

_ORIGIN = re.compile(rf"https?://(?:\{{host\}}|{HOST})(?::[0-9]{{1,5}})?(?=[/?{{]|$)")


def location(constraint: Location, value: object, context: Context) -> str:
    """The target of a redirect. Only its start says where it leads, so names may not stand there, but for {host}."""
    found = _string(value, constraint.expected)
    if not re.fullmatch(r"[!-~]+", found) or "\\" in found:
        raise InvalidError(f"{shown(found)} is not a path or URL", expected=constraint.expected)
    origin = _ORIGIN.match(found)
    if origin is None and (not found.startswith("/") or found.startswith("//")):
        raise InvalidError(f"{shown(found)} is not a path or URL", expected=constraint.expected)
    rest = found[origin.end() :] if origin else found
    if origin and rest.startswith("{") and not rest.startswith("{path}"):
        what = f"{shown(found)} lets the request say which host it is"
        raise InvalidError(what, expected="a slash or {path} after the host")
    for left in re.findall(r"\{[^}]*\}?|\}", NAME.sub("", rest)):
        raise InvalidError(f"{quoted(left)} is not a name in braces", expected=constraint.expected)
    return found


_PLAIN_PATH = re.compile(r"(?:[A-Za-z0-9_~-]+(?:/[A-Za-z0-9._~/-]*)?)?")
# What stands before and behind the path in patterns of nginx ("~ ^/api", "= /api"), Kong ("~/api$") and Traefik.
_BEFORE = re.compile(r"(?:\^~|~\*|[~=])?\s*\^?(?=/)|(?:Path|PathPrefix)\([`'\"](?=/)")
_BEHIND = re.compile(r"(?:/?\(?/?\.?\*+\)?|/?\(\.\+\)|/?\.\+|\(/\.\*\)\?|\(/\|\$\)|[`'\"]\))?\??\$?\Z")
_REFERENCE = re.compile(r"\$(?:[1-9]|\{\w+\})|\\(?:[1-9]|g<)")


def _no_pattern(constraint: PathPrefix, found: str) -> None:
    """Refuse what other products read as a pattern. A literal star can be written %2A, a literal dollar sign %24."""
    if _REFERENCE.search(found):
        what = f"{shown(found)} refers to a group, and there is no pattern"
        raise InvalidError(what, expected='{ pattern = "…", to = "…" }')
    before = _BEFORE.match(found)
    start = before.end() if before else 0
    if not start and "*" not in found and not found.endswith("/?$"):
        return
    if found == "*":
        raise InvalidError(f"{shown(found)} is a pattern: {constraint.rest}", meant='"/"')
    end = _BEHIND.search(found, start)
    path = found[start : end.start() if end else len(found)].rstrip("/") or "/"
    meant = quoted(path) if before and _SURE_PATH.fullmatch(path) else ""
    expected = "" if meant else 'a path such as "/api/users", a star in it as %2A'
    raise InvalidError(f"{shown(found)} is a pattern: {constraint.rest}", expected=expected, meant=meant)


_SURE_PATH = re.compile(r"/[A-Za-z0-9._~/-]*")


def pathname(constraint: Pathname, value: object, context: Context) -> str:
    """A path, with or without a query."""
    return _matching(ORIGIN_FORM, value, constraint.expected, "a path")


def request_line(constraint: RequestLine, value: object, context: Context) -> str:
    """A method and a target: "GET /x"."""
    found = _string(value, constraint.expected)
    match = _REQUEST_LINE.fullmatch(found)
    if match is None or not TOKEN.fullmatch(match["method"]):
        without_version, with_method = found.removesuffix(" HTTP/1.1"), f"GET {found}"
        meant = without_version if without_version != found else with_method if found.startswith("/") else ""
        meant = meant or _line_in_ascii(found)
        is_one = meant and _REQUEST_LINE.fullmatch(meant)
        proposal = quoted(meant) if is_one else ""
        raise InvalidError(f"{shown(found)} is not a method and a target", expected=constraint.expected, meant=proposal)
    return found


def _line_in_ascii(text: str) -> str:
    """What a browser sends for a request line with letters beyond ASCII, or ""."""
    found = re.fullmatch(r"(\S+ )(?:(https?://)([^/:]+)(:[0-9]+)?)?(/\S*)", text)
    if text.isascii() or found is None:
        return ""
    method, scheme, host, port, path = (part or "" for part in found.groups())
    return f"{method}{scheme}{in_ascii(host) or host}{port}{quote(path, safe=_LEFT_AS_IT_IS)}"


_LEFT_AS_IT_IS = "".join(chr(code) for code in range(0x21, 0x7F))


def reference(constraint: Reference, value: object, context: Context) -> str:
    """The name of something that the configuration has."""
    found = _string(value, constraint.expected)
    names = context.names.get(constraint.to)
    if names is not None and found not in names:
        if constraint.to == "upstreams" and "://" in found:
            what = f"{quoted(found)} is where a service is, and not {constraint.expected}"
            expected = f"[upstreams.NAME] with targets = [{quoted(found)}], and NAME here"
            raise InvalidError(what, expected=expected, fallback=found)
        raise _unknown(f"{quoted(found)} is not {constraint.expected}", found, names, fallback=found)
    return found


def auth(constraint: Auth, value: object, context: Context) -> str | tuple[str, ...]:
    """ "none", or the kind and the name of a verifier that the configuration has; or several in a list."""
    if value is False:
        raise InvalidError("false is not text", expected=constraint.expected, meant='"none"')
    if not isinstance(value, list | tuple):
        return _verifier(constraint, value, context)
    if not value:
        raise InvalidError("is empty", expected=constraint.expected)
    names = tuple(_verifier(constraint, each, context) for each in value)
    if len(names) > 1 and "none" in names:
        # As Kong's `anonymous` it would let everybody in who leaves the credential out.
        what = '"none" stands beside a verifier, and would let in whoever leaves the credential out'
        raise InvalidError(what, expected="a route of its own for those", fallback="none")
    for position, name in enumerate(names):
        if name in names[:position]:
            raise InvalidError(f"{quoted(name)} stands twice in the list", expected="each only once", fallback="none")
    return names if len(names) > 1 else names[0]


def _verifier(constraint: Auth, value: object, context: Context) -> str:
    found = _string(value, constraint.expected)
    kind, dot, name = found.partition(".")
    if found == "none" or (dot and kind in ("jwt", "api_keys") and name in context.names.get(kind, (name,))):
        return found
    known = [f"{kind}.{name}" for kind in ("jwt", "api_keys") for name in context.names.get(kind, ())]
    for meant in known:
        if meant.partition(".")[2] == found:
            raise InvalidError(f"{quoted(found)} lacks its kind", meant=quoted(meant), fallback=found)
    of_kind = [meant for meant in known if plain(meant.partition(".")[0]).rstrip("s") == plain(found).rstrip("s")]
    if len(of_kind) == 1:
        raise InvalidError(f"{quoted(found)} lacks its name", meant=quoted(of_kind[0]), fallback=found)
    if found.lower() in _OPEN:
        raise InvalidError(f"{quoted(found)} is not a verifier", meant='"none"', fallback=found)
    raise _unknown(f"{quoted(found)} is not a verifier", found, [*known, "none"], fallback=found)


def token_place(constraint: TokenPlace, value: object, context: Context) -> str:
    """A place of tokens; the names of cookies are tokens (RFC 6265 section 4.1.1)."""
    found = _string(value, constraint.expected)
    kind, _, name = found.partition(":")
    if found in ("header", "subprotocol"):
        return found
    if kind == "cookie" and TOKEN.fullmatch(name):
        return found
    if kind == "query" and name and name.isprintable() and not re.search(r"\s", name):
        return found
    meant = '"header"' if found.lower() in ("authorization", "bearer", "header:authorization") else ""
    raise InvalidError(f"{shown(found)} is no place of tokens", expected=constraint.expected, meant=meant)


def claim_rules(constraint: ClaimRules, value: object, context: Context) -> dict[str, tuple[str | int | bool, ...]]:
    """Claim → the values of which it must have one."""
    if not isinstance(value, Mapping):
        raise InvalidError(f"{shown(value)} is not a table", expected=constraint.expected)
    if not value:
        raise InvalidError("asks for nothing", expected=constraint.expected)
    found: dict[str, tuple[str | int | bool, ...]] = {}
    for name, item in value.items():
        if isinstance(item, Mapping):
            for inner, values in claim_rules(constraint, item, context).items():
                found[f"{name}.{inner}"] = values
            continue
        values = tuple(item) if isinstance(item, list | tuple) else (item,)
        if not values or not all(isinstance(one, str | int) and one != "" for one in values):
            raise InvalidError(
                f"{quoted(str(name))} asks for no value that a claim can have", expected="text, a number, true or false"
            )
        found[str(name)] = values
    return found


_OPEN = frozenset(("off", "no", "false", "open", "public", "anonymous", "disabled", "allow"))
"""What other products call a route that asks for no credential."""


def choose(constraint: Choice, value: object, context: Context) -> str:
    """One of the words of the constraint."""
    found = _string(value, constraint.expected)
    if found not in constraint.words:
        raise InvalidError(f"{shown(found)} is not {constraint.expected}", meant=nearest(found, constraint.words))
    return found


def failure(constraint: Failure, value: object, context: Context) -> str | int:
    """A word of the constraint, or a status."""
    if isinstance(value, str):
        if value in constraint.words:
            return value
        is_status = value.isascii() and value.isdecimal() and constraint.least <= int(value) <= constraint.most
        meant = value if is_status else nearest(value, constraint.words)
        raise InvalidError(f"{shown(value)} is no failure", expected=constraint.expected, meant=meant)
    if isinstance(value, bool) or not isinstance(value, int) or not constraint.least <= value <= constraint.most:
        raise InvalidError(f"{shown(value)} is no failure", expected=constraint.expected)
    return value


def _string(value: object, expected: str) -> str:
    if not isinstance(value, str):
        raise InvalidError(f"{shown(value)} is not text", expected=expected, meant=one_meant(value))
    return value


def _matching(pattern: re.Pattern[str], value: object, expected: str, what: str) -> str:
    found = _string(value, expected)
    if not pattern.fullmatch(found):
        raise InvalidError(f"{shown(found)} is not {what}", expected=expected)
    return found


def _normalised(constraint: PathPrefix, found: str, context: Context) -> None:
    """Refuse a path that the normalisation of requests would change or refuse."""
    for encoded in _ENCODED.finditer(found):
        character = chr(int(encoded[1], 16))
        if _UNRESERVED.fullmatch(character):
            plain = _ENCODED.sub(_decode_unreserved, found)
            raise InvalidError(f"{shown(found)} writes {quoted(character)} as {encoded[0]}", meant=quoted(plain))
        if not character.isprintable() and character < "\x80":
            raise InvalidError(f"{shown(found)} has an encoded control character", expected=constraint.expected)
    if _DOT_SEGMENT.search(found):
        raise InvalidError(f"{shown(found)} has a dot segment", expected="a path without . and ..")
    if context.merge_slashes and "//" in found:
        raise InvalidError(f"{shown(found)} has an empty segment", meant=quoted(re.sub("//+", "/", found)))


def _decode_unreserved(encoded: re.Match[str]) -> str:
    character = chr(int(encoded[1], 16))
    return character if _UNRESERVED.fullmatch(character) else encoded[0]


def _unknown(what: str, found: str, names: Iterable[str], *, fallback: str) -> InvalidError:
    names = list(names)
    expected = choice(names) if 0 < len(names) <= _LISTED else ""
    return InvalidError(what, expected=expected, meant=nearest(found, names), fallback=fallback)
