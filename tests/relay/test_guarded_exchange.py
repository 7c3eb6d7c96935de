"""When a request may be sent again, row by row; what the breaker hears; and that nothing is ever sent twice that may
not be."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.ports import RULES, FakeClient, FakeUpstream, plain_response
from rawgate import errors
from rawgate.errors import Reason
from rawgate.message import CHUNKED, Forward, RequestHead, RouteOptions
from rawgate.relay.breaker import BreakerRule
from rawgate.relay.endpoints import Place
from rawgate.relay.flow import RESET, Flow
from rawgate.relay.guarded_exchange import GuardedExchange
from rawgate.relay.lessee import Lessee
from rawgate.relay.options import ClientOptions, UpstreamOptions
from rawgate.relay.phases import DONE, LEASING
from rawgate.relay.pool import Pool
from rawgate.relay.retries import RESERVE, RetryRule

ALL = RetryRule(attempts=2, timeout=True, statuses=frozenset((500, 502, 503, 504)))
SENSITIVE = BreakerRule(errors=0.5, least=1, within=10.0, open_for=5.0)
OK_RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
FAILED = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy"
KEY = b"Idempotency-Key: 8e03978e\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


class Service:
    """An upstream of one or two places, and the requests that are sent to it."""

    def __init__(self, places: int = 2, **options: Any) -> None:
        self.now = 100.0
        self.dials: list[Lessee] = []
        self.said: list[str] = []
        self.outcomes: list[tuple[Reason, int]] = []
        spots = tuple(Place(host=host, port=1) for host in "ab"[:places])
        self.pool = Pool(UpstreamOptions(name="u", places=spots, **options), self.dial, self.said.append)

    def dial(self, pool: Pool, lessee: Lessee) -> None:
        pool.dial_order(lessee, self.now)
        self.dials.append(lessee)


class World:
    """One exchange with a service."""

    def __init__(
        self,
        method: bytes = b"GET",
        body: int = 0,
        *,
        service: Service | None = None,
        fields: bytes = b"",
        minor: int = 1,
        expect: bool = False,
        upgrade: bytes = b"",
        places: int = 2,
        retry: RetryRule | None = ALL,
        **options: Any,
    ) -> None:
        self.service = service or Service(places, retry=retry, **options)
        self.pool, self.client = self.service.pool, FakeClient()
        head = RequestHead(method, b"/x", minor, b"h", {}, [], body, False, expect, upgrade, 10)
        forward = Forward(
            RouteOptions("r", "u", None, 1000),
            b"%b /x HTTP/1.1\r\nHost: a\r\n%b" % (method, fields),
            plain_response,
            lambda name: True,
            upgrade,
            "id",
            "someone",
            fields=b"X-Route: r\r\n",
        )
        self.exchange = GuardedExchange(self.client, self.pool, forward, head, ClientOptions(), RULES, self.service.now)
        self.ports: list[FakeUpstream] = []

    @property
    def now(self) -> float:
        return self.service.now

    def start(self) -> "World":
        self.exchange.start(self.now)
        return self

    def connect(self, at: int = 0, *, reused: bool = False) -> FakeUpstream:
        """A dial succeeds."""
        port = FakeUpstream(self.pool.endpoints.all[at], reused=reused)
        self.ports.append(port)
        self.pool.dialed(self.service.dials.pop(0), port, self.now)
        return port

    def begun(self, *, reused: bool = False) -> "World":
        """It is sent, on an idle connection if there is one."""
        self.start()
        if self.service.dials:
            self.connect(reused=reused)
        return self

    def down(self, data: bytes) -> None:
        flow: Flow = self.client.tunnel or self.exchange
        flow.upstream_data(data, self.now)

    def lose(self) -> None:
        self.exchange.upstream_lost(self.now, RESET)

    def passes(self, seconds: float) -> None:
        self.service.now += seconds
        self.exchange.expire(self.now)

    def no_dial(self, reason: Reason = errors.UPSTREAM_CONNECT_FAILED) -> None:
        last = self.pool.endpoints.all[-1]
        self.pool.dial_failed(self.service.dials.pop(0), reason, self.now, "No connection: refused.", last)

    @property
    def is_again(self) -> bool:
        """Whether a further attempt is under way, and nothing of the first one was told."""
        is_dialing = self.exchange.phase is LEASING and len(self.service.dials) == 1
        assert is_dialing or not self.service.dials
        assert not is_dialing or self.exchange.attempts == 2
        return is_dialing

    def outcome(self) -> tuple[Reason, int]:
        assert self.client.over == [self.exchange]
        assert self.exchange.phase is DONE
        assert self.pool.guard.budget.retrying == 0
        return self.exchange.reason, self.exchange.status


Failure = Callable[[World], None]


def in_pieces(w: World) -> None:
    w.down(FAILED[:30])
    w.down(FAILED[30:])


def within_a_head(w: World) -> None:
    w.down(FAILED[:30])
    w.lose()


FAILURES: dict[str, Failure] = {
    "status": lambda w: w.down(FAILED),
    "status in pieces": in_pieces,
    "status without its body": lambda w: w.down(FAILED[:-4]),
    "reset": lambda w: w.lose(),
    "end": lambda w: w.exchange.upstream_eof(w.now),
    "reset within a head": within_a_head,
    "timeout": lambda w: w.passes(5.0),
}


# ── the rows of "may it be sent again?" ──


@pytest.mark.parametrize("places", [1, 2])
@pytest.mark.parametrize("failure", FAILURES)
def test_a_request_that_failed_is_sent_again(failure: str, places: int) -> None:
    w = World(places=places).begun()
    FAILURES[failure](w)
    assert w.is_again
    assert w.client.sent == b""
    assert w.ports[0].was_reset
    assert w.ports[0].owner is None
    again = w.connect(places - 1)
    assert again.sent == w.ports[0].sent
    w.down(OK_RESPONSE)
    assert w.outcome() == (errors.OK, 200)
    assert w.client.sent == OK_RESPONSE
    assert w.exchange.attempts == 2
    assert w.exchange.endpoint is w.pool.endpoints.all[places - 1]
    # That another target is up after a new connection was closed is reason enough for a plain exchange.
    is_plain = places == 2 and failure in ("reset", "end")
    assert w.pool.guard.budget.counted() == (0 if is_plain else 1, 0)
    assert (w.pool.idle, w.pool.leased) == (1, 0)


@pytest.mark.parametrize("reason", [errors.UPSTREAM_CONNECT_FAILED, errors.UPSTREAM_TIMEOUT])
def test_a_dial_that_failed_everywhere_is_made_again(reason: Reason) -> None:
    w = World().start()
    w.no_dial(reason)
    assert w.is_again
    w.no_dial()
    assert w.outcome() == (errors.UPSTREAM_CONNECT_FAILED, 502)
    assert w.exchange.detail == "No connection: refused."
    assert w.exchange.endpoint is w.pool.endpoints.all[1]
    assert w.pool.size == 0


@pytest.mark.parametrize("reason", [errors.CONNECTION_LIMIT, errors.NO_TARGET])
def test_a_dial_that_failed_for_want_of_something_else_is_not_made_again(reason: Reason) -> None:
    w = World().start()
    w.no_dial(reason)
    assert w.outcome() == (reason, 503)


def test_all_targets_may_be_gone_when_a_request_has_failed() -> None:
    w = World().begun()
    w.pool.retarget(())
    w.down(FAILED)
    assert w.exchange.attempts == 2
    w.pool.dial_failed(w.service.dials.pop(), errors.NO_TARGET, w.now)
    assert w.outcome() == (errors.NO_TARGET, 503)


@pytest.mark.parametrize(
    ("rule", "failures"),
    [
        (RetryRule(connect=False, reset=False, statuses=frozenset((503,))), {"status"}),
        (RetryRule(connect=False, reset=True, statuses=frozenset()), {"reset", "end", "reset within a head"}),
        (RetryRule(connect=True, reset=False, statuses=frozenset()), set()),
        (RetryRule(connect=False, reset=False, timeout=True, statuses=frozenset()), {"timeout"}),
        (RetryRule(connect=False, reset=False, statuses=frozenset((502,))), set()),
        (None, set()),
    ],
)
@pytest.mark.parametrize("failure", [name for name in FAILURES if not name.startswith("status ")])
def test_only_what_is_named_is_answered_by_another_attempt(
    rule: RetryRule | None, failures: set[str], failure: str
) -> None:
    # One place: else a plain exchange tries the other one after a reset.
    w = World(places=1, retry=rule).begun()
    FAILURES[failure](w)
    assert w.is_again is (failure in failures)


@pytest.mark.parametrize(
    ("method", "body", "fields", "again"),
    [
        (b"GET", 0, b"", True),
        (b"HEAD", 0, b"", True),
        (b"PUT", 0, b"", True),
        (b"DELETE", 0, b"", True),
        (b"OPTIONS", 0, b"", True),
        (b"POST", 0, b"", False),
        (b"PATCH", 0, b"", False),
        (b"POST", 0, KEY, True),
        (b"POST", 0, KEY.lower(), True),
        (b"PATCH", 0, KEY, True),
        (b"POST", 0, b"X-" + KEY, False),
        (b"POST", 5, KEY, False),
        (b"POST", CHUNKED, KEY, False),
        (b"PUT", 5, b"", True),
        (b"PUT", CHUNKED, b"", True),
    ],
)
@pytest.mark.parametrize("failure", FAILURES)
def test_what_a_request_must_be(method: bytes, body: int, fields: bytes, again: bool, failure: str) -> None:
    """Those with a body ask for a 100 (Continue), so nothing of it has been taken."""
    w = World(method, body, fields=fields, expect=body != 0, places=1).begun()
    FAILURES[failure](w)
    assert w.is_again is again
    assert again or w.client.over == [w.exchange] or failure == "status without its body"


@pytest.mark.parametrize("failure", FAILURES)
def test_a_body_of_which_an_octet_was_taken_is_never_sent_again(failure: str) -> None:
    w = World(b"PUT", 5).begun()
    w.exchange.client_data(b"hello", w.now)
    FAILURES[failure](w)
    assert not w.is_again


@pytest.mark.parametrize(("minor", "again"), [(1, False), (0, True)])
@pytest.mark.parametrize("failure", FAILURES)
def test_nothing_is_sent_again_once_an_octet_of_a_response_was_passed_on(failure: str, minor: int, again: bool) -> None:
    """An interim response is one too. A client of HTTP/1.0 gets none."""
    w = World(minor=minor).begun()
    w.down(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
    FAILURES[failure](w)
    assert w.is_again is again


def test_a_response_that_has_begun_is_cut() -> None:
    w = World().begun()
    w.down(OK_RESPONSE[:-1])
    w.lose()
    assert w.outcome() == (errors.UPSTREAM_CUT, 200)


@pytest.mark.parametrize("failure", ["status", "reset", "timeout"])
def test_it_is_sent_as_often_as_the_rule_says(failure: str) -> None:
    w = World(retry=RetryRule(attempts=3, timeout=True)).begun()
    for _ in range(2):
        FAILURES[failure](w)
        w.connect(1)
    FAILURES[failure](w)
    assert w.exchange.attempts == 3
    assert w.outcome()[1] in (502, 503, 504)


def test_the_last_response_is_passed_on_as_it_came() -> None:
    w = World().begun()
    w.down(FAILED)
    w.connect(1)
    w.down(FAILED)
    assert w.client.sent == FAILED
    assert w.outcome() == (errors.OK, 503)
    assert w.pool.idle == 1


def test_the_total_time_bounds_all_attempts_and_each_has_its_own() -> None:
    w = World(total_timeout=8.0).begun()
    w.passes(5.0)
    w.connect(1)
    w.passes(2.9)
    assert not w.client.over
    w.passes(0.1)
    assert w.outcome() == (errors.UPSTREAM_TIMEOUT, 504)
    assert w.exchange.attempts == 2


def test_the_total_time_is_over_while_the_second_attempt_is_dialed() -> None:
    w = World(total_timeout=8.0).begun()
    w.down(FAILED)
    w.passes(8.0)
    assert w.outcome() == (errors.UPSTREAM_TIMEOUT, 504)


def test_nothing_is_sent_again_without_budget() -> None:
    service = Service(retry=ALL)
    worlds = [World(service=service).begun() for _ in range(5)]
    for w in worlds:
        w.down(FAILED)
    assert [len(w.client.over) for w in worlds] == [0, 0, 0, 1, 1]
    assert worlds[3].client.sent == FAILED
    assert service.pool.guard.budget.counted() == (3, 2)
    for w in worlds[:3]:
        w.connect(1)
        w.down(OK_RESPONSE)
    assert [w.outcome()[1] for w in worlds] == [200, 200, 200, 503, 503]


@pytest.mark.parametrize("fails", [World.no_dial, lambda w: w.down(FAILED)], ids=["no connection", "status"])
def test_requests_that_fail_one_after_the_other_are_a_storm_too(fails: Failure) -> None:
    """Each earns a fifth of a retry, however often it is sent; ten need not be earned."""
    service, requests = Service(retry=ALL), 100
    for _ in range(requests):
        w = World(service=service).start()
        while not w.client.over:
            if service.dials and fails is not World.no_dial:
                w.connect()
            fails(w)
    made, refused = service.pool.guard.budget.counted()
    assert made + refused == requests
    # What is being dialed is not there, so it holds nothing that was earned before.
    assert requests // 5 + RESERVE - 1 <= made <= requests // 5 + RESERVE


def test_who_leaves_between_two_attempts_frees_the_budget() -> None:
    w = World().begun()
    w.down(FAILED)
    w.exchange.client_lost(w.now)
    assert w.outcome() == (errors.CLIENT_GONE, 499)
    w.connect(1)
    assert w.pool.idle == 1, "the connection is there for others"


def test_a_gateway_that_ends_between_two_attempts_says_so() -> None:
    w = World().begun()
    w.down(FAILED)
    w.exchange.give_up(errors.DRAINING, w.now)
    assert w.outcome() == (errors.DRAINING, 503)


@pytest.mark.parametrize(("places", "again"), [(1, False), (2, True)])
def test_a_service_that_asks_to_wait_is_left_alone(places: int, again: bool) -> None:
    w = World(places=places).begun()
    w.down(FAILED.replace(b"Content-Length", b"Retry-After: 7\r\nContent-Length"))
    assert w.is_again is again


def test_the_other_target_is_tried_only_if_it_is_up() -> None:
    w = World().begun()
    w.pool.endpoints.failed(w.pool.endpoints.all[1], "refused", w.now)
    w.down(FAILED.replace(b"Content-Length", b"Retry-After: 7\r\nContent-Length"))
    assert not w.is_again


def test_a_dead_idle_connection_costs_an_attempt_and_no_budget() -> None:
    w = World(breaker=SENSITIVE).begun(reused=True)
    w.lose()
    assert w.is_again
    assert w.pool.guard.budget.counted() == (0, 0)
    assert not w.pool.guard.is_open, "it says nothing about the service"
    w.connect(1)
    w.down(FAILED)
    assert w.outcome() == (errors.OK, 503)


def test_a_tunnel_may_begin_with_the_second_attempt() -> None:
    w = World(upgrade=b"websocket").begun()
    w.down(FAILED)
    w.connect(1)
    w.down(SWITCHED)
    assert w.client.tunnel is not None
    assert (w.client.tunnel.attempts, w.client.tunnel.endpoint) == (2, w.pool.endpoints.all[1])
    assert w.pool.guard.budget.retrying == 0
    assert w.pool.tunnels == 1


# ── the breaker ──


def guarded(**options: Any) -> World:
    return World(retry=None, breaker=SENSITIVE, places=1, **options)


@pytest.mark.parametrize("failure", FAILURES)
def test_each_failure_is_told_to_the_breaker(failure: str) -> None:
    w = guarded().begun()
    FAILURES[failure](w)
    if failure == "status without its body":
        assert not w.pool.guard.is_open, "it may still come"
        w.down(FAILED[-4:])
    assert w.pool.guard.is_open
    assert w.service.said[-1] == (
        "upstream u: the circuit is open for 5 s: 50% or more of at least 1 requests failed within 10 s"
    )


def test_an_open_circuit_refuses_without_a_connection() -> None:
    w = guarded().begun()
    w.down(FAILED)
    w.service.now += 0.5
    other = World(b"POST", 5, service=w.service).start()
    assert other.outcome() == (errors.CIRCUIT_OPEN, 503)
    assert not w.service.dials
    assert b"Retry-After: 5\r\n" in other.client.sent
    assert b"X-Route: r\r\n" in other.client.sent
    assert other.exchange.linger


def test_a_probe_that_succeeds_closes_it_with_the_head_of_its_response() -> None:
    w = guarded().begun()
    w.down(FAILED)
    w.service.now += 5.0
    probe = World(service=w.service).begun()
    assert World(service=w.service).start().outcome()[0] is errors.CIRCUIT_OPEN
    probe.down(OK_RESPONSE[:-1])
    assert not w.pool.guard.is_open
    assert w.service.said[-1] == "upstream u: the circuit is closed again"
    probe.down(OK_RESPONSE[-1:])
    assert probe.outcome() == (errors.OK, 200)


def test_a_probe_that_fails_keeps_it_open() -> None:
    w = guarded().begun()
    w.down(FAILED)
    w.service.now += 5.0
    World(service=w.service).begun().lose()
    assert w.pool.guard.due_in(w.now) == pytest.approx(10.0)
    assert len(w.service.said) == 2, "that it is open was told before; the other is of the endpoint"


@pytest.mark.parametrize("how", ["client_lost", "give_up", "queue_full"])
def test_a_probe_without_a_word_about_the_service_lets_another_one_go(how: str) -> None:
    w = guarded(max_connections=1, queue=0).begun()
    w.down(FAILED)
    w.service.now += 5.0
    if how == "queue_full":
        w.pool.slots.resize(0)
        for idle in w.pool.sweep(w.now + 1000):
            idle.close()
    probe = World(service=w.service).start()
    if how == "client_lost":
        probe.exchange.client_lost(w.now)
    elif how == "give_up":
        probe.exchange.give_up(errors.DRAINING, w.now)
    assert probe.client.over
    assert w.pool.guard.is_open
    assert w.pool.guard.due_in(w.now) == 0.0


def test_clients_and_queues_are_no_failures() -> None:
    w = guarded().begun()
    w.exchange.client_lost(w.now)
    queued = guarded(max_connections=0, queue_timeout=1.0).start()
    queued.passes(1.0)
    assert queued.outcome()[0] is errors.QUEUE_TIMEOUT
    late = guarded(max_connections=0, queue_timeout=9.0, total_timeout=1.0).start()
    late.passes(1.0)
    assert late.outcome()[0] is errors.UPSTREAM_TIMEOUT
    assert not any(one.pool.guard.is_open for one in (w, queued, late))


def test_a_dial_that_fails_after_its_client_has_left_is_a_failure() -> None:
    w = guarded().start()
    w.exchange.client_lost(w.now)
    w.no_dial(errors.UPSTREAM_TIMEOUT)
    assert w.pool.guard.is_open


def test_a_tunnel_counts_when_it_begins_and_never_again() -> None:
    w = guarded(upgrade=b"websocket").begun()
    w.down(SWITCHED)
    assert w.client.tunnel is not None
    w.client.tunnel.upstream_lost(w.now)
    assert not w.pool.guard.is_open


def test_a_response_that_breaks_off_is_a_failure() -> None:
    w = guarded().begun()
    w.down(OK_RESPONSE[:-1])
    w.lose()
    assert w.pool.guard.is_open


def test_a_slow_client_keeps_no_response_from_counting() -> None:
    w = guarded().begun()
    w.exchange.client_is_full(w.now)
    w.down(FAILED)
    assert not w.client.over
    assert w.pool.guard.is_open


def test_nothing_is_sent_again_while_the_circuit_is_open() -> None:
    w = World(breaker=SENSITIVE).begun()
    w.down(FAILED)
    assert not w.is_again
    assert w.outcome() == (errors.OK, 503)


def test_a_reload_keeps_the_breaker_by_its_name_and_takes_the_new_numbers() -> None:
    w = guarded().begun()
    w.down(FAILED)
    places = w.pool.options.places
    longer = BreakerRule(errors=1.0, least=2, within=10.0, open_for=60.0)
    w.pool.renew(UpstreamOptions(name="u", places=places, breaker=longer))
    assert w.pool.guard.is_open
    w.pool.renew(UpstreamOptions(name="u", places=places))
    assert repr(w.pool.guard) == "<Guard <Breaker closed, 0 of 0 failed> <RetryBudget 0 under way>>"
    w.pool.renew(UpstreamOptions(name="u", places=places, breaker=longer))
    World(service=w.service).begun().lose()
    assert not w.pool.guard.is_open, "what was counted before is forgotten"


# ── nothing is sent twice that may not be ──


def sends_more(w: World) -> None:
    if w.exchange.wants_body:
        w.exchange.client_data(b"5\r\nhello\r\n" if w.exchange.head.body == CHUNKED else b"h", w.now)


def comes(octets: bytes) -> Failure:
    return lambda w: w.down(octets) if w.exchange.upstream is not None else None


def is_connected(w: World) -> None:
    if w.service.dials:
        w.connect(len(w.ports) % 2)


def is_refused(w: World) -> None:
    if w.service.dials:
        w.no_dial()


STEPS: dict[str, Failure] = {
    "a part of a head": comes(FAILED[:20]),
    "an interim head": comes(b"HTTP/1.1 102 Processing\r\n\r\n"),
    "a failure": comes(FAILED),
    "an answer": comes(OK_RESPONSE),
    "a loss": lambda w: w.lose() if w.exchange.upstream is not None else None,
    "the client sends": sends_more,
    "the client leaves": lambda w: w.exchange.client_lost(w.now),
    "time": lambda w: w.passes(5.0),
    "a connection": is_connected,
    "no connection": is_refused,
}


@given(
    method=st.sampled_from([b"GET", b"PUT", b"POST"]),
    fields=st.sampled_from([b"", KEY]),
    body=st.sampled_from([0, 5, CHUNKED]),
    expect=st.booleans(),
    steps=st.lists(st.sampled_from(sorted(STEPS)), max_size=20),
)
def test_what_a_client_or_a_service_has_seen_is_never_sent_twice(
    method: bytes, fields: bytes, body: int, expect: bool, steps: list[str]
) -> None:
    w = World(method, body, fields=fields, expect=expect, retry=RetryRule(attempts=5, timeout=True)).start()
    is_unsafe = method == b"POST" and (body != 0 or not fields)
    for step in steps:
        if w.client.over:
            break
        upload, attempts = w.exchange.upload, w.exchange.attempts
        is_bound = is_unsafe or bool(w.client.sent) or (upload is not None and upload.octets > 0)
        STEPS[step](w)
        assert w.exchange.attempts == attempts or not is_bound
    sent = [port.sent for port in w.ports if port.sent]
    assert w.exchange.attempts <= 5
    assert len(sent) <= w.exchange.attempts
    if w.client.over:
        assert w.pool.guard.budget.retrying == 0
