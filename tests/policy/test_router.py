"""Routing: which route, in which order, and which routes can never be one."""

import re
from functools import partial
from itertools import product
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rawgate.config.model import Match, Route
from rawgate.errors import Problem
from rawgate.message import RequestHead
from rawgate.policy.router import ANY_METHOD, Entry, Router, Segments, Template, compile_router, host_of


def route(
    prefix: str,
    host: str | None = None,
    methods: tuple[str, ...] | None = None,
    *,
    folds: bool = False,
    scheme: Literal["http", "https"] | None = None,
) -> Route:
    """A prefix; what begins with "=" is a whole path, in which braces stand for names."""
    case: Literal["ignore", "exact"] = "ignore" if folds else "exact"
    match = None if scheme is None else Match(scheme=scheme)
    path = prefix.removeprefix("=") if prefix.startswith("=") else ""
    return Route(
        prefix="" if path else prefix,
        path=path,
        upstream="u",
        auth="none",
        host=host,
        methods=methods,
        case=case,
        match=match,
    )


def _is_scheme(wanted: str, head: RequestHead, query: bytes, scheme: str) -> bool:
    return scheme == wanted


def template(each: Route) -> Template | None:
    if not each.path:
        return None
    names = each.path.split("/")[1:]
    rest = names[-1].endswith("*}")
    segments: Segments = tuple(
        None if name.startswith("{") else (name.lower() if each.case == "ignore" else name).encode()
        for name in names[: len(names) - rest]
    )
    return Template(segments, rest)


def folding(prefix: str, host: str | None = None, methods: tuple[str, ...] | None = None) -> Route:
    return route(prefix, host, methods, folds=True)


def compared(each: Route) -> tuple[str, bool]:
    """A route's prefix as it is compared, and whether it ignores case."""
    return (each.prefix.lower(), True) if each.case == "ignore" else (each.prefix, False)


def router(*routes: Route) -> tuple[Router[int], list[Problem]]:
    problems: list[Problem] = []
    entries = []
    for index, each in enumerate(routes):
        prefix, folds = compared(each)
        wanted = None if each.match is None else each.match.scheme
        holds = None if wanted is None else partial(_is_scheme, wanted)
        entries.append(Entry(index, each, prefix.encode(), index, folds, template(each), holds))
    return compile_router(entries, problems), problems


def select(table: Router[int], path: str, method: str = "GET", authority: str = "a.test") -> int | str | None:
    """The route's place, the Allow of a 405, or None for a 404."""
    group = table.find(authority.encode(), path.encode())
    if group is None:
        return None
    chosen = group.methods.get(method.encode(), group.other)
    return group.allow.decode() if chosen is None else chosen


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/api/users", 0),
        ("/api/users/7", 0),
        ("/api/users/", 0),
        ("/api/usersX", 1),
        ("/api/user", 1),
        ("/api", 1),
        ("/api/", 1),
        ("/API/users", 3),
        ("/files", 3),
        ("/files/", 2),
        ("/files/a/b", 2),
        ("/", 3),
        ("/apiX", 3),
        ("/a/very/deep/path/that/no/prefix/reaches", 3),
    ],
)
def test_prefixes_match_whole_segments(path: str, expected: int) -> None:
    table, problems = router(route("/api/users"), route("/api"), route("/files/"), route("/"))
    assert problems == []
    assert select(table, path) == expected


def test_no_route() -> None:
    table, _ = router(route("/api"), route("/b/c"))
    assert [select(table, path) for path in ("/", "/b", "/x/api", "/b/d")] == [None] * 4


@pytest.mark.parametrize(
    ("authority", "expected"),
    [
        ("a.test", 0),
        ("A.Test:8080", 0),
        ("a.test.", 0),
        ("b.a.test", 3),
        ("", 3),
        ("[::1]:8080", 1),
        ("[::1]", 1),
        ("[::2]", 3),
        ("b.test", 2),
    ],
)
def test_hosts(authority: str, expected: int) -> None:
    table, problems = router(route("/", "a.test"), route("/", "[::1]"), route("/", "b.test"), route("/"))
    assert problems == []
    assert select(table, "/x", authority=authority) == expected


def test_order_decides_between_a_host_and_a_narrower_prefix() -> None:
    table, problems = router(route("/", "a.test"), route("/api"))
    assert problems == []
    assert select(table, "/api/x", authority="a.test") == 0
    assert select(table, "/api/x", authority="b.test") == 1


