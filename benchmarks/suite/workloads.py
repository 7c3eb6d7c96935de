"""The workloads: contenders, load, and the ratios that matter, with their bars."""

from typing import Literal

from msgspec import Struct

from suite.contenders import MIB, SIZES
from suite.generators import Load, Program, Wrk
from suite.tokens import Algorithm

POOL = 5000
"""Tokens that are used in turn, so each comes again and again, as a client's token does."""
FRESH = 100_000
"""New tokens for each second of a turn: three times what a contender gets through. A generator that has sent them all
fails, for none may come twice."""
FRESH_RS256 = 20_000
"""The same for RS256. Signing them takes longer, and so does verifying."""

Unit = Literal["request", "MiB", "event"]

SMALL, CALLERS, BODIES, CONNECTIONS = "Small requests", "Who is calling", "Bodies and streams", "Connections"
"""Sections of the report."""


class Ratio(Struct, frozen=True):
    """CPU time per unit of `of`, divided by that of `to`. `bar`: the value that it should not exceed."""

    of: str
    to: str
    bar: float | None = None


class Workload(Struct, frozen=True):
    """One load on several contenders.

    section      heading in the report
    what         a sentence or two for the report
    behind       the upstream
    unit         what CPU time is divided by
    refused      all responses must be 4xx
    algorithm    of its tokens
    fresh        new tokens for each second, where none comes twice
    descriptors  file descriptors that it needs
    quick        whether the quick run has it
    at_leisure   contenders that the quick run leaves out
    """

    name: str
    section: str
    title: str
    contenders: tuple[str, ...]
    load: Load
    ratios: tuple[Ratio, ...]
    what: str = ""
    behind: Literal["service", "sink", "events"] = "service"
    unit: Unit = "request"
    refused: bool = False
    algorithm: Algorithm = "hs256"
    fresh: int = 0
    descriptors: int = 0
    quick: bool = False
    at_leisure: tuple[str, ...] = ()


BOTH = ("rawgate", "nginx")
AGAINST_NGINX = (Ratio("rawgate", "nginx"),)


def _download(size: str) -> Workload:
    """Responses of known length."""
    return Workload(
        f"download-{size}",
        BODIES,
        f"Answers of {size[:-3]} {size[-3:]}",
        BOTH,
        Wrk("download", 4 if size == "100MiB" else 64, {"BENCH_FILE": f"/files/{size}.bin"}),
        AGAINST_NGINX,
        unit="MiB" if SIZES[size] > MIB else "request",
    )


def _upload(size: str) -> Workload:
    """Request bodies of known length."""
    large = SIZES[size] > MIB
    return Workload(
        f"upload-{size}",
        BODIES,
        f"Request bodies of {size[:-3]} {size[-3:]}",
        BOTH,
        Program("uploads", 4, (str(SIZES[size]),)) if large else Wrk("upload", 64, {"BENCH_SIZE": str(SIZES[size])}),
        AGAINST_NGINX,
        behind="sink",
        unit="MiB" if large else "request",
    )


TLS = ("rawgate-tls", "nginx-tls")
AGAINST_TLS = (Ratio("rawgate-tls", "nginx-tls"),)

