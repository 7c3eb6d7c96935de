"""Routing: which route, in which order, and which routes can never be one."""

from itertools import product
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rawgate.config.model import Route
from rawgate.errors import Problem
from rawgate.policy.router import ANY_METHOD, Entry, Router, compile_router, host_of


def route(
    prefix: str, host: str | None = None, methods: tuple[str, ...] | None = None, *, folds: bool = False
) -> Route:
    case: Literal["ignore", "exact"] = "ignore" if folds else "exact"
    return Route(prefix=prefix, upstream="u", auth="none", host=host, methods=methods, case=case)


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
        entries.append(Entry(index, each, prefix.encode(), index, folds))
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


_prefixes = st.sampled_from(["/", "/a", "/a/", "/a/b", "/aB/c", "/a/b/", "/b", "/a/b/c", "/ab", "/Ab", "/1"])
_hosts = st.sampled_from([None, "a.test", "b.test"])
_methods = st.sampled_from([None, ("GET",), ("PUT", "POST"), ("HEAD",)])
_routes = st.lists(st.builds(route, _prefixes, _hosts, _methods, folds=st.booleans()), min_size=1, max_size=7)
_paths = st.lists(st.sampled_from(["a", "A", "b", "aB", "c", "ab", "1", ""]), max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)


def _takes(each: Route, path: str, host: str) -> bool:
    prefix, folds = compared(each)
    path = path.lower() if folds else path
    below = path.startswith(prefix if prefix.endswith("/") else prefix + "/")
    return each.host in (None, host) and (path == prefix or below)


@given(_routes, _paths, st.sampled_from(["a.test", "b.test", "c.test"]))
def test_the_first_match_in_order_is_the_group(routes: list[Route], path: str, host: str) -> None:
    """The compiled tree against the rule as it is written."""
    table, _ = router(*routes)
    group = table.find(host.encode(), path.encode())
    first = next((each for each in routes if _takes(each, path, host)), None)
    if first is None:
        assert group is None
        return
    group_of = [(each.host, compared(each)) for each in routes]
    members = [index for index, found in enumerate(group_of) if found == (first.host, compared(first))]
    assert group is not None
    assert {*group.methods.values(), group.other} - {None} <= set(members)


@given(_routes)
def test_a_route_without_a_problem_can_be_reached(routes: list[Route]) -> None:
    table, problems = router(*routes)
    lost = {problem.path[1] for problem in problems}
    reached = set()
    for each in routes:
        for host in ("a.test", "b.test", "c.test"):
            for prefix in map("".join, product(*({letter.lower(), letter.upper()} for letter in each.prefix))):
                for path in (prefix, prefix.rstrip("/") + "/zzz"):
                    group = table.find(host.encode(), path.encode())
                    reached |= {*group.methods.values(), group.other} if group is not None else set()
    assert reached - {None} == set(range(len(routes))) - lost
