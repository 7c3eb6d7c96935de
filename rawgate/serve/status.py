"""The gateway's status as JSON: what `/status` answers, and the status page and `rawgate top` show.

Rates and percentiles are of the last 10 to 15 s (`windowSeconds`), counts are since the start. `reasons.md` and
`operating.md` say what reasons and times mean.
"""

from collections.abc import Mapping, Sequence
from math import ceil
from time import time
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.json import Encoder

from rawgate import __version__
from rawgate.config.model import Config, Jwt, MaxBy, RateLimit, Secret, Store, named_limits
from rawgate.observe import histogram
from rawgate.observe.counters import Snapshot
from rawgate.observe.found_targets import OTHER
from rawgate.observe.reading import (
    LimitCounts,
    Reading,
    RouteCounts,
    StoreCounts,
    UpstreamCounts,
    earlier_limit,
    earlier_route,
    earlier_sent,
    earlier_store,
    earlier_upstream,
)
from rawgate.serve.discovery import SourceState
from rawgate.serve.keys import source_of
from rawgate.serve.publishing import Publisher

if TYPE_CHECKING:
    from rawgate.policy.certificates import Shown

PARTS = {"p50": 0.5, "p90": 0.9, "p99": 0.99}

ELSEWHERE = "another worker cannot reach it"
"""Why a target is left out that this worker does not leave out: checks and ejections are known to all."""

Json = dict[str, object]


class LastReload(Struct, frozen=True):
    """The last reload that was asked for. time: Unix seconds."""

    time: float
    done: bool
    lines: tuple[str, ...]


class Situation(Struct, frozen=True):
    """What status tells beside the counts.

    started    Unix seconds
    stopping   a stop has begun
    key_ages   name of a verifier → seconds since its keys were read
    shown      name of a `[tls.NAME]` → its certificates
    breakers   name of an upstream with a circuit breaker → in how many seconds it lets a probe go; None: it is closed
    sources    name of an upstream → who tells where its instances are
    why_down   upstream and target → why it is left out, as far as this worker knows
    """

    config: Config
    started: float
    stopping: bool
    key_ages: Mapping[str, float]
    shown: "Mapping[str, tuple[Shown, ...]]"
    breakers: Mapping[str, float | None]
    last_reload: LastReload | None
    why_down: Mapping[tuple[str, str], str]
    sources: Mapping[str, tuple[SourceState, ...]] = {}


_encode = Encoder().encode


def _terms(rate: RateLimit) -> Json:
    """What a limit says: at most so many in so many seconds, for each `key`. by: the claim that decides how many, where
    one does; `max` is then that of all others."""
    return {
        "max": rate.max.other if isinstance(rate.max, MaxBy) else rate.max,
        "by": rate.max.by if isinstance(rate.max, MaxBy) else None,
        "windowSeconds": rate.window,
        "key": rate.key,
        "shared": rate.shared,
    }


