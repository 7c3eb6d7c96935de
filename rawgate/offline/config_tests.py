"""Runs the configuration's own `[[tests]]`.

Each request is written as octets, then read and decided as a client's would be. No upstream is asked. Only the
credential is not real: where the route checks one, the test's `claims` or `api_key` take its place as if they had been
verified, because what happens after a good credential is what these tests are about. A test without either is decided
by the fields that it sends. A refusal passes only where the test expects its status or its reason.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from msgspec import Struct

from rawgate.config.model import Config, Expect, RateLimit, Test
from rawgate.errors import API_KEY_EXPIRED, API_KEY_UNKNOWN, AUTH_MISSING, OK, Key, Reason
from rawgate.message import Decide, Decision, Forward, Identity, LocalReply, Peer, Pending, RequestHead
from rawgate.offline.explain.fields import field_lines
from rawgate.offline.explain.watch import refit
from rawgate.offline.sample import Refused, read_request, request_octets, scheme_of
from rawgate.policy.credentials import Credential, first_of
from rawgate.policy.gate import CompiledRoute, Gate, compose
from rawgate.policy.jwt import JwtVerifier, subject_of
from rawgate.serve.load import Loaded

if TYPE_CHECKING:
    from rawgate.policy.router import Group

PEER = Peer("127.0.0.1", "127.0.0.1")
"""Where the tests' requests come from."""

FORWARDED = "none: the request is forwarded (expect its route or path instead)"
"""Shown in place of the status of a forwarded request: its status would come from the upstream, and none is asked."""


class Difference(Struct, frozen=True):
    """One expectation that was not met. `what`: "route", "path", "status", "reason", or the name of a field."""

    what: str
    expected: str
    got: str


class Result(Struct, frozen=True):
    """The result of one test.

    line         of the test in the configuration file
    route        the route that was selected, or ""
    differences  empty when the test passed
    """

    request: str
    line: int
    route: str
    differences: tuple[Difference, ...]


class Report(Struct, frozen=True):
    """All results, in the order of the file. `unreached`: names of the routes that no test's request selected."""

    results: tuple[Result, ...]
    unreached: tuple[str, ...]

    @property
    def failed(self) -> tuple[Result, ...]:
        """The tests that did not pass."""
        return tuple(result for result in self.results if result.differences)


class _Got(Struct, frozen=True):
    """The decision about a request, in the terms of a test's `expect`.

    status  None: the request is forwarded
    note    what is particular to this refusal, or ""
    fields  a head's first line and its fields: of the request that the upstream gets, or of the gateway's own response
    """

    route: str
    path: str
    status: int | None
    reason: str
    fields: bytes
    note: str = ""


def run_tests(
    loaded: Loaded, line_of: Callable[[tuple[Key, ...]], int], *, new_id: Callable[[], str], wall: float
) -> Report:
    """Run them all. `line_of`: `Draft.line`; `wall`: Unix seconds. Not for a gate that serves: its limiter counts."""
    config = loaded.config
    rates = [*config.limits.values(), *(rate for route in config.routes for rate in route.limits)]
    windows = [rate.window for rate in rates if isinstance(rate, RateLimit)]
    failures = config.gateway.auth_failures
    gap = 2 * max([1.0, *windows] if failures is None else [failures.window, *windows])
    results = []
    for position, test in enumerate(config.tests):
        # Each test runs at a time of its own, two of the longest windows after the test before, so that no limit
        # remembers that one: the order of the tests does not matter.
        got = _got(loaded, test, position * gap, wall if test.at is None else test.at, new_id)
        differences = tuple(_differences(test.expect, got))
        results.append(Result(test.request, line_of(("tests", position)), got.route, differences))
    reached = {result.route for result in results}
    return Report(tuple(results), tuple(name for name in _names(config) if name not in reached))


def _names(config: Config) -> list[str]:
    return [route.name or route.place for route in config.routes]


