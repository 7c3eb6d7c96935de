"""Key material, from the environment or from files. No message made here repeats any of it.

Keys come through shells, editors, environment files and secret stores, each of which may add something. What can only
be meant in one way is taken so: a byte-order mark at the start and line ends at the end of a text are no part of it.
What could be meant in two ways is refused in words: blanks at either end, quotes around. What is no text is taken as it
is, to the last octet.
"""

import re
from pathlib import Path

from rawgate.config.marks import Source
from rawgate.config.model import Secret
from rawgate.config.scene import Scene
from rawgate.config.unfit import UnfitError, quoted

_UTF_16 = ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_BYTE_ORDER_MARK = "\N{ZERO WIDTH NO-BREAK SPACE}"
_QUOTES = ("'", '"', "`")


def source(mark: Source, value: object, scene: Scene) -> Secret:
    """Read "env:NAME" or "file:PATH"; a relative path starts at the configuration's folder."""
    if isinstance(value, Secret):
        return _checked(value)
    # What is written here may be the secret itself: it is never shown, whatever it is.
    if not isinstance(value, str):
        raise UnfitError("is not text", expected=mark.expected)
    scheme, _, name = value.partition(":")
    if scheme in ("http", "https") and mark.schemes == ("file",):
        raise UnfitError("fetching a key set from a URL is not built yet", expected=mark.expected)
    if scheme not in mark.schemes or not name:
        what = "does not say where the key is; a key itself is never written here"
        raise UnfitError(what, expected=mark.expected, meant=_meant_source(value, mark, scene))
    found, where = _variable(name, scene) if scheme == "env" else _file(name, scene)
    return Secret(source=value, value=_meant(found, where, mark))


_DECORATED = re.compile(r"\W*(?:(?i:env)\W+)?([A-Za-z_][A-Za-z0-9_]*)\W*")


def _meant_source(value: str, mark: Source, scene: Scene) -> str:
    """What was meant by a value that is the name of a variable or of a file, which are there. Nothing else that stands
    here is ever shown: it may be the key."""
    meant = _variable_in(value, scene) if "env" in mark.schemes else ""
    name = value.removeprefix("file://").removeprefix("@")
    return meant or (quoted(f"file:{name}") if "file" in mark.schemes and _is_file(name, scene) else "")


def _variable_in(value: str, scene: Scene) -> str:
    """ "$NAME", "${NAME}", "{env.NAME}" and the bare name."""
    found = _DECORATED.fullmatch(value)
    return quoted(f"env:{found[1]}") if found and found[1] in scene.environ else ""


def _is_file(name: str, scene: Scene) -> bool:
    try:
        return bool(name) and (scene.folder / name).is_file()
    except (OSError, ValueError):
        return False


def _checked(value: Secret) -> Secret:
    if not isinstance(value.value, bytes) or not value.value:
        raise UnfitError("is a Secret without value", expected="bytes")
    return value


def _variable(name: str, scene: Scene) -> tuple[bytes, str]:
    """The value, and what to call it."""
    value = scene.environ.get(name)
    if value is None:
        meant = _variable_in(name, scene)
        raise UnfitError(f"the environment variable {quoted(name)} is not set", meant=meant)
    if not value:
        raise UnfitError(f"the environment variable {quoted(name)} is empty")
    return value.encode("utf-8", "surrogateescape"), f"the environment variable {quoted(name)}"


def _file(name: str, scene: Scene) -> tuple[bytes, str]:
    """The content, and what to call it."""
    path = scene.folder / name
    try:
        content = path.read_bytes()
    except OSError as error:
        looked = "" if Path(name).is_absolute() else f" (looked for at {path.absolute()})"
        raise UnfitError(f"the file {quoted(name)} cannot be read: {error.strerror}{looked}") from None
    except ValueError:
        raise UnfitError(f"{quoted(name)} is not the name of a file") from None
    if not content:
        raise UnfitError(f"the file {quoted(name)} is empty")
    return content, f"the file {quoted(name)}"


def _meant(content: bytes, where: str, mark: Source) -> bytes:
    """What somebody wrote, without what editors and shells added."""
    if _is_utf_16(content):
        raise UnfitError(f"{where} is text in UTF-16, as PowerShell writes it", expected="UTF-8")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return content
    text = text.removeprefix(_BYTE_ORDER_MARK)
    if not text.strip():
        raise UnfitError(f"{where} is blank")
    if not _is_printable(text):
        return content
    if not mark.whole:
        return text.encode()
    text = text.rstrip("\r\n")
    if text[0] in _QUOTES and text[0] == text[-1] and len(text) > 1:
        raise UnfitError(f"{where} has quotes around it, which would be a part of it", expected="none")
    if text.endswith("\\n"):
        raise UnfitError(f"{where} ends with a backslash and an n, which would be a part of it", expected="none")
    if text != text.strip():
        raise UnfitError(f"{where} starts or ends with a blank", expected="none")
    return text.encode()


def _is_utf_16(content: bytes) -> bool:
    """Whether it is text beyond doubt: random octets start with a mark now and then, and go on otherwise."""
    for order_mark, encoding in _UTF_16:
        if content.startswith(order_mark) and len(content) % 2 == 0:
            text = content[2:].decode(encoding, "replace")
            return text.isascii() and _is_printable(text)
    return False


def _is_printable(text: str) -> bool:
    return all(character.isprintable() or character in "\r\n\t" for character in text)