def status(reading: Reading, situation: Situation, publisher: Publisher, now: float) -> bytes:
    """The whole document. now: monotonic seconds."""
    config, (since, before) = situation.config, publisher.snapshots[0]
    window = _Window(publisher, before, max(now - since, 0.001))
    limits = named_limits(config)
    reload, wall = situation.last_reload, time()
    document: Json = {
        "version": __version__,
        "time": wall,
        "uptimeSeconds": round(wall - situation.started, 3),
        "state": "stopping" if situation.stopping else "serving",
        "workers": {"configured": reading.workers, "alive": reading.alive},
        "windowSeconds": round(window.seconds, 3),
        "clients": {
            "connections": reading.clients,
            "limit": config.gateway.limits.connections,
            "failed": reading.arrivals_failed,
        },
        "receivedBytes": reading.received,
        "sentBytes": reading.sent,
        "total": window.total(reading.routes),
        "routes": [window.route(route) for route in reading.routes],
        "upstreams": [
            {**window.upstream(one, situation), "breaker": _breaker(one.name, situation)} for one in reading.upstreams
        ],
        "limits": [
            {**_terms(rate), **window.limit(one)}
            for one in reading.limits
            if (rate := limits.get(one.name)) is not None
        ],
        "limiter": {
            "keys": reading.limiter_keys,
            "capacity": 2 * config.gateway.limits.limiter_keys,
            "evicted": reading.limiter_evicted,
        },
        "store": None if reading.store is None or config.store is None else window.store(reading.store, config.store),
        "keySets": [
            {"name": name, **_keys(spec), "ageSeconds": round(situation.key_ages[name], 3)}
            for name, spec in config.jwt.items()
            if name in situation.key_ages
        ],
        "certificates": [
            {"name": name, "for": one.names, "expires": one.expires, "expirySeconds": round(one.expires - wall, 3)}
            for name, all_of_it in situation.shown.items()
            for one in all_of_it
        ],
        "reloads": {"done": reading.reloads_done, "refused": reading.reloads_refused},
        "lastReload": None if reload is None else {"time": reload.time, "done": reload.done, "lines": reload.lines},
        "log": {"dropped": reading.log_dropped},
    }
    return _encode(document)


class _Window:
    """What happened since a snapshot."""

    def __init__(self, publisher: Publisher, before: Snapshot, seconds: float) -> None:
        self._counters = publisher.counters
        self._before = before
        self.seconds = seconds

    def _rate(self, now: float, before: float) -> float:
        return round((now - before) / self.seconds, 3)

    def total(self, routes: Sequence[RouteCounts]) -> Json:
        """All routes together."""
        return self._counts(_sum(routes), _sum([self._earlier(route) for route in routes]))

    def route(self, route: RouteCounts) -> Json:
        return {"name": route.name, **self._counts(route, self._earlier(route))}

    def _earlier(self, route: RouteCounts) -> RouteCounts:
        return earlier_route(self._before, self._counters, route.name)

    def _counts(self, route: RouteCounts, before: RouteCounts) -> Json:
        statuses: dict[str, int] = {}
        refusals: dict[str, int] = {}
        for (reason, kind), count in route.requests.items():
            statuses[f"{kind}xx"] = statuses.get(f"{kind}xx", 0) + count
            if reason != "ok":
                refusals[reason] = refusals.get(reason, 0) + count
        refused_before = sum(count for (reason, _), count in before.requests.items() if reason != "ok")
        return {
            "requests": route.count,
            "perSecond": self._rate(route.count, before.count),
            "notOkPerSecond": self._rate(sum(refusals.values()), refused_before),
            "inFlight": route.in_flight,
            "tunnels": route.tunnels,
            "statuses": dict(sorted(statuses.items())),
            "reasons": refusals,
            "latencyMs": _percentiles(route.latency, before.latency),
        }

    def upstream(self, upstream: UpstreamCounts, situation: Situation) -> Json:
        name, spec = upstream.name, situation.config.upstreams[upstream.name]
        before = earlier_upstream(self._before, self._counters, name)
        count, earlier = (sum(cells[: histogram.BUCKETS]) for cells in (upstream.latency, before))
        shares = self._shares(upstream)
        return {
            "name": name,
            "responses": count,
            "perSecond": self._rate(count, earlier),
            "latencyMs": _percentiles(upstream.latency, before),
            "connections": {
                "leased": upstream.leased,
                "idle": upstream.idle,
                "dialing": upstream.dialing,
                "tunnels": upstream.tunnels,
                "limit": spec.max_connections,
            },
            "queue": {"waiting": upstream.queued, "limit": spec.queue},
            "retries": {"made": upstream.retries_made, "refused": upstream.retries_refused},
            "targets": [
                {
                    "target": target,
                    "up": is_up,
                    "requests": upstream.sent[target],
                    "share": shares[target],
                    "inFlight": upstream.under_way[target],
                    "why": "" if is_up else _why_down(name, target, situation),
                    "ejections": upstream.ejections[target],
                }
                for target, is_up in upstream.targets.items()
            ],
            "sources": [_source(one) for one in situation.sources.get(name, ())],
        }

    def _shares(self, upstream: UpstreamCounts) -> dict[str, float | None]:
        """Each target's part of the requests since; None where there were none."""
        before = earlier_sent(self._before, self._counters, upstream)
        # One that has no slot any more begins at 0 when it comes back.
        since = {target: max(0, count - before.get(target, 0)) for target, count in upstream.sent.items()}
        total = sum(since.values())
        return {target: round(count / total, 4) if total else None for target, count in since.items()}

    def limit(self, limit: LimitCounts) -> Json:
        before = earlier_limit(self._before, self._counters, limit.name)
        return {
            "name": limit.name,
            "admitted": limit.admitted,
            "refused": limit.limited,
            "admittedPerSecond": self._rate(limit.admitted, before.admitted),
            "refusedPerSecond": self._rate(limit.limited, before.limited),
        }

    def store(self, store: StoreCounts, spec: Store) -> Json:
        before = earlier_store(self._before)
        fallbacks, earlier = (sum(one.fallbacks.values()) for one in (store, before))
        return {
            "url": spec.url.text,
            "up": not store.down,
            "onFailure": spec.on_failure,
            "timeoutMs": round(1000 * spec.timeout, 3),
            "latencyMs": _percentiles(store.latency, before.latency),
            "askedPerSecond": self._rate(store.asked, before.asked),
            "sparedPerSecond": self._rate(store.spared, before.spared),
            "slotsLent": store.lent,
            "slotsUsed": store.used,
            "fallbacks": store.fallbacks,
            "fallbacksPerSecond": self._rate(fallbacks, earlier),
        }


