"""The pool's bookkeeping: its rules as single cases, and as invariants of a machine that does whatever it may."""

from collections import Counter
from collections.abc import Callable
from itertools import cycle
from math import inf
from random import Random
from typing import Any, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from harness.ports import FakeLessee, FakeUpstream
from harness.quotas import Workers
from rawgate import errors
from rawgate.errors import OK, QUEUE_FULL, UPSTREAM_CONNECT_FAILED, UPSTREAM_RESET, Reason
from rawgate.relay.balance import HASH, LEAST_REQUESTS, ROUND_ROBIN, Draw, never_by_chance
from rawgate.relay.endpoints import ANY_ADDRESS, NOWHERE, Endpoint, Place
from rawgate.relay.health import UNHEALTHY_FOR
from rawgate.relay.lessee import Lessee
from rawgate.relay.options import UpstreamOptions
from rawgate.relay.pool import GRACE, Outcomes, Pool
from rawgate.relay.ports import UpstreamPort

Names = tuple[tuple[str, int], ...]


def places(*names: tuple[str, int]) -> tuple[Place, ...]:
    return tuple(Place(host=host, port=port) for host, port in names)


class Fixture:
    """A pool whose dials are only written down."""

    def __init__(self, targets: Names = (("a", 1),), draw: Draw = never_by_chance, **options: Any) -> None:
        self.dials: list[Lessee] = []
        self.orders: list[list[Endpoint]] = []
        self.said: list[str] = []
        quotas = {name: options.pop(name) for name in ("slots", "queue_slots", "tunnel_slots") if name in options}
        self.pool = Pool(
            UpstreamOptions(name="u", places=places(*targets), **options),
            self._dial,
            self.said.append,
            quotas.get("slots"),
            quotas.get("queue_slots"),
            quotas.get("tunnel_slots"),
            draw=draw,
        )

    def _dial(self, pool: Pool, lessee: Lessee) -> None:
        self.dials.append(lessee)
        self.orders.append([endpoint for endpoint, _ in pool.dial_order(lessee, 0.0)])

    def endpoint(self, at: int = 0) -> Endpoint:
        return self.pool.endpoints.all[at]

    def firsts(self) -> list[int]:
        """Which endpoint each dial tried first."""
        return [self.pool.endpoints.all.index(order[0]) for order in self.orders]

    def connect(self, lessee: Lessee, now: float = 0.0, target: int = 0, address: str = "") -> FakeUpstream:
        """The dial made for this lessee succeeds."""
        self.dials.remove(lessee)
        upstream = FakeUpstream(self.endpoint(target), address=address)
        self.pool.dialed(lessee, upstream, now)
        return upstream

    def lease(self, now: float = 0.0, target: int = 0, address: str = "") -> tuple[FakeLessee, FakeUpstream]:
        lessee = FakeLessee(address)
        assert self.pool.acquire(lessee, now) is None
        return lessee, self.connect(lessee, now, target)

    def release(self, upstream: UpstreamPort, now: float, keep_alive: int = -1, *, had_body: bool = False) -> None:
        """Its exchange went well."""
        self.pool.done(upstream, OK, 200, 0.1, now, keep=True, keep_alive=keep_alive, had_body=had_body)

    def discard(self, upstream: UpstreamPort) -> None:
        """Its exchange did not go well."""
        self.pool.done(upstream, UPSTREAM_RESET, 0, 0.1, 0.0)


def test_the_first_request_dials_and_the_second_reuses() -> None:
    f = Fixture()
    lessee, upstream = f.lease()
    assert lessee.got == [upstream]
    f.release(upstream, 1.0)
    assert f.pool.acquire(FakeLessee(), 1.0) is upstream
    assert f.pool.leased == 1


def test_the_newest_idle_connection_goes_first() -> None:
    f = Fixture()
    (_, old), (_, new) = f.lease(), f.lease()
    f.release(old, 1.0)
    f.release(new, 2.0)
    assert f.pool.acquire(FakeLessee(), 3.0) is new


def test_an_idle_connection_is_not_leased_after_its_time() -> None:
    f = Fixture(keep_alive=10.0)
    _, upstream = f.lease()
    f.release(upstream, 0.0)
    assert f.pool.acquire(FakeLessee(), 10.0) is None
    assert upstream.closed
    assert len(f.dials) == 1


@pytest.mark.parametrize(("keep_alive", "retire_at"), [(-1, 55.0), (5, 4.0), (100, 55.0), (0, -1.0)])
def test_keep_alive_of_the_upstream_is_obeyed_a_second_early(keep_alive: int, retire_at: float) -> None:
    f = Fixture(keep_alive=55.0)
    _, upstream = f.lease()
    f.release(upstream, 0.0, keep_alive)
    assert upstream.retire_at == retire_at


def test_retire_takes_the_old_ones_off_the_list() -> None:
    f = Fixture(keep_alive=10.0)
    (_, old), (_, new) = f.lease(), f.lease()
    f.release(old, 0.0)
    f.release(new, 5.0)
    assert f.pool.retire(10.0) == [old]
    assert f.pool.idle == 1


@pytest.mark.parametrize(("now", "retired"), [(9.0, False), (10.0, True)])
@pytest.mark.parametrize("target", [0, 1])
def test_at_the_limit_connections_that_are_too_old_make_room(target: int, now: float, retired: bool) -> None:
    """Whether it is their target's turn or not."""
    f = Fixture(targets=(("a", 1), ("b", 2)), max_connections=1, keep_alive=10.0)
    _, old = f.lease(target=target)
    f.release(old, 0.0)
    got = f.pool.acquire(FakeLessee(), now)
    assert (got, old.closed) == ((None, True) if retired else (old, False))
    assert (f.pool.idle, f.pool.size, len(f.dials)) == (0, 1, int(retired))


def test_at_the_limit_requests_queue_in_order_and_then_are_refused() -> None:
    f = Fixture(max_connections=1, queue=2)
    _, upstream = f.lease()
    first, second, third = FakeLessee(), FakeLessee(), FakeLessee()
    assert f.pool.acquire(first, 0.0) is None
    assert f.pool.acquire(second, 0.0) is None
    assert f.pool.acquire(third, 0.0) is QUEUE_FULL
    assert f.pool.queued(first)
    f.release(upstream, 1.0)
    assert (first.got, second.got) == ([upstream], [])
    f.release(upstream, 2.0)
    assert second.got == [upstream]


def test_who_leaves_the_queue_is_not_served() -> None:
    f = Fixture(max_connections=1)
    _, upstream = f.lease()
    gone, stays = FakeLessee(), FakeLessee()
    f.pool.acquire(gone, 0.0)
    f.pool.acquire(stays, 0.0)
    f.pool.leave(gone)
    f.release(upstream, 1.0)
    assert (gone.got, stays.got) == ([], [upstream])


def test_a_lost_connection_lets_the_head_of_the_queue_dial() -> None:
    f = Fixture(max_connections=1)
    _, upstream = f.lease()
    queued = FakeLessee()
    f.pool.acquire(queued, 0.0)
    f.discard(upstream)
    assert f.dials == [queued]
    assert not f.pool.queued(queued)


def test_a_failed_dial_fails_its_waiter_and_frees_a_slot_for_the_next() -> None:
    f = Fixture(max_connections=1)
    first, second = FakeLessee(), FakeLessee()
    f.pool.acquire(first, 0.0)
    f.pool.acquire(second, 0.0)
    f.dials.remove(first)
    f.pool.dial_failed(first, UPSTREAM_CONNECT_FAILED, 1.0)
    assert first.failed == [UPSTREAM_CONNECT_FAILED]
    assert f.dials == [second]
    assert second.failed == []


