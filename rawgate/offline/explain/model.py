"""The shape of an explanation. Names and meanings are a promise to programs: `rawgate explain --json` writes these in
camelCase. A part that the decision did not reach, or that the route does not have, is null.
"""

from typing import Literal

from msgspec import Struct


class Field(Struct, frozen=True):
    """A field line. `why`: for one that does not travel, where it stays."""

    name: str
    value: str
    why: str = ""


class Step(Struct, frozen=True):
    """One thing that was looked at. `passed` null: it was not decided on."""

    passed: bool | None
    text: str


class Asked(Struct, frozen=True, rename="camel"):
    """The request as it was read. `octets`: of its head; `body`: octets, "chunked", or 0. Values of `fields` that are
    credentials are cut."""

    method: str
    target: str
    host: str
    peer: str
    octets: int
    body: int | str
    fields: tuple[Field, ...]


class Client(Struct, frozen=True, rename="camel"):
    """Who is at the other end. `trusted`: the peer is a trusted proxy, and `address` is what it says."""

    peer: str
    trusted: bool
    address: str


class Reading(Struct, frozen=True):
    """The path as a service may read it, and the route that takes it so, or "". `reader`: one that cuts parameters off
    (what routes are selected by), one that keeps them, or one that knows no letter case."""

    reader: Literal["without parameters", "with parameters", "in either case"]
    path: str
    route: str


class PathRead(Struct, frozen=True, rename="camel"):
    """The path. `normalised` is empty where `flaw` says why it is refused. `readings`: where services may read it in
    more ways than one; those by letter case only where they lead to another route."""

    received: str
    normalised: str
    query: str
    flaw: str
    readings: tuple[Reading, ...] = ()


class RouteTried(Struct, frozen=True, rename="camel"):
    """One route. `outcome`: what it lost by, or "selected"; `why` in words."""

    name: str
    outcome: Literal["selected", "host", "prefix", "method", "earlier"]
    why: str


class Authentication(Struct, frozen=True, rename="camel"):
    """`verifier` as in the route's `auth`; `kind` and `name` of who is calling, empty when that is not known; `reason`
    the code of the refusal, empty when there is none."""

    verifier: str
    steps: tuple[Step, ...]
    kind: str
    name: str
    reason: str


class Limiting(Struct, frozen=True, rename="camel"):
    """The rule, whom it counts, and its answer to a first request: seconds for `window` and `reset`."""

    rule: str
    key: str
    max: int
    window: float
    admitted: bool
    remaining: int
    reset: int


class Rewriting(Struct, frozen=True, rename="camel"):
    """The path before and after; `sent` is empty when it cannot be sent. `rule`: in the configuration's words;
    `matched` false: its pattern does not match, and the path is sent as it is."""

    path: str
    sent: str
    rule: str
    matched: bool


class Fields(Struct, frozen=True, rename="camel"):
    """What becomes of the request's fields on the way up, and what the answer gets on the way down."""

    removed: tuple[Field, ...]
    added: tuple[Field, ...]
    kept: tuple[Field, ...]
    answer: tuple[Field, ...]


class Target(Struct, frozen=True, rename="camel"):
    """Where it goes. Seconds; `total_timeout` null: none. `upgrade`: the protocol that may be switched to, or ""."""

    upstream: str
    targets: tuple[str, ...]
    request_line: str
    upgrade: str
    connect_timeout: float
    response_timeout: float
    idle_timeout: float
    total_timeout: float | None


class Verdict(Struct, frozen=True, rename="camel"):
    """`action`: "forward"; "answer" when the gateway replies itself; "wait" when it needs keys that are not here.
    `status` null: the upstream's. `reason` as the log says it, `public_reason` as the reply does; `detail` is the
    operator's, of which the reply may say less; `fields` are the reply's."""

    action: Literal["forward", "answer", "wait"]
    status: int | None
    reason: str
    public_reason: str
    detail: str
    fields: tuple[Field, ...]


class LogLine(Struct, frozen=True, rename="camel"):
    """What can be known now of the log line. `status` null: the upstream's; `reason` if the upstream does its part."""

    method: str
    path: str
    route: str
    client_id: str
    status: int | None
    upstream: str | None
    remote: str
    reason: str


class Explanation(Struct, frozen=True, rename="camel"):
    """Everything about one request, in the order in which it is decided."""

    request: Asked
    client: Client | None
    path: PathRead | None
    routes: tuple[RouteTried, ...]
    authentication: Authentication | None
    limit: Limiting | None
    rewrite: Rewriting | None
    fields: Fields | None
    target: Target | None
    verdict: Verdict
    log: LogLine
