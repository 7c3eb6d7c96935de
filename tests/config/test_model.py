"""The defaults are promises: they are written out here a second time."""

from rawgate.config.model import Cors, Eject, Gateway, HealthCheck, Jwt, Limits, Route, Timeouts, Upstream


def test_gateway() -> None:
    gateway = Gateway(listen=())
    assert gateway.workers == 1
    assert gateway.parser == "fast"
    assert gateway.admin is None
    assert gateway.admin_allow == ()
    assert gateway.trusted_proxies == ()
    assert gateway.client_ip_header is None
    assert gateway.merge_slashes is True
    assert gateway.timeouts == Timeouts(head=10, body=30, send=30, keep_alive=75, drain=30, pre_stop=0)
    assert gateway.limits == Limits(
        head=16 * 1024,
        headers=100,
        target=8 * 1024,
        body=10 * 1024 * 1024,
        body_rate=240,
        connections=10_000,
        per_address=None,
        buffers=256 * 1024 * 1024,
        limiter_keys=100_000,
    )


def test_jwt() -> None:
    jwt = Jwt(algorithm=("HS256",))
    assert (jwt.issuer, jwt.audience, jwt.leeway, jwt.require_exp) == ((), (), 30, True)


def test_upstream() -> None:
    assert Upstream(targets=()) == Upstream(
        targets=(),
        health=None,
        eject=None,
        slow_start=0,
        connect_timeout=3,
        response_timeout=5,
        idle_timeout=60,
        total_timeout=None,
        max_connections=256,
        keep_alive=55,
        queue=128,
        queue_timeout=1,
        per_client=None,
        reuse="always",
        max_tunnels=None,
        tunnel_idle=3600,
        tunnel_max_age=24 * 3600,
    )


def test_health() -> None:
    assert HealthCheck(path="/") == HealthCheck(
        path="/", interval=5, timeout=1, rise=2, fall=3, status=((200, 399),), host=None
    )
    assert Eject() == Eject(failures=5, for_=10, at_most=0.5)


def test_route() -> None:
    route = Route(prefix="/", upstream="users", auth="none")
    assert (route.host, route.methods, route.rewrite, route.rate_limit) == (None, None, None, None)
    assert route.upstream_host == "upstream"
    assert (route.request_headers.set, route.request_headers.remove) == ({}, ())
    assert (route.response_headers.set, route.response_headers.remove) == ({}, ())
    assert (route.response_timeout, route.body) == (None, None)
    assert route.upgrade == ("websocket",)
    assert route.encoded_slash == "reject"
    assert route.cors is None
    assert route.forward_credentials is None


def test_cors() -> None:
    cors = Cors(origins=("*",))
    assert (cors.methods, cors.headers, cors.max_age, cors.credentials) == (("GET", "HEAD", "POST"), (), 600, False)
