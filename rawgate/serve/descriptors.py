"""How many descriptors the process may hold, and how many its configuration can ask for.

The usual soft limit is 1,024, and each request in flight takes two descriptors: a client's and an upstream's. So the
soft limit is raised to the hard one, as Go's runtime does. If even that is too low, the gateway starts all the same:
the configured limits say what may come, not what will. But the operator is told, since a process without descriptors
closes new connections without a response, and replies with 503 where it needs another upstream connection and no client
is idle.
"""

import contextlib
import resource

from rawgate.config.model import Config
from rawgate.net.listener import REFUSED

RESERVE = 64
"""Descriptors for everything else: listening sockets, the loop, the log, name resolution, modules being loaded."""


def raise_limit() -> int | None:
    """Raise the soft limit to the hard one. Returns the limit as it is then; None: unlimited."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        # macOS refuses "unlimited" as a soft limit; then the limit stays as it was.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def wanted(config: Config) -> int:
    """How many descriptors are in use when every configured limit is reached."""
    return config.gateway.limits.connections + _upstream_connections(config) + REFUSED + RESERVE


def _upstream_connections(config: Config) -> int:
    """How many upstream connections there can be. Tunnels come on top of `max_connections`, but there are never more of
    them than clients. `max_tunnels` counts only where it is written: left out, it means "no limit", and nobody asked
    for that many."""
    upstreams = config.upstreams.values()
    tunnels = sum(upstream.max_tunnels or 0 for upstream in upstreams)
    return sum(upstream.max_connections for upstream in upstreams) + min(tunnels, config.gateway.limits.connections)


def shortage(config: Config, limit: int | None) -> str:
    """One sentence for the operator if the limit may be too low, else ""."""
    most = wanted(config)
    if limit is None or limit >= most:
        return ""
    clients = config.gateway.limits.connections
    return (
        f"warning: {limit:,} descriptors cannot hold {clients:,} clients and {_upstream_connections(config):,} "
        f"upstream connections: allow {most:,} (ulimit -n, LimitNOFILE), or lower gateway.limits.connections"
    )
