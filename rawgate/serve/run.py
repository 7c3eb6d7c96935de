"""One gateway process from start to end.

    load → listen → serve → (SIGTERM, SIGINT) → pre_stop → drain → exit 0

`pre_stop` keeps serving, so that a load balancer can learn that this process is going. Draining closes the listening
sockets and idle connections, answers what has begun with `Connection: close`, and gives it `drain` seconds; what is
left then is reset. A second signal ends the process at once.
"""

import asyncio
import contextlib
import gc
import os
import resource
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import uvloop

from rawgate.config.model import Config, Listen, Upstream
from rawgate.errors import RawgateError
from rawgate.net.downstream import Listener, ListenerTerms
from rawgate.net.upstream import Dialer, Sweep
from rawgate.observe.access_log import AccessLog
from rawgate.relay.exchange import ClientTerms
from rawgate.relay.pool import Pool, UpstreamTerms
from rawgate.serve.clock import Calendar, RequestIds
from rawgate.serve.load import Loaded, load_gate
from rawgate.wire import RequestRules, ResponseRules

LOG_CLOSE_TIMEOUT = 5.0
"""Seconds that a reader of the log has to take what is left at the end."""

BACKLOG = 4096


class StartError(RawgateError):
    """The gateway cannot start: one sentence that says why and what to do."""


def run(path: Path, environ: Mapping[str, str]) -> int:
    """Serve until told to stop. Returns the exit status. Raises ConfigError, StartError."""
    calendar, new_id = Calendar(), RequestIds()
    loaded = load_gate(path, environ, new_id=new_id, date=calendar)
    _raise_descriptor_limit()
    log = AccessLog(sys.stdout.fileno())
    log.start()
    try:
        with contextlib.closing(uvloop.new_event_loop()) as loop:
            return loop.run_until_complete(_serve(loop, loaded, calendar, new_id, log))
    finally:
        log.close(LOG_CLOSE_TIMEOUT)


async def _serve(
    loop: asyncio.AbstractEventLoop, loaded: Loaded, calendar: Calendar, new_id: RequestIds, log: AccessLog
) -> int:
    config = loaded.config
    limits = config.gateway.limits
    fast = config.gateway.parser == "fast"
    dial = Dialer(loop, ResponseRules(limits.head, limits.headers, loaded.gate.response_wanted, fast))
    pools = {name: Pool(_upstream_terms(name, upstream), dial) for name, upstream in config.upstreams.items()}
    listener = _listener(loop, loaded, pools, calendar, new_id, log)
    servers = [await _listen(loop, listener, listen) for listen in config.gateway.listen]
    sweep = Sweep(loop, pools.values())
    # What is loaded stays: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    _say(f"ready; {_count(config)}")
    status = await _until_stopped(loop, config, servers, listener)
    sweep.stop()
    dial.cancel()
    for pool in pools.values():
        for upstream in pool.close():
            upstream.close()
    _say("stopped")
    return status


async def _until_stopped(
    loop: asyncio.AbstractEventLoop, config: Config, servers: list[asyncio.Server], listener: Listener
) -> int:
    timeouts = config.gateway.timeouts
    stop, at_once, over = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            at_once.set()
            over.set()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    await stop.wait()
    if timeouts.pre_stop:
        _say(f"stopping in {timeouts.pre_stop:g} s")
        await _within(timeouts.pre_stop, at_once)
    for server in servers:
        server.close()
    listener.drain(over.set)
    if not over.is_set():
        _say(f"draining: {len(listener.open)} connections, at most {timeouts.drain:g} s")
        await _within(timeouts.drain, over)
    left = len(listener.open)
    listener.abort()
    if left:
        _say(f"cut {left} connections")
        # One more turn of the loop, so that each of them writes its log line.
        await asyncio.sleep(0)
    return 1 if at_once.is_set() else 0


async def _within(seconds: float, event: asyncio.Event) -> None:
    """Wait for the event, but not longer."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _listener(
    loop: asyncio.AbstractEventLoop,
    loaded: Loaded,
    pools: dict[str, Pool],
    calendar: Calendar,
    new_id: RequestIds,
    log: AccessLog,
) -> Listener:
    gateway, gate = loaded.config.gateway, loaded.gate
    limits, timeouts = gateway.limits, gateway.timeouts
    fast = gateway.parser == "fast"
    return Listener(
        loop=loop,
        decide=gate.decide,
        date=calendar,
        new_id=new_id,
        pools=pools,
        log=log,
        terms=ListenerTerms(timeouts.head, timeouts.keep_alive, limits.connections, limits.per_address),
        client_terms=ClientTerms(timeouts.body, timeouts.send, limits.body_rate, limits.head, limits.headers),
        request_rules=RequestRules(limits.head, limits.headers, limits.target, gate.wanted, gate.protected, fast),
    )


def _upstream_terms(name: str, spec: Upstream) -> UpstreamTerms:
    return UpstreamTerms(
        name=name,
        targets=tuple((target.host, target.port) for target in spec.targets),
        connect_timeout=spec.connect_timeout,
        response_timeout=spec.response_timeout,
        idle_timeout=spec.idle_timeout,
        total_timeout=spec.total_timeout,
        max_connections=spec.max_connections,
        keep_alive=spec.keep_alive,
        queue=spec.queue,
        queue_timeout=spec.queue_timeout,
        tunnel_idle=spec.tunnel_idle,
        tunnel_max_age=spec.tunnel_max_age,
    )


async def _listen(loop: asyncio.AbstractEventLoop, listener: Listener, listen: Listen) -> asyncio.Server:
    try:
        if listen.path:
            server = await loop.create_unix_server(listener, listen.path, backlog=BACKLOG)
            _say(f"listening on unix:{listen.path}")
            return server
        server = await loop.create_server(listener, listen.host, listen.port, backlog=BACKLOG)
    except OSError as error:
        where = f"unix:{listen.path}" if listen.path else _authority(listen.host, listen.port)
        raise StartError(f"cannot listen on {where}: {_advice(error)}") from error
    port = server.sockets[0].getsockname()[1]
    _say(f"listening on http://{_authority(listen.host, port)}")
    return server


def _advice(error: OSError) -> str:
    """The system's words, and what to do."""
    said = os.strerror(error.errno) if error.errno else str(error)
    match error:
        case PermissionError():
            return f"{said}; ports under 1024 need privileges: take a higher one, or give CAP_NET_BIND_SERVICE"
        case OSError(errno=98 | 48):
            return f"{said}; another program has this port: stop it, or change gateway.listen"
    return f"{said}; is this an address of this host?"


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _raise_descriptor_limit() -> None:
    """Each request in flight takes two descriptors, and the usual soft limit is 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        # macOS refuses "unlimited" here; then it stays as it was.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _count(config: Config) -> str:
    routes, upstreams = len(config.routes), len(config.upstreams)
    return f"{routes} route{'s' * (routes != 1)}, {upstreams} upstream{'s' * (upstreams != 1)}, pid {os.getpid()}"


def _say(text: str) -> None:
    sys.stderr.write(f"rawgate: {text}\n")
    sys.stderr.flush()
