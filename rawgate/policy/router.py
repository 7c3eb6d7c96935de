"""Which route a request is for.

Routes are tried in order; host and path select the first match. Routes with the same host and prefix are a *group*, in
which the method selects, again in order. If no route of the group takes the method, the reply is 405 with the methods
of the group. A route with a wider prefix is not tried: it would be a way round the rules of the narrower one.

A prefix matches whole segments: "/api/users" takes "/api/users" and "/api/users/7", not "/api/usersX". A trailing
slash is part of it: "/api/" takes "/api/" and all paths below, not "/api". "/" takes every path. With `case = "ignore"`
the case of ASCII letters does not matter; other letters are percent-encoded and compared as octets.

A template matches whole paths: "/users/{id}" takes "/users/7", not "/users/" and not "/users/7/x"; "/files/{rest*}"
takes "/files/" and all paths below, not "/files" (as Go's net/http). The host "*.a.test" takes all names below a.test,
however deep, but not a.test itself (nginx).

A route that lists GET also takes HEAD, unless a route of the group lists HEAD itself (RFC 9110 section 9.1: a
general-purpose server supports both).

The order is resolved at load. A route that an earlier group covers could never be reached and is refused, so the
longest of the prefixes that match a path is always the first. Each host has a tree of segments. A look-up walks down
the tree along the path; its cost grows with the depth of the prefixes, not with their number or the length of the path.
Routes that ignore case have a second tree, of lower-cased segments. If both trees hold a match, the one that comes
first in the configuration is selected.

Templates have a tree of their own, in which a node may have a child for any segment. A look-up follows that child
beside the one of the same name, so it looks at more than one node a segment only where templates overlap ("/a/{x}/c"
and "/{y}/b/c"); the others are not looked at.

A route with `match` asks for more than host and path. It can be passed over, so it hides no other route, and requests
that it does not take go on to the routes behind it, as in Envoy. `Router.choose` tries such routes; a router without
them has none, and nothing is spent on it.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address
from typing import Final, Generic, TypeVar

from mypy_extensions import i64

from rawgate.config.model import Route
from rawgate.errors import Problem
from rawgate.message import RequestHead

Plan = TypeVar("Plan")
_SLASH: Final[i64] = 0x2F
ANY_METHOD = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
"""`Allow` where no route restricts the method: the common registered methods. Others are taken as well."""


Segments = tuple[bytes | None, ...]
"""The segments of a template as they are matched; None: any that is not empty."""
Holds = Callable[[RequestHead, bytes, str], bool]
"""`(head, query with its "?", scheme)` → whether a request has what a route's `match` asks for."""


class Template:
    """A whole path with holes. `rest`: whatever else follows, with the slash before it, is part of it."""

    __slots__ = ("rest", "segments")

    def __init__(self, segments: Segments, rest: bool) -> None:
        self.segments = segments
        self.rest = rest


class Group(Generic[Plan]):
    """The routes of one host and prefix, and of one `match`.

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

    here      the group of exactly this path
    deeper    the group of all paths below for which there is no child
    children  by segment
    longest   octets of the longest of these
    """

    __slots__ = ("children", "deeper", "here", "longest")

    def __init__(self, inherited: Group[Plan] | None) -> None:
        self.here = inherited
        self.deeper = inherited
        self.children: dict[bytes, _Node[Plan]] = {}
        self.longest: i64 = 0

    def child(self, segment: bytes) -> "_Node[Plan]":
        """The child for a segment, made if there is none; it inherits from this node."""
        self.longest = max(self.longest, len(segment))
        return self.children.setdefault(segment, _Node(self.deeper))


class Entry(Generic[Plan]):
    """A route as the router takes it.

    index   its position in the configuration
    prefix  as it is matched (see `paths.match_key`), lower-cased if the route ignores case
    plan    the value that a match returns
    folds   the route ignores case
    template  in place of `prefix`, which is b"" then
    holds   what else the request must have, or None
    """

    __slots__ = ("folds", "holds", "index", "plan", "prefix", "route", "template")

    def __init__(
        self,
        index: int,
        route: Route,
        prefix: bytes,
        plan: Plan,
        folds: bool = False,
        template: Template | None = None,
        holds: Holds | None = None,
    ) -> None:
        self.index = index
        self.route = route
        self.prefix = prefix
        self.plan = plan
        self.folds = folds
        self.template = template
        self.holds = holds


