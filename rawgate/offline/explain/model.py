"""An explanation as a value. `rawgate explain --json` writes it, names in camelCase, so names and meanings are a
promise to programs. A part is null when the decision did not reach it, or when the route does not have it.
"""

from typing import Literal

from msgspec import Struct


class Field(Struct, frozen=True):
    """A field line. `why`: the reason, for a field that does not travel."""

    name: str
    value: str
    why: str = ""


class Check(Struct, frozen=True):
    """One check of a credential. `passed` null: an earlier check failed, so this one was not made."""

    passed: bool | None
    text: str


class Asked(Struct, frozen=True, rename="camel"):
    """The request as it was read. `octets`: size of its head; `body`: octets, "chunked", or 0. Credentials among the
    values of `fields` are masked."""

    method: str
    target: str
    host: str
    peer: str
    octets: int
    body: int | str
    fields: tuple[Field, ...]


class Client(Struct, frozen=True, rename="camel"):
    """The client. `trusted`: the peer is a trusted proxy, so that `address` is what it forwarded."""

    peer: str
    trusted: bool
    address: str


class PathReading(Struct, frozen=True):
    """The path as a service may read it. `route`: the route that this reading selects, or "". `reader`: a service that
    removes path parameters (routes are selected by this reading), one that keeps them, or one that ignores case."""

    reader: Literal["without parameters", "with parameters", "in either case"]
    path: str
    route: str


class PathRead(Struct, frozen=True, rename="camel"):
    """The path. `normalised` is empty when the path is refused; `flaw` says why. `readings`: the ways in which services
    may read it, where there are several; a reading that ignores case only where it selects another route."""

    received: str
    normalised: str
    query: str
    flaw: str
    readings: tuple[PathReading, ...] = ()


class RouteTried(Struct, frozen=True, rename="camel"):
    """One route. `outcome`: "selected", or what excluded it; `why`: the same in words."""

    name: str
    outcome: Literal["selected", "host", "prefix", "path", "match", "method", "earlier"]
    why: str


class Authentication(Struct, frozen=True, rename="camel"):
    """How the credential was verified. `verifier`: the route's `auth`; `kind` and `name` of the caller, empty when
    unknown; `reason`: code of the refusal, or ""."""

    verifier: str
    steps: tuple[Check, ...]
    kind: str
    name: str
    reason: str


class Limiting(Struct, frozen=True, rename="camel"):
    """A rate limit as a first request meets it. `key`: whom it counts; `window` and `reset` in seconds; `shadow`: it
    refuses nobody; `shared`: "host", or how it counts in the store, which is not asked here."""

    rule: str
    key: str
    max: int
    window: float
    admitted: bool
    remaining: int
    reset: int
    shadow: bool = False
    shared: str = "host"


class Rewriting(Struct, frozen=True, rename="camel"):
    """The path before and after the rewrite. `sent` is empty when the result cannot be sent. `rule`: as the
    configuration has it; `matched` false: its pattern does not match, and the path is sent as it came."""

    path: str
    sent: str
    rule: str
    matched: bool


class Fields(Struct, frozen=True, rename="camel"):
    """The request's fields on the way to the upstream. `answer`: fields that the gateway adds to the response."""

    removed: tuple[Field, ...]
    added: tuple[Field, ...]
    kept: tuple[Field, ...]
    answer: tuple[Field, ...]


class Balancing(Struct, frozen=True, rename="camel"):
    """Which target the request is sent to. `way`: "round_robin", "least_requests" or "hash"; `parts`: of all requests,
    as each target gets them while all are up, 0 to 1, in the order of the targets; none where sources tell of more;
    `key`: what is hashed, or ""; `chosen`: the target of that key while it is up, or the only one; "" where that
    depends on other requests."""

    way: str
    parts: tuple[float, ...]
    key: str
    chosen: str


class Tunnelling(Struct, frozen=True, rename="camel"):
    """When a tunnel ends that begins now and that neither side ends: after so many seconds without an octet, or so many
    in all. With its credential it ends between `ends_from` and `ends_by` (Unix seconds); null: the credential has no
    end, or there is none."""

    idle: float
    max_age: float
    ends_from: float | None
    ends_by: float | None


class Checking(Struct, frozen=True, rename="camel"):
    """The health checks of the targets: what is asked, and every how many seconds."""

    path: str
    interval: float


class Ejecting(Struct, frozen=True, rename="camel"):
    """The ejection of a target: after so many failures in a row, for so many seconds the first time; `at_most`: such a
    part of the targets at a time; `status`: those that are failures, as the configuration writes them."""

    failures: int
    seconds: float
    at_most: float
    status: str


class Breaking(Struct, frozen=True, rename="camel"):
    """The circuit breaker opens when such a part of at least so many requests fails that ended `within` so many
    seconds; it is open for `seconds`."""

    errors: float
    of: int
    within: float
    seconds: float


class Destination(Struct, frozen=True, rename="camel"):
    """Where the request is sent. Timeouts in seconds; `total_timeout` null: none. `upgrade`: the protocol that the
    connection may switch to, or ""; `tunnel`: what follows then, or null. `attempts`: how often it is sent at most by
    the upstream's `retry`, and `retry_on`: after what; a request that it does not send again has 1 and nothing.
    `sources`: those of `targets` that tell where instances are. `health`, `eject`, `breaker`: as the upstream has them;
    null: it does not."""

    upstream: str
    targets: tuple[str, ...]
    balance: Balancing
    request_line: str
    upgrade: str
    connect_timeout: float
    response_timeout: float
    idle_timeout: float
    total_timeout: float | None
    attempts: int = 1
    retry_on: tuple[str | int, ...] = ()
    tunnel: Tunnelling | None = None
    sources: tuple[str, ...] = ()
    health: Checking | None = None
    eject: Ejecting | None = None
    breaker: Breaking | None = None


class Verdict(Struct, frozen=True, rename="camel"):
    """The decision. `action`: "forward"; "answer" when the gateway responds itself; "wait" when keys are still missing,
    or a refusal is held back. `status` null: the upstream decides, or it is not known yet. `reason` is the log's code,
    `public_reason` the response's; `detail` is for the operator, and the response may say less; `fields` are the
    response's; `shadow`: codes of refusals that were not made."""

    action: Literal["forward", "answer", "wait"]
    status: int | None
    reason: str
    public_reason: str
    detail: str
    fields: tuple[Field, ...]
    shadow: tuple[str, ...] = ()


class LogLine(Struct, frozen=True, rename="camel"):
    """The log line as far as it is known now. `status` null: the upstream decides. `reason` assumes that the upstream
    responds."""

    method: str
    path: str
    route: str
    client_id: str
    status: int | None
    upstream: str | None
    remote: str
    reason: str


class Explanation(Struct, frozen=True, rename="camel"):
    """One request explained: its parts in the order in which the gateway decides them. `access`: the address, and what
    is asked of claims; `limit`: the first of `limits`."""

    request: Asked
    client: Client | None
    path: PathRead | None
    routes: tuple[RouteTried, ...]
    authentication: Authentication | None
    access: tuple[Check, ...]
    limit: Limiting | None
    limits: tuple[Limiting, ...]
    rewrite: Rewriting | None
    fields: Fields | None
    target: Destination | None
    verdict: Verdict
    log: LogLine
