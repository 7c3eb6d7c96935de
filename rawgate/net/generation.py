"""All that a reload may change, as one value that never changes: a reload puts another one in its place.

A client connection takes the present generation at the first octet of each request, and keeps it until that request is
over. An upstream connection reads each response by the rules of the request that it answers. So no head is read by one
configuration and decided by another: a field that a new configuration removes is found from the first request on that
begins under it, on connections that are older too.

nginx gets the same by new worker processes, and lets the old ones serve their connections to the end; an open
connection there never sees the new configuration.
"""

from collections.abc import Callable, Mapping
from ssl import SSLContext
from typing import Final, Protocol

from rawgate.message import Decide
from rawgate.net.tls_contexts import ServerTls
from rawgate.relay.options import ClientOptions
from rawgate.relay.pool import Pool
from rawgate.relay.upload import RATE_SPAN
from rawgate.wire import RequestRules, ResponseRules

NO_TLS: Final[Mapping[str, ServerTls]] = {}


class ListenerOptions:
    """What the configuration says about client connections.

    head_timeout  seconds from the first octet of a head to its end, however it drips. 10, as in the haproxy.cfg
                  that many distributions ship (`timeout http-request`); Apache's mod_reqtimeout gives 20, nginx 60
    keep_alive    seconds that a connection may be idle; 75, as in nginx
    connections   how many may be open at once
    per_address   how many of them one address may have; None: no limit
    buffers       octets that all of them together may hold in memory (see `net.buffer_budget`)
    logged        lower-cased names of the request fields that the log has
    traced        whether the log has the traces that requests belong to
    spread        seconds in which tunnels end, one by one, when the gateway drains, or when what let them in is no
                  longer configured
    """

    __slots__ = ("buffers", "connections", "head_timeout", "keep_alive", "logged", "per_address", "spread", "traced")

    def __init__(
        self,
        head_timeout: float = 10.0,
        keep_alive: float = 75.0,
        connections: int = 10_000,
        per_address: int | None = None,
        buffers: int = 256 * 1024 * 1024,
        logged: tuple[bytes, ...] = (),
        traced: bool = False,
        spread: float = 15.0,
    ) -> None:
        self.head_timeout: Final = head_timeout
        self.keep_alive: Final = keep_alive
        self.connections: Final = connections
        self.per_address: Final = per_address
        self.buffers: Final = buffers
        self.logged: Final = logged
        self.traced: Final = traced
        self.spread: Final = spread


class Terms(Protocol):
    """On which terms one configuration lets tunnels in."""

    def hold_in(self, later: "Terms", route: str, client_id: str) -> bool:
        """Whether a tunnel of this route and client, which these terms have let in, may go on under later ones."""


class NoTerms:
    """Whoever is in may stay."""

    __slots__ = ()

    def hold_in(self, later: Terms, route: str, client_id: str) -> bool:
        return True


NO_TERMS: Final[Terms] = NoTerms()


class Generation:
    """One configuration, ready to serve.

    decide          see `rawgate.message`
    request_rules   by which request heads are read
    response_rules  by which response heads are read
    pools           upstream's name → its pool, and how often to ask a flow of it what is due: the shortest of the times
                    that such a flow can wait for, in seconds
    options         of client connections
    client_options  of flows, about their clients
    tls             name → certificates and rules of TLS, for clients that connect from now on
    is_proxy        whether an address is one of `trusted_proxies`
    terms           of tunnels
    """

    __slots__ = (
        "client_options",
        "decide",
        "is_proxy",
        "options",
        "pools",
        "request_rules",
        "response_rules",
        "terms",
        "tls",
    )

    def __init__(
        self,
        decide: Decide,
        request_rules: RequestRules,
        response_rules: ResponseRules,
        pools: Mapping[str, Pool],
        options: ListenerOptions,
        client_options: ClientOptions,
        tls: Mapping[str, ServerTls] = NO_TLS,
        is_proxy: Callable[[str], bool] = lambda address: False,
        terms: Terms = NO_TERMS,
    ) -> None:
        self.decide: Final = decide
        self.request_rules: Final = request_rules
        self.response_rules: Final = response_rules
        self.pools: Final = {name: (pool, _shortest_deadline(pool, client_options)) for name, pool in pools.items()}
        self.options: Final = options
        self.client_options: Final = client_options
        self.tls: Final = tls
        self.is_proxy: Final = is_proxy
        self.terms: Final = terms

    def admits(self, first: SSLContext) -> bool:
        """Whether a connection may go on that was made with this context: its client would be let in by the same
        rules."""
        return any(one.first is first for one in self.tls.values())


def _shortest_deadline(pool: Pool, client: ClientOptions) -> float:
    options = pool.options
    spans = [options.response_timeout, options.idle_timeout, options.tunnel_idle, options.tunnel_max_age]
    spans += [client.body_timeout, client.send_timeout]
    if client.body_rate:
        spans.append(RATE_SPAN)
    if options.total_timeout is not None:
        spans.append(options.total_timeout)
    return min(spans)
