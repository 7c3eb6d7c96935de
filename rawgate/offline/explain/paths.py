"""The path: how services may read it, and which rule rewrote it. The gate's own router and patterns are asked once
more, after the decision, which does not depend on the results.
"""

from typing import TYPE_CHECKING

from rawgate.config.model import Config, RegexRewrite, Route
from rawgate.message import RequestHead
from rawgate.offline.explain.fields import as_text
from rawgate.offline.explain.model import PathReading
from rawgate.policy.paths import Normal
from rawgate.policy.patterns import compile_pattern
from rawgate.policy.router import Cell, Router, Template

if TYPE_CHECKING:
    from rawgate.policy.gate import CompiledRoute


def readings(router: "Router[CompiledRoute]", normal: Normal, head: RequestHead) -> tuple[PathReading, ...]:
    """The ways in which services may read a path; empty where all read it alike."""
    found: list[PathReading] = []
    if normal.key != normal.plain_key:
        found += [
            PathReading("without parameters", as_text(normal.key), _taken_by(router, normal.key, head)),
            PathReading("with parameters", as_text(normal.plain_key), _taken_by(router, normal.plain_key, head)),
        ]
    lower = normal.key.lower()
    other = _taken_by(without_case(router), lower, head)
    if other != _taken_by(router, normal.key, head):
        found.append(PathReading("in either case", as_text(lower), other))
    return tuple(found)


def _taken_by(router: "Router[CompiledRoute]", key: bytes, head: RequestHead) -> str:
    group = router.find(head.authority, key)
    route = None if group is None else group.methods.get(head.method, group.other)
    return "" if route is None else route.options.route


def without_case(router: "Router[CompiledRoute]") -> "Router[CompiledRoute]":
    """The same routes for a service that ignores case."""
    return Router(
        [
            Cell(cell.host, cell.prefix.lower(), cell.group, cell.first, True, _folded(cell.template), cell.holds)
            for cell in router.cells
        ]
    )


def _folded(template: Template | None) -> Template | None:
    if template is None:
        return None
    return Template(tuple(part and part.lower() for part in template.segments), template.rest)


def rewrite_rule(config: Config, route: Route, normal: Normal) -> tuple[str, bool]:
    """A route's rewrite in words, and whether it applies to this path."""
    rule = route.rewrite
    if isinstance(rule, str):
        return f"{rule} in place of {route.place}", True
    if not isinstance(rule, RegexRewrite):
        return "the route's own function", True
    folds = (route.case or config.gateway.case) == "ignore"
    pattern = compile_pattern(rule.pattern, (), [], folds=folds)
    matched = pattern is not None and pattern.fullmatch(normal.key.decode("utf-8", "surrogateescape")) is not None
    return f"{rule.pattern} → {rule.to}", matched
