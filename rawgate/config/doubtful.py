"""What can be served, but rarely means what it says: warnings, for a configuration that has nothing wrong.

A warning reads like any other finding, and ends with what to write so that it is gone: whoever means it says so once.
"""

from collections.abc import Iterator

from rawgate.config.model import Config, Route
from rawgate.config.unfit import quoted, worded
from rawgate.errors import Problem


def doubts(config: Config) -> list[Problem]:
    """The warnings, by key path; positions count as in `config`."""
    return list(_detours_by_case(config))


def _detours_by_case(config: Config) -> Iterator[Problem]:
    """A route that asks for a credential, and an open one that takes its path in other letters to the same service. A
    service that ignores case (Express by default, IIS, some file systems) then serves it to everybody."""
    for position, route in enumerate(config.routes):
        if route.auth == "none" or route.case is not None or config.gateway.case == "ignore":
            continue
        other = next((other for other in config.routes if _is_detour(other, route)), None)
        if other is not None:
            shouted = route.prefix.upper() if route.prefix != route.prefix.upper() else route.prefix.lower()
            what = (
                f"{quoted(shouted)} comes to {quoted(other.name or other.prefix)}, which needs no credential, and to "
                f"the same upstream: a service that ignores letter case serves it as {quoted(route.prefix)}"
            )
            hint = 'case = "ignore" if it does so, as Express by default; case = "exact" if it does not'
            yield Problem(("routes", position, "prefix"), worded(what, expected=hint))


def _is_detour(other: Route, route: Route) -> bool:
    if other.auth != "none" or other.upstream != route.upstream or other.host not in (None, route.host):
        return False
    wide, narrow = other.prefix.lower(), route.prefix.lower()
    covers = wide == narrow or narrow.startswith(wide.rstrip("/") + "/")
    return covers and other.case is None and any(letter.isascii() and letter.isalpha() for letter in narrow)