def test_a_route_for_all_hosts_comes_before_a_later_host() -> None:
    table, problems = router(route("/api"), route("/", "a.test"))
    assert problems == []
    assert select(table, "/api/x", authority="a.test") == 0
    assert select(table, "/x", authority="a.test") == 1


METHODS = (
    route("/a", methods=("GET", "POST")),
    route("/b", methods=("HEAD",)),
    route("/b", methods=("GET", "DELETE")),
    route("/c", methods=("GET",)),
    route("/c"),
    route("/"),
)


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/a", 0),
        ("HEAD", "/a", 0),
        ("POST", "/a/x", 0),
        ("PUT", "/a", "GET, HEAD, POST"),
        ("OPTIONS", "/a", "GET, HEAD, POST"),
        ("get", "/a", "GET, HEAD, POST"),
        ("HEAD", "/b", 1),
        ("GET", "/b", 2),
        ("PATCH", "/b", "GET, HEAD, DELETE"),
        ("GET", "/c", 3),
        ("HEAD", "/c", 3),
        ("PURGE", "/c", 4),
        ("PURGE", "/x", 5),
    ],
)
def test_methods_select_within_a_group_only(method: str, path: str, expected: int | str) -> None:
    table, problems = router(*METHODS)
    assert problems == []
    assert select(table, path, method) == expected


def test_allow_of_an_open_group_names_the_usual_methods() -> None:
    table, _ = router(route("/"))
    group = table.find(b"", b"/")
    assert group is not None
    assert group.allow == ANY_METHOD


@pytest.mark.parametrize(
    ("routes", "unreachable"),
    [
        ([route("/"), route("/api")], [1]),
        ([route("/api"), route("/api/users"), route("/")], [1]),
        ([route("/api"), route("/api/")], [1]),
        ([route("/api/"), route("/api")], []),
        ([route("/api/"), route("/api/x")], [1]),
        ([route("/api"), route("/apiX")], []),
        ([route("/a"), route("/a")], [1]),
        ([route("/a"), route("/a", methods=("GET",))], [1]),
        ([route("/a", methods=("GET",)), route("/a")], []),
        ([route("/a", methods=("GET",)), route("/a", methods=("GET",))], [1]),
        ([route("/a", methods=("GET", "PUT")), route("/a", methods=("PUT", "POST"))], []),
        ([route("/a", methods=("GET",)), route("/a", methods=("PUT",)), route("/a", methods=("PUT", "GET"))], [2]),
        ([route("/a", methods=("GET",)), route("/a/b", methods=("POST",))], [1]),
        ([route("/"), route("/", "a.test")], [1]),
        ([route("/", "a.test"), route("/")], []),
        ([route("/", "a.test"), route("/x", "b.test")], []),
        ([route("/", "a.test"), route("/x", "A.TEST")], [1]),
        ([route("/a", methods=("GET",)), route("/"), route("/a", methods=("PUT",))], []),
        ([route("/"), route("/a", methods=("GET",)), route("/a", methods=("PUT",))], [1, 2]),
        ([folding("/A"), route("/a/b")], [1]),
        ([folding("/a"), route("/A/b"), folding("/A/B")], [1, 2]),
        ([folding("/A"), folding("/a", methods=("GET",))], [1]),
        ([route("/a"), folding("/a")], []),
        ([route("/a"), route("/A")], []),
        ([route("/"), folding("/a")], [1]),
    ],
)
def test_unreachable_routes_are_problems(routes: list[Route], unreachable: list[int]) -> None:
    _, problems = router(*routes)
    assert [problem.path for problem in problems] == [("routes", index) for index in unreachable]
    assert all("can never be reached" in problem.message for problem in problems)


@pytest.mark.parametrize(("name", "told"), [("", "'/'"), ("all", "'all'")])
def test_the_route_that_hides_another_is_told_by_its_name_or_its_prefix(name: str, told: str) -> None:
    _, (problem,) = router(Route(prefix="/", upstream="users", auth="none", name=name), route("/a"))
    assert f" the route {told} before it " in problem.message


def test_host_of_an_authority() -> None:
    assert host_of(b"A.Test.:80") == b"a.test"
    spellings = [b"[2001:DB8::1]:80", b"[2001:db8:0:0:0:0:0:1]", b"[2001:0db8::0001]", b"[2001:db8::0.0.0.1]:8"]
    assert {host_of(spelling) for spelling in spellings} == {b"[2001:db8::1]"}