class Cell(Generic[Plan]):
    """A group with its host and prefix or template. `first` is its first route; `folds`: it ignores case; `holds`: what
    else its routes ask for."""

    __slots__ = ("first", "folds", "group", "holds", "host", "prefix", "template")

    def __init__(
        self,
        host: bytes,
        prefix: bytes,
        group: Group[Plan],
        first: Route,
        folds: bool = False,
        template: Template | None = None,
        holds: Holds | None = None,
    ) -> None:
        self.host = host
        self.prefix = prefix
        self.group = group
        self.first = first
        self.folds = folds
        self.template = template
        self.holds = holds

    def elsewhere(self, host: bytes, prefix: bytes, template: Template | None = None) -> "Cell[Plan]":
        """The same group at another place, whatever it asks for besides."""
        return Cell(host, prefix, self.group, self.first, self.folds, template)

    @property
    def shape(self) -> "_Shape":
        """Which paths it takes."""
        return _shape(self.prefix, self.template)


class Router(Generic[Plan]):
    """`find(authority, key)` → the group of a path, or None; `authority` as received, `key` as in `paths.Normal`.
    `cells` holds all groups, in the order of the configuration.

    `choose` does the same for a whole request, and looks at groups with `match` too; None if there are none."""

    def __init__(self, cells: Sequence[Cell[Plan]]) -> None:
        self.cells = cells
        sure = [cell for cell in cells if cell.holds is None]
        folding = [cell for cell in sure if cell.folds and cell.template is None]
        self._exact: Forest[Plan] = Forest([cell for cell in sure if not cell.folds and cell.template is None])
        self._folding: Forest[Plan] = Forest(folding)
        self._templates = Thicket([cell for cell in sure if cell.template is not None])
        self._conditional = Thicket([cell for cell in cells if cell.holds is not None])
        self.find: Callable[[bytes, bytes], Group[Plan] | None] = (
            self._find_in_all if self._templates.cells else self._find_in_both if folding else self._exact.find
        )
        self.choose: Callable[[RequestHead, bytes, bytes, str], Group[Plan] | None] | None = (
            self._choose if self._conditional.cells else None
        )

    def _find_in_both(self, authority: bytes, key: bytes) -> Group[Plan] | None:
        return _earlier(self._exact.find(authority, key), self._folding.find(authority, key.lower()))

    def _find_in_all(self, authority: bytes, key: bytes) -> Group[Plan] | None:
        found = self._find_in_both(authority, key)
        for cell in self._templates.all(authority, key):
            found = _earlier(found, cell.group)
        return found

    def _choose(self, head: RequestHead, key: bytes, query: bytes, scheme: str) -> Group[Plan] | None:
        """The group of a request: `query` with its "?" or b""; `scheme`: how the client came."""
        found = self.find(head.authority, key)
        for cell in sorted(self._conditional.all(head.authority, key), key=_position):
            if found is not None and found.first < cell.group.first:
                break
            if cell.holds is not None and cell.holds(head, query, scheme):
                return cell.group
        return found


def _position(cell: Cell[Plan]) -> int:
    return cell.group.first


def _earlier(one: Group[Plan] | None, other: Group[Plan] | None) -> Group[Plan] | None:
    if one is None or other is None:
        return one or other
    return one if one.first < other.first else other


