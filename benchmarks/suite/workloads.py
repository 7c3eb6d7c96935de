"""What is measured with wrk: who takes part, under which load, and the ratios that matter, with their bars."""

from msgspec import Struct

from suite.generators import Wrk

MIB = 1024 * 1024
POOL = 5000
"""Tokens that take turns: each is seen again and again, as a client's token is."""
FRESH = 100_000
"""Tokens that are used in order, each contender going on where it was. Far more than any of them remembers: when the
order starts anew, the first ones are long forgotten."""


class Ratio(Struct, frozen=True):
    """CPU time a unit of `of` divided by that of `to`. `bar`: what it should not exceed."""

    of: str
    to: str
    bar: float | None = None


class Workload(Struct, frozen=True):
    """One load over several contenders. `upload`: behind them is the sink. `unit`: octets of payload that one unit of
    work is, 0: a request. `refused`: all answers are to be 4xx. `quick`: whether it is in the quick run, `at_leisure`:
    the contenders that are not."""

    name: str
    title: str
    contenders: tuple[str, ...]
    load: Wrk
    ratios: tuple[Ratio, ...]
    upload: bool = False
    unit: int = 0
    refused: bool = False
    quick: bool = False
    at_leisure: tuple[str, ...] = ()


ALL = (
    Workload(
        "plain",
        "Plain proxy, small JSON answers",
        ("rawgate", "rawgate-h11", "nginx", "nginx-nolog", "haproxy", "byte-relay"),
        Wrk("plain"),
        (
            Ratio("rawgate", "nginx", 1.60),
            Ratio("rawgate", "nginx-nolog"),
            Ratio("rawgate-h11", "rawgate", 3.0),
            Ratio("rawgate", "byte-relay"),
        ),
        quick=True,
        at_leisure=("nginx-nolog", "haproxy"),
    ),
    Workload(
        "full",
        "Full pipeline, tokens from a pool of thousands",
        ("rawgate-full", "rawgate-full-h11", "nginx-lua", "nginx-lua-memory"),
        Wrk("tokens", environ={"BENCH_POOL": str(POOL)}),
        (
            Ratio("rawgate-full", "nginx-lua", 0.95),
            Ratio("rawgate-full", "nginx-lua-memory", 1.45),
            Ratio("rawgate-full-h11", "rawgate-full"),
        ),
        quick=True,
    ),
    Workload(
        "fresh",
        "Full pipeline, every token new",
        ("rawgate-full", "nginx-lua", "nginx-lua-memory"),
        Wrk("tokens", environ={"BENCH_POOL": "0"}),
        (Ratio("rawgate-full", "nginx-lua", 1.10), Ratio("rawgate-full", "nginx-lua-memory")),
        quick=True,
        at_leisure=("nginx-lua-memory",),
    ),
    Workload(
        "browser",
        "Plain proxy, heads as a browser sends them",
        ("rawgate", "rawgate-h11", "nginx"),
        Wrk("browser"),
        (Ratio("rawgate", "nginx"), Ratio("rawgate-h11", "rawgate")),
    ),
    Workload(
        "pipeline",
        "Plain proxy, eight requests in one write",
        ("rawgate", "nginx"),
        Wrk("pipeline"),
        (Ratio("rawgate", "nginx"),),
    ),
    Workload(
        "forged",
        "Refused: bad signature, 401",
        ("rawgate-full", "nginx-lua"),
        Wrk("forged"),
        (Ratio("rawgate-full", "nginx-lua"),),
        refused=True,
    ),
    Workload(
        "limited",
        "Refused: over the limit, 429",
        ("rawgate-limited", "nginx-lua-limited"),
        Wrk("tokens", environ={"BENCH_POOL": str(POOL)}),
        (Ratio("rawgate-limited", "nginx-lua-limited"),),
        refused=True,
    ),
    Workload(
        "download",
        "1 MiB answers",
        ("rawgate", "nginx", "byte-relay"),
        Wrk("download", connections=16),
        (Ratio("rawgate", "nginx", 1.3),),
        unit=MIB,
        quick=True,
        at_leisure=("byte-relay",),
    ),
    Workload(
        "upload",
        "1 MiB request bodies",
        ("rawgate", "nginx"),
        Wrk("upload", connections=16),
        (Ratio("rawgate", "nginx", 1.3),),
        upload=True,
        unit=MIB,
        quick=True,
    ),
    Workload(
        "many",
        "Plain proxy, 1,000 connections",
        ("rawgate", "nginx"),
        Wrk("plain", connections=1000),
        (Ratio("rawgate", "nginx"),),
    ),
)
