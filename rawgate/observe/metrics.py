"""The metrics, by the names that are promised: each with its labels, and how to read it.

Labels come from the configuration and from the table of reasons, so nothing that clients send makes a series. Targets
that DNS or Consul tell of have their names for labels, a bounded number at a time (`found_targets`).
Names and units follow Prometheus' conventions: base units, `_total` on counters.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

from msgspec import Struct

from rawgate.observe.reading import Reading, StoreCounts

Kind = Literal["counter", "gauge", "histogram"]
Value = float | Sequence[int]
"""A number; of a histogram its cells."""
Sample = tuple[tuple[str, ...], Value]
"""Values of the labels, and what was measured."""


class Facts(Struct, frozen=True):
    """What is in no cell, since every worker knows it.

    build     of `rawgate_build_info`: label → value
    key_ages  name of a verifier → seconds since its keys were read
    expiries  name of a `[tls.NAME]` → seconds until the first of its certificates ends, negative afterwards
    breakers  name of an upstream with a circuit breaker → whether it is open
    found     name of an upstream → seconds since its sources told where it is, and how many instances they told of
    """

    build: Mapping[str, str]
    key_ages: Mapping[str, float]
    expiries: Mapping[str, float]
    breakers: Mapping[str, bool]
    found: Mapping[str, tuple[float | None, int]] = {}


class Metric(Struct, frozen=True):
    """One metric. `read`: its samples."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str
    read: Callable[[Reading, Facts], Iterable[Sample]]


def _one(value: float) -> list[Sample]:
    return [((), value)]


def _requests(reading: Reading, facts: Facts) -> Iterable[Sample]:
    for route in reading.routes:
        # The usual case is there from the start: a rate needs a first 0.
        for (reason, kind), count in ({("ok", 2): 0} | route.requests).items():
            yield (route.name, f"{kind}xx", reason), count


def _connections(reading: Reading, facts: Facts) -> Iterable[Sample]:
    for upstream in reading.upstreams:
        yield (upstream.name, "leased"), upstream.leased
        yield (upstream.name, "idle"), upstream.idle
        yield (upstream.name, "dialing"), upstream.dialing
        yield (upstream.name, "tunnel"), upstream.tunnels


def _retries(reading: Reading, facts: Facts) -> Iterable[Sample]:
    for upstream in reading.upstreams:
        yield (upstream.name, "made"), upstream.retries_made
        yield (upstream.name, "refused"), upstream.retries_refused


def _decisions(reading: Reading, facts: Facts) -> Iterable[Sample]:
    for limit in reading.limits:
        yield (limit.name, "admitted"), limit.admitted
        yield (limit.name, "refused"), limit.limited


def _of_store(read: Callable[[StoreCounts], Iterable[Sample]]) -> Callable[[Reading, Facts], Iterable[Sample]]:
    """Of a gateway that has a store; nothing of another."""
    return lambda reading, facts: () if reading.store is None else read(reading.store)


