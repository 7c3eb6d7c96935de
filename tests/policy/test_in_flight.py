"""Requests under way: as many of a client and a route as there may be, however often they come and go."""

from hypothesis import given
from hypothesis import strategies as st

from rawgate.policy.in_flight import InFlight, OwnCounts


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=30), st.integers(1, 3))
def test_requests_under_way(moves: list[tuple[str, bool]], most: int) -> None:
    counts = OwnCounts()
    flying, same = InFlight("/", counts), InFlight("/", counts)
    other = InFlight("/other", counts)
    open_: dict[str, list[object]] = {"a": [], "b": []}
    for client, enters in moves:
        if enters:
            leave = (flying if len(open_[client]) % 2 else same).enter(client, most)
            assert (leave is None) == (len(open_[client]) >= most)
            if leave is not None:
                open_[client].append(leave)
        elif open_[client]:
            end = open_[client].pop()
            assert callable(end)
            end()
        assert other.enter(client, 1) is not None
        counts.leave(f"/other\n{client}")
        assert len(counts) == len(open_["a"]) + len(open_["b"])
