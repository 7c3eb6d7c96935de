"""How many descriptors the process may hold, and how many its configuration can ask for.

The usual soft limit is 1,024, and each request in flight takes two: a client's and an upstream's. So the limit is
raised as far as this process may raise it. When even that is too low nothing is refused at start: the configured limits
are what may come, not what will. But it is said, since out of descriptors new connections are closed unanswered, and
requests that need another upstream connection are told 503.
"""

import contextlib
import resource

from rawgate.config.model import Config
from rawgate.net.listener import REFUSED

RESERVE = 64
"""For all else: listening sockets, the loop, the log, name resolution, modules being loaded."""


def raise_limit() -> int | None:
    """Raise the limit as far as it goes. Returns what it is now; None: unlimited."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        # macOS refuses "unlimited" here; then it stays as it was.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def wanted(config: Config) -> int:
    """Descriptors in use when every configured limit is reached."""
    return config.gateway.limits.connections + _upstream_connections(config) + REFUSED + RESERVE


def _upstream_connections(config: Config) -> int:
    """Of all upstreams. Tunnels come on top of the others, but no more of them than there are clients. Only those count
    that somebody asked for: `max_tunnels` left out means that there is no limit, not that as many are wanted."""
    upstreams = config.upstreams.values()
    tunnels = sum(upstream.max_tunnels or 0 for upstream in upstreams)
    return sum(upstream.max_connections for upstream in upstreams) + min(tunnels, config.gateway.limits.connections)


def shortage(config: Config, limit: int | None) -> str:
    """One sentence for the operator when the limit may be too low, else ""."""
    most = wanted(config)
    if limit is None or limit >= most:
        return ""
    clients = config.gateway.limits.connections
    return (
        f"warning: {limit:,} descriptors cannot hold {clients:,} clients and {_upstream_connections(config):,} "
        f"upstream connections: allow {most:,} (ulimit -n, LimitNOFILE), or lower gateway.limits.connections"
    )
