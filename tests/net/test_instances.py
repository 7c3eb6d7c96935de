"""Answers of name servers and of Consul as instances, and how long they hold: tables, and properties of the readers."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rawgate.net.instances import (
    CEILING,
    FLOOR,
    HEAVIEST,
    LONGEST_RETRY,
    MOST,
    Instance,
    Record,
    Source,
    UselessError,
    consul_instances,
    fresh_for,
    next_index,
    retry_after,
    srv_instances,
)


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([], []),
        ([Record(0, 5, 80, "a.test")], [Instance(False, "a.test", 80, 5)]),
        # The order of an answer means nothing.
        (
            [Record(1, 1, 80, "b.test"), Record(1, 3, 80, "a.test")],
            [Instance(False, "a.test", 80, 3), Instance(False, "b.test", 80, 1)],
        ),
        # The lowest priority first, whatever its number; the others are there for when it is not.
        (
            [Record(20, 1, 80, "b.test"), Record(10, 1, 80, "a.test"), Record(30, 1, 80, "c.test")],
            [Instance(False, "a.test", 80, 1), Instance(True, "b.test", 80, 1), Instance(True, "c.test", 80, 1)],
        ),
        # RFC 2782: weight 0 has a small chance beside others, and an even one beside others of 0.
        (
            [Record(1, 0, 80, "a.test"), Record(1, 9, 80, "b.test")],
            [Instance(False, "a.test", 80, 1), Instance(False, "b.test", 80, 9)],
        ),
        # "." says that the service is decidedly not here.
        ([Record(0, 0, 0, ".")], []),
        # One place in two priorities is no backup of itself.
        ([Record(2, 7, 80, "a.test"), Record(1, 5, 80, "a.test")], [Instance(False, "a.test", 80, 5)]),
        ([Record(1, 1, 80, "a.test"), Record(1, 1, 81, "a.test")], [Instance(False, "a.test", p) for p in (80, 81)]),
    ],
)
def test_srv(records: list[Record], expected: list[Instance]) -> None:
    found = srv_instances(records)
    assert list(found.all) == expected
    assert found.flaws == ()


@pytest.mark.parametrize("record", [Record(1, 1, 0, "a.test"), Record(1, 1, 80, "a b"), Record(1, 1, 80, "a\\.test")])
def test_a_record_that_cannot_be_used_costs_no_other(record: Record) -> None:
    found = srv_instances([record, Record(1, 1, 80, "b.test")])
    assert found.all == (Instance(False, "b.test", 80),)
    assert len(found.flaws) == 1


def entry(**service: Any) -> dict[str, Any]:
    return {
        "Node": {"Node": "node-1", "Address": "10.0.0.9", "Meta": {"a": "b"}},
        "Service": {"ID": "web-1", "Service": "web", "Address": "10.0.0.1", "Port": 8080, **service},
        "Checks": [{"Status": "passing"}],
    }


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([], []),
        ([entry()], [Instance(False, "10.0.0.1", 8080)]),
        ([entry(Address="")], [Instance(False, "10.0.0.9", 8080)]),
        ([entry(Weights={"Passing": 10, "Warning": 1})], [Instance(False, "10.0.0.1", 8080, 10)]),
        ([entry(Weights={"Passing": 0, "Warning": 1})], [Instance(False, "10.0.0.1", 8080, 1)]),
        ([entry(Weights={"Passing": 10**9})], [Instance(False, "10.0.0.1", 8080, HEAVIEST)]),
        ([entry(Address="fd00::1")], [Instance(False, "fd00::1", 8080)]),
        ([entry(Address="web.internal")], [Instance(False, "web.internal", 8080)]),
        ([entry(Address="10.0.0.2"), entry()], [Instance(False, "10.0.0.1", 8080), Instance(False, "10.0.0.2", 8080)]),
        ([entry(), entry(ID="web-2")], [Instance(False, "10.0.0.1", 8080)]),
    ],
)
def test_consul(entries: list[dict[str, Any]], expected: list[Instance]) -> None:
    found = consul_instances(json.dumps(entries).encode())
    assert list(found.all) == expected
    assert found.flaws == ()


@pytest.mark.parametrize(
    ("service", "flaw"),
    [
        ({"Port": 0}, "'web-1' has no port that can be used"),
        ({"Port": 65536}, "'web-1' has no port that can be used"),
        ({"Address": "a\r\nb"}, "'web-1' has no address that can be used"),
        ({"Address": "fe80::1%eth0"}, "'web-1' has no address that can be used"),
        ({"Address": "http://a"}, "'web-1' has no address that can be used"),
    ],
)
def test_an_instance_that_is_registered_badly_costs_no_other(service: dict[str, Any], flaw: str) -> None:
    found = consul_instances(json.dumps([entry(**service), entry(Address="10.0.0.2")]).encode())
    assert found.all == (Instance(False, "10.0.0.2", 8080),)
    assert found.flaws == (flaw,)


def test_where_none_can_be_used_there_is_no_answer() -> None:
    """Or one mistake of whoever registers them would take the service away."""
    with pytest.raises(UselessError, match="no instance can be used: 'web-1' has no port that can be used"):
        consul_instances(json.dumps([entry(Port=0), entry(Port=0)]).encode())
    with pytest.raises(UselessError, match="no instance can be used: 'a' has no port"):
        srv_instances([Record(0, 0, 0, "a"), Record(0, 0, 80, ".")])


@pytest.mark.parametrize("document", [b"", b"{}", b"null", b"[1]", b'[{"Node": {}}]', b"[" * 100_000, b'["\xff"]'])
def test_what_is_no_answer_of_consul(document: bytes) -> None:
    with pytest.raises(UselessError):
        consul_instances(document)


def test_there_are_so_many_instances_and_no_more() -> None:
    found = srv_instances(Record(1, 1, port, "a.test") for port in range(1, MOST + 3))
    assert len(found.all) == MOST
    assert found.flaws == (f"there are more than {MOST:,}",)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["Service", "Node", "Address", "Port", "Weights", "Passing", "ID"]), inner, max_size=4
        ),
    ),
    max_leaves=12,
)


@given(st.one_of(st.binary(max_size=64), JSON.map(lambda value: json.dumps(value).encode())))
def test_whatever_comes_is_instances_or_useless(document: bytes) -> None:
    try:
        found = consul_instances(document)
    except UselessError:
        return
    for instance in found.all:
        assert 1 <= instance.port <= 65535
        assert 1 <= instance.weight <= HEAVIEST
        assert instance.host.isascii()
        assert not set(instance.host) & set(" \r\n/@?#%[]")


@given(st.lists(st.builds(Record, *[st.integers(0, 3)] * 2, st.integers(0, 3), st.sampled_from(["a", "b", "c."]))))
def test_records_become_one_instance_for_each_place(records: list[Record]) -> None:
    usable = [record for record in records if record.port]
    if records and not usable:
        with pytest.raises(UselessError):
            srv_instances(records)
        return
    found = srv_instances(records)
    assert {(one.host, one.port) for one in found.all} == {(record.host, record.port) for record in usable}
    assert len(found.all) == len({(one.host, one.port) for one in found.all})
    assert list(found.all) == sorted(found.all)
    assert srv_instances(reversed(records)).all == found.all or len(records) > len(found.all)
    # Whoever has the lowest priority of those that can be used gets requests.
    first = min((record.priority for record in records), default=0)
    assert {(one.host, one.port) for one in found.all if not one.backup} == {
        (record.host, record.port) for record in usable if record.priority == first
    }


@pytest.mark.parametrize(
    ("before", "told", "expected"),
    [
        (0, b"7", 7),
        (7, b"7", 7),
        (7, b"9", 9),
        # As Consul's documentation asks: a query must wait for something above 0, and one that went back starts anew.
        (0, b"0", 1),
        (7, b"6", 0),
        (7, b"0", 0),
        (7, None, 0),
        (7, b"", 0),
        (7, b"-1", 0),
        (7, b"9" * 21, 0),
    ],
)
def test_the_index_of_the_next_query(before: int, told: bytes | None, expected: int) -> None:
    assert next_index(before, told) == expected


@pytest.mark.parametrize(("ttl", "expected"), [(0, FLOOR), (0.5, FLOOR), (1, 1), (30, 30), (86400, CEILING)])
def test_how_long_an_answer_holds(ttl: float, expected: float) -> None:
    assert fresh_for(ttl) == expected


def test_tries_after_failures_come_later_and_later() -> None:
    delays = [retry_after(failures) for failures in range(1, 40)]
    assert delays[:5] == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert delays == sorted(delays)
    assert delays[-1] == LONGEST_RETRY


def test_a_source_says_what_it_asks() -> None:
    assert str(Source("dns", "a.test", 80)) == "the addresses of a.test"
    assert str(Source("srv", "_http._tcp.a.test")) == "the SRV records of _http._tcp.a.test"
    assert str(Source("consul", "web", 0, (("dc", "eu"), ("tag", "a")))) == "Consul's web?dc=eu&tag=a"
