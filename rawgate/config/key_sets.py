"""Where a key set is: "file:PATH", a URL, or "discover"."""

import re
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from rawgate.config.constraints import KeySetSource, Source
from rawgate.config.context import Context
from rawgate.config.invalid import InvalidError, nearest, shown
from rawgate.config.model import KeySetUrl, Secret
from rawgate.config.sources import source

DISCOVER = "discover"
_FILE = Source(schemes=("file",))
_SCHEME = re.compile(r"[Hh][Tt][Tt][Pp][Ss]?://")
_VISIBLE = re.compile(r"[!-~]+")


def key_set(constraint: KeySetSource, value: object, context: Context) -> Secret | KeySetUrl:
    """Read the file, or check the URL: nothing is fetched here."""
    if isinstance(value, KeySetUrl):
        return KeySetUrl(checked_url(value.url)) if value.url else value
    if value == DISCOVER:
        return KeySetUrl()
    if isinstance(value, str) and _SCHEME.match(value):
        return KeySetUrl(checked_url(value))
    if isinstance(value, str) and value.partition(":")[0] != "file":
        what = f"{shown(value)} does not say where the key set is"
        raise InvalidError(what, expected=constraint.expected, meant=nearest(value, (DISCOVER,)))
    return source(_FILE, value, context)


def checked_url(text: str) -> str:
    """The URL as it was written. Keys that came in the clear could be anybody's, so only this host may serve them so.
    Raises InvalidError."""
    if not _VISIBLE.fullmatch(text):
        raise InvalidError(f"{shown(text)} is not a URL", expected="visible ASCII, others as %XX")
    try:
        parts = urlsplit(text)
        _ = parts.port  # it is checked when it is asked for
    except ValueError:
        raise InvalidError(f"{shown(text)} is not a URL", expected='"https://HOST/PATH"') from None
    if "@" in parts.netloc:
        # It may hold a password and is not repeated.
        raise InvalidError("has user information", expected='"https://HOST/PATH"')
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidError(f"{shown(text)} is not a URL", expected='"https://HOST/PATH"')
    if "#" in text:
        raise InvalidError(f"{shown(text)} has a fragment, which is never sent", expected="none")
    if parts.scheme == "http" and not is_this_host(parts):
        what = f"{shown(text)} comes in the clear: whoever is on the way could put keys of his own into it"
        raise InvalidError(what, expected='"https://…", or "http://…" on a loopback address')
    return text


def is_this_host(parts: SplitResult) -> bool:
    """Whether a URL leads to a loopback address."""
    host = parts.hostname or ""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
