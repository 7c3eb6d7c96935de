"""Where the store of limits is: a URL as clients of Redis write it."""

import re
from ipaddress import ip_address
from urllib.parse import unquote

from rawgate.config.constraints import StoreAddress
from rawgate.config.context import Context
from rawgate.config.invalid import InvalidError, quoted, shown
from rawgate.config.model import StoreUrl

_VISIBLE = re.compile(r"[!-~]+")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_PORT, _SENTINEL_PORT = 6379, 26379
_KINDS = {
    "redis": ("server", False),
    "rediss": ("server", True),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
}
_MEANT = {
    "valkey": "redis",
    "valkeys": "rediss",
    "redis+tls": "rediss",
    "redis+ssl": "rediss",
    "tls": "rediss",
    "sentinel": "redis+sentinel",
    "redis-sentinel": "redis+sentinel",
    "cluster": "redis+cluster",
    "redis-cluster": "redis+cluster",
    "redis+unix": "unix",
    "tcp": "redis",
}


def store_url(constraint: StoreAddress, value: object, context: Context) -> StoreUrl:
    """Check it: nothing is connected here."""
    text = value.text if isinstance(value, StoreUrl) else value
    if not isinstance(text, str):
        raise InvalidError(f"{shown(text)} is not text", expected=constraint.expected)
    if not _VISIBLE.fullmatch(text):
        raise InvalidError(f"{shown(text)} is not a URL", expected="visible ASCII, others as %XX")
    scheme, sign, rest = text.partition("://")
    scheme = scheme.lower()
    user, at, place = rest.rpartition("@")
    if ":" in user:
        # It holds a password, and is not repeated.
        raise InvalidError("holds a password, which is never written here", expected='password = "env:NAME"')
    if not sign or scheme not in {"unix", *_KINDS}:
        meant = quoted(f"{_MEANT[scheme]}://{rest}") if sign and scheme in _MEANT else ""
        raise InvalidError(f"{shown(text)} is no store's URL", expected=constraint.expected, meant=meant)
    if at and not user:
        raise InvalidError(f"{shown(text)} has an empty user name", expected=constraint.expected)
    if "?" in place or "#" in place:
        raise InvalidError(f"{shown(text)} has options in it", expected="the keys of [store] for them")
    return (_socket if scheme == "unix" else _hosts)(text, scheme, unquote(user), place)


def _socket(text: str, scheme: str, user: str, path: str) -> StoreUrl:
    if not path.startswith("/") or path.endswith("/"):
        raise InvalidError(f"{shown(text)} names no socket", expected='"unix:///PATH"')
    return StoreUrl(text=text, user=user, path=unquote(path))


def _hosts(text: str, scheme: str, user: str, place: str) -> StoreUrl:
    kind, tls = _KINDS[scheme]
    authority, _, path = place.partition("/")
    default = _SENTINEL_PORT if kind == "sentinel" else _PORT
    hosts = tuple(_host(text, entry, default) for entry in authority.split(","))
    if kind == "server" and len(hosts) > 1:
        meant = quoted(f"{scheme}+cluster://{place}")
        raise InvalidError(f"{shown(text)} has several hosts", expected="one, or a Cluster or Sentinels", meant=meant)
    service = ""
    if kind == "sentinel":
        service, _, path = path.partition("/")
        if not service:
            what = f"{shown(text)} does not say which service the Sentinels watch"
            raise InvalidError(what, expected=f'"{scheme}://HOST:26379/NAME"')
    return StoreUrl(
        text=text,
        kind=kind,
        tls=tls,
        hosts=hosts,
        user=user,
        service=unquote(service),
        database=_database(text, kind, path),
    )


def _host(text: str, entry: str, default: int) -> tuple[str, int]:
    host, port = entry, ""
    if entry.startswith("["):
        host, _, rest = entry[1:].partition("]")
        port = rest[1:] if rest.startswith(":") else "?" * bool(rest)
    elif ":" in entry:
        host, _, port = entry.partition(":")
    number = int(port) if port.isdecimal() and len(port) < 6 else default if not port else 0
    if not (_is_address(host) if entry.startswith("[") else _NAME.fullmatch(host)) or not 0 < number < 65536:
        raise InvalidError(f"{shown(text)} has no host and port in {quoted(entry)}", expected='"HOST:PORT"')
    return host, number


def _is_address(text: str) -> bool:
    try:
        return ip_address(text).version == 6
    except ValueError:
        return False


def _database(text: str, kind: str, path: str) -> int:
    if not path:
        return 0
    if kind == "cluster":
        raise InvalidError(f"{shown(text)} has a path, and a Cluster has one database", expected="none")
    if not path.isdecimal() or len(path) > 4:
        raise InvalidError(f"{shown(text)} has {quoted(path)} for a database", expected="a number, 0 if left out")
    return int(path)