def test_an_address_is_one_host_in_any_spelling() -> None:
    table, problems = router(route("/", "[2001:0DB8:0:0::1]"), route("/", "[2001:db8::1]", methods=("GET",)))
    assert [problem.path for problem in problems] == [("routes", 1)]
    assert select(table, "/", authority="[2001:DB8::1]:443") == 0
    assert select(table, "/", authority="[2001:db8::2]") is None


TEMPLATES = (
    route("=/users/me"),
    route("=/users/{id}", methods=("GET",)),
    route("=/users/{other}", methods=("PUT",)),
    route("=/users/{id}/avatar"),
    route("=/files/{rest*}"),
    route("=/a/{x}/c"),
    route("=/{y}/b/c"),
    route("=/exact/"),
    route("/users/7/wide"),
    route("=/"),
)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/users/me", 0),
        ("/users/7", 1),
        ("/users/7/avatar", 3),
        ("/users/7/wide/avatar", 8),
        ("/users/", None),
        ("/users//avatar", None),
        ("/users/7/x", None),
        ("/users/7/avatar/", None),
        ("/files", None),
        ("/files/", 4),
        ("/files/a/b", 4),
        ("/a/b/c", 5),
        ("/x/b/c", 6),
        ("/exact/", 7),
        ("/exact", None),
        ("/", 9),
        ("/x", None),
    ],
)
def test_templates_match_whole_paths(path: str, expected: int | None) -> None:
    table, problems = router(*TEMPLATES)
    assert problems == []
    assert select(table, path) == expected


def test_templates_with_other_names_are_one_group() -> None:
    table, _ = router(*TEMPLATES)
    assert [select(table, "/users/7", method) for method in ("PUT", "DELETE")] == [2, "GET, HEAD, PUT"]


@pytest.mark.parametrize(
    ("routes", "unreachable"),
    [
        (["=/users/{id}", "=/users/me"], [1]),
        (["/users", "=/users/{id}"], [1]),
        (["/users/", "=/users"], []),
        (["/users/", "=/users/"], [1]),
        (["=/users/{id}", "/users/7"], []),
        (["=/files/{rest*}", "/files/a"], [1]),
        (["=/files/{rest*}", "/files"], []),
        (["=/{x}/{rest*}", "/files/"], [1]),
        (["=/{x}/{rest*}", "/files"], []),
        (["=/{x}/{rest*}", "=/a/{y}/{rest*}"], [1]),
        (["=/{x}/{y}", "=/a/"], []),
        (["=/a/{x}", "=/{y}/b"], []),
        (["=/{x}", "=/{y}"], [1]),
    ],
)
def test_templates_that_can_never_be_reached(routes: list[str], unreachable: list[int]) -> None:
    _, problems = router(*map(route, routes))
    assert [problem.path for problem in problems] == [("routes", index) for index in unreachable]


@pytest.mark.parametrize(
    ("authority", "expected"),
    [
        ("x.a.test", 1),
        ("x.y.a.test", 1),
        ("www.a.test", 0),
        ("a.test", 3),
        ("xa.test", 3),
        ("z.deep.a.test:80", 1),
        ("b.test", 3),
        ("x.b.test", 2),
        ("", 3),
    ],
)
def test_wildcard_hosts(authority: str, expected: int) -> None:
    routes = route("/", "www.a.test"), route("/", "*.a.test"), route("/", "*.b.test"), route("/")
    table, problems = router(*routes)
    assert problems == []
    assert select(table, "/x", authority=authority) == expected


@pytest.mark.parametrize(
    ("hosts", "unreachable"),
    [
        (["*.a.test", "www.a.test"], [1]),
        (["*.a.test", "*.x.a.test"], [1]),
        (["*.x.a.test", "*.a.test"], []),
        (["*.a.test", "a.test"], []),
        ([None, "*.a.test"], [1]),
    ],
)
def test_hosts_behind_a_wildcard_can_never_be_reached(hosts: list[str | None], unreachable: list[int]) -> None:
    _, problems = router(*(route("/", host) for host in hosts))
    assert [problem.path for problem in problems] == [("routes", index) for index in unreachable]