def _got(loaded: Loaded, test: Test, now: float, wall: float, new_id: Callable[[], str]) -> _Got:
    method, _, url = test.request.partition(" ")
    head = read_request(
        loaded, request_octets(method, url, [f"{name}: {value}" for name, value in test.headers.items()])
    )
    if isinstance(head, Refused):
        reason = head.error.reason
        return _Got("", "", reason.status, reason.code, b"", reason.note)
    decide = _standing_in(loaded.gate, test, new_id)
    address, certificate = test.from_ or PEER.address, test.certificate or ""
    peer = Peer(address, address, scheme_of(url, certificate), certificate)
    for _ in range(test.times - 1):
        _end(decide(head, peer, now, wall))
    decision = decide(head, peer, now, wall)
    _end(decision)
    return _outcome(decision)


def _end(decision: Decision) -> None:
    """A request of a test ends at once."""
    if isinstance(decision, Forward) and decision.extras is not None and decision.extras.leave is not None:
        decision.extras.leave()


def _standing_in(gate: Gate, test: Test, new_id: Callable[[], str]) -> Decide:
    """The gate's `decide`, in which the test's `claims` or `api_key` replace every route's check of a credential."""

    def changed(route: CompiledRoute) -> CompiledRoute:
        if route.credential is None:
            return route
        return route.with_steps(_given(route.credential, test), route.limit, route.rewrite, route.more, route.failures)

    def find(authority: bytes, key: bytes) -> "Group[CompiledRoute] | None":
        group = gate.router.find(authority, key)
        return None if group is None else refit(group, changed)

    def choose(head: RequestHead, key: bytes, query: bytes, scheme: str) -> "Group[CompiledRoute] | None":
        inner = gate.router.choose
        group = None if inner is None else inner(head, key, query, scheme)
        return None if group is None else refit(group, changed)

    chosen = None if gate.router.choose is None else choose
    return compose(gate.peer_of, gate.client_of, gate.normalise, find, new_id, chosen)


def _given(credential: Credential, test: Test) -> Credential:
    if credential.parts:
        return first_of(tuple(_given(part, test) for part in credential.parts))
    by = credential.by
    if test.claims is None and test.api_key is None:
        return credential

    def check(head: RequestHead, query: bytes, wall: float) -> Identity | Reason:
        if isinstance(by, JwtVerifier):
            if test.claims is None:
                return AUTH_MISSING
            subject = subject_of(test.claims)
            return subject if isinstance(subject, Reason) else Identity("sub", subject, claims=test.claims)
        if test.api_key is None:
            return AUTH_MISSING
        found = by.named(test.api_key)
        if found is None:
            return API_KEY_UNKNOWN
        return found if wall < found.until else API_KEY_EXPIRED

    return credential.checked_by(check)


def _outcome(decision: Decision) -> _Got:
    if isinstance(decision, Pending):
        # As it ends if nothing comes, and here nothing does.
        decision = decision.refused(decision.reason)
    if isinstance(decision, Forward):
        path = decision.head.split(b" ", 2)[1].decode("latin-1")
        return _Got(decision.options.route, path, None, "ok", decision.head)
    if isinstance(decision, LocalReply):
        # `field_lines` skips the first line of a head, so there must be one.
        return _Got(decision.route, "", decision.status, decision.reason.code, b"\r\n" + decision.fields, decision.note)
    raise TypeError(f"{decision!r} is none of a gate's")


def _differences(expect: Expect, got: _Got) -> Iterator[Difference]:
    if got.reason != OK.code and expect.status is None and expect.reason is None:
        # A refused request has been given its route, too: a test that expects the route alone wants it to get through.
        note = f" ({got.note})" if got.note else ""
        yield Difference("reason", OK.code, f"{got.status} {got.reason}{note}")
    status = FORWARDED if got.status is None else str(got.status)
    wanted = (
        ("route", expect.route, got.route),
        ("path", expect.path, got.path),
        ("status", None if expect.status is None else str(expect.status), status),
        ("reason", expect.reason, got.reason),
    )
    for what, value, found in wanted:
        if value is not None and value != found:
            yield Difference(what, value, found)
    fields: dict[str, str] = {}
    for field in field_lines(got.fields):
        name = field.name.lower()
        fields[name] = f"{fields[name]}, {field.value}" if name in fields else field.value
    for name, value in expect.headers.items():
        # "" stands for a field that is absent: a test says so that a field must not reach the upstream.
        found = fields.get(name.lower(), "")
        if value != found:
            yield Difference(name, value, found)
