"""Records what each step of a decision was given and what it returned.

The steps are the gate's own, composed by the gate's own function; each is wrapped in one that writes to a `Trace`. So
nothing is decided here, nothing is decided twice, and a gate that serves pays nothing for it.
"""

from collections.abc import Callable, Mapping

from msgspec import Struct

from rawgate.errors import Reason
from rawgate.message import Decide, Identity, RequestHead
from rawgate.policy.addresses import PeerAddress
from rawgate.policy.auth_failures import AuthFailures
from rawgate.policy.budgets import Counted, Hit
from rawgate.policy.credentials import Credential, api_key, bearer, first_of
from rawgate.policy.gate import CompiledRoute, Gate, compose
from rawgate.policy.jwt import JwtVerifier
from rawgate.policy.limits import Limit
from rawgate.policy.more import More
from rawgate.policy.paths import Normal
from rawgate.policy.rewrite import Rewrite
from rawgate.policy.router import Group


class Trace(Struct):
    """Arguments and results of the steps of one decision. None: the step was not reached.

    peer        the socket's peer
    client      the client behind trusted proxies, or the peer
    normal      the normalised path
    searched    authority and key of the first search for a route
    group       the result of that search
    credential  the selected route's check
    presented   the token or key that was checked
    found       the result of the check
    bucket      the key under which the limiter counted
    hit         the limiter's result
    admitted    whether the client's address may come in
    lacking     the claim of which not all that is asked holds, or ""
    counted     the result of several limits
    failed      the key under which a wrong credential was counted, and the limiter's result
    rewritten   the path after the route's rewrite; b"" when it cannot be sent
    """

    peer: PeerAddress | None = None
    client: PeerAddress | None = None
    normal: Normal | None = None
    searched: tuple[bytes, bytes] | None = None
    group: "Group[CompiledRoute] | None" = None
    credential: Credential | None = None
    presented: bytes | None = None
    found: Identity | Reason | None = None
    bucket: str | None = None
    hit: tuple[bool, int, int] | None = None
    admitted: bool | None = None
    lacking: str | None = None
    counted: Counted | None = None
    failed: tuple[str, bool, int, int] | None = None
    rewritten: bytes | None = None


def watch(gate: Gate, new_id: Callable[[], str]) -> tuple[Decide, Trace]:
    """An instrumented `decide` for one call, and the Trace that the call fills in. It counts in the gate's limiter."""
    trace = Trace()

    def peer_of(address: str) -> PeerAddress:
        # Without trusted proxies in between, the client is the peer.
        trace.peer = trace.client = gate.peer_of(address)
        return trace.peer

    def client_of(peer: PeerAddress, parsed: dict[bytes, bytes]) -> PeerAddress:
        trace.client = gate.client_of(peer, parsed)
        return trace.client

    def normalise(target: bytes) -> Normal:
        trace.normal = gate.normalise(target)
        return trace.normal

    def find(authority: bytes, key: bytes) -> "Group[CompiledRoute] | None":
        return searched(authority, key, gate.router.find(authority, key))

    def choose(head: RequestHead, key: bytes, query: bytes, scheme: str) -> "Group[CompiledRoute] | None":
        inner = gate.router.choose
        return searched(head.authority, key, None if inner is None else inner(head, key, query, scheme))

    def searched(authority: bytes, key: bytes, group: "Group[CompiledRoute] | None") -> "Group[CompiledRoute] | None":
        if trace.searched is None:
            trace.searched, trace.group = (authority, key), group
        return None if group is None else refit(group, lambda route: _watched_route(route, trace))

    chosen = None if gate.router.choose is None else choose
    return compose(peer_of, client_of, normalise, find, new_id, chosen, gate.doubtful), trace


def refit(group: "Group[CompiledRoute]", change: Callable[[CompiledRoute], CompiledRoute]) -> "Group[CompiledRoute]":
    """The group with each route replaced by `change(route)`."""
    other = None if group.other is None else change(group.other)
    return Group({method: change(route) for method, route in group.methods.items()}, other, group.allow, group.first)


def _watched_route(route: CompiledRoute, trace: Trace) -> CompiledRoute:
    return route.with_steps(
        None if route.credential is None else _watched_credential(route.credential, trace),
        None if route.limit is None else _watched_limit(route.limit, trace),
        None if route.rewrite is None else _watched_rewrite(route.rewrite, trace),
        None if route.more is None else _watched_more(route.more, trace),
        None if route.failures is None else _watched_failures(route.failures, trace),
    )


def _watched_failures(failures: AuthFailures, trace: Trace) -> AuthFailures:
    def hit(address: str, now: float) -> tuple[bool, int, int]:
        told = failures.hit(address, now)
        trace.failed = (address, *told)
        return told

    return failures.counted_by(hit)


def _watched_more(more: More, trace: Trace) -> More:
    admits, require, count = more.admits, more.require, more.count

    def admitted(address: str) -> bool:
        trace.admitted = admits is None or admits(address)
        return trace.admitted

    def required(claims: Mapping[str, object], certificate: str) -> str:
        trace.lacking = "" if require is None else require(claims, certificate)
        return trace.lacking

    def counted(head: RequestHead, address: str, client: str, caller: Identity | None, now: float) -> Counted:
        trace.counted = Counted(0, b"", False, []) if count is None else count(head, address, client, caller, now)
        return trace.counted

    return more.with_steps(
        None if admits is None else admitted,
        None if require is None else required,
        None if count is None else counted,
    )


def _watched_credential(credential: Credential, trace: Trace) -> Credential:
    if credential.parts:
        return first_of(tuple(_watched_credential(part, trace) for part in credential.parts))
    by = credential.by
    if isinstance(by, JwtVerifier):
        verifier = by

        def verify(token: bytes, wall: float) -> Identity | Reason:
            trace.presented = token
            return verifier.verify(token, wall)

        inner = bearer(credential.name, verifier, verify, credential.places, credential.fetched)
    else:
        table = by

        def lookup(key: bytes) -> Identity | None:
            trace.presented = key
            return table.lookup(key)

        inner = api_key(credential.name, table, lookup, credential.places)

    def check(head: RequestHead, query: bytes, wall: float) -> Identity | Reason:
        trace.credential = credential
        trace.found = inner.check(head, query, wall)
        return trace.found

    return inner.checked_by(check)


def _watched_limit(limit: Limit, trace: Trace) -> Limit:
    return Limit(_watched_hit(limit.hit, trace), _watched_hit(limit.hit_address, trace), limit.fields)


def _watched_hit(hit: Hit, trace: Trace) -> Hit:
    def traced(client: str, now: float) -> tuple[bool, int, int]:
        trace.bucket = client
        trace.hit = hit(client, now)
        return trace.hit

    return traced


def _watched_rewrite(rewrite: Rewrite, trace: Trace) -> Rewrite:
    def traced(path: bytes, key: bytes) -> bytes | str:
        sent = rewrite(path, key)
        trace.rewritten = b"" if isinstance(sent, str) else sent
        return sent

    return traced
