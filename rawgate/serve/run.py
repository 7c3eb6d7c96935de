"""The gateway from start to end.

    load → listen → serve → (SIGTERM, SIGINT, SIGQUIT) → pre_stop → drain → exit 0
                    (SIGHUP, `rawgate reload`) → see `serve.reload`

From the signal on, each response says `Connection: close`. During `pre_stop` the process still accepts connections, so
that a load balancer can learn that it is going (Kubernetes: the `preStop` hook). Draining closes the listening sockets
and idle connections, and gives the requests that have begun `drain` seconds. What is left then is cut. A second signal
ends the process at once.

With `workers = 1` one process does all of this. With more of them this one becomes their supervisor, which has no event
loop (see `serve.supervisor`).
"""

import contextlib
import signal
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from msgspec import structs

from rawgate.config import processors
from rawgate.config.model import MOST_WORKERS, Config
from rawgate.observe.access_log import CLOSE_TIMEOUT, AccessLog
from rawgate.observe.counters import Decisions
from rawgate.policy.compile_limits import compile_limiters
from rawgate.policy.store import Store
from rawgate.serve import descriptors
from rawgate.serve.alone import STOPPING, serve_alone
from rawgate.serve.clock import HttpDate, RequestIds
from rawgate.serve.control import Control, who_serves
from rawgate.serve.listening import Addresses, StartError, handed_over
from rawgate.serve.reload import Check, Source
from rawgate.serve.service import run_on_uvloop
from rawgate.serve.telling import Throttled, say, unfailing

if TYPE_CHECKING:
    from rawgate.policy.compile import Report
    from rawgate.serve.admin import Plan
    from rawgate.serve.sharing import Shared


def run(path: Path, environ: Mapping[str, str], check: Check) -> int:
    """Serve until told to stop. Returns the exit status. Raises ConfigError, StartError. check: runs the tests of a
    configuration that is to be served in the place of the present one."""
    stdout = sys.stdout.fileno()
    with unfailing():
        return _run(path, environ, check, stdout)


def _run(path: Path, environ: Mapping[str, str], check: Check, stdout: int) -> int:
    source = Source(path, environ, check, RequestIds(), HttpDate(), Throttled(say, monotonic))
    draft = source.load()
    workers = 1 if draft.config is None else _workers(draft.config)
    shared, decisions = None, Decisions()
    if draft.config is not None and draft.config.gateway.admin is not None:
        source = structs.replace(source, watch=decisions.watch)
    if draft.config is not None and workers > 1:
        shared = _shared(draft.config, workers, source.report)
    limiters = None if shared is None else shared.limiters
    if draft.config is not None and limiters is None:
        capacity = draft.config.gateway.limits.limiter_keys
        limiters = compile_limiters(capacity, source.report, Store(capacity))
    loaded = source.compile(draft, limiters)
    for warning in (*loaded.warnings, *_warnings_of_admin(loaded.config)):
        say(warning)
    shortage = descriptors.shortage(loaded.config, descriptors.raise_limit())
    if shortage:
        say(shortage)
    with contextlib.ExitStack() as stack:
        addresses = stack.enter_context(contextlib.closing(Addresses(workers, handed=handed_over(environ))))
        try:
            addresses.add(loaded.config.gateway.listen)
        except StartError as error:
            raise StartError(_with_who_serves(path, error)) from error
        plan = None
        if loaded.config.gateway.admin is not None:
            from rawgate.serve.admin import Plan

            plan = stack.enter_context(contextlib.closing(Plan(loaded.config, workers, decisions)))
        control = stack.enter_context(contextlib.closing(Control(path)))
        announce = partial(_announce, path, addresses, control, plan)
        if shared is not None:
            # Imported for several workers only, as in `_shared`: one alone starts faster without.
            from rawgate.serve.supervisor import Supervisor

            return Supervisor(source, loaded, addresses, control, shared.quotas, workers, plan, stdout).run(announce)
        log = AccessLog(stdout, report=say)
        log.start()
        try:
            return run_on_uvloop(serve_alone(source, loaded, addresses, control, log, plan, announce))
        finally:
            # The end has begun: one signal more must not cut the log's last lines off.
            for number in STOPPING:
                signal.signal(number, signal.SIG_IGN)
            log.close(CLOSE_TIMEOUT)


def _workers(config: Config) -> int:
    """How many processes serve."""
    wanted = config.gateway.workers
    return min(MOST_WORKERS, processors.available()) if wanted == "auto" else wanted


def _shared(config: Config, workers: int, report: "Report") -> "Shared":
    from rawgate.serve.sharing import Shared

    return Shared(config.gateway.limits, workers, report)


def _warnings_of_admin(config: Config) -> list[str]:
    if config.gateway.admin is None:
        return []
    # What a configuration does not ask for is imported neither here nor elsewhere below: it takes part of a start.
    from rawgate.serve.admin import warnings_of

    return warnings_of(config)


def _with_who_serves(path: Path, error: StartError) -> str:
    """Why an address cannot be had. Most often the gateway runs already."""
    other = who_serves(path)
    if not other:
        return str(error)
    what = str(error).partition(";")[0]
    return (
        f"{what}; process {other} serves {path} already: rawgate reload {path} has it read the file again, kill "
        f"{other} stops it"
    )


def _announce(path: Path, addresses: Addresses, control: Control, plan: "Plan | None") -> None:
    for url in () if plan is None else plan.urls:
        say(f"admin on {url}")
    for name in addresses.unused:
        say(f"warning: a socket for {name} was handed over, and gateway.listen does not name it")
    if not control.is_ours:
        say(f"another gateway serves {path} too: `rawgate reload` reaches that one only; SIGHUP reaches this one")
    for url in addresses.urls:
        say(f"listening on {url}")
