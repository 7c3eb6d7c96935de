"""Key material, from the environment or from files. No message made here repeats any of it."""

from rawgate.config.marks import Source
from rawgate.config.model import Secret
from rawgate.config.scene import Scene
from rawgate.config.unfit import UnfitError, quoted


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
        raise UnfitError("does not say where the key is; a key itself is never written here", expected=mark.expected)
    found = _variable(name, scene) if scheme == "env" else _file(name, mark, scene)
    return Secret(source=value, value=found)


def _checked(value: Secret) -> Secret:
    if not isinstance(value.value, bytes) or not value.value:
        raise UnfitError("is a Secret without value", expected="bytes")
    return value


def _variable(name: str, scene: Scene) -> bytes:
    value = scene.environ.get(name)
    if value is None:
        raise UnfitError(f"the environment variable {quoted(name)} is not set")
    if not value:
        raise UnfitError(f"the environment variable {quoted(name)} is empty")
    return value.encode("utf-8", "surrogateescape")


def _file(name: str, mark: Source, scene: Scene) -> bytes:
    try:
        content = (scene.folder / name).read_bytes()
    except OSError as error:
        raise UnfitError(f"the file {quoted(name)} cannot be read: {error.strerror}") from None
    except ValueError:
        raise UnfitError(f"{quoted(name)} is not the name of a file") from None
    if mark.strip and content.endswith(b"\n"):
        content = content[:-1].removesuffix(b"\r")
    if not content:
        raise UnfitError(f"the file {quoted(name)} is empty")
    return content