def test_a_dial_whose_waiter_has_left_serves_the_queue_or_rests() -> None:
    f = Fixture(max_connections=1)
    gone, queued = FakeLessee(), FakeLessee()
    f.pool.acquire(gone, 0.0)
    f.pool.acquire(queued, 0.0)
    f.pool.leave(gone)
    upstream = f.connect(gone)
    assert (gone.got, queued.got) == ([], [upstream])
    f.release(upstream, 1.0)
    assert f.pool.idle == 1


@pytest.mark.parametrize("waiting", [False, True])
def test_a_dead_connection_is_replaced_in_its_own_slot(waiting: bool) -> None:
    f = Fixture(max_connections=2)
    lessee, dead = f.lease()
    _, other = f.lease()
    queued = FakeLessee("another")
    if waiting:
        f.pool.acquire(queued, 0.0)
    f.pool.redial(dead, lessee, errors.UPSTREAM_RESET, 0, 0.1, 0.0)
    assert f.dials == [lessee]
    assert f.pool.size == 2
    f.release(other, 1.0)
    assert queued.got == ([other] if waiting else [])
    assert lessee.got == [dead], "not the one that another just gave back"
    new = f.connect(lessee)
    assert lessee.got == [dead, new]


def test_silence_closes_connections_that_have_been_idle_for_as_long() -> None:
    f = Fixture(targets=(("a", 1), ("b", 2)))
    (_, old), (_, same), (_, young), (_, busy) = (f.lease() for _ in range(4))
    _, elsewhere = f.lease(target=1)
    for upstream, now in ((old, 1.0), (same, 2.0), (young, 3.0), (elsewhere, 1.0)):
        f.release(upstream, now)
    f.pool.close_silent(f.endpoint(), 2.0)
    assert [one.closed for one in (old, same, young, busy, elsewhere)] == [True, True, False, False, False]
    assert f.pool.size == 3


@pytest.mark.parametrize(
    ("count", "down", "only"), [(1, (), True), (2, (), False), (2, (1,), True), (3, (0, 1), False), (3, (1, 2), True)]
)
def test_whether_there_is_another_target(count: int, down: tuple[int, ...], only: bool) -> None:
    f = Fixture(targets=tuple((str(number), 1) for number in range(count)))
    for target in down:
        f.pool.endpoints.failed(f.endpoint(target), "x", 0.0)
    assert f.pool.endpoints.is_only(f.endpoint(), ANY_ADDRESS, 1.0) is only
    assert f.pool.endpoints.is_only(f.endpoint(), ANY_ADDRESS, UNHEALTHY_FOR) is (count == 1)


TWO = (("a", 1), ("b", 2))


