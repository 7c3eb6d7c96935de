"""Latencies in buckets: which bucket, and what percentiles can be told from them."""

from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rawgate.observe.histogram import BOUNDS, BUCKETS, CELLS, SUM, bucket_of, microseconds, percentile

LATENCIES = st.integers(0, 100_000_000)


def counted(*latencies: int) -> list[int]:
    cells = [0] * CELLS
    for latency in latencies:
        cells[bucket_of(latency)] += 1
        cells[SUM] += latency
    return cells


def test_bounds_rise_from_100_microseconds_to_a_minute() -> None:
    assert sorted(set(BOUNDS)) == BOUNDS
    assert (BOUNDS[0], BOUNDS[-1]) == (100, 60_000_000)


@given(LATENCIES)
def test_a_bucket_takes_its_upper_bound_and_not_its_lower(latency: int) -> None:
    assert bucket_of(latency) == bisect_left(BOUNDS, latency)


@pytest.mark.parametrize("latency", [0, 1, *BOUNDS, *(bound + 1 for bound in BOUNDS)])
def test_at_the_bounds(latency: int) -> None:
    assert bucket_of(latency) == bisect_left(BOUNDS, latency)


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.0, 0), (1e-7, 0), (6e-7, 1), (0.0001, 100), (1.5, 1_500_000), (-1e-9, 0)]
)
def test_spans_are_whole_microseconds(seconds: float, expected: int) -> None:
    assert microseconds(seconds) == expected


def test_without_counts_there_is_no_percentile() -> None:
    assert percentile([0] * CELLS, 0.5) is None


@given(st.lists(LATENCIES, min_size=1, max_size=40), st.sampled_from([0.5, 0.9, 0.95, 0.99, 1.0]))
def test_a_percentile_lies_in_the_bucket_of_the_true_one(latencies: list[int], part: float) -> None:
    true = sorted(latencies)[max(0, -int(-part * len(latencies) // 1) - 1)]
    found = percentile(counted(*latencies), part)
    assert found is not None
    bucket = bucket_of(true)
    lower = BOUNDS[bucket - 1] if bucket else 0
    upper = BOUNDS[bucket] if bucket < len(BOUNDS) else BOUNDS[-1]
    assert lower / 1e6 - 1e-9 <= found <= upper / 1e6 + 1e-9


@given(st.lists(LATENCIES, min_size=1, max_size=40))
def test_percentiles_rise(latencies: list[int]) -> None:
    cells = counted(*latencies)
    found = [percentile(cells, part) or 0.0 for part in (0.1, 0.5, 0.9, 0.99)]
    assert found == sorted(found)


def test_beyond_the_last_bound_it_is_that_bound() -> None:
    assert percentile(counted(10**9), 0.5) == BOUNDS[-1] / 1e6
    assert sum(counted(10**9)[:BUCKETS]) == 1
