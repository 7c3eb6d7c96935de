"""Which tunnels go on under a new configuration.

A request that has begun ends under the configuration that it began with. A tunnel may last for a day, and whoever takes
a key, a network or a route out of the configuration means those, too, who are in already. So a tunnel ends at a reload
if its route is gone, leads to another service, or lets others in, and if something is gone that may have vouched for
its client: a key, a secret, an issuer. What is added ends nothing, so a rotation does not, until the old key is taken
out.

nginx keeps all tunnels, in its old workers; Envoy ends all that came by a listener that has changed.
"""

import json
from collections.abc import Iterator

from rawgate.config.model import Config, Jwt, Route, Secret, route_names
from rawgate.policy.api_keys import ApiKeyTable
from rawgate.serve.load import Loaded

Vouching = frozenset[object]
"""What a verifier goes by; of an API key, what its client goes by."""


class TunnelTerms:
    """A `net.generation.Terms`."""

    __slots__ = ("entries", "keys", "routes", "verifiers")

    def __init__(self, config: Config, tables: dict[str, ApiKeyTable]) -> None:
        """tables: "api_keys.NAME" → its keys."""
        named = zip(route_names(config.routes), config.routes, strict=True)
        self.routes = {name: (_entry(route), route.verifiers) for name, route in named if route.upstream}
        self.entries = frozenset(entry for entry, _ in self.routes.values())
        self.verifiers = {f"jwt.{name}": frozenset(_vouching(spec)) for name, spec in config.jwt.items()}
        self.keys: dict[tuple[str, str], set[object]] = {}
        for table, keys in tables.items():
            for name, digest, until in keys.terms:
                self.keys.setdefault((table, name), set()).add((digest, until))

    def hold_in(self, later: object, route: str, client_id: str) -> bool:
        before = self.routes.get(route)
        if before is None or not isinstance(later, TunnelTerms):
            return False
        entry, verifiers = before
        return entry in later.entries and all(
            self.vouching(verifier, client_id) <= later.vouching(verifier, client_id) for verifier in verifiers
        )

    def vouching(self, verifier: str, client_id: str) -> Vouching:
        """What may have vouched for a client of that name."""
        return self.verifiers.get(verifier, frozenset()) | self.keys.get((verifier, client_id), frozenset())


def tunnel_terms(loaded: Loaded) -> TunnelTerms:
    """The terms of a configuration."""
    tables = {name: one.by for name, one in loaded.gate.credentials.items() if isinstance(one.by, ApiKeyTable)}
    return TunnelTerms(loaded.config, tables)


def _entry(route: Route) -> str:
    """What says who comes in by a route, and to which service, as text. The methods and `match` are among it: they
    choose the route. Its name is not: one that is made up may change."""
    way = (route.upstream, route.host, route.place, route.methods, route.match, route.upgrade)
    return repr((*way, route.auth, route.require, route.allow, route.deny))


def _vouching(spec: Jwt) -> Iterator[object]:
    """What makes a token a good one. Of a set that is fetched the keys are the provider's to take out."""
    yield from (secret.value for secret in (*spec.secret, *spec.public_key))
    if isinstance(spec.jwks, Secret):
        yield from (json.dumps(key, sort_keys=True) for key in json.loads(spec.jwks.value)["keys"])
    elif spec.jwks is not None:
        yield spec.jwks
    yield from (("issuer", issuer) for issuer in spec.issuer or (None,))
    yield from (("audience", audience) for audience in spec.audience or (None,))
