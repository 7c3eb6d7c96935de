"""TOML for the gateways that tests start.

A test writes the lines that it is about, as a user would write them. The functions here add what every configuration
needs: a loopback port that the system picks, and routes without a credential.

    one_route(target)                       every request goes to one upstream
    gateway() + upstream(…) + route(…)      the parts, for anything else

Tests of `config` and `cli`, which are about the text itself, have whole texts of their own.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

_workers = ContextVar("workers", default=1)


@contextmanager
def served_by(workers: int) -> Iterator[None]:
    """While the block lasts, gateways have so many workers, unless their lines say it."""
    token = _workers.set(workers)
    try:
        yield
    finally:
        _workers.reset(token)


def one_route(
    *targets: str,
    listen: str | Sequence[str] = "127.0.0.1:0",
    gateway_has: Sequence[str] = (),
    upstream_has: Sequence[str] = (),
) -> str:
    """Every path goes to the upstream `one`, without a credential. Lines for the route may be appended."""
    return gateway(*gateway_has, listen=listen) + upstream("one", targets, *upstream_has) + route("/", "one")


def gateway(*lines: str, listen: str | Sequence[str] = "127.0.0.1:0") -> str:
    """`listen`: one address or several."""
    workers = [f"workers = {_workers.get()}"] if _workers.get() > 1 else []
    return _table("[gateway]", f"listen = {_strings(listen)}", *workers, *lines)


def upstream(name: str, targets: str | Sequence[str], *lines: str) -> str:
    """`targets`: one URL or several."""
    return _table(f"[upstreams.{name}]", f"targets = {_strings(targets)}", *lines)


def route(prefix: str, to: str, *lines: str, auth: str | list[str] = "none") -> str:
    """`to`: the upstream's name."""
    return _table("[[routes]]", f'prefix = "{prefix}"', f'upstream = "{to}"', f"auth = {json.dumps(auth)}", *lines)


def jwt(*lines: str) -> str:
    """`jwt.main`, which checks tokens with the secret in the environment."""
    return _table("[jwt.main]", 'algorithm = "HS256"', 'secret = "env:JWT_SECRET"', *lines)


def api_keys(name: str, header: str, variable: str) -> str:
    """Keys from a variable of the environment."""
    return _table(f"[api_keys.{name}]", f'header = "{header}"', f'keys = "env:{variable}"')


def _table(*lines: str) -> str:
    return "\n".join(lines) + "\n"


def _strings(values: str | Sequence[str]) -> str:
    """An array as TOML writes it."""
    return json.dumps([values] if isinstance(values, str) else values)
