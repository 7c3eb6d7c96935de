"""Asks a Consul agent for the healthy instances of a service, by its HTTP API.

A query blocks until the answer is another one, or `WAIT` is over ("Blocking Queries" in Consul's documentation). So a
change is here as soon as the agent knows of it, and an agent that was lost without a word is noticed soon after `WAIT`.

To a token that may not see the instances Consul does not answer 403, but that there are none. It says in a field of the
response that some were left out ("Results filtered by ACLs"). Whoever takes rights away from a token must not take all
services away with them, so an empty answer with that field is none.
"""

import ssl
from collections.abc import Sequence
from urllib.parse import quote, urlencode

from rawgate.net.fetch import FetchError, fetch
from rawgate.net.instances import Instances, UselessError, consul_instances, next_index
from rawgate.net.names import Names

WAIT = 60.0
"""Seconds for which a query blocks when nothing changes. Consul's own default is 5 minutes; it holds a connection, and
nothing tells a silent agent from one that is gone."""

PATIENCE = 10.0
"""Seconds for an answer beyond that. Consul itself adds up to a sixteenth of `WAIT`."""

RIGHTS = "service:read, node:read"

LARGEST = 16 * 1024 * 1024
"""Octets of an answer. An instance with its checks has 1 to 3 KiB."""


class Agent:
    """An agent.

    url      "http://127.0.0.1:8500"
    token    who asks; "": nobody
    tls      how it is verified; None where its URL is an http:// one
    """

    def __init__(self, url: str, token: str, tls: ssl.SSLContext | None, names: Names) -> None:
        self._url = url
        self._fields = f"X-Consul-Token: {token}\r\n" if token else ""
        self._tls = tls
        self._names = names

    async def healthy(self, service: str, query: Sequence[tuple[str, str]], index: int) -> tuple[Instances, int]:
        """The healthy instances, once the answer is another one than that of this index (0: now), and the next index.
        Raises FetchError."""
        asked = [("passing", "1"), *query]
        if index:
            asked += [("index", str(index)), ("wait", f"{WAIT:.0f}s")]
        url = f"{self._url}/v1/health/service/{quote(service, safe='')}?{urlencode(asked)}"
        patience = WAIT + PATIENCE if index else PATIENCE
        document = await fetch(url, self._names, self._tls, most=LARGEST, patience=patience, fields=self._fields)
        try:
            found = consul_instances(document.octets)
        except UselessError as error:
            raise FetchError(str(error)) from None
        if document.is_partial:
            if not found.all:
                raise FetchError(f"the token may not see its instances ({RIGHTS})")
            found = Instances(found.all, (*found.flaws, f"what the token may not see ({RIGHTS})"))
        return found, next_index(index, document.index)
