"""From a configuration file to a gate that decides. Reports the findings of all rooms at once."""

from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec import Struct

from rawgate.config.load import Draft, load
from rawgate.config.model import Config
from rawgate.config.suspicious import find_warnings
from rawgate.errors import ConfigError, Problem
from rawgate.policy.compile import Report, compile_gate, ignore
from rawgate.policy.gate import Gate, Limiters
from rawgate.wire import RequestRules, ResponseRules


class Loaded(Struct, frozen=True):
    """A configuration that can be served, and the gate that was compiled from it.

    warnings  a line for each setting that is allowed, and that rarely means what its author wants
    """

    config: Config
    gate: Gate
    warnings: tuple[str, ...] = ()


def load_gate(
    path: Path,
    environ: Mapping[str, str],
    *,
    new_id: Callable[[], str],
    date: Callable[[], bytes],
    report: Report = ignore,
) -> Loaded:
    """Read and compile `path`. Raises ConfigError with one line per finding."""
    return compile_draft(load(path, environ), new_id=new_id, date=date, report=report)


def compile_draft(
    draft: Draft,
    *,
    new_id: Callable[[], str],
    date: Callable[[], bytes],
    report: Report = ignore,
    limiters: Limiters | None = None,
) -> Loaded:
    """Compile a configuration that was read. Raises ConfigError with one line per finding; the findings of reading are
    among them. limiters: those of the gate that this one succeeds, with their counts; None: new ones."""
    problems: list[Problem] = list(draft.problems)
    found: list[Problem] = []
    gate = None
    if draft.config is not None:
        gate = compile_gate(
            draft.config,
            new_id=new_id,
            date=date,
            problems=problems,
            warnings=found,
            report=report,
            limiters=limiters,
        )
    if problems or draft.config is None or gate is None:
        raise ConfigError(draft.report(problems))
    found += find_warnings(draft.config, draft.lines)
    warnings = [Problem(warning.path, f"warning: {warning.message}") for warning in found]
    return Loaded(draft.config, gate, tuple(draft.report(warnings)))


def request_rules(loaded: Loaded) -> RequestRules:
    """The rules by which request heads are read: the configured limits, and the fields that the gate asks for."""
    limits, gate = loaded.config.gateway.limits, loaded.gate
    fast = loaded.config.gateway.parser == "fast"
    return RequestRules(
        limits.head, limits.headers, limits.target, gate.wanted, gate.protected, fast, gate.removable, gate.methods
    )


def response_rules(loaded: Loaded) -> ResponseRules:
    """The rules by which response heads are read."""
    limits, gate = loaded.config.gateway.limits, loaded.gate
    fast = loaded.config.gateway.parser == "fast"
    return ResponseRules(limits.head, limits.headers, gate.response_wanted, fast, gate.response_removable)
