"""Which route a request is for.

Routes are tried in order; host and path select the first match. Routes with the same host and prefix are a *group*, in
which the method selects, again in order. If no route of the group takes the method, the reply is 405 with the methods
of the group. A route with a wider prefix is not tried: it would be a way round the rules of the narrower one.

A prefix matches whole segments: "/api/users" takes "/api/users" and "/api/users/7", not "/api/usersX". A trailing
slash is part of it: "/api/" takes "/api/" and all paths below, not "/api". "/" takes every path. With `case = "ignore"`
the case of ASCII letters does not matter; other letters are percent-encoded and compared as octets.

A route that lists GET also takes HEAD, unless a route of the group lists HEAD itself (RFC 9110 section 9.1: a
general-purpose server supports both).

The order is resolved at load. A route that an earlier group covers could never be reached and is refused, so the
longest of the prefixes that match a path is always the first. Each host has a tree of segments. A look-up walks down
the tree along the path; its cost grows with the depth of the prefixes, not with their number or the length of the path.
Routes that ignore case have a second tree, of lower-cased segments. If both trees hold a match, the one that comes
first in the configuration is selected.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address
from typing import Generic, TypeVar

from rawgate.config.model import Route
from rawgate.errors import Problem

Plan = TypeVar("Plan")
ANY_METHOD = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
"""`Allow` where no route restricts the method: the common registered methods. Others are taken as well."""


class Group(Generic[Plan]):
    """The routes of one host and prefix.

    methods  method → plan
    other    the plan for all other methods, or None
    allow    the value of an Allow field
    first    the position in the configuration of its first route
    """

    __slots__ = ("allow", "first", "methods", "other")

    def __init__(self, methods: dict[bytes, Plan], other: Plan | None, allow: bytes, first: int = 0) -> None:
        self.methods = methods
        self.other = other
        self.allow = allow
        self.first = first


class _Node(Generic[Plan]):
    """One segment of a host's tree.

    here    the group of exactly this path
    deeper  the group of all paths below for which there is no child
    """

    __slots__ = ("children", "deeper", "here")

    def __init__(self, inherited: Group[Plan] | None) -> None:
        self.here = inherited
        self.deeper = inherited
        self.children: dict[bytes, _Node[Plan]] = {}


class Entry(Generic[Plan]):
    """A route as the router takes it.

    index   its position in the configuration
    prefix  as it is matched (see `paths.match_key`), lower-cased if the route ignores case
    plan    the value that a match returns
    folds   the route ignores case
    """

    __slots__ = ("folds", "index", "plan", "prefix", "route")

    def __init__(self, index: int, route: Route, prefix: bytes, plan: Plan, folds: bool = False) -> None:
        self.index = index
        self.route = route
        self.prefix = prefix
        self.plan = plan
        self.folds = folds


class Cell(Generic[Plan]):
    """A group with its host and prefix. `first` is its first route; `folds`: it ignores case."""

    __slots__ = ("first", "folds", "group", "host", "prefix")

    def __init__(self, host: bytes, prefix: bytes, group: Group[Plan], first: Route, folds: bool = False) -> None:
        self.host = host
        self.prefix = prefix
        self.group = group
        self.first = first
        self.folds = folds


class Router(Generic[Plan]):
    """`find(authority, key)` → the group of a path, or None; `authority` as received, `key` as in `paths.Normal`.
    `cells` holds all groups, in the order of the configuration."""

    def __init__(self, cells: Sequence[Cell[Plan]]) -> None:
        self.cells = cells
        folding = [cell for cell in cells if cell.folds]
        self._exact: Forest[Plan] = Forest([cell for cell in cells if not cell.folds])
        self._folding: Forest[Plan] = Forest(folding)
        self.find: Callable[[bytes, bytes], Group[Plan] | None] = self._find_in_both if folding else self._exact.find

    def _find_in_both(self, authority: bytes, key: bytes) -> Group[Plan] | None:
        return _earlier(self._exact.find(authority, key), self._folding.find(authority, key.lower()))


def _earlier(one: Group[Plan] | None, other: Group[Plan] | None) -> Group[Plan] | None:
    if one is None or other is None:
        return one or other
    return one if one.first < other.first else other


class Forest(Generic[Plan]):
    """The trees of all hosts, for the cells that ignore case or for those that do not."""

    __slots__ = ("_default", "_depth", "_hosts")

    def __init__(self, cells: Sequence[Cell[Plan]]) -> None:
        self._depth = max((len(_segments(cell.prefix)) for cell in cells), default=0) + 1
        hosts = {cell.host for cell in cells if cell.host}
        self._default = _tree([cell for cell in cells if not cell.host])
        self._hosts = {host: _tree([cell for cell in cells if cell.host in (host, b"")]) for host in hosts}

    def find(self, authority: bytes, key: bytes) -> Group[Plan] | None:
        """The group of a path, or None. For cells that ignore case, `key` must be lower-cased."""
        node = self._hosts.get(host_of(authority), self._default) if self._hosts else self._default
        for segment in key.split(b"/", self._depth)[1:]:
            child = node.children.get(segment)
            if child is None:
                return node.deeper
            node = child
        return node.here


def host_of(authority: bytes) -> bytes:
    """The host of an authority, lower-cased, without port and final dot ("a.test." is "a.test"); an IPv6 address in its
    canonical form (RFC 5952)."""
    if authority[:1] == b"[":
        return _ipv6(authority[1 : authority.find(b"]")])
    return authority.lower().partition(b":")[0].removesuffix(b".")


@lru_cache(1024)
def _ipv6(text: bytes) -> bytes:
    try:
        return b"[%b]" % IPv6Address(text.decode("latin-1")).compressed.encode()
    except AddressValueError:  # `wire` lets no such authority through
        return b""


def _segments(prefix: bytes) -> list[bytes]:
    return prefix.strip(b"/").split(b"/") if prefix != b"/" else []


def _tree(cells: Sequence[Cell[Plan]]) -> _Node[Plan]:
    """The tree of one host, without the cells that an earlier cell covers for this host."""
    placed: list[Cell[Plan]] = []
    for cell in cells:
        if not any(_covers(earlier.prefix, cell.prefix) for earlier in placed):
            placed.append(cell)
    root: _Node[Plan] = _Node(None)
    # Wide prefixes first, so that narrower ones inherit from them. "/api" is as wide as "/api/" and one path more.
    for cell in sorted(placed, key=lambda cell: len(cell.prefix)):
        node = root
        for segment in _segments(cell.prefix):
            node = node.children.setdefault(segment, _Node(node.deeper))
        node.deeper = cell.group
        if cell.prefix == b"/" or not cell.prefix.endswith(b"/"):
            node.here = cell.group
    return root


def _hides(earlier: Cell[Plan], later: Cell[Plan]) -> bool:
    """Whether an earlier cell takes all requests that a later one could take."""
    if earlier.host not in (later.host, b""):
        return False
    if later.folds and not earlier.folds and earlier.prefix.lower() != earlier.prefix.upper():
        return False
    return _covers(earlier.prefix, later.prefix.lower() if earlier.folds else later.prefix)


def _covers(wide: bytes, narrow: bytes) -> bool:
    """Whether the prefix `wide` takes every path that the prefix `narrow` takes."""
    return narrow == wide or narrow.startswith(wide if wide.endswith(b"/") else wide + b"/")


def _unreachable(entry: Entry[Plan], earlier: Route, how: str) -> Problem:
    name = earlier.name or earlier.prefix
    message = f"this route can never be reached: {how} the route {name!r} before it (expected narrower routes first)"
    return Problem(("routes", entry.index), message)


def _fill(group: Group[Plan], entries: Sequence[Entry[Plan]], problems: list[Problem]) -> None:
    """Assign the methods of one host and prefix to its routes, in order."""
    open_route: Route | None = None
    for entry in entries:
        fresh = [method.encode() for method in entry.route.methods or () if method.encode() not in group.methods]
        if open_route is not None:
            problems.append(_unreachable(entry, open_route, "all methods are taken by"))
            continue
        if entry.route.methods is None:
            open_route, group.other = entry.route, entry.plan
        elif not fresh:
            problems.append(_unreachable(entry, entries[0].route, "its methods are taken by"))
        for method in fresh:
            group.methods[method] = entry.plan
    if b"GET" in group.methods:
        group.methods.setdefault(b"HEAD", group.methods[b"GET"])
    group.allow = ANY_METHOD if group.other is not None else b", ".join(_allow_order(group.methods))


def _allow_order(methods: dict[bytes, Plan]) -> list[bytes]:
    """The methods as listed, HEAD behind GET."""
    names = [method for method in methods if method != b"HEAD"]
    if b"HEAD" in methods:
        names.insert(names.index(b"GET") + 1 if b"GET" in names else 0, b"HEAD")
    return names


def compile_router(entries: Sequence[Entry[Plan]], problems: list[Problem]) -> Router[Plan]:
    """The router of these entries, which must be in the order of the configuration. A route that no request can reach
    is a Problem at ("routes", its index)."""
    members: dict[tuple[bytes, bytes, bool], list[Entry[Plan]]] = {}
    for entry in entries:
        host = host_of((entry.route.host or "").encode())
        members.setdefault((host, entry.prefix, entry.folds), []).append(entry)
    cells: list[Cell[Plan]] = []
    for (host, prefix, folds), group_entries in members.items():
        first = group_entries[0]
        cell: Cell[Plan] = Cell(host, prefix, Group({}, None, b"", first.index), first.route, folds)
        for earlier in cells:
            if _hides(earlier, cell):
                why = "its host and path are taken by"
                problems.extend(_unreachable(entry, earlier.first, why) for entry in group_entries)
                break
        else:
            _fill(cell.group, group_entries, problems)
        cells.append(cell)
    return Router(cells)
