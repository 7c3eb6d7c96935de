"""Text with a grammar: tokens, names, paths, field values, references.

Everything is checked as strictly as the request path would check it, so that what is accepted here can match there:
a prefix that no normalised path ever equals is an error and not a route that silently never answers.
"""

import re
from collections.abc import Iterable

from rawgate.config.addresses import HOST
from rawgate.config.marks import (
    Auth,
    Choice,
    FieldValue,
    Label,
    Pathname,
    PathPrefix,
    Reference,
    RequestLine,
    TableName,
    Text,
    Token,
)
from rawgate.config.scene import Scene
from rawgate.config.unfit import UnfitError, choice, nearest, quoted, shown

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
TABLE_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
LABEL = re.compile(r"[!#-\[\]-~](?:[ !#-\[\]-~]{0,253}[!#-\[\]-~])?")
FIELD_VALUE = re.compile(r"(?:[!-~](?:[ -~]*[!-~])?)?")
_PATH_CHARACTERS = re.compile(r"(?:[^%\\\x00-\x20\x7f-\xa0]|%[0-9A-Fa-f]{2})*")
_ENCODED = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")  # RFC 3986 section 2.3
_DOT_SEGMENT = re.compile(r"/\.{1,2}(?=[;/]|$)")
ORIGIN_FORM = re.compile(r"/[!-~]*")
_REQUEST_LINE = re.compile(rf"(?P<method>\S+) (?:(?:http://(?P<host>{HOST})(?::[0-9]{{1,5}})?)?/[!-~]*|\*)")
_LISTED = 8


def text(mark: Text, value: object, scene: Scene) -> str:
    """Printable text, not empty."""
    found = _string(value, mark.expected)
    if not found:
        raise UnfitError("is empty", expected=mark.expected)
    if not found.isprintable():
        raise UnfitError(f"{shown(found)} has a control character", expected=mark.expected)
    return found


def label(mark: Label, value: object, scene: Scene) -> str:
    """A route's name."""
    return _matching(LABEL, value, mark.expected, "a name that fits in a header field")


def table_name(mark: TableName, value: object, scene: Scene) -> str:
    """The name of an upstream or a verifier."""
    return _matching(TABLE_NAME, value, mark.expected, "a name")


def token(mark: Token, value: object, scene: Scene) -> str:
    """A method, field name or protocol name; lower-cased where the mark says so."""
    found = _matching(TOKEN, value, mark.expected, "a token")
    # "_" and "-" are one character to services behind CGI-like interfaces (RFC 3875 section 4.1.18).
    why = dict(mark.refused).get(found.lower().replace("_", "-"))
    if why:
        raise UnfitError(f"{quoted(found)} {why}")
    return found.lower() if mark.lower else found


def field_value(mark: FieldValue, value: object, scene: Scene) -> str:
    """A field value; empty is one."""
    return _matching(FIELD_VALUE, value, mark.expected, "a field value")


def path_prefix(mark: PathPrefix, value: object, scene: Scene) -> str:
    """A path as it looks after normalisation. Characters beyond ASCII stand for their UTF-8 octets, encoded."""
    found = _string(value, mark.expected)
    if not found.startswith("/"):
        meant = quoted(f"/{found}")
        raise UnfitError(f"{shown(found)} does not start with a slash", expected=mark.expected, meant=meant)
    for sign, name in (("?", "a query"), ("#", "a fragment")):
        if sign in found:
            raise UnfitError(f"{shown(found)} has {name}", expected=mark.expected)
    if not _PATH_CHARACTERS.fullmatch(found) or not found.isprintable():
        raise UnfitError(f"{shown(found)} has a character that no path has", expected="others written as %XX")
    _normalised(mark, found, scene)
    return found


def pathname(mark: Pathname, value: object, scene: Scene) -> str:
    """A path and maybe a query."""
    return _matching(ORIGIN_FORM, value, mark.expected, "a path")


def request_line(mark: RequestLine, value: object, scene: Scene) -> str:
    """ "METHOD target"."""
    found = _string(value, mark.expected)
    match = _REQUEST_LINE.fullmatch(found)
    if match is None or not TOKEN.fullmatch(match["method"]):
        raise UnfitError(f"{shown(found)} is not a method and a target", expected=mark.expected)
    return found


def reference(mark: Reference, value: object, scene: Scene) -> str:
    """The name of a thing that is there."""
    found = _string(value, mark.expected)
    names = scene.names.get(mark.to)
    if names is not None and found not in names:
        raise _unknown(f"{quoted(found)} is not {mark.expected}", found, names, instead=found)
    return found


def auth(mark: Auth, value: object, scene: Scene) -> str:
    """ "none", or kind and name of a verifier that is there."""
    found = _string(value, mark.expected)
    kind, dot, name = found.partition(".")
    if found == "none" or (dot and kind in ("jwt", "api_keys") and name in scene.names.get(kind, (name,))):
        return found
    known = [f"{kind}.{name}" for kind in ("jwt", "api_keys") for name in scene.names.get(kind, ())]
    for meant in known:
        if meant.partition(".")[2] == found:
            raise UnfitError(f"{quoted(found)} lacks its kind", meant=quoted(meant), instead=found)
    raise _unknown(f"{quoted(found)} is not a verifier", found, [*known, "none"], instead=found)


def choose(mark: Choice, value: object, scene: Scene) -> str:
    """One of the mark's words."""
    found = _string(value, mark.expected)
    if found not in mark.words:
        raise UnfitError(f"{shown(found)} is not {mark.expected}", meant=nearest(found, mark.words))
    return found


def _string(value: object, expected: str) -> str:
    if not isinstance(value, str):
        raise UnfitError(f"{shown(value)} is not text", expected=expected)
    return value


def _matching(pattern: re.Pattern[str], value: object, expected: str, what: str) -> str:
    found = _string(value, expected)
    if not pattern.fullmatch(found):
        raise UnfitError(f"{shown(found)} is not {what}", expected=expected)
    return found


def _normalised(mark: PathPrefix, found: str, scene: Scene) -> None:
    """Refuse what the request path's normalisation would have changed or refused."""
    for encoded in _ENCODED.finditer(found):
        character = chr(int(encoded[1], 16))
        if _UNRESERVED.fullmatch(character):
            plain = _ENCODED.sub(_decode_unreserved, found)
            raise UnfitError(f"{shown(found)} writes {quoted(character)} as {encoded[0]}", meant=quoted(plain))
        if not character.isprintable() and character < "\x80":
            raise UnfitError(f"{shown(found)} has an encoded control character", expected=mark.expected)
    if _DOT_SEGMENT.search(found):
        raise UnfitError(f"{shown(found)} has a dot segment", expected="a path without . and ..")
    if scene.merge_slashes and "//" in found:
        raise UnfitError(f"{shown(found)} has an empty segment", meant=quoted(re.sub("//+", "/", found)))


def _decode_unreserved(encoded: re.Match[str]) -> str:
    character = chr(int(encoded[1], 16))
    return character if _UNRESERVED.fullmatch(character) else encoded[0]


def _unknown(what: str, found: str, names: Iterable[str], *, instead: str) -> UnfitError:
    names = list(names)
    expected = choice(names) if 0 < len(names) <= _LISTED else ""
    return UnfitError(what, expected=expected, meant=nearest(found, names), instead=instead)
