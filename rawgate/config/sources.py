"""The reader of key material, from the environment or from files. No message made here repeats any of it.

Keys come through shells, editors, environment files and secret stores, and each of these may add something. An addition
with only one meaning is removed: a byte-order mark at the start of a text, line ends at its end. An addition that may
be part of the key is refused in words: blanks at either end, quotes around it, characters that nobody sees. Content
that is no text is taken as it is, to the last octet.
"""

import re
from pathlib import Path
from unicodedata import category

from rawgate.config.constraints import Source
from rawgate.config.context import Context
from rawgate.config.invalid import InvalidError, quoted
from rawgate.config.model import Secret

_UTF_16 = ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_BYTE_ORDER_MARK = "\N{ZERO WIDTH NO-BREAK SPACE}"
_QUOTED = ("''", '""', "``", "“”", "\u2018\u2019", "„“", "«»")
"""How a quoted text begins and ends; the last ones as word processors write them."""
_UNSEEN = ("Cf", "Zs", "Zl", "Zp")
"""Categories of what is copied along from web pages and chats: zero-width characters, blanks that do not break."""

LARGEST = 16 * 1024 * 1024
"""Octets of a file. A key set of ten thousand keys has four million; a device has no end."""


def source(constraint: Source, value: object, context: Context) -> Secret:
    """Read "env:NAME" or "file:PATH"; a relative path starts at the configuration's folder."""
    if isinstance(value, Secret):
        return _checked(value)
    # The value may be the secret itself, so it is not shown.
    if not isinstance(value, str):
        raise InvalidError("is not text", expected=constraint.expected)
    scheme, _, name = value.partition(":")
    if scheme not in constraint.schemes or not name:
        what = "does not say where the key is; a key itself is never written here"
        if constraint.schemes == ("file",):
            what = "does not say in which file it is; what a file holds is never written here"
        raise InvalidError(what, expected=constraint.expected, meant=_source_meant(value, constraint, context))
    found, where = _variable(name, context) if scheme == "env" else _file(name, context)
    return Secret(source=value, value=_cleaned(found, where, constraint))


_DECORATED = re.compile(r"\W*(?:(?i:env)\W+)?([A-Za-z_][A-Za-z0-9_]*)\W*")


def _source_meant(value: str, constraint: Source, context: Context) -> str:
    """What was meant by the name of a variable that is set, or of a file that exists; else "". No other value is ever
    shown, because it may be the key."""
    meant = _variable_in(value, context) if "env" in constraint.schemes else ""
    name = value.removeprefix("file://").removeprefix("@")
    return meant or (quoted(f"file:{name}") if "file" in constraint.schemes and _is_file(name, context) else "")


def _variable_in(value: str, context: Context) -> str:
    """The variable that was meant by "$NAME", "${NAME}", "{env.NAME}" or the bare name, or ""."""
    found = _DECORATED.fullmatch(value)
    return quoted(f"env:{found[1]}") if found and found[1] in context.environ else ""


def _is_file(name: str, context: Context) -> bool:
    try:
        return bool(name) and (context.folder / name).is_file()
    except (OSError, ValueError):
        return False


def _checked(value: Secret) -> Secret:
    if not isinstance(value.value, bytes) or not value.value:
        raise InvalidError("is a Secret without value", expected="bytes")
    return value


def _variable(name: str, context: Context) -> tuple[bytes, str]:
    """The value of a variable, and what messages call it."""
    value = context.environ.get(name)
    if value is None:
        meant = _variable_in(name, context)
        raise InvalidError(f"the environment variable {quoted(name)} is not set", meant=meant)
    if not value:
        raise InvalidError(f"the environment variable {quoted(name)} is empty")
    return value.encode("utf-8", "surrogateescape"), f"the environment variable {quoted(name)}"


def _file(name: str, context: Context) -> tuple[bytes, str]:
    """The content of a file, and what messages call it."""
    path = context.folder / name
    try:
        content = context.files.read(path, LARGEST + 1)
    except OSError as error:
        looked = "" if Path(name).is_absolute() else f" (looked for at {path.absolute()})"
        raise InvalidError(f"the file {quoted(name)} cannot be read: {error.strerror}{looked}") from None
    except ValueError:
        raise InvalidError(f"{quoted(name)} is not the name of a file") from None
    if not content:
        raise InvalidError(f"the file {quoted(name)} is empty")
    if len(content) > LARGEST:
        raise InvalidError(f"the file {quoted(name)} is larger than any key or key set", expected="at most 16 MiB")
    return content, f"the file {quoted(name)}"


def _cleaned(content: bytes, where: str, constraint: Source) -> bytes:
    """The content without what editors and shells added."""
    if _is_utf_16(content):
        raise InvalidError(f"{where} is text in UTF-16, as PowerShell writes it", expected="UTF-8")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return content
    text = text.removeprefix(_BYTE_ORDER_MARK)
    if not text.strip():
        raise InvalidError(f"{where} is blank")
    hidden = [character for character in text if not _is_printable(character)]
    if any(category(character) not in _UNSEEN for character in hidden):
        return content
    if not constraint.whole:
        return text.encode()
    if hidden:
        what = f"{where} holds U+{ord(hidden[0]):04X}, which nobody sees and which would be a part of it"
        raise InvalidError(what, expected="none")
    text = text.rstrip("\r\n")
    if len(text) > 1 and text[0] + text[-1] in _QUOTED:
        raise InvalidError(f"{where} has quotes around it, which would be a part of it", expected="none")
    if text.endswith("\\n"):
        raise InvalidError(f"{where} ends with a backslash and an n, which would be a part of it", expected="none")
    if text != text.strip():
        raise InvalidError(f"{where} starts or ends with a blank", expected="none")
    return text.encode()


def _is_utf_16(content: bytes) -> bool:
    """Whether the content is surely text in UTF-16. Random octets may start with its mark too, but do not go on as
    text."""
    for order_mark, encoding in _UTF_16:
        if content.startswith(order_mark) and len(content) % 2 == 0:
            text = content[2:].decode(encoding, "replace")
            return text.isascii() and _is_printable(text)
    return False


def _is_printable(text: str) -> bool:
    return all(character.isprintable() or character in "\r\n\t" for character in text)