def _breaker(name: str, situation: Situation) -> Json | None:
    """Of one upstream; None: it has none."""
    if name not in situation.breakers:
        return None
    due_in = situation.breakers[name]
    return {"state": "closed" if due_in is None else "open", "probeInSeconds": due_in and ceil(due_in * 1000) / 1000}


def _why_down(upstream: str, target: str, situation: Situation) -> str:
    return "some of them are left out" if target == OTHER else situation.why_down.get((upstream, target), ELSEWHERE)


def _sum(routes: Sequence[RouteCounts]) -> RouteCounts:
    requests: dict[tuple[str, int], int] = {}
    for route in routes:
        for key, count in route.requests.items():
            requests[key] = requests.get(key, 0) + count
    latency = [sum(cells) for cells in zip(*(route.latency for route in routes), strict=True)]
    in_flight, tunnels = sum(route.in_flight for route in routes), sum(route.tunnels for route in routes)
    return RouteCounts("", requests, latency, in_flight, tunnels)


def _percentiles(cells: Sequence[int], before: Sequence[int]) -> dict[str, float | None]:
    """Milliseconds, of what was counted since; None where nothing was."""
    since = [one - other for one, other in zip(cells, before, strict=True)]
    found = {name: histogram.percentile(since, part) for name, part in PARTS.items()}
    return {name: None if seconds is None else round(1000 * seconds, 3) for name, seconds in found.items()}


def _source(source: SourceState) -> Json:
    return {
        "source": source.url,
        "ageSeconds": None if source.age is None else round(source.age, 3),
        "instances": source.instances,
        "problem": source.problem or None,
    }


def _keys(spec: Jwt) -> Json:
    """Where a verifier's keys come from; never what they are."""
    source = source_of(spec)
    files = [*spec.secret, *spec.public_key, *([spec.jwks] if isinstance(spec.jwks, Secret) else [])]
    sources = [secret.source for secret in files] if source is None else [source.url]
    return {"algorithm": ", ".join(spec.algorithm), "sources": sources}
