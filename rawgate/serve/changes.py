"""What differs between two configurations, by the names that users know: what a reload keeps, changes, and closes."""

from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct, structs

from rawgate.config.model import Config, Route, Secret, listen_name, route_names

RESTART = ("admin", "limits.limiter_keys", "workers")
"""Keys of the gateway that only a restart changes: the tables with the counts are made once, for so many keys and
workers, if there is somebody to tell of them."""


class Changes(Struct, frozen=True):
    """Key paths, "routes./api" or "upstreams.users" or "gateway.timeouts", in the order of the configuration.

    kept, changed, added, removed  of the tables, routes, addresses and gateway keys
    restart                        keys that differ, and stay as they were until a restart
    renamed                        routes that are the same under another name, as (old, new)
    """

    kept: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()

    def lines(self) -> list[str]:
        """For the operator: a line for each kind that there is."""
        count = sum(not name.startswith("gateway.") for name in self.kept)
        found = [f"kept: {count} table{'s' * (count != 1)} and addresses as they were"] if count else []
        for what, names in (("changed", self.changed), ("added", self.added), ("removed", self.removed)):
            if names:
                found.append(f"{what}: {', '.join(names)}")
        for old, new in self.renamed:
            # Limits count by the name of their route.
            text = f'the name of {old} is {new} now, so its limits count anew (expected name = "…" to keep them)'
            found.append(text.replace("routes.", ""))
        if self.restart:
            found.append(f"not before a restart: {', '.join(self.restart)}")
        return found


def compare(old: Config, new: Config, started: Config) -> Changes:
    """What a reload from `old` to `new` does in a process that was started with `started`."""
    before, after = dict(_parts(old)), dict(_parts(new))
    restart = tuple(f"gateway.{key}" for key in RESTART if _at(started, key) != _at(new, key))
    changed = [name for name, value in after.items() if name in before and before[name] != value]
    # Routes are tried in order, so it matters which of two comes first.
    if [name for name in before if name in after] != [name for name in after if name in before]:
        changed.append("the order of routes")
    return Changes(
        kept=tuple(name for name, value in after.items() if name in before and before[name] == value),
        changed=tuple(changed),
        added=tuple(name for name in after if name not in before),
        removed=tuple(name for name in before if name not in after),
        restart=restart,
        renamed=tuple(_renamed(before, after)),
    )


def _renamed(before: Mapping[str, object], after: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Limited routes that have another name and nothing else. Often nobody has written either: a name that is made up
    has the methods in it where another route has the same place (`config.model.route_names`), so it changes when such
    a one comes or goes."""
    new = {name: _nameless(value) for name, value in after.items() if name not in before and isinstance(value, Route)}
    for old, value in before.items():
        if old not in after and isinstance(value, Route) and value.limits:
            yield from ((old, name) for name, other in new.items() if other == _nameless(value))


def _nameless(route: Route) -> Route:
    return structs.replace(route, name="")


def from_environment(config: Config) -> tuple[str, ...]:
    """The names of the environment variables whose values are used: a process cannot be given new ones."""
    sources = sorted({secret.source for secret in _secrets(config)})
    return tuple(source.removeprefix("env:") for source in sources if source.startswith("env:"))


def _parts(config: Config) -> Iterator[tuple[str, object]]:
    """All that can differ, by name, each as a value that can be compared. Only of routes does the order matter."""
    gateway = config.gateway
    for listen in sorted(gateway.listen, key=listen_name):
        yield f"listen {listen_name(listen)}", (listen.mode, listen.tls, listen.proxy_protocol)
    for key in gateway.__struct_fields__:
        if key not in ("listen", "limits", *RESTART):
            yield f"gateway.{key}", getattr(gateway, key)
    for key in gateway.limits.__struct_fields__:
        if f"limits.{key}" not in RESTART:
            yield f"gateway.limits.{key}", getattr(gateway.limits, key)
    tables: Mapping[str, Mapping[str, object]] = {
        "jwt": config.jwt,
        "api_keys": config.api_keys,
        "limits": config.limits,
        "upstreams": config.upstreams,
        "tls": config.tls,
    }
    for table, entries in tables.items():
        for name, value in sorted(entries.items()):
            yield f"{table}.{name}", value
    alone = {"consul": config.consul, "store": config.store}
    yield from ((table, value) for table, value in alone.items() if value is not None)
    for name, route in zip(route_names(config.routes), config.routes, strict=True):
        yield f"routes.{name}", route


def _at(config: Config, key: str) -> object:
    value: object = config.gateway
    for name in key.split("."):
        value = getattr(value, name)
    return value


def _secrets(value: object) -> Iterator[Secret]:
    if isinstance(value, Secret):
        yield value
    elif isinstance(value, Struct):
        yield from _secrets(structs.asdict(value))
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _secrets(one)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for one in value:
            yield from _secrets(one)