ALL = (
    Workload(
        "plain",
        SMALL,
        "Plain proxy, small JSON answers",
        (
            *("rawgate", "rawgate-h11", "rawgate-package", "nginx", "nginx-nolog", "haproxy", "caddy", "aiohttp"),
            "byte-relay",
        ),
        Wrk("plain"),
        (
            Ratio("rawgate", "nginx", 1.20),
            Ratio("rawgate", "nginx-nolog"),
            Ratio("rawgate-h11", "rawgate"),
            Ratio("rawgate", "rawgate-package"),
            Ratio("rawgate", "haproxy"),
            Ratio("rawgate", "caddy"),
            Ratio("rawgate", "aiohttp"),
            Ratio("rawgate", "byte-relay"),
        ),
        "64 connections, one request after another on each. rawgate always writes its log; the byte relay knows no "
        "HTTP and is the floor for anything on this loop in Python.",
        quick=True,
        at_leisure=("rawgate-package", "nginx-nolog", "haproxy", "caddy", "aiohttp"),
    ),
    Workload(
        "browser",
        SMALL,
        "Plain proxy, heads as a browser sends them",
        ("rawgate", "rawgate-h11", "nginx"),
        Wrk("browser"),
        (Ratio("rawgate", "nginx", 1.25), Ratio("rawgate-h11", "rawgate")),
        "Fifteen fields, about 900 octets, with cookies that differ.",
    ),
    Workload(
        "pipeline",
        SMALL,
        "Plain proxy, eight requests in one write",
        BOTH,
        Wrk("pipeline"),
        AGAINST_NGINX,
    ),
    Workload(
        "full",
        CALLERS,
        "Full pipeline, tokens from a pool of thousands",
        ("rawgate-full", "rawgate-full-h11", "rawgate-full-package", "nginx-lua", "nginx-lua-memory", "bun"),
        Wrk("tokens"),
        (
            Ratio("rawgate-full", "nginx-lua", 0.95),
            Ratio("rawgate-full", "nginx-lua-memory", 1.20),
            Ratio("rawgate-full-h11", "rawgate-full"),
            Ratio("rawgate-full", "rawgate-full-package"),
            Ratio("rawgate-full", "bun"),
        ),
        "HS256, a limit for each client, another path, header rules, a JSON log: the same job for all. Nobody reaches "
        "the limit.",
        quick=True,
        at_leisure=("rawgate-full-package", "bun"),
    ),
    Workload(
        "fresh",
        CALLERS,
        "Full pipeline, every token new",
        ("rawgate-full", "nginx-lua", "nginx-lua-memory", "bun"),
        Wrk("new_tokens"),
        (
            Ratio("rawgate-full", "nginx-lua", 1.10),
            Ratio("rawgate-full", "nginx-lua-memory"),
            Ratio("rawgate-full", "bun"),
        ),
        "The same, and no memory of tokens helps: each is verified.",
        fresh=FRESH,
        quick=True,
        at_leisure=("nginx-lua-memory", "bun"),
    ),
    Workload(
        "rs256",
        CALLERS,
        "Full pipeline, RS256, tokens from a pool of thousands",
        ("rawgate-rs256", "nginx-lua-rs256", "nginx-lua-rs256-memory"),
        Wrk("tokens"),
        (Ratio("rawgate-rs256", "nginx-lua-rs256"), Ratio("rawgate-rs256", "nginx-lua-rs256-memory")),
        "Tokens signed with an RSA key of 2,048 bits, made for the run. nginx + Lua has OpenSSL verify them, by FFI.",
        algorithm="rs256",
    ),
    Workload(
        "rs256-fresh",
        CALLERS,
        "Full pipeline, RS256, every token new",
        ("rawgate-rs256", "nginx-lua-rs256"),
        Wrk("new_tokens"),
        (Ratio("rawgate-rs256", "nginx-lua-rs256"),),
        algorithm="rs256",
        fresh=FRESH_RS256,
    ),
    Workload(
        "keys",
        CALLERS,
        "API keys, thousands of clients",
        ("rawgate-keys", "nginx-keys"),
        Wrk("keys"),
        (Ratio("rawgate-keys", "nginx-keys"),),
        "The pipeline with an API key in place of a token. nginx needs no Lua here: its map knows each key's client. "
        "It compares the keys themselves, rawgate looks up their digests.",
    ),
    Workload(
        "forged",
        CALLERS,
        "Refused: bad signature, 401",
        ("rawgate-full", "nginx-lua"),
        Wrk("forged"),
        (Ratio("rawgate-full", "nginx-lua"),),
        refused=True,
    ),
    Workload(
        "limited",
        CALLERS,
        "Refused: over the limit, 429",
        ("rawgate-limited", "nginx-lua-limited"),
        Wrk("tokens"),
        (Ratio("rawgate-limited", "nginx-lua-limited"),),
        refused=True,
    ),
    _download("1KiB"),
    _download("64KiB"),
    Workload(
        "download",
        BODIES,
        "1 MiB answers",
        ("rawgate", "nginx", "byte-relay"),
        Wrk("download", 16, {"BENCH_FILE": "/files/1MiB.bin"}),
        (Ratio("rawgate", "nginx", 1.05),),
        unit="MiB",
        quick=True,
        at_leisure=("byte-relay",),
    ),
    _download("100MiB"),
    _upload("1KiB"),
    _upload("64KiB"),
    Workload(
        "upload",
        BODIES,
        "1 MiB request bodies",
        BOTH,
        Wrk("upload", 16, {"BENCH_SIZE": str(MIB)}),
        (Ratio("rawgate", "nginx", 1.20),),
        behind="sink",
        unit="MiB",
        quick=True,
    ),
    _upload("100MiB"),
    Workload(
        "chunked",
        BODIES,
        "Small JSON answers, chunked",
        BOTH,
        Wrk("plain", environ={"BENCH_PREFIX": "/stream"}),
        AGAINST_NGINX,
    ),
    Workload(
        "chunked-download",
        BODIES,
        "1 MiB answers in chunks of 16 KiB",
        BOTH,
        Wrk("download", 16, {"BENCH_FILE": "/chunked/1MiB.bin"}),
        AGAINST_NGINX,
        unit="MiB",
    ),
    Workload(
        "chunked-upload",
        BODIES,
        "1 MiB request bodies in chunks of 16 KiB",
        BOTH,
        Wrk("upload", 16, {"BENCH_SIZE": str(MIB), "BENCH_CHUNK": "16384"}),
        AGAINST_NGINX,
        behind="sink",
        unit="MiB",
    ),
    Workload(
        "sse",
        BODIES,
        "Event streams",
        ("rawgate", "nginx", "haproxy", "byte-relay"),
        Program("streams", 200),
        AGAINST_NGINX,
        "200 streams that stay open share 5,000 small events a second, each a chunk and a write of its own. The rate "
        "is held, and the same for all.",
        behind="events",
        unit="event",
    ),
    Workload(
        "many",
        CONNECTIONS,
        "Plain proxy, 1,000 connections",
        ("rawgate", "nginx", "haproxy"),
        Wrk("plain", 1000, lead=1.0),
        (*AGAINST_NGINX, Ratio("rawgate", "haproxy")),
        "All of them busy. What is measured begins when they are open.",
        descriptors=5000,
    ),
    Workload(
        "many-10k",
        CONNECTIONS,
        "Plain proxy, 9,900 connections",
        BOTH,
        Wrk("plain", 9900, lead=3.0),
        AGAINST_NGINX,
        "All of them busy. What is measured begins when they are open. With 10,000, nginx, which dials for each "
        "request in flight, would need more than the 20,000 descriptors that a process is commonly allowed.",
        descriptors=20_000,
    ),
    Workload(
        "close",
        CONNECTIONS,
        "Plain proxy, a connection for each request",
        ("rawgate", "nginx", "haproxy"),
        Wrk("close"),
        (*AGAINST_NGINX, Ratio("rawgate", "haproxy")),
        "The client's connection ends with each answer; those to the upstream are kept.",
    ),
    Workload(
        "tls",
        CONNECTIONS,
        "Plain proxy behind TLS",
        TLS,
        Wrk("plain", scheme="https"),
        AGAINST_TLS,
        "What the plain proxy does, on connections with TLS 1.3 that stay open.",
    ),
    Workload(
        "handshakes",
        CONNECTIONS,
        "Plain proxy behind TLS, a handshake for each request",
        TLS,
        Wrk("close", scheme="https"),
        AGAINST_TLS,
        "TLS 1.3 with an ECDSA certificate (P-256), and no session is resumed.",
    ),
)