class Forest(Generic[Plan]):
    """The trees of all hosts, for the cells that ignore case or for those that do not."""

    __slots__ = ("_default", "_hosts", "_wild")

    def __init__(self, cells: Sequence[Cell[Plan]]) -> None:
        hosts = {cell.host for cell in cells if cell.host}
        self._default = _tree([cell for cell in cells if not cell.host])
        self._hosts = {host: _tree([cell for cell in cells if _takes_host(cell.host, host)]) for host in hosts}
        self._wild = any(host.startswith(_STAR) for host in hosts)

    def find(self, authority: bytes, key: bytes) -> Group[Plan] | None:
        """The group of a path, or None. For cells that ignore case, `key` must be lower-cased."""
        node = self._default
        if self._hosts:
            host = host_of(authority)
            node = self._hosts.get(host, node) if not self._wild else _of_host(self._hosts, host, node)
        size: i64 = len(key)
        slash: i64 = 0
        while slash < size:
            start: i64 = slash + 1
            # Where the segment is longer than any child's, what is found here is no child.
            stop: i64 = min(size, start + node.longest + 1)
            slash = start
            while slash < stop and key[slash] != _SLASH:
                slash += 1
            child = node.children.get(key[start:slash])
            if child is None:
                return node.deeper
            node = child
        return node.here


Value = TypeVar("Value")
_STAR = b"*."


def _of_host(hosts: dict[bytes, Value], host: bytes, default: Value) -> Value:
    """The entry of a host, else that of the nearest wildcard above it."""
    found = hosts.get(host)
    rest = host
    while found is None and rest:
        rest = rest.partition(b".")[2]
        found = hosts.get(_STAR + rest)
    return default if found is None else found


def _takes_host(wide: bytes, host: bytes) -> bool:
    """Whether a route for `wide` takes all requests to `host`, which may be a wildcard too; b"": any."""
    return not wide or wide == host or (wide.startswith(_STAR) and host.endswith(wide[1:]))


class _Branch(Generic[Plan]):
    """A node in the tree of one host's templates. `here`: cells of exactly this path; `deeper`: cells of all paths
    below; `hole`: the node below for any segment."""

    __slots__ = ("children", "deeper", "here", "hole")

    def __init__(self) -> None:
        self.children: dict[bytes, _Branch[Plan]] = {}
        self.hole: _Branch[Plan] | None = None
        self.here: list[Cell[Plan]] = []
        self.deeper: list[Cell[Plan]] = []

    def place(self, cell: Cell[Plan]) -> None:
        """Add a cell, at the root."""
        shape = cell.shape
        node = self
        for segment in shape.segments:
            if segment is None:
                node.hole = node.hole or _Branch()
                node = node.hole
            else:
                node = node.children.setdefault(segment, _Branch())
        if shape.alone:
            node.here.append(cell)
        if shape.below:
            node.deeper.append(cell)


class Thicket(Generic[Plan]):
    """The trees of all hosts, for cells of which more than one may match, in any letter case."""

    __slots__ = ("_default", "_hosts", "cells")

    def __init__(self, cells: Sequence[Cell[Plan]]) -> None:
        self.cells = cells
        hosts = {cell.host for cell in cells if cell.host}
        self._default = [self._grow(b"", folds) for folds in (False, True)]
        self._hosts = {host: [self._grow(host, folds) for folds in (False, True)] for host in hosts}

    def _grow(self, host: bytes, folds: bool) -> _Branch[Plan]:
        root: _Branch[Plan] = _Branch()
        for cell in self.cells:
            if cell.folds == folds and _takes_host(cell.host, host):
                root.place(cell)
        return root

    def all(self, authority: bytes, key: bytes) -> list[Cell[Plan]]:
        """The cells that take a path, in no order."""
        exact, folding = _of_host(self._hosts, host_of(authority), self._default)
        found: list[Cell[Plan]] = []
        for root, text in ((exact, key), (folding, key.lower())):
            if root.children or root.hole is not None or root.deeper:
                _collect(root, text.split(b"/")[1:], found)
        return found


def _collect(root: _Branch[Plan], segments: list[bytes], found: list[Cell[Plan]]) -> None:
    """Append all cells of a tree that take a path of these segments."""
    nodes = [root]
    for segment in segments:
        below: list[_Branch[Plan]] = []
        for node in nodes:
            found += node.deeper
            child = node.children.get(segment)
            if child is not None:
                below.append(child)
            if segment and node.hole is not None:
                below.append(node.hole)
        if not below:
            return
        nodes = below
    for node in nodes:
        found += node.here


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
            node = node.child(segment)
        node.deeper = cell.group
        if cell.prefix == b"/" or not cell.prefix.endswith(b"/"):
            node.here = cell.group
    return root