@pytest.mark.parametrize("count", [50, 200])
def test_a_burst_is_spread_over_the_targets(count: int) -> None:
    """All of them dial before any of these dials ends."""
    f = Fixture(TWO, max_connections=256)
    for _ in range(count):
        assert f.pool.acquire(FakeLessee(), 0.0) is None
    first = f.firsts()
    assert (first.count(0), first.count(1)) == (count // 2, count // 2)


@pytest.mark.parametrize("seed", range(5))
def test_what_comes_and_goes_is_spread_over_the_targets(seed: int) -> None:
    """Whether a turn is taken by a dial or by an idle connection makes no difference."""
    f, chance = Fixture(TWO, max_connections=256), Random(seed)  # noqa: S311 - not a secret
    served = [0, 0]
    busy: list[FakeUpstream] = []
    for _ in range(200):
        while busy and chance.random() < 0.5:
            f.release(busy.pop(chance.randrange(len(busy))), 0.0)
        lessee = FakeLessee()
        upstream = f.pool.acquire(lessee, 0.0)
        if upstream is None:
            upstream = f.connect(lessee, target=f.firsts()[-1])
        served[f.pool.endpoints.all.index(cast("FakeUpstream", upstream).endpoint)] += 1
        busy.append(cast("FakeUpstream", upstream))
    assert served == [100, 100]


def test_dials_from_the_queue_or_for_a_new_connection_take_turns() -> None:
    f = Fixture(TWO, max_connections=2)
    (_, one), (_, other) = f.lease(), f.lease()
    for _ in range(2):
        f.pool.acquire(FakeLessee(), 0.0)
    f.discard(one)
    f.discard(other)
    assert f.firsts() == [1, 0, 1, 0]
    f = Fixture(TWO)
    for lessee, upstream in [f.lease(target=number % 2) for number in range(4)]:
        f.pool.redial(upstream, lessee, errors.UPSTREAM_RESET, 0, 0.1, 0.0)
    assert f.firsts()[4:] == [1, 0, 1, 0]


def test_a_request_that_failed_somewhere_is_sent_elsewhere() -> None:
    f = Fixture(TWO)
    for lessee, upstream in [f.lease() for _ in range(4)]:
        f.pool.redial(upstream, lessee, errors.OK, 503, 0.1, 0.0)
    assert f.firsts()[4:] == [1, 1, 1, 1]


def test_the_addresses_of_a_target_take_turns_with_their_idle_connections() -> None:
    f = Fixture()
    f.pool.endpoints.addresses(f.endpoint(), 0, ("10.0.0.1", "10.0.0.2"), 0.0)
    lessees = [FakeLessee() for _ in range(4)]
    resting = []
    for number, lessee in enumerate(lessees):
        f.pool.acquire(lessee, 0.0)
        resting.append(f.connect(lessee, address=f"10.0.0.{number % 2 + 1}"))
    for upstream in resting:
        f.release(upstream, 0.0)
    taken = [cast("FakeUpstream", f.pool.acquire(FakeLessee(), 0.0)).address for _ in range(4)]
    assert sorted(taken[:2]) == sorted(taken[2:]) == ["10.0.0.1", "10.0.0.2"]
    assert f.pool.acquire(FakeLessee(), 0.0) is None, "none is idle"
    f.release(resting[0], 0.0)
    f.pool.endpoints.address_failed(f.endpoint(), "10.0.0.2", "timed out", 0.0)
    assert f.pool.acquire(FakeLessee(), 0.0) is resting[0]


def test_at_the_limit_another_targets_idle_connection_is_used() -> None:
    f = Fixture(targets=(("a", 1), ("b", 2)), max_connections=1)
    _, upstream = f.lease(target=1)
    f.release(upstream, 0.0)
    assert f.pool.acquire(FakeLessee(), 0.0) is upstream
    f.release(upstream, 0.0)
    assert f.pool.acquire(FakeLessee(), 0.0) is upstream


def test_a_closed_pool_keeps_nothing() -> None:
    f = Fixture()
    (_, idle), (_, busy) = f.lease(), f.lease()
    f.release(idle, 0.0)
    assert f.pool.close() == [idle]
    f.release(busy, 0.0)
    assert busy.closed
    assert f.pool.size == 0


# ── tunnels ──


def test_a_tunnel_gives_its_slot_to_who_waits() -> None:
    f = Fixture(max_connections=1)
    _, upstream = f.lease()
    queued = FakeLessee()
    f.pool.acquire(queued, 0.0)
    f.pool.switched(upstream, 0.1, 0.0)
    assert f.dials == [queued]
    assert (f.pool.leased, f.pool.size) == (0, 1)


def test_tunnels_have_places_of_their_own() -> None:
    f = Fixture(max_tunnels=2)
    assert [f.pool.reserve_tunnel() for _ in range(3)] == [True, True, False]
    f.pool.free_tunnel()
    assert f.pool.reserve_tunnel()
    assert f.pool.tunnels == 2


# ── connections whose last request had a body ──


def rested(f: Fixture, now: float = 0.0, *, body: bool = True) -> FakeUpstream:
    """A connection at rest, after such a request."""
    _, upstream = f.lease(now)
    f.release(upstream, now, had_body=body)
    return upstream


def test_a_connection_goes_last_after_a_request_with_a_body() -> None:
    f = Fixture()
    lessee, second = f.lease()
    posted = rested(f)
    f.release(second, 0.0)
    assert f.pool.acquire(FakeLessee(), 1.0) is second
    assert f.pool.acquire(FakeLessee(), 1.0) is posted
    assert lessee.got == [second]


@pytest.mark.parametrize(
    ("body", "unrepeatable", "looked_at"),
    [(True, False, True), (False, True, True), (True, True, True), (False, False, False)],
)
@pytest.mark.parametrize("queued", [False, True])
def test_a_connection_is_looked_at_when_it_may_do_harm(
    body: bool, unrepeatable: bool, looked_at: bool, queued: bool
) -> None:
    f = Fixture(max_connections=1)
    lessee = FakeLessee()
    lessee.unrepeatable = unrepeatable
    got: object
    if queued:
        _, upstream = f.lease()
        upstream.stale = True
        f.pool.acquire(lessee, 0.0)
        f.release(upstream, 1.0, had_body=body)
        got = lessee.got[0] if lessee.got else None
    else:
        upstream = rested(f, body=body)
        upstream.stale = True
        got = f.pool.acquire(lessee, 1.0)
    assert upstream.closed is looked_at
    assert got is (None if looked_at else upstream)
    assert f.dials == ([lessee] if looked_at else [])
    assert f.pool.size == 1


def test_after_bodiless_only_others_are_used_again() -> None:
    f = Fixture(reuse_after_body=False)
    posted, other = rested(f), rested(f, body=False)
    assert (posted.closed, other.closed) == (True, False)
    assert f.pool.size == 1


def test_a_service_that_reads_no_bodies_is_reported_once_and_not_reused() -> None:
    f = Fixture()
    (_, posted), (_, other) = f.lease(), f.lease()
    for upstream in (posted, other):
        f.release(upstream, 0.0, had_body=True)
    f.pool.stop_reuse_after_body(f.endpoint())
    f.pool.stop_reuse_after_body(f.endpoint())
    assert len(f.said) == 1
    assert "upstream u: a:1 sent octets that belong to no request" in f.said[0]
    assert 'upstreams.u.reuse = "after-bodiless"' in f.said[0]
    assert f.pool.acquire(FakeLessee(), 0.0) is None
    assert posted.closed
    assert other.closed
    assert rested(f).closed


# ── a share for each client address ──


def test_alone_an_address_may_have_everything() -> None:
    f = Fixture(max_connections=4, per_client=1, queue=1)
    held = [f.lease(address="a")[0] for _ in range(4)]
    held[0].stalled_since = 0.0
    assert f.pool.acquire(FakeLessee("a"), 1.0) is None
    assert f.pool.acquire(FakeLessee("a"), 1.0) is QUEUE_FULL
    assert [lessee.ways for lessee in held] == [[]] * 4


@pytest.mark.parametrize("freed", ["released", "discarded", "dial failed"])
def test_a_free_slot_goes_to_the_address_with_the_fewest_connections(freed: str) -> None:
    f = Fixture(max_connections=4, per_client=4)
    (_, one), (_, _) = f.lease(address="a"), f.lease(address="a")
    f.lease(address="b")
    dialing = FakeLessee("a")
    f.pool.acquire(dialing, 0.0)
    lessees = [FakeLessee(address) for address in "abacc"]
    for lessee in lessees:
        assert f.pool.acquire(lessee, 0.0) is None
    served = []
    for _ in lessees:
        if freed == "released":
            f.release(one, 1.0)
        elif freed == "discarded":
            f.discard(one)
        else:
            f.dials.remove(dialing)
            f.pool.dial_failed(dialing, UPSTREAM_CONNECT_FAILED, 1.0)
        served += [n for n, lessee in enumerate(lessees) if not f.pool.queued(lessee) and n not in served]
        if f.dials and freed == "discarded":
            one = f.connect(f.dials[-1])
        elif freed == "dial failed":
            dialing = cast("FakeLessee", f.dials[0])
    # c holds none; then one, as b does, which came earlier. The slot that c had goes round, and a comes last.
    assert served[0] == 3
    assert sorted(served) == [0, 1, 2, 3, 4]
    assert served.index(0) < served.index(2)


def test_a_full_queue_makes_room_for_an_address_with_fewer_places() -> None:
    f = Fixture(max_connections=1, queue=3)
    f.lease(address="a")
    crowd = [FakeLessee("a") for _ in range(3)]
    for lessee in crowd:
        assert f.pool.acquire(lessee, 0.0) is None
    assert f.pool.acquire(FakeLessee("a"), 0.0) is QUEUE_FULL
    other, second, third = FakeLessee("b"), FakeLessee("b"), FakeLessee("b")
    assert f.pool.acquire(other, 0.0) is None
    assert [lessee.failed for lessee in crowd] == [[], [], [QUEUE_FULL]]
    assert f.pool.acquire(second, 0.0) is None, "one of two places against two"
    assert [lessee.failed for lessee in crowd] == [[], [QUEUE_FULL], [QUEUE_FULL]]
    assert f.pool.acquire(third, 0.0) is QUEUE_FULL, "b has most by now"
    assert crowd[0].failed == []


def test_the_longest_stalled_exchange_of_a_greedy_address_makes_way() -> None:
    f = Fixture(max_connections=4, per_client=2)
    much = [f.lease(address="a")[0] for _ in range(3)]
    little, _ = f.lease(address="b")
    much[0].stalled_since, much[1].stalled_since, little.stalled_since = 5.0, 4.0, 1.0
    newcomer = FakeLessee("c")
    assert f.pool.acquire(newcomer, 10.0) is None
    assert [lessee.ways for lessee in (*much, little)] == [[], [10.0], [], []]


@pytest.mark.parametrize("why_not", ["waits for the upstream", "within its share", "the same address"])
def test_nobody_makes_way_when(why_not: str) -> None:
    f = Fixture(max_connections=3, per_client=3 if why_not == "within its share" else 2)
    held = [f.lease(address="a")[0] for _ in range(3)]
    for lessee in held:
        lessee.stalled_since = inf if why_not == "waits for the upstream" else 1.0
    assert f.pool.acquire(FakeLessee("a" if why_not == "the same address" else "b"), 10.0) is None
    assert [lessee.ways for lessee in held] == [[]] * 3


def test_the_slot_that_is_given_up_goes_to_who_it_was_given_up_for() -> None:
    f = Fixture(max_connections=2, per_client=1, queue=0)
    (stalled, upstream), _ = f.lease(address="a"), f.lease(address="a")
    stalled.stalled_since = 1.0
    stalled.make_way = lambda now: f.discard(upstream)  # type: ignore[method-assign]
    newcomer = FakeLessee("b")
    assert f.pool.acquire(newcomer, 10.0) is None, "even where nobody may wait"
    assert f.dials == [newcomer]


def test_counting_ends_when_nobody_has_waited_for_a_while() -> None:
    f = Fixture(max_connections=1, per_client=1)
    _, upstream = f.lease(address="a")
    queued = FakeLessee("b")
    f.pool.acquire(queued, 0.0)
    f.pool.sweep(1.0)
    f.release(upstream, 1.0)
    assert queued.got == [upstream]
    f.pool.sweep(2.0)
    f.release(upstream, 3.0)
    _, again = FakeLessee("c"), f.pool.acquire(FakeLessee("c"), 3.0)
    assert again is upstream
    last = FakeLessee("b")
    f.pool.acquire(last, 3.0)
    f.release(upstream, 4.0)
    assert last.got == [upstream]


# ── endpoints that come and go ──


def test_an_endpoint_that_stays_keeps_its_connections_and_its_standing() -> None:
    f = Fixture(TWO)
    (_, stays), (_, goes), (_, busy) = f.lease(target=0), f.lease(target=1), f.lease(target=1)
    for upstream in (stays, goes):
        f.release(upstream, 0.0)
    f.pool.endpoints.failed(f.endpoint(0), "timed out", 0.0)
    kept = f.endpoint(0)
    f.pool.retarget(places(("c", 3), ("a", 1)))
    assert f.pool.endpoints.all[1] is kept
    assert f.pool.endpoints.choose("", 1.0) is f.endpoint(0), "the one that stays is still down"
    assert (stays.closed, goes.closed, busy.closed) == (False, True, False)
    assert (f.pool.idle, f.pool.leased, f.pool.slots.taken) == (1, 1, 2)
    f.release(busy, 1.0)
    assert busy.closed, "it has ended its exchange, and is not used again"
    assert (f.pool.size, f.pool.slots.taken) == (1, 1)


def test_a_dial_to_a_removed_endpoint_serves_its_lessee_only() -> None:
    f = Fixture()
    served, left = FakeLessee(), FakeLessee()
    gone = f.endpoint()
    for lessee in (served, left):
        f.pool.acquire(lessee, 0.0)
    f.pool.leave(left)
    f.pool.retarget(places(("b", 1)))
    upstreams = [FakeUpstream(gone), FakeUpstream(gone)]
    for lessee, upstream in zip((served, left), upstreams, strict=True):
        f.pool.dialed(lessee, upstream, 1.0)
    assert served.got == upstreams[:1]
    assert [upstream.closed for upstream in upstreams] == [False, True]
    assert f.pool.size == f.pool.slots.taken == 1


def test_new_endpoints_have_their_turn() -> None:
    f = Fixture()
    f.pool.retarget(places(("a", 1), ("a", 1), ("b", 1)))
    assert not f.pool.endpoints.is_single
    for _ in range(4):
        f.pool.acquire(FakeLessee(), 0.0)
    assert f.firsts() == [1, 0, 1, 0]


def test_what_joins_others_starts_slowly_and_what_begins_with_them_does_not() -> None:
    f = Fixture((), expects_more=True, slow_start=10.0)
    f.pool.retarget(places(("a", 1)), expects_more=True, now=100.0)
    f.pool.retarget(places(("a", 1), ("b", 1)), now=101.0)  # the second of two who tell places
    f.pool.retarget(places(("a", 1), ("b", 1), ("c", 1)), now=200.0)

    def shares(now: float) -> list[float]:
        return [endpoint.health.share(now) for endpoint in f.pool.endpoints.all]

    assert all(endpoint.health.is_up(200.0) for endpoint in f.pool.endpoints.all)
    assert shares(200.0) == [1.0, 1.0, 0.1]
    assert shares(205.0) == [1.0, 1.0, 0.5]
    f.pool.renew(UpstreamOptions(name="u", places=places(("c", 1), ("d", 1)), slow_start=10.0), 300.0)
    assert shares(302.0) == [1.0, 0.2]


def test_a_start_is_slow_for_nobody() -> None:
    f = Fixture(TWO, slow_start=10.0)
    assert [endpoint.health.share(0.0) for endpoint in f.pool.endpoints.all] == [1.0, 1.0]


def test_connections_to_an_address_that_its_name_has_left_are_not_used_again() -> None:
    f = Fixture()
    endpoint = f.endpoint()
    f.pool.endpoints.addresses(endpoint, 0, ("10.0.0.1", "10.0.0.2"), 0.0)
    ports = [FakeUpstream(endpoint, address=f"10.0.0.{at}") for at in (1, 1, 2, 2, 1)]
    lessees = [FakeLessee() for _ in ports]
    for lessee in lessees:
        f.pool.acquire(lessee, 0.0)
    for lessee, upstream in zip(lessees[:4], ports[:4], strict=True):
        f.pool.dialed(lessee, upstream, 0.0)
    f.release(ports[0], 1.0)
    f.release(ports[2], 1.0)
    f.pool.readdress("elsewhere", ("10.0.0.9",), 2.0)
    assert not any(upstream.closed for upstream in ports)
    f.pool.readdress(endpoint.place.host, ("10.0.0.2", "10.0.0.3"), 2.0)
    assert [upstream.closed for upstream in ports] == [True, False, False, False, False]
    f.pool.dialed(lessees[4], ports[4], 3.0)  # began before that
    for at in (1, 3, 4):
        f.release(ports[at], 4.0)
    assert [upstream.closed for upstream in ports] == [True, True, False, False, True]
    assert (f.pool.idle, f.pool.slots.taken) == (2, 2)
    assert endpoint.addresses == ("10.0.0.2", "10.0.0.3")


def test_an_upstream_that_is_nowhere_has_one_endpoint_that_leads_nowhere() -> None:
    f = Fixture()
    f.pool.retarget(())
    assert (f.pool.endpoints.is_empty, f.endpoint().place) == (True, NOWHERE)
    assert f.pool.acquire(FakeLessee(), 0.0) is None  # it is for the dial to find out
    f.pool.retarget(places(("b", 1)))
    assert (f.pool.endpoints.is_empty, f.endpoint().place.host) == (False, "b")


def test_who_waits_for_places_is_woken_once_when_they_are_known() -> None:
    f = Fixture((), expects_more=True)
    woken: list[int] = []
    assert f.pool.expects_places
    f.pool.call_with_places(lambda: woken.append(1))
    f.pool.retarget((), expects_more=True)  # another source is silent, too
    assert woken == []
    f.pool.retarget(())  # there is none: that is an answer
    assert (woken, f.pool.expects_places) == ([1], False)
    f.pool.retarget(places(("b", 1)))
    assert woken == [1]


def test_nobody_waits_for_places_when_the_question_has_failed() -> None:
    f = Fixture((), expects_more=True, untold="Still looking up a.")
    woken: list[int] = []
    f.pool.call_with_places(lambda: woken.append(1))
    failed = UpstreamOptions(name="u", places=(), expects_more=True, is_futile=True, untold="Cannot look up a.")
    assert (f.pool.expects_places, f.pool.untold) == (True, "Still looking up a.")
    f.pool.follow(failed, 0.0)
    assert (f.pool.expects_places, f.pool.untold, woken) == (False, "Cannot look up a.", [1])
    f.pool.follow(UpstreamOptions(name="u", places=places(("b", 1))), 1.0)
    assert (f.pool.endpoints.is_empty, f.pool.untold) == (False, "")
    f.pool.follow(failed, 2.0)
    assert not f.pool.endpoints.is_empty, "it stays where it was"


def test_an_upstream_stays_where_it_was_until_a_new_source_answers() -> None:
    f = Fixture()
    f.pool.renew(UpstreamOptions(name="u", places=(), expects_more=True))
    assert not f.pool.endpoints.is_empty
    assert not f.pool.expects_places
    f.pool.retarget(())
    assert f.pool.endpoints.is_empty


def of_endpoint(f: Fixture, at: int, count: int = 1) -> list[FakeLessee]:
    """Lessees whose keys belong to an endpoint."""
    keys = (f"sub:{number}" for number in range(1000))
    found = [key for key in keys if f.pool.endpoints.choose(key, 0.0) is f.endpoint(at)]
    return [FakeLessee(key=key) for key in found[:count]]


def test_a_key_decides_which_idle_connection_will_do() -> None:
    f = Fixture(TWO, balance=HASH)
    ours, theirs = of_endpoint(f, 0, 2), of_endpoint(f, 1, 2)
    assert f.pool.acquire(ours[0], 0.0) is None
    upstream = f.connect(ours[0], target=0)
    f.release(upstream, 0.0)
    assert f.pool.acquire(theirs[0], 0.0) is None
    assert f.firsts() == [0, 1]
    assert f.pool.acquire(ours[1], 0.0) is upstream


def test_at_the_limit_another_targets_idle_connection_makes_room_for_a_key() -> None:
    f = Fixture(TWO, balance=HASH, max_connections=2)
    ours, theirs = of_endpoint(f, 0, 3), of_endpoint(f, 1, 2)
    held = []
    for lessee in ours[:2]:
        f.pool.acquire(lessee, 0.0)
        held.append(f.connect(lessee, target=0))
    f.release(held[0], 1.0)
    f.release(held[1], 2.0)
    assert f.pool.acquire(theirs[0], 3.0) is None
    assert [upstream.closed for upstream in held] == [True, False], "the one that has been idle for longest"
    assert f.firsts()[-1] == 1
    assert f.pool.acquire(FakeLessee(), 3.0) is held[1], "without a key any will do"
    waiting = [theirs[1], ours[2]]
    assert [f.pool.acquire(lessee, 3.0) for lessee in waiting] == [None, None]
    f.release(held[1], 4.0)
    assert held[1].closed
    assert f.firsts()[-1] == 1
    assert f.dials[-1] is theirs[1]
    assert f.pool.size == 2


def one_sided(slots: int, idle: int = 0, targets: Names = TWO) -> tuple[Fixture, list[FakeUpstream]]:
    """All slots are taken by connections to the first endpoint, of which so many are idle."""
    f = Fixture(targets, max_connections=slots)
    held = [f.lease(target=0)[1] for _ in range(slots)]
    for upstream in held[:idle]:
        f.release(upstream, 1.0)
    f.orders.clear()
    return f, held


def test_while_requests_wait_an_endpoint_that_is_back_gets_slots_of_the_others() -> None:
    """Until it has half of what it is due. Those that lead to the others would go from one request to the next."""
    f, held = one_sided(8)
    for _ in range(16):
        assert f.pool.acquire(FakeLessee(), 2.0) is None
    for upstream in held * 2:
        if not upstream.closed:
            f.release(upstream, 3.0)
            for lessee in list(f.dials):
                f.connect(lessee, target=1)
    assert f.firsts() == [1, 1]
    assert [endpoint.load for endpoint in f.pool.endpoints.all] == [6, 2]
    assert f.pool.size == 8


def test_at_the_limit_an_idle_connection_makes_room_for_an_endpoint_that_has_too_few() -> None:
    f, held = one_sided(8, idle=4)
    f.pool.endpoints.end_turn(f.endpoint(0), 2.0)
    while f.pool.endpoints.choose("", 2.0) is not f.endpoint(1):
        f.pool.endpoints.end_turn(f.endpoint(0), 2.0)
    assert f.pool.acquire(FakeLessee(), 2.0) is None
    assert [upstream.closed for upstream in held] == [True, *[False] * 7]
    assert f.firsts() == [1]


def test_with_more_endpoints_than_slots_connections_are_kept() -> None:
    """None is due two of them. To go round all would cost a connection for each request."""
    f, held = one_sided(4, targets=tuple((name, 1) for name in "abc"))
    for _ in range(8):
        f.pool.acquire(FakeLessee(), 2.0)
    for upstream in held * 2:
        f.release(upstream, 3.0)
    assert f.firsts() == []


def test_the_endpoint_that_was_chosen_is_dialed() -> None:
    """Not the one that another draw would choose."""
    drawn = iter([0.0, 0.9, 0.0])
    f = Fixture(TWO, balance=LEAST_REQUESTS, draw=lambda: next(drawn))
    f.pool.acquire(FakeLessee(), 0.0)
    assert len(f.firsts()) == 1
    assert next(drawn) == 0.0


def test_requests_go_where_fewest_are_under_way_dials_included() -> None:
    drawn = cycle([0.1, 0.9])
    f = Fixture(TWO, balance=LEAST_REQUESTS, draw=lambda: next(drawn))
    for _ in range(6):
        f.pool.acquire(FakeLessee(), 0.0)
    assert [endpoint.dialing for endpoint in f.pool.endpoints.all] == [3, 3]
    for lessee in list(f.dials)[:2]:
        f.connect(lessee, target=1)
    f.pool.dial_failed(f.dials.pop(), UPSTREAM_CONNECT_FAILED, 0.0)
    assert sum(endpoint.load for endpoint in f.pool.endpoints.all) == 5
    assert [endpoint.sent for endpoint in f.pool.endpoints.all] == [0, 2]


def test_a_dial_that_nobody_waits_for_any_more_is_no_request() -> None:
    f = Fixture()
    gone = FakeLessee()
    f.pool.acquire(gone, 0.0)
    f.pool.leave(gone)
    f.connect(gone)
    assert (f.endpoint().sent, f.endpoint().load, f.pool.idle) == (0, 0, 1)


def renewed(f: Fixture, **options: Any) -> None:
    f.pool.renew(UpstreamOptions(name="u", places=places(("a", 1)), **options))


def test_new_options_hold_for_a_pool_that_goes_on() -> None:
    f = Fixture(max_connections=1, queue=1, per_client=1)
    (_, upstream), waiting = f.lease(address="x"), [FakeLessee("y"), FakeLessee("y")]
    f.pool.queue_slots.limit = 2
    assert [f.pool.acquire(one, 0.0) for one in waiting] == [None, None]
    renewed(f, max_connections=3, queue=0, per_client=1)
    assert f.dials == waiting, "there is room for them now"
    assert f.pool.acquire(FakeLessee("z"), 0.0) is QUEUE_FULL
    renewed(f, max_connections=1)
    f.release(upstream, 0.0)
    assert upstream.closed, "it is one more than there may be"
    assert f.pool.acquire(FakeLessee("x"), 0.0) is None


def test_a_lowered_limit_closes_those_that_have_been_idle_for_longest() -> None:
    f = Fixture(max_connections=3)
    held = [f.lease()[1] for _ in range(3)]
    for now, upstream in enumerate(held):
        f.release(upstream, float(now))
    renewed(f, max_connections=2)
    assert [upstream.closed for upstream in held] == [True, False, False]
    assert (f.pool.idle, f.pool.slots.taken) == (2, 2)


@pytest.mark.parametrize("share", [1, 2, 3])
def test_a_new_share_counts_what_addresses_hold_already(share: int) -> None:
    f = Fixture(max_connections=2, per_client=2)
    held = [f.lease(address="x") for _ in range(2)]
    held[0][0].stalled_since = 0.0
    assert f.pool.acquire(FakeLessee("y"), 0.0) is None
    renewed(f, max_connections=2, per_client=share)
    assert f.pool.acquire(FakeLessee("y"), 1.0) is None
    assert held[0][0].ways == ([1.0] if share == 1 else [])
    for _, upstream in held:
        f.discard(upstream)
    assert len(f.dials) == 2


def test_a_service_that_was_found_not_to_read_bodies_stays_so() -> None:
    f = Fixture()
    f.pool.stop_reuse_after_body(f.endpoint())
    renewed(f)
    _, upstream = f.lease()
    f.release(upstream, 0.0, had_body=True)
    assert upstream.closed
    renewed(f, reuse_after_body=False)
    renewed(f)
    _, upstream = f.lease()
    f.release(upstream, 0.0, had_body=True)
    assert not upstream.closed, "the configuration has said so, and takes it back"


class Heard(Outcomes):
    """Writes down what it hears."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str, int, float]] = []

    def done(self, endpoint: Endpoint, reason: Reason, status: int, seconds: float, now: float) -> None:
        self.said.append((endpoint.place.authority, reason.code, status, seconds))


def test_every_use_of_a_connection_has_an_outcome() -> None:
    f, heard = Fixture(TWO), Heard()
    f.pool.outcomes = heard
    (_, good), (lessee, dead), (_, bad), (_, tunnel) = f.lease(), f.lease(target=1), f.lease(), f.lease()
    f.release(good, 0.0)
    f.pool.redial(dead, lessee, errors.UPSTREAM_RESET, 0, 0.2, 0.0)
    f.discard(bad)
    f.pool.switched(tunnel, 0.3, 0.0)
    f.pool.unreachable(f.endpoint(1), UPSTREAM_CONNECT_FAILED, "connection refused", 0.4, 0.0)
    assert heard.said == [
        ("a:1", "ok", 200, 0.1),
        ("b:2", "upstream_reset", 0, 0.2),
        ("a:1", "upstream_reset", 0, 0.1),
        ("a:1", "ok", 101, 0.3),
        ("b:2", "upstream_connect_failed", 0, 0.4),
    ]


def test_a_used_connection_that_was_dead_says_nothing_of_its_endpoint() -> None:
    f, heard = Fixture(TWO), Heard()
    f.pool.outcomes = heard
    lessee, upstream = f.lease()
    upstream.reused = True
    f.pool.redial(upstream, lessee, errors.UPSTREAM_RESET, 0, 0.2, 0.0)
    assert heard.said == []


# ── slots that processes share ──


def shared(count: int = 2, **options: Any) -> tuple[Workers, list[Fixture]]:
    """Workers, and a pool of one upstream in each."""
    workers = Workers(count)
    limits = {"slots": "max_connections", "queue_slots": "queue", "tunnel_slots": "max_tunnels"}
    defaults = UpstreamOptions(name="u", places=places(("a", 1)), **options)
    fixtures = []
    for quotas in workers.quotas:
        handed: dict[str, Any] = {name: quotas.named(key, getattr(defaults, key)) for name, key in limits.items()}
        fixtures.append(Fixture(**handed, **options))
    return workers, fixtures


def test_who_waits_gets_the_slot_that_another_process_frees() -> None:
    workers, (one, other) = shared(max_connections=2)
    (_, first), (_, second) = one.lease(), one.lease()
    queued = FakeLessee()
    assert other.pool.acquire(queued, 0.0) is None
    workers.settle()
    assert other.pool.queued(queued), "nothing is free"
    one.discard(first)
    workers.settle()
    assert other.dials == [queued]
    assert [f.pool.slots.taken for f in (one, other)] == [1, 1]
    one.release(second, 0.0)
    assert one.pool.acquire(FakeLessee(), 0.0) is second, "nobody waits, so what is idle keeps its slot"


def test_what_is_idle_makes_room_for_another_process() -> None:
    workers, (one, other) = shared(max_connections=3)
    old, new, busy = (one.lease()[1] for _ in range(3))
    one.release(old, 0.0)
    one.release(new, 1.0)
    queued = [FakeLessee() for _ in range(3)]
    assert other.pool.acquire(queued[0], 2.0) is None
    workers.settle()
    assert [upstream.closed for upstream in (old, new)] == [True, False], "the longest idle one"
    assert other.dials == queued[:1]
    for lessee in queued[1:]:
        other.pool.acquire(lessee, 2.0)
    workers.settle()
    assert new.closed
    one.release(busy, 3.0)
    assert busy.closed
    workers.settle()
    assert other.dials == queued
    assert [f.pool.slots.taken for f in (one, other)] == [0, 3]


def test_newcomers_do_not_overtake_the_queue_that_a_slot_is_given_to() -> None:
    workers, (one, other) = shared(max_connections=1)
    _, upstream = one.lease()
    first, second = FakeLessee(), FakeLessee()
    other.pool.acquire(first, 0.0)
    one.discard(upstream)
    other.pool.acquire(second, 0.0)
    assert other.dials == [first]
    workers.settle()
    assert other.pool.queued(second)


def test_a_slot_that_is_waited_for_no_more_is_given_back() -> None:
    workers, (one, other) = shared(max_connections=1)
    _, upstream = one.lease()
    queued = FakeLessee()
    other.pool.acquire(queued, 0.0)
    one.release(upstream, 0.0)
    assert upstream.closed
    other.pool.leave(queued)
    workers.settle()
    assert one.pool.acquire(FakeLessee(), 1.0) is None
    assert len(one.dials) == 1


def test_where_nobody_may_wait_who_comes_has_what_was_idle_elsewhere() -> None:
    workers, (one, other) = shared(max_connections=2, queue=0)
    for upstream in [one.lease()[1] for _ in range(2)]:
        one.release(upstream, 0.0)
    both = [FakeLessee() for _ in range(2)]
    for lessee in both:
        assert other.pool.acquire(lessee, 0.0) is None
        assert not other.pool.has_place(lessee)
    assert other.pool.acquire(FakeLessee(), 0.0) is QUEUE_FULL, "there are two connections elsewhere, and two wait"
    workers.settle()
    assert other.dials == both
    assert one.pool.slots.taken == other.pool.queue_slots.taken == 0


def test_where_nobody_may_wait_who_asked_in_vain_is_refused() -> None:
    workers, (one, other) = shared(max_connections=2, queue=0)
    (_, first), (_, second) = one.lease(), other.lease()
    waits = FakeLessee()
    assert other.pool.acquire(waits, 0.0) is None
    workers.settle()
    assert other.pool.queued(waits), "it is busy elsewhere"
    assert other.pool.acquire(FakeLessee(), GRACE) is QUEUE_FULL, "the other process has had its time"
    assert not other.pool.find_place(waits, GRACE)
    other.pool.leave(waits)
    one.release(first, 1.0)
    other.release(second, 1.0)
    assert not first.closed, "nobody waits any more"
    assert (one.pool.idle, other.pool.idle) == (1, 1)


def test_who_waits_without_a_place_gets_one_that_came_free() -> None:
    _, (one, other) = shared(max_connections=1, queue=1)
    one.lease()
    first, second = FakeLessee(), FakeLessee()
    for lessee in (first, second):
        assert other.pool.acquire(lessee, 0.0) is None
    assert [other.pool.has_place(lessee) for lessee in (first, second)] == [True, False]
    assert not other.pool.find_place(second, GRACE)
    other.pool.leave(first)
    assert other.pool.find_place(second, GRACE)
    assert other.pool.queue_slots.taken == 1


def test_without_a_place_too_the_address_that_waits_most_often_leaves_first() -> None:
    _, (one, other) = shared(max_connections=1, queue=2)
    one.lease()
    greedy = [FakeLessee("x") for _ in range(3)]
    fair = FakeLessee("y")
    for lessee in (*greedy, fair):
        assert other.pool.acquire(lessee, 0.0) is None
    assert [lessee.failed for lessee in greedy] == [[], [QUEUE_FULL], [QUEUE_FULL]]
    assert other.pool.has_place(fair)


def test_queue_and_tunnels_are_counted_for_all_processes_together() -> None:
    _, (one, other) = shared(max_connections=2, queue=1, max_tunnels=1)
    for f in (one, other):
        f.lease()
    first, second = FakeLessee(), FakeLessee()
    assert one.pool.acquire(first, 0.0) is None
    assert other.pool.acquire(second, 0.0) is None
    assert not other.pool.has_place(second)
    one.pool.leave(first)
    assert other.pool.find_place(second, 0.0)
    assert [f.pool.reserve_tunnel() for f in (one, other)] == [True, False]
    one.pool.free_tunnel()
    assert other.pool.reserve_tunnel()
    assert [f.pool.tunnels for f in (one, other)] == [0, 1]


def test_a_lowered_limit_holds_for_all_processes_together() -> None:
    workers, (one, other) = shared(max_connections=4)
    held = [[f.lease()[1] for _ in range(2)] for f in (one, other)]
    for upstreams, f in zip(held, (one, other), strict=True):
        f.release(upstreams[0], 0.0)
    renewed(one, max_connections=2)
    assert held[0][0].closed
    renewed(other, max_connections=2)
    assert held[1][0].closed
    one.release(held[0][1], 1.0)
    assert one.pool.idle == 1, "two are left"
    workers.settle()


def test_a_closed_pool_gives_its_name_back_when_all_is_given_back() -> None:
    workers, (one, other) = shared(max_connections=2)
    (_, busy), _ = one.lease(), other.lease()
    for f in (one, other):
        f.pool.close()
    again = workers.quotas[0].named("max_connections", 2)
    assert [again.take() for _ in range(2)] == [False, False], "both are still in use"
    one.discard(busy)
    assert again.take()
    late = FakeLessee()
    one.pool.acquire(late, 0.0)
    assert one.dials == [late], "a request that began before is served, and counted by itself"
    assert not again.take()


class Client(FakeLessee):
    """A lessee that makes way as an exchange does: its connection is gone at once."""

    def __init__(self, machine: "PoolMachine", address: str) -> None:
        super().__init__(address, key=address)
        self.machine = machine

    def make_way(self, now: float) -> None:
        super().make_way(now)
        self.machine.makes_way(self)


class PoolMachine(RuleBasedStateMachine):
    """Anything that callers may do, in any order. The model: who holds which connection, who waits since when, and how
    many connections each address has."""

    balance = ROUND_ROBIN

    def fixture(self, **quotas: Any) -> Fixture:
        return Fixture(
            targets=(("a", 1), ("b", 2)),
            max_connections=4,
            queue=3,
            keep_alive=10.0,
            per_client=1,
            max_tunnels=2,
            balance=self.balance,
            **quotas,
        )

    def __init__(self) -> None:
        super().__init__()
        self.f = self.fixture()
        self.now = 0.0
        self.waiting: list[FakeLessee] = []
        self.busy: dict[UpstreamPort, FakeLessee] = {}
        self.tunnels: list[UpstreamPort] = []
        self.asked: FakeLessee | None = None

    def held(self, address: str) -> int:
        """By the model: connections of an address, and dials for it."""
        holders = [*self.busy.values(), *self.f.dials]
        return sum(cast("FakeLessee", holder).address == address for holder in holders)

    def queued(self) -> list[FakeLessee]:
        return [lessee for lessee in self.waiting if self.f.pool.queued(lessee)]

    def makes_way(self, client: Client) -> None:
        """The pool told one to make way."""
        assert self.asked is not None
        assert client.address != self.asked.address
        assert self.held(client.address) > 1, "it had no more than its share"
        eldest = [
            one.stalled_since
            for one in self.busy.values()
            if one.address != self.asked.address and self.held(one.address) > 1
        ]
        assert client.stalled_since == min(eldest) < inf
        upstream = next(upstream for upstream, holder in self.busy.items() if holder is client)
        del self.busy[upstream]
        self.f.discard(upstream)

    def settle(self) -> None:
        """Move those who were served or failed out of the waiting."""
        for lessee in list(self.waiting):
            if lessee.got or lessee.failed:
                self.waiting.remove(lessee)
                assert len(lessee.got) + len(lessee.failed) == 1
                for upstream in lessee.got:
                    self.leased(upstream, lessee)

    def leased(self, upstream: UpstreamPort, lessee: FakeLessee) -> None:
        assert upstream not in self.busy, "handed out twice"
        assert not cast("FakeUpstream", upstream).closed
        self.busy[upstream] = lessee

    def fits(self, upstream: UpstreamPort, lessee: FakeLessee) -> bool:
        """Whether a connection that was there leads where the lessee's key belongs, if that matters."""
        is_there = self.f.pool.endpoints.choose(lessee.key, self.now) is upstream.endpoint
        return is_there or self.balance != HASH

    @rule(address=st.sampled_from("xyz"))
    def acquire(self, address: str) -> None:
        lessee = Client(self, address)
        queue_before = self.queued()
        places = [one.address for one in queue_before]
        self.asked = lessee
        got = self.f.pool.acquire(lessee, self.now)
        self.asked = None
        self.settle()
        if isinstance(got, FakeUpstream):
            assert not queue_before, "overtook the queue"
            assert got.retire_at > self.now
            assert self.fits(got, lessee)
            self.leased(got, lessee)
        elif got is QUEUE_FULL:
            assert len(queue_before) == 3
            assert all(places.count(other) <= places.count(address) for other in places)
        else:
            self.waiting.append(lessee)
            refused = [one for one in queue_before if one.failed]
            assert len(refused) <= 1
            for one in refused:
                assert places.count(one.address) > places.count(address)
                assert one is [other for other in queue_before if other.address == one.address][-1]

    @precondition(lambda self: self.busy)
    @rule(data=st.data(), since=st.sampled_from([0.0, 1.0, inf]))
    def waits_for_its_client(self, data: st.DataObject, since: float) -> None:
        data.draw(st.sampled_from(list(self.busy.values()))).stalled_since = since

    @precondition(lambda self: self.f.dials)
    @rule(data=st.data(), which=st.sampled_from([0, 1]))
    def dial_succeeds(self, data: st.DataObject, which: int) -> None:
        lessee = data.draw(st.sampled_from(self.f.dials))
        self.free(lambda: self.f.connect(lessee, self.now, which), cast("FakeLessee", lessee))

    @precondition(lambda self: self.f.dials)
    @rule(data=st.data())
    def dial_fails(self, data: st.DataObject) -> None:
        lessee = data.draw(st.sampled_from(self.f.dials))
        self.f.dials.remove(lessee)
        self.free(lambda: self.f.pool.dial_failed(lessee, UPSTREAM_CONNECT_FAILED, self.now))

    def free(self, deed: Callable[[], object], own: FakeLessee | None = None) -> None:
        """Do what may free a slot: if it does, it is the turn of who comes from the address that has least."""
        queue = self.queued()
        if own is not None and own in self.waiting:
            queue = []
        if own is not None:
            self.f.dials.remove(own)
        counts = {lessee: self.held(lessee.address) for lessee in queue}
        if own is not None:
            self.f.dials.append(own)
        deed()
        left = [lessee for lessee in queue if not self.f.pool.queued(lessee)]
        if queue:
            assert left == [min(queue, key=lambda lessee: counts[lessee])]
        self.settle()

    @precondition(lambda self: self.busy)
    @rule(data=st.data(), clean=st.booleans())
    def give_back(self, data: st.DataObject, clean: bool) -> None:
        upstream = data.draw(st.sampled_from(list(self.busy)))
        del self.busy[upstream]
        f = self.f
        self.free((lambda: f.release(upstream, self.now)) if clean else (lambda: f.discard(upstream)))
        if upstream in self.busy:
            assert self.fits(upstream, self.busy[upstream])

    @precondition(lambda self: self.busy)
    @rule(data=st.data())
    def redial(self, data: st.DataObject) -> None:
        upstream = data.draw(st.sampled_from(list(self.busy)))
        lessee = self.busy.pop(upstream)
        queue = self.queued()
        self.f.pool.redial(upstream, lessee, errors.UPSTREAM_RESET, 0, 0.1, 0.0)
        lessee.got.clear()
        self.waiting.append(lessee)
        assert self.queued() == queue, "it kept its slot, and took nobody's"
        assert self.f.dials[-1] is lessee

    @rule(names=st.sampled_from([(("a", 1), ("b", 2)), (("b", 2), ("c", 3)), (("c", 3), ("a", 1))]))
    def endpoints_come_and_go(self, names: Names) -> None:
        stay = {endpoint.place.authority: endpoint for endpoint in self.f.pool.endpoints.all}
        queue = self.queued()
        self.f.pool.retarget(places(*names))
        for endpoint in self.f.pool.endpoints.all:
            assert stay.get(endpoint.place.authority, endpoint) is endpoint
        assert self.queued() == queue, "whatever was idle, nobody waited for it"

    @rule(since=st.sampled_from([0.0, 1.0, 20.0]), which=st.sampled_from([0, 1]))
    def close_silent(self, since: float, which: int) -> None:
        self.f.pool.close_silent(self.f.endpoint(which), since)

    @precondition(lambda self: self.busy)
    @rule(data=st.data())
    def switch(self, data: st.DataObject) -> None:
        if self.f.pool.reserve_tunnel():
            upstream = data.draw(st.sampled_from(list(self.busy)))
            del self.busy[upstream]
            self.tunnels.append(upstream)
            self.free(lambda: self.f.pool.switched(upstream, 0.1, self.now))
        else:
            assert len(self.tunnels) == 2

    @precondition(lambda self: self.tunnels)
    @rule()
    def tunnel_ends(self) -> None:
        self.tunnels.pop()
        self.f.pool.free_tunnel()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        lessee = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(lessee)
        self.f.pool.leave(lessee)

    @rule(seconds=st.sampled_from([0.5, 4.0, 11.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def sweep(self) -> None:
        for upstream in self.f.pool.sweep(self.now):
            assert upstream not in self.busy
            assert upstream.retire_at <= self.now

    @invariant()
    def counts_agree(self) -> None:
        pool = self.f.pool
        assert pool.leased == len(self.busy)
        assert pool.size == pool.leased + pool.idle + len(self.f.dials)
        assert pool.size == pool.slots.taken <= 4
        assert pool.queue_slots.taken == len(self.queued())
        assert pool.tunnels == len(self.tunnels)

    @invariant()
    def endpoints_know_what_is_under_way(self) -> None:
        at = Counter(upstream.endpoint for upstream in self.busy)
        for endpoint in {*self.f.pool.endpoints.all, *at}:
            assert endpoint.load - endpoint.dialing == at[endpoint]
            assert endpoint.dialing >= 0
        known = sum(endpoint.dialing for endpoint in self.f.pool.endpoints.all)
        assert known <= len(self.f.dials), "some may be on their way to endpoints that are gone"

    @invariant()
    def nobody_queues_while_there_is_room(self) -> None:
        if self.queued():
            assert len(self.queued()) <= 3
            assert self.f.pool.idle == 0
            assert self.f.pool.size == 4


PoolMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestPoolMachine = PoolMachine.TestCase


class HashingPoolMachine(PoolMachine):
    """The same rules hold where a request goes to the endpoint of its key, and to no other."""

    balance = HASH


HashingPoolMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestHashingPoolMachine = HashingPoolMachine.TestCase


class SharedPoolMachine(PoolMachine):
    """The same rules hold where another process has a pool of the same upstream, as long as that one does nothing."""

    def fixture(self, **quotas: Any) -> Fixture:
        self.workers = Workers()
        for worker in (1, 0):
            quotas = {
                "slots": self.workers.quotas[worker].named("slots", 4),
                "queue_slots": self.workers.quotas[worker].named("queue", 3),
                "tunnel_slots": self.workers.quotas[worker].named("tunnels", 2),
            }
            fixture = super().fixture(**quotas)
        return fixture

    @rule()
    def turn(self) -> None:
        queue = self.queued()
        self.workers.settle()
        assert self.queued() == queue


SharedPoolMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestSharedPoolMachine = SharedPoolMachine.TestCase


class PoolsMachine(RuleBasedStateMachine):
    """Pools of one upstream in several processes, which do anything that callers may do."""

    def __init__(self) -> None:
        super().__init__()
        self.workers, self.fixtures = shared(3, max_connections=3, queue=4, keep_alive=10.0, per_client=1)
        self.now = 0.0
        self.waiting: list[tuple[Fixture, FakeLessee]] = []
        self.busy: list[tuple[Fixture, UpstreamPort]] = []

    def look(self) -> None:
        """Who was served, or refused?"""
        for f, lessee in list(self.waiting):
            assert len(lessee.got) + len(lessee.failed) <= 1
            if lessee.got or lessee.failed:
                self.waiting.remove((f, lessee))
                self.busy += [(f, upstream) for upstream in lessee.got]

    @rule(which=st.integers(0, 2), address=st.sampled_from("xy"))
    def acquire(self, which: int, address: str) -> None:
        f, lessee = self.fixtures[which], FakeLessee(address)
        got = f.pool.acquire(lessee, self.now)
        self.look()
        if isinstance(got, FakeUpstream):
            self.busy.append((f, got))
        elif got is None:
            self.waiting.append((f, lessee))

    @rule(data=st.data(), works=st.booleans())
    def dial_ends(self, data: st.DataObject, works: bool) -> None:
        dials = [(f, lessee) for f in self.fixtures for lessee in f.dials]
        if dials:
            f, lessee = data.draw(st.sampled_from(dials))
            if works:
                f.connect(lessee, self.now)
            else:
                f.dials.remove(lessee)
                f.pool.dial_failed(lessee, UPSTREAM_CONNECT_FAILED, self.now)
            self.look()

    @precondition(lambda self: self.busy)
    @rule(data=st.data(), clean=st.booleans())
    def give_back(self, data: st.DataObject, clean: bool) -> None:
        pair = data.draw(st.sampled_from(self.busy))
        self.busy.remove(pair)
        f, upstream = pair
        if clean:
            f.release(upstream, self.now)
        else:
            f.discard(upstream)
        self.look()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        f, lessee = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove((f, lessee))
        f.pool.leave(lessee)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def grace_ends(self, data: st.DataObject) -> None:
        f, lessee = data.draw(st.sampled_from(self.waiting))
        if f.pool.queued(lessee) and not f.pool.has_place(lessee) and not f.pool.find_place(lessee, self.now):
            self.waiting.remove((f, lessee))
            f.pool.leave(lessee)
        self.look()

    @rule(limit=st.integers(1, 4))
    def reload(self, limit: int) -> None:
        for f in self.fixtures:
            renewed(f, max_connections=limit, queue=4, keep_alive=10.0, per_client=1)
        self.look()

    @rule(seconds=st.sampled_from([1.0, 11.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        for f in self.fixtures:
            f.pool.sweep(self.now)

    @rule(which=st.integers(0, 2))
    def turn(self, which: int) -> None:
        self.workers.turn(which)
        self.look()

    @rule()
    def settle(self) -> None:
        """Nobody waits while a connection is idle, or a slot free, in any process."""
        self.workers.settle()
        self.look()
        pools = [f.pool for f in self.fixtures]
        if any(f.pool.queued(lessee) for f, lessee in self.waiting):
            assert sum(pool.size for pool in pools) >= pools[0].options.max_connections
            assert sum(pool.idle for pool in pools) == 0

    @invariant()
    def counts_agree(self) -> None:
        for f in self.fixtures:
            pool = f.pool
            assert pool.leased == sum(owner is f for owner, _ in self.busy)
            assert pool.size == pool.leased + pool.idle + len(f.dials) == pool.slots.taken
            queued = [lessee for owner, lessee in self.waiting if owner is f and pool.queued(lessee)]
            assert pool.queue_slots.taken == sum(map(pool.has_place, queued))
            assert not queued or not pool.idle
        assert sum(f.pool.queue_slots.taken for f in self.fixtures) <= 4


PoolsMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
TestPoolsMachine = PoolsMachine.TestCase
