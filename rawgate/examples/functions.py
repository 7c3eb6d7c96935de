"""A configuration in Python, for what TOML cannot say: routes made in a loop, and a path rewritten by a function.

rawgate check functions.py
rawgate run functions.py

The program is run once, when the configuration is loaded, with the rights of the gateway. It must leave a `Config` in
the variable `config`; what is in it is checked as strictly as a TOML file. Every key stands with its meaning and its
default in rawgate/config/model.py; durations are seconds, sizes octets. Addresses, durations and sizes may also be
written as in TOML ("127.0.0.1:8080", "10s", "16KiB"), and lists in brackets; only type checkers mind.
"""

from hashlib import blake2b

from rawgate.config.model import Config, Expect, Gateway, Listen, RateLimit, Route, Target, Test, Upstream

SHARDS = 4
REGIONS = {"eu": 3001, "us": 3002}


def sharded(path: str) -> str:
    """/media/cat.jpg → /shard-3/media/cat.jpg, always the same shard for the same path.

    Called for each request with the normalised path, without query. What it returns is checked again: a path that is
    none is answered with 500 and never sent.
    """
    shard = blake2b(path.encode(), digest_size=2).digest()[0] % SHARDS
    return f"/shard-{shard}{path}"


def local(port: int) -> Upstream:
    return Upstream(targets=(Target(host="127.0.0.1", port=port, authority=f"127.0.0.1:{port}"),))


config = Config(
    gateway=Gateway(listen=(Listen(host="127.0.0.1", port=8080),)),
    upstreams={region: local(port) for region, port in REGIONS.items()},
    routes=tuple(
        Route(
            name=f"{region} {what}",
            prefix=f"/{region}/{what}",
            upstream=region,
            auth="none",
            rewrite=sharded if what == "media" else f"/{what}",
            rate_limit=RateLimit(max=50, window=10.0),
        )
        for region in REGIONS
        for what in ("media", "search")
    ),
    tests=(
        Test(request="GET /eu/media/cat.jpg", expect=Expect(route="eu media", path=sharded("/eu/media/cat.jpg"))),
        Test(request="GET /us/media/cat.jpg", expect=Expect(route="us media", path=sharded("/us/media/cat.jpg"))),
        Test(request="GET /eu/search?q=cat", expect=Expect(route="eu search", path="/search?q=cat")),
        Test(request="GET /us/search?q=cat", expect=Expect(route="us search", path="/search?q=cat")),
        Test(request="GET /asia/search", expect=Expect(status=404, reason="no_route")),
    ),
)