class _Shape:
    """Which paths a prefix or a template takes: those of just these segments (`alone`), those that go on behind them
    (`below`), or both. `lettered`: letter case could matter."""

    __slots__ = ("alone", "below", "segments")

    def __init__(self, segments: Segments, alone: bool, below: bool) -> None:
        self.segments = segments
        self.alone = alone
        self.below = below

    def lower(self) -> "_Shape":
        return _Shape(tuple(part and part.lower() for part in self.segments), self.alone, self.below)

    @property
    def lettered(self) -> bool:
        return any(part is not None and part.lower() != part.upper() for part in self.segments)

    def halves(self) -> "list[_Shape]":
        """The paths that end here, and those that go on, as shapes of their own: two routes may cover one each."""
        both = ((True, False), (False, True))
        return [
            _Shape(self.segments, alone, below)
            for alone, below in both
            if (alone and self.alone) or (below and self.below)
        ]

    def covers(self, narrow: "_Shape") -> bool:
        """Whether every path of `narrow` is one of ours. A hole takes no empty segment."""
        ours, theirs = len(self.segments), len(narrow.segments)
        same = all(map(_covers_segment, self.segments, narrow.segments))
        alone = not narrow.alone or (same and ((self.alone and ours == theirs) or (self.below and theirs > ours)))
        return alone and (not narrow.below or (same and self.below and ours <= theirs))


def _covers_segment(wide: bytes | None, narrow: bytes | None) -> bool:
    return narrow != b"" if wide is None else wide == narrow


def _shape(prefix: bytes, template: Template | None) -> _Shape:
    if template is not None:
        return _Shape(template.segments, not template.rest, template.rest)
    return _Shape(tuple(_segments(prefix)), not prefix.endswith(b"/"), True)


def _hides(earlier: Cell[Plan], later: Cell[Plan], narrow: _Shape) -> bool:
    """Whether an earlier cell takes all requests for `narrow` that a later one could take."""
    if earlier.holds is not None and earlier.first.match != later.first.match:
        return False
    if not _takes_host(earlier.host, later.host):
        return False
    wide = earlier.shape
    if later.folds and not earlier.folds and wide.lettered:
        return False
    return wide.covers(narrow.lower() if earlier.folds else narrow)


def _covers(wide: bytes, narrow: bytes) -> bool:
    """Whether the prefix `wide` takes every path that the prefix `narrow` takes."""
    return narrow == wide or narrow.startswith(wide if wide.endswith(b"/") else wide + b"/")


def _unreachable(entry: Entry[Plan], earlier: Route, how: str) -> Problem:
    name = earlier.name or earlier.place
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
    members: dict[object, list[Entry[Plan]]] = {}
    for entry in entries:
        host = host_of((entry.route.host or "").encode())
        template = entry.template and (entry.template.segments, entry.template.rest)
        place = (host, entry.prefix, template, entry.folds, repr(entry.route.match))
        members.setdefault(place, []).append(entry)
    cells: list[Cell[Plan]] = []
    for group_entries in members.values():
        first = group_entries[0]
        host = host_of((first.route.host or "").encode())
        group: Group[Plan] = Group({}, None, b"", first.index)
        cell: Cell[Plan] = Cell(host, first.prefix, group, first.route, first.folds, first.template, first.holds)
        hiding = [
            next((earlier for earlier in cells if _hides(earlier, cell, half)), None) for half in cell.shape.halves()
        ]
        taken = [earlier for earlier in hiding if earlier is not None]
        if len(taken) == len(hiding):
            why = "its host and path are taken by"
            problems.extend(_unreachable(entry, taken[-1].first, why) for entry in group_entries)
        else:
            _fill(cell.group, group_entries, problems)
        cells.append(cell)
    return Router(cells)
