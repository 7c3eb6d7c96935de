"""From a configuration file to a gate that decides: every finding of every room, at once."""

from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec import Struct

from rawgate.config.load import Draft, load
from rawgate.config.model import Config
from rawgate.config.suspicious import find_warnings
from rawgate.errors import ConfigError, Problem
from rawgate.policy.compile import Report, compile_gate, keep_quiet
from rawgate.policy.gate import Gate
from rawgate.wire import RequestRules


class Loaded(Struct, frozen=True):
    """A configuration that can be served, and the gate compiled from it. `warnings`: a line for each thing in it that
    rarely means what it says."""

    config: Config
    gate: Gate
    warnings: tuple[str, ...] = ()


def load_gate(
    path: Path,
    environ: Mapping[str, str],
    *,
    new_id: Callable[[], str],
    date: Callable[[], bytes],
    report: Report = keep_quiet,
) -> Loaded:
    """Read and compile `path`. Raises ConfigError with one line per finding."""
    return compile_draft(load(path, environ), new_id=new_id, date=date, report=report)


def compile_draft(
    draft: Draft, *, new_id: Callable[[], str], date: Callable[[], bytes], report: Report = keep_quiet
) -> Loaded:
    """Compile what was read. Raises ConfigError with one line per finding, those of reading included."""
    problems: list[Problem] = list(draft.problems)
    found: list[Problem] = []
    gate = None
    if draft.config is not None:
        gate = compile_gate(draft.config, new_id=new_id, date=date, problems=problems, warnings=found, report=report)
    if problems or draft.config is None or gate is None:
        raise ConfigError(draft.report(problems))
    found += find_warnings(draft.config, draft.lines)
    warnings = [Problem(warning.path, f"warning: {warning.message}") for warning in found]
    return Loaded(draft.config, gate, tuple(draft.report(warnings)))


def request_rules(loaded: Loaded) -> RequestRules:
    """What a configuration asks of a request head."""
    limits, gate = loaded.config.gateway.limits, loaded.gate
    fast = loaded.config.gateway.parser == "fast"
    return RequestRules(
        limits.head, limits.headers, limits.target, gate.wanted, gate.protected, fast, gate.removable, gate.methods
    )
