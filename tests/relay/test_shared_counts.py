"""Counts by key in shared memory: keys of any length and any octets, each with its own count; what a death leaves.

`test_shared_addresses` and the requests under way in `tests/policy` are the same table under their own rules.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.quotas import Workers
from rawgate.relay.shared_counts import Bucket, bucket_size


@pytest.mark.parametrize("written", ["half a key", "no count"])
def test_a_place_that_a_dead_process_left_half_written_is_used_again(written: str) -> None:
    memory = memoryview(bytearray(bucket_size(2, 66)))
    bucket = Bucket(memory, 2, 66)
    key = b"\1half\2"
    if written == "no count":
        assert bucket.occupy(key) == 0
        assert bucket.occupy(b"\1next\2") == 1
        bucket.forget(0)
        assert bucket.find(key) == -1
    else:
        memory[1:3] = b"xy"
    assert bucket.occupy(key) == 0
    assert bucket.find(key) == 0


LONG = [letter * size for letter in "xy" for size in (126, 127, 300)]
KEYS = st.sampled_from(["", "a", "b", "a\2b", "\1a", "a\2", "\2", "\3", "a\n", "\udc80", *LONG])


@given(st.lists(st.tuples(st.integers(0, 1), KEYS, st.booleans()), max_size=60), st.integers(1, 3))
def test_each_key_has_its_own_count(moves: list[tuple[int, str, bool]], most: int) -> None:
    """All in one bucket, against a book of who has what."""
    memory = Workers(2, connections=1).memory
    workers = [memory.requests(number) for number in range(2)]
    book: dict[tuple[int, str], int] = {}
    for worker, key, enters in moves:
        total = sum(count for (_, one), count in book.items() if one == key)
        own = book.get((worker, key), 0)
        if enters:
            assert workers[worker].enter(key, most) is (total < most)
            book[worker, key] = own + (total < most)
        elif own:
            workers[worker].leave(key)
            book[worker, key] = own - 1


def test_a_dead_process_has_nothing_under_way() -> None:
    memory = Workers(2).memory
    one, other = memory.requests(0), memory.requests(1)
    assert [one.enter("x" * 200, 3), other.enter("x" * 200, 3), one.enter("x" * 200, 3)] == [True, True, True]
    assert not other.enter("x" * 200, 3)
    memory.forget(0, 1)
    assert [other.enter("x" * 200, 3) for _ in range(3)] == [True, True, False]