METRICS = (
    Metric(
        "rawgate_requests_total",
        "counter",
        ("route", "status", "reason"),
        "Requests that have ended, by the class of their status and their reason; route is empty where none was "
        "selected.",
        _requests,
    ),
    Metric(
        "rawgate_request_duration_seconds",
        "histogram",
        ("route",),
        "From a request's first octet to its response's last, handed to the kernel. Tunnels are left out.",
        lambda reading, facts: [((route.name,), route.latency) for route in reading.routes],
    ),
    Metric(
        "rawgate_upstream_duration_seconds",
        "histogram",
        ("upstream",),
        "From the connection to the end of the service's response. Tunnels are left out.",
        lambda reading, facts: [((upstream.name,), upstream.latency) for upstream in reading.upstreams],
    ),
    Metric(
        "rawgate_requests_in_flight",
        "gauge",
        ("route",),
        "Requests that are being forwarded.",
        lambda reading, facts: [((route.name,), route.in_flight) for route in reading.routes if route.name],
    ),
    Metric(
        "rawgate_limiter_decisions_total",
        "counter",
        ("limit", "decision"),
        "Requests that a limit has admitted or refused.",
        _decisions,
    ),
    Metric(
        "rawgate_limiter_keys",
        "gauge",
        (),
        "Clients that the limiter remembers.",
        lambda reading, facts: _one(reading.limiter_keys),
    ),
    Metric(
        "rawgate_limiter_evicted_total",
        "counter",
        (),
        "Counts that the limiter had to forget for want of room: while it is 0, every limit is exact.",
        lambda reading, facts: _one(reading.limiter_evicted),
    ),
    Metric(
        "rawgate_store_up",
        "gauge",
        (),
        "1, or 0 while a worker does not ask the store of limits over hosts, or a node of it, that did not answer.",
        _of_store(lambda store: _one(int(not store.down))),
    ),
    Metric(
        "rawgate_store_latency_seconds",
        "histogram",
        (),
        "Round trips to the store; each may ask for many requests.",
        _of_store(lambda store: [((), store.latency)]),
    ),
    Metric(
        "rawgate_store_decisions_total",
        "counter",
        ("by",),
        "Decisions of limits over hosts: by the store's answer, or by a lease.",
        _of_store(lambda store: [(("answer",), store.asked), (("lease",), store.spared)]),
    ),
    Metric(
        "rawgate_store_slots_total",
        "counter",
        ("what",),
        "Slots lent in advance, and those of them that were used: the others are lost.",
        _of_store(lambda store: [(("lent",), store.lent), (("used",), store.used)]),
    ),
    Metric(
        "rawgate_store_fallbacks_total",
        "counter",
        ("reason",),
        "Decisions without the store: its answer was late, or it was down and not asked.",
        _of_store(lambda store: [((reason,), count) for reason, count in store.fallbacks.items()]),
    ),
    Metric(
        "rawgate_upstream_connections",
        "gauge",
        ("upstream", "state"),
        "Connections to a service: leased to a request, idle, being dialed, or tunnels.",
        _connections,
    ),
    Metric(
        "rawgate_upstream_queue",
        "gauge",
        ("upstream",),
        "Requests that wait for a connection to a service.",
        lambda reading, facts: [((upstream.name,), upstream.queued) for upstream in reading.upstreams],
    ),
    Metric(
        "rawgate_upstream_target_up",
        "gauge",
        ("upstream", "target"),
        "1, or 0 while a target does not work: it failed and was not reached since, its health checks fail, or it is "
        'ejected. Of "other", 0 while one of them does not.',
        lambda reading, facts: [
            ((upstream.name, target), int(is_up))
            for upstream in reading.upstreams
            for target, is_up in upstream.targets.items()
        ],
    ),
    Metric(
        "rawgate_upstream_ejections_total",
        "counter",
        ("upstream", "target"),
        "How often a target was ejected because requests failed there.",
        lambda reading, facts: [
            ((upstream.name, target), count)
            for upstream in reading.upstreams
            for target, count in upstream.ejections.items()
        ],
    ),
    Metric(
        "rawgate_upstream_retries_total",
        "counter",
        ("upstream", "result"),
        "Requests that were sent to a service again, or were not since the budget was used up.",
        _retries,
    ),
    Metric(
        "rawgate_upstream_breaker_open",
        "gauge",
        ("upstream",),
        "1 while the circuit breaker of a service refuses requests, 0 while it does not.",
        lambda reading, facts: [((name,), int(is_open)) for name, is_open in facts.breakers.items()],
    ),
    Metric(
        "rawgate_client_connections",
        "gauge",
        (),
        "Open client connections.",
        lambda reading, facts: _one(reading.clients),
    ),
    Metric(
        "rawgate_client_connections_failed_total",
        "counter",
        (),
        "Client connections that ended before any HTTP: in a TLS handshake, or with a PROXY header that is none.",
        lambda reading, facts: _one(reading.arrivals_failed),
    ),
    Metric(
        "rawgate_tunnels",
        "gauge",
        ("route",),
        "Open tunnels (WebSockets).",
        lambda reading, facts: [((route.name,), route.tunnels) for route in reading.routes if route.name],
    ),
    Metric(
        "rawgate_received_bytes_total",
        "counter",
        (),
        "Octets of requests' bodies and of tunnels, from clients.",
        lambda reading, facts: _one(reading.received),
    ),
    Metric(
        "rawgate_sent_bytes_total",
        "counter",
        (),
        "Octets of responses' bodies and of tunnels, to clients.",
        lambda reading, facts: _one(reading.sent),
    ),
    Metric(
        "rawgate_log_dropped_total",
        "counter",
        (),
        "Lines of the access log that were not written.",
        lambda reading, facts: _one(reading.log_dropped),
    ),
    Metric(
        "rawgate_certificate_expiry_seconds",
        "gauge",
        ("name",),
        "Until the first of the certificates of a [tls.NAME] ends; negative afterwards.",
        lambda reading, facts: [((name,), left) for name, left in facts.expiries.items()],
    ),
    Metric(
        "rawgate_keys_age_seconds",
        "gauge",
        ("jwt",),
        "Since a verifier's keys were read.",
        lambda reading, facts: [((name,), age) for name, age in facts.key_ages.items()],
    ),
    Metric(
        "rawgate_discovery_age_seconds",
        "gauge",
        ("upstream",),
        "Since DNS or Consul last told where the instances of a service are; it grows while they do not answer.",
        lambda reading, facts: [((name,), age) for name, (age, _) in facts.found.items() if age is not None],
    ),
    Metric(
        "rawgate_discovery_instances",
        "gauge",
        ("upstream",),
        "Instances of a service that DNS or Consul told of; 0 as well when they have never answered.",
        lambda reading, facts: [((name,), count) for name, (_, count) in facts.found.items()],
    ),
    Metric(
        "rawgate_reloads_total",
        "counter",
        ("result",),
        "Reloads of the configuration: done or refused.",
        lambda reading, facts: [(("done",), reading.reloads_done), (("refused",), reading.reloads_refused)],
    ),
    Metric(
        "rawgate_build_info",
        "gauge",
        ("version", "python", "core"),
        "1; the labels say what runs.",
        lambda reading, facts: [((facts.build["version"], facts.build["python"], facts.build["core"]), 1)],
    ),
)
"""In the order in which they are written."""
