"""Every route, in the configuration's order: selected, or what excluded it.

To find that out, a router is made of the one route alone, first with its host only, then with its path only. So the
answer comes from the code that routes requests, not from a copy of its rules.
"""

from collections.abc import Iterable

from rawgate.config.model import Route
from rawgate.message import RequestHead
from rawgate.offline.explain.model import RouteTried
from rawgate.offline.explain.paths import without_case
from rawgate.policy.gate import CompiledRoute
from rawgate.policy.router import Cell, Group, Router


def tried_routes(
    routes: Iterable[Route],
    router: "Router[CompiledRoute]",
    searched: tuple[bytes, bytes],
    group: "Group[CompiledRoute] | None",
    head: RequestHead,
    selected: str,
) -> tuple[RouteTried, ...]:
    """`searched`: authority and key; `group`: what the router found for them; `selected`: name of the route, or ""."""
    cells = {plan.options.route: cell for cell in router.cells for plan in _plans(cell.group)}
    return tuple(_tried(route, cells[_name(route)], searched, group, head, selected) for route in routes)


def _tried(
    route: Route,
    cell: "Cell[CompiledRoute]",
    searched: tuple[bytes, bytes],
    group: "Group[CompiledRoute] | None",
    head: RequestHead,
    selected: str,
) -> RouteTried:
    name = _name(route)
    if name == selected:
        return RouteTried(name, "selected", _where(route, folds=cell.folds))
    if Router([cell.elsewhere(cell.host, b"/")]).find(*searched) is None:
        return RouteTried(name, "host", f"is for the host {route.host}")
    alone: Router[CompiledRoute] = Router([cell.elsewhere(b"", cell.prefix, cell.template)])
    if alone.find(*searched) is None:
        why = f"is for {route.prefix} and what lies below" if route.prefix else f"is for {route.path}"
        fits = without_case(alone).find(*searched) is not None
        return RouteTried(name, "prefix" if route.prefix else "path", f"{why}, in these letters" if fits else why)
    if cell.holds is not None and cell.group is not group and (group is None or cell.group.first < group.first):
        return RouteTried(name, "match", "the request has not all that its match asks for")
    if cell.group is not group:
        return RouteTried(name, "earlier", "also fits, but comes after the first match")
    if route.methods is None:
        return RouteTried(name, "method", f"takes what its siblings do not; {head.method.decode()} is taken")
    return RouteTried(name, "method", f"takes {', '.join(route.methods)}")


def _plans(group: "Group[CompiledRoute]") -> list[CompiledRoute]:
    return [*group.methods.values(), *([] if group.other is None else [group.other])]


def _name(route: Route) -> str:
    return route.name or route.place


def _where(route: Route, *, folds: bool) -> str:
    """Methods, host and prefix of a route, as far as the configuration gives them."""
    methods = "" if route.methods is None else f"{', '.join(route.methods)} "
    return f"{methods}{route.host or ''}{route.place}{', in either case' if folds else ''}"
