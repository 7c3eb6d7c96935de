"""How an application without a router tells its handlers and its sites apart, in the way that Python programs do it."""

import contextlib
import ipaddress
from urllib.parse import urlsplit

CHANGING = ("POST", "PUT", "PATCH", "DELETE")
"""The methods that the configuration lets nobody use on /items without a credential."""

SITES = ("admin.test", "192.0.2.7", "2001:db8::7")
"""The hosts that are for those with a credential alone."""


def handler_of(method: str, path: str) -> str:
    """The handler for a decoded path, by whole segments."""
    match path.split("/"):
        case ["", "admin", *_]:
            return "admin"
        case ["", "items", *_]:
            return items(method)
    return "open"


def items(method: str) -> str:
    """Which of the two handlers of /items."""
    return "change" if method in CHANGING else "items"


def site_of(host: str) -> str:
    """Which of the closed sites this Host field names; "" for none."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
    return closed(name)


def closed(name: str) -> str:
    """The same for a name without port and brackets: addresses are compared as addresses."""
    with contextlib.suppress(ValueError):
        name = str(ipaddress.ip_address(name))
    return name if name in SITES else ""