def chosen(table: Router[int], path: str, scheme: str, authority: str = "a.test") -> Any:
    head = RequestHead(b"GET", path.encode(), 1, authority.encode(), {}, [], 0, False, False, b"", 0)
    assert table.choose is not None
    group = table.choose(head, path.encode(), b"", scheme)
    return None if group is None else group.methods.get(b"GET", group.other)


def test_a_route_that_asks_for_more_is_passed_over() -> None:
    table, problems = router(
        route("/", scheme="http"), route("/api"), route("/api/x", scheme="https"), route("=/{name}", scheme="https")
    )
    assert [problem.path for problem in problems] == [("routes", 2)]
    table, problems = router(route("/", scheme="http"), route("=/{name}", scheme="https"), route("/api"))
    assert problems == []
    assert [chosen(table, path, "http") for path in ("/api", "/x", "/")] == [0, 0, 0]
    assert [chosen(table, path, "https") for path in ("/api", "/api/x", "/x", "/")] == [1, 2, 1, None]


def test_two_routes_that_ask_for_the_same_hide_one_another() -> None:
    _, problems = router(route("/", scheme="http"), route("/api", scheme="http"), route("/api", scheme="https"))
    assert [problem.path for problem in problems] == [("routes", 1)]


def test_where_no_route_asks_for_more_nothing_is_spent_on_it() -> None:
    table, _ = router(route("/"))
    assert table.choose is None
    # Neither is anything spent on templates: the look-up is that of prefixes alone.
    assert table.find.__func__.__name__ == "find"  # type: ignore[attr-defined]


_prefixes = st.sampled_from(
    [
        *("=/a", "=/a/{x}", "=/{x}/b", "=/a/{x*}", "=/{x}", "=/aB/{x}/c", "=/"),
        *("/", "/a", "/a/", "/a/b", "/aB/c", "/a/b/", "/b", "/a/b/c", "/ab", "/Ab", "/1"),
    ]
)
_hosts = st.sampled_from([None, "a.test", "b.test", "*.test", "*.a.test"])
_methods = st.sampled_from([None, ("GET",), ("PUT", "POST"), ("HEAD",)])
_routes = st.lists(st.builds(route, _prefixes, _hosts, _methods, folds=st.booleans()), min_size=1, max_size=7)
_paths = st.lists(st.sampled_from(["a", "A", "b", "aB", "c", "ab", "1", ""]), max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)


def _takes(each: Route, path: str, host: str) -> bool:
    prefix, folds = compared(each)
    path = path.lower() if folds else path
    if each.host is not None and each.host not in (host, "*." + host.partition(".")[2], "*." + host.rpartition(".")[2]):
        return False
    if each.path:
        pattern = re.sub(r"{x\*}", ".*", each.path.lower() if folds else each.path)
        return re.fullmatch(re.sub(r"{x}", "[^/]+", pattern), path) is not None
    below = path.startswith(prefix if prefix.endswith("/") else prefix + "/")
    return path == prefix or below


@given(_routes, _paths, st.sampled_from(["a.test", "b.test", "c.test", "x.a.test"]))
def test_the_first_match_in_order_is_the_group(routes: list[Route], path: str, host: str) -> None:
    """The compiled tree against the rule as it is written."""
    table, _ = router(*routes)
    group = table.find(host.encode(), path.encode())
    first = next((each for each in routes if _takes(each, path, host)), None)
    if first is None:
        assert group is None
        return
    group_of = [
        (each.host, each.path.lower() if each.case == "ignore" else each.path, compared(each)) for each in routes
    ]
    members = [index for index, found in enumerate(group_of) if found == group_of[routes.index(first)]]
    assert group is not None
    assert {*group.methods.values(), group.other} - {None} <= set(members)


@given(_routes)
def test_a_route_without_a_problem_can_be_reached(routes: list[Route]) -> None:
    table, problems = router(*routes)
    lost = {problem.path[1] for problem in problems}
    reached = set()
    for each in routes:
        for host in ("a.test", "b.test", "c.test", "x.a.test", "test"):
            place = each.prefix or each.path.replace("{x}", "qq").replace("{x*}", "qq")
            for prefix in map("".join, product(*({letter.lower(), letter.upper()} for letter in place))):
                for path in (prefix, prefix.rstrip("/") + "/zzz"):
                    group = table.find(host.encode(), path.encode())
                    reached |= {*group.methods.values(), group.other} if group is not None else set()
    assert reached - {None} == set(range(len(routes))) - lost
