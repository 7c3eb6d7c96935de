"""What the configuration says about relaying, as plain values: of one upstream, and of all clients.

Each default is that of the configuration's key of the same meaning. The comment beside it names the precedent that it
follows, or says why it differs.
"""

from typing import Final

from rawgate.relay.balance import ROUND_ROBIN
from rawgate.relay.breaker import BreakerRule
from rawgate.relay.endpoints import Place
from rawgate.relay.retries import RetryRule

LARGE_BODY: Final = 128 * 1024
"""Octets. A request body of at least this size is read into the shared buffer, without a copy (see
`net.buffered_reading`). A smaller one may come in a single ordinary read, which takes up to 256 KiB: little to save."""


class UpstreamOptions:
    """One upstream. Times are in seconds, all else are counts.

    places            where it is
    expects_more      of those who tell places, somebody has not answered yet
    is_futile         all of those have been asked in vain, so a request need not wait for them
    untold            what they have been asked, and why in vain: a sentence for the log; "" where all have answered
    connect_timeout   for a connection, over all endpoints that are tried
    response_timeout  for the final head of a response; not while the upstream still takes the request's body
    idle_timeout      for the next octet of a response's body, and for a full upstream to take some of the request
    total_timeout     for a whole exchange; None: no limit
    max_connections   connections, tunnels not counted
    keep_alive        for which a connection may be idle
    queue             requests that may wait for a connection
    queue_timeout     for which a request may wait in the queue
    per_client        connections that one client address may hold while others wait
    max_tunnels       tunnels, and requests that may become one
    reuse_after_body  whether a connection is used again after a request with a body
    slow_start        in which the share of an endpoint that is back or new rises; 0: it has its full share at once
    breaker, retry    None: there is none
    tunnel_idle       for the next octet of a tunnel, either way
    tunnel_max_age    after which a tunnel ends
    balance           the name of a way in `balance`
    zone              where the gateway is; "" where nobody says
    """

    __slots__ = (
        "balance",
        "breaker",
        "connect_timeout",
        "expects_more",
        "idle_timeout",
        "is_futile",
        "keep_alive",
        "max_connections",
        "max_tunnels",
        "name",
        "per_client",
        "places",
        "queue",
        "queue_timeout",
        "response_timeout",
        "retry",
        "reuse_after_body",
        "slow_start",
        "total_timeout",
        "tunnel_idle",
        "tunnel_max_age",
        "untold",
        "zone",
    )

    def __init__(
        self,
        name: str,
        places: tuple[Place, ...],
        connect_timeout: float = 3.0,  # HAProxy's advice: room for one lost SYN. nginx 60, Envoy 5
        response_timeout: float = 5.0,  # nginx `proxy_read_timeout` 60, Envoy's route 15: too long to hold a connection
        idle_timeout: float = 60.0,  # nginx `proxy_read_timeout`
        total_timeout: float | None = None,  # as nginx. Envoy's 15 also ends long downloads
        max_connections: int = 256,  # Tomcat's 200 threads and some more. nginx: no limit, Envoy 1,024
        keep_alive: float = 55.0,  # less than the 60 for which nginx and AWS balancers keep one. Go's client 90
        queue: int = 128,  # half of the connections. Envoy's `max_pending_requests`: as many as connections
        queue_timeout: float = 1.0,  # HAProxy as packaged 60: a client that waits so long has given up
        per_client: int = 64,  # no precedent: with a quarter, four clients share a service evenly
        max_tunnels: int = 10_000,  # as many as client connections: each tunnel is one of those
        reuse_after_body: bool = True,  # everybody: RFC 9112 section 9.3
        slow_start: float = 0.0,  # nginx, Envoy, HAProxy: off
        tunnel_idle: float = 3600.0,  # usual for HAProxy's `timeout tunnel`. nginx 60, Envoy 300
        tunnel_max_age: float = 86400.0,  # no precedent: its credential is checked only at its start
        balance: str = ROUND_ROBIN,  # nginx, Envoy, HAProxy
        zone: str = "",
        breaker: BreakerRule | None = None,  # as everybody: when to give up on a service is its operator's to say
        retry: RetryRule | None = None,  # as Envoy. nginx tries its other servers, and has no budget
        expects_more: bool = False,
        is_futile: bool = False,
        untold: str = "",
    ) -> None:
        self.name: Final = name
        self.places: Final = places
        self.expects_more: Final = expects_more
        self.is_futile: Final = is_futile
        self.untold: Final = untold
        self.connect_timeout: Final = connect_timeout
        self.response_timeout: Final = response_timeout
        self.idle_timeout: Final = idle_timeout
        self.total_timeout: Final = total_timeout
        self.max_connections: Final = max_connections
        self.keep_alive: Final = keep_alive
        self.queue: Final = queue
        self.queue_timeout: Final = queue_timeout
        self.per_client: Final = per_client
        self.max_tunnels: Final = max_tunnels
        self.reuse_after_body: Final = reuse_after_body
        self.slow_start: Final = slow_start
        self.tunnel_idle: Final = tunnel_idle
        self.tunnel_max_age: Final = tunnel_max_age
        self.balance: Final = balance
        self.zone: Final = zone
        self.breaker: Final = breaker
        self.retry: Final = retry


class ClientOptions:
    """All clients.

    body_timeout    seconds for the next octet of a request's body
    send_timeout    seconds for the client to take some of what was written to it
    body_rate       octets a second that a client has to send of a body, and to take of a response; 0: any
    trailer_octets  octets of a message's trailer section
    trailer_fields  fields of it
    half_close      a client that sends FIN while its request is served is served to the end
    large_body      octets of a request's body from which on it is read without copies
    """

    __slots__ = (
        "body_rate",
        "body_timeout",
        "half_close",
        "large_body",
        "send_timeout",
        "trailer_fields",
        "trailer_octets",
    )

    def __init__(
        self,
        body_timeout: float = 30.0,  # half of nginx's `client_body_timeout`: the upstream's connection waits too
        send_timeout: float = 30.0,  # half of nginx's `send_timeout`, for the same reason
        body_rate: int = 240,  # Kestrel's `MinRequestBodyDataRate`
        trailer_octets: int = 16 * 1024,  # the limit of a head
        trailer_fields: int = 100,  # the limit of a head: Apache's `LimitRequestFields`
        half_close: bool = False,  # nginx, Envoy, Go's server: a FIN means that the client is gone
        large_body: int = LARGE_BODY,  # measured; no key of the configuration
    ) -> None:
        self.body_timeout: Final = body_timeout
        self.send_timeout: Final = send_timeout
        self.body_rate: Final = body_rate
        self.trailer_octets: Final = trailer_octets
        self.trailer_fields: Final = trailer_fields
        self.half_close: Final = half_close
        self.large_body: Final = large_body
