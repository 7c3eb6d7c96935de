"""Which cell counts what: the same in every process, whatever reloads have come, and never beyond the room."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from rawgate.observe.layout import (
    LIMIT_ROWS,
    NO_ROUTE,
    PROCESS_ROWS,
    ROUTE_ROWS,
    SPARE,
    TARGET_ROWS,
    UPSTREAM_ROWS,
    Layout,
    Names,
    room_for,
)


def names(routes: Sequence[str] = (), upstreams: Sequence[str] = (), limits: Sequence[str] = ()) -> Names:
    return Names(routes, upstreams, [(upstream, "10.0.0.7:80") for upstream in upstreams], limits)


def blocks(layout: Layout) -> list[tuple[int, int]]:
    """First row and end of each block."""
    found = [(start, start + ROUTE_ROWS) for start in layout.routes.values()]
    found += [(start, start + UPSTREAM_ROWS) for start in layout.upstreams.values()]
    found += [(start, start + TARGET_ROWS) for start in layout.targets.values()]
    found += [(start, start + LIMIT_ROWS) for start in layout.limits.values()]
    return sorted(found)


SOME = st.lists(st.sampled_from("abcdef"), unique=True)
NAMES = st.builds(names, SOME, SOME, SOME)


@given(NAMES, st.lists(NAMES, max_size=5), st.integers(0, 3000))
def test_blocks_do_not_overlap_stay_where_they_are_and_fit(first: Names, reloads: list[Names], spare: int) -> None:
    layout = Layout(first, first.rows + spare)
    for reload in reloads:
        before = blocks(layout)
        layout.extend(reload)
        after = blocks(layout)
        assert set(before) <= set(after)
        ends = [PROCESS_ROWS, *(end for _, end in after)]
        assert [start for start, _ in after] == ends[:-1]
        assert ends[-1] == layout.used <= layout.capacity


@given(NAMES, st.lists(NAMES, max_size=5), st.integers(0, 3000))
def test_every_process_computes_the_same(first: Names, reloads: list[Names], spare: int) -> None:
    one, other = Layout(first, first.rows + spare), Layout(first, first.rows + spare)
    for reload in reloads:
        assert one.extend(reload) == other.extend(reload)
    assert (one.routes, one.upstreams, one.targets) == (other.routes, other.upstreams, other.targets)
    assert one.limits == other.limits


def test_what_comes_back_has_the_rows_that_it_had() -> None:
    layout = Layout(names(["a", "b"]))
    before = dict(layout.routes)
    assert layout.extend(names(["b"])) == []
    assert layout.extend(names(["b", "a", "c"])) == []
    assert list(layout.routes) == [NO_ROUTE, "a", "b", "c"]
    assert {name: layout.routes[name] for name in before} == before


def test_what_finds_no_room_is_named() -> None:
    first = names(["a"])
    layout = Layout(first, first.rows + ROUTE_ROWS + TARGET_ROWS + LIMIT_ROWS)
    # The target and the limit are small enough.
    assert layout.extend(names(["a", "b", "c"], ["u"], ["b"])) == ["routes.c", "upstreams.u"]
    assert layout.extend(names([], ["u", "v"], ["c"])) == [
        "upstreams.u",
        "upstreams.v",
        "upstreams.v.targets: 10.0.0.7:80",
        "limit c",
    ]
    assert layout.used == layout.capacity


def test_there_is_room_for_as_much_again_and_some_hundred_routes() -> None:
    small, large = names(["a"]), names([str(number) for number in range(1000)])
    assert room_for(small) == small.rows + SPARE
    assert room_for(large) == 2 * large.rows
    assert SPARE // ROUTE_ROWS >= 200
