"""Where the instances of a service are, as DNS or Consul say, and for how long that holds. No I/O.

    srv_instances     SRV records (RFC 2782)
    consul_instances  an answer of Consul's health API
    next_index        what the next blocking query to Consul waits for
    fresh_for         for how long an answer of a name server is used
    retry_after       when to ask again after a failure

What cannot be used of an answer is left out, and said in a word, so one instance that was registered badly costs none
of the others. Where that leaves nothing, it is no answer: it says that there are instances, and not where.
"""

import re
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Literal

import msgspec.json
from msgspec import Struct

FLOOR, CEILING = 1.0, 3600.0
"""Seconds for which an answer is used at least and at most, whatever its TTL. Envoy's `dns_min_refresh_rate` is 1 s,
too: Consul's DNS sends a TTL of 0 unless configured. The ceiling finds a service that has moved although somebody
wrote a day into the zone."""

RETRY, LONGEST_RETRY = 1.0, 30.0
"""Seconds until the first try after a failure (HAProxy: `timeout retry`), doubled with each further one; and at
most."""

MOST = 4096
"""Instances of one answer: more are a mistake."""

HEAVIEST = 65535
"""The largest weight: that of an SRV record. Consul has no limit of its own."""

_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?\.?")


class UselessError(Exception):
    """An answer cannot be used at all: one phrase that says why."""


class Source(Struct, frozen=True):
    """Who tells where instances are.

    kind   "dns": the addresses of a name; "srv": its SRV records; "consul": an agent of Consul
    port   of all instances, where the addresses of a name tell of hosts alone; else 0
    query  what Consul is asked beside the name: pairs of a name and a value
    """

    kind: Literal["dns", "srv", "consul"]
    name: str
    port: int = 0
    query: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        query = "&".join(f"{name}={value}" for name, value in self.query)
        what = {"dns": "the addresses of", "srv": "the SRV records of", "consul": "Consul's"}[self.kind]
        return f"{what} {self.name}{'?' if query else ''}{query}"


class Instance(Struct, frozen=True, order=True):
    """One instance of a service.

    backup  it is for the time when those that are not cannot be reached
    host    a name, or an address without brackets
    weight  its share of the requests, relative to the others'; at least 1
    """

    backup: bool
    host: str
    port: int
    weight: int = 1


class Record(Struct, frozen=True):
    """One SRV record."""

    priority: int
    weight: int
    port: int
    host: str


class Instances(Struct, frozen=True):
    """All of one answer, in an order that does not depend on the answer's. flaws: what was left out, and why."""

    all: tuple[Instance, ...]
    flaws: tuple[str, ...] = ()


def srv_instances(records: Iterable[Record]) -> Instances:
    """Those of the lowest priority get the requests, all others are backups. A record whose target is the root says
    that there is no such service (RFC 2782, "Target"). Raises UselessError.

    A weight of 0 becomes 1. That is its chance by the RFC's own way of drawing: where the others of its priority weigh
    n in all, it is chosen with 1 of n + 1.
    """
    usable = [record for record in records if record.host not in ("", ".")]
    first = min((record.priority for record in usable), default=0)
    return _gathered(
        (record.host, record.port, record.weight, record.priority > first, record.host) for record in usable
    )


class _Weights(Struct, frozen=True, rename="pascal"):
    passing: int = 1


class _Node(Struct, frozen=True, rename="pascal"):
    node: str = ""
    address: str = ""


class _Service(Struct, frozen=True, rename="pascal"):
    id: str = msgspec.field(name="ID", default="")
    address: str = ""
    port: int = 0
    weights: _Weights = _Weights()


class _Entry(Struct, frozen=True, rename="pascal"):
    service: _Service
    node: _Node = _Node()


_decode = msgspec.json.Decoder(list[_Entry]).decode


def consul_instances(document: bytes) -> Instances:
    """From the answer to /v1/health/service/NAME?passing=1. An instance without an address of its own is at that of its
    node. Raises UselessError."""
    try:
        entries = _decode(document)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors too
        raise UselessError("this is not an answer of Consul's health API") from None
    return _gathered(
        (
            entry.service.address or entry.node.address,
            entry.service.port,
            entry.service.weights.passing,
            False,
            entry.service.id or entry.node.node,
        )
        for entry in entries
    )


def _gathered(found: Iterable[tuple[str, int, int, bool, str]]) -> Instances:
    """From (host, port, weight, backup, whose it is). Raises UselessError."""
    instances: dict[tuple[str, int], Instance] = {}
    flaws: list[str] = []
    for host, port, weight, backup, whose in found:
        if not _is_host(host) or not 1 <= port <= 65535:
            flaws.append(f"{whose[:64]!r} has no {'port' if _is_host(host) else 'address'} that can be used")
        elif len(instances) == MOST and (host, port) not in instances:
            flaws.append(f"there are more than {MOST:,}")
            break
        else:
            instance = Instance(backup, host, port, min(max(weight, 1), HEAVIEST))
            # Of two with one place, the one that gets the requests.
            instances[host, port] = min(instance, instances.get((host, port), instance))
    if flaws and not instances:
        raise UselessError(f"no instance can be used: {flaws[0]}")
    return Instances(tuple(sorted(instances.values())), tuple(dict.fromkeys(flaws)))


def _is_host(text: str) -> bool:
    if _NAME.fullmatch(text):
        return True
    try:
        return "%" not in text and bool(ip_address(text))
    except ValueError:
        return False


def next_index(before: int, told: bytes | None) -> int:
    """What the next query shall wait for, after an answer with this X-Consul-Index; 0: for nothing. before: what this
    query waited for.

    Consul's documentation ("Blocking Queries") asks for both: an index below 1 counts as 1, or the query would not
    wait; and one that went back, as it does after a restore, starts anew.
    """
    if told is None or not told.isdigit() or len(told) > 20:
        return 0
    index = max(1, int(told))
    return 0 if index < before else index


def fresh_for(ttl: float) -> float:
    """Seconds for which an answer with this time to live is used."""
    return min(max(ttl, FLOOR), CEILING)


def retry_after(failures: int) -> float:
    """Seconds until the next try, after so many failures in a row."""
    return float(min(RETRY * 2 ** min(failures - 1, 10), LONGEST_RETRY))
