"""`rawgate top`: the status page in a terminal.

It asks the admin listener for `/status`, each second, and lays it out with the package rich, the extra `rawgate[top]`.
The name is top's, and so is the way to leave: Ctrl-C.
"""

import argparse
import http.client
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rawgate.cli.arguments import add_config, command
from rawgate.config.load import load
from rawgate.config.model import Listen
from rawgate.errors import ConfigError, RawgateError
from rawgate.message import authority_of
from rawgate.offline.page import milliseconds, visible

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from rawgate.cli.arguments import Commands

EXAMPLES = """\
  rawgate top
  rawgate top conf/rawgate.toml --once | head -20
  rawgate top --url http://10.0.0.7:9901

It shows what the admin listener of a running gateway tells (gateway.admin). Rates and percentiles are of the last 10 to
15 s. Ctrl-C ends it. Exit status 1 when nobody answers.
"""

TIMEOUT = 5.0
"""Seconds for an answer."""

EVERY = 1.0
"""Seconds between two questions: top asks every 3, but one wants to see what one has just done."""

WIDE = 110
"""Columns from which on there is room for all that `/status` tells; below, the less important is left out."""

PIPED = 120
"""Columns that there are in a pipe, which has none of its own, unless the environment's COLUMNS says how many."""

ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - looked up, never bound
"""What stands for all addresses of a host → the one to ask."""

SOON = 30 * 86400
"""Seconds before its end from which on a certificate is told of, as `rawgate check` tells of it."""

Status = dict[str, Any]


class TopError(RawgateError):
    """There is nothing to show. One sentence: why, and what to do."""


def add(commands: "Commands") -> None:
    parser = command(commands, "top", "show what a running gateway is doing", EXAMPLES, _call)
    parser.add_argument("--once", action="store_true", help="show it once, and end")
    parser.add_argument("--url", help="where the admin listener is (default: as the configuration says)")
    add_config(parser)


def _call(arguments: argparse.Namespace) -> int:
    try:
        from rich.console import Console
        from rich.live import Live
    except ImportError:
        raise TopError("rawgate top needs the package rich: pip install 'rawgate[top]'") from None
    url = arguments.url or admin_url(arguments.config)
    console = Console(file=sys.stdout, highlight=False)
    if not console.is_terminal:
        console.width = shutil.get_terminal_size((PIPED, 0)).columns
    status = fetch(url)
    if arguments.once:
        console.print(view(status, console.width))
        return 0
    try:
        with Live(view(status, console.width), console=console, screen=True, auto_refresh=False) as live:
            while True:
                time.sleep(EVERY)
                live.update(view(fetch(url), console.width), refresh=True)
    except KeyboardInterrupt:
        return 0


# ── asking ──


def admin_url(path: Path) -> str:
    """Where a configuration has its admin listener. Secrets need not be at hand: only that place is read. Raises
    ConfigError, TopError."""
    draft = load(path, os.environ)
    if draft.config is None:
        raise ConfigError(draft.report(draft.problems))
    admin = draft.config.gateway.admin
    if admin is None:
        raise TopError(f"{path} has no admin listener to ask (expected admin in [gateway], or --url)")
    return url_of(admin)


def url_of(admin: Listen) -> str:
    """The URL to ask: "http://127.0.0.1:9901", "unix:PATH"."""
    if admin.path:
        return f"unix:{admin.path}"
    if not admin.port:
        raise TopError("the admin listener has any free port: give the URL that the gateway told at its start (--url)")
    return f"http://{authority_of(ANY.get(admin.host, admin.host), admin.port)}"


def fetch(url: str) -> Status:
    """The status that the gateway tells. Raises TopError."""
    connection = _connection(url)
    try:
        connection.request("GET", "/status")
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise TopError(f"{url} answers {answer.status}: {visible(body.decode('utf-8', 'replace').strip())[:200]}")
        found = json.loads(body)
    except (OSError, ValueError, http.client.HTTPException) as error:
        why = getattr(error, "strerror", None) or error or type(error).__name__
        raise TopError(f"no gateway tells its status at {url} ({why}): is it running, with this admin?") from None
    finally:
        connection.close()
    if not isinstance(found, dict) or "routes" not in found:
        raise TopError(f"what {url} tells is not the status of a rawgate")
    return found


def _connection(url: str) -> http.client.HTTPConnection:
    if url.startswith("unix:"):
        connection = http.client.HTTPConnection("localhost", timeout=TIMEOUT)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(TIMEOUT)
        try:
            connection.sock.connect(url.removeprefix("unix:"))
        except OSError as error:
            connection.close()
            raise TopError(f"nobody listens on {url} ({error.strerror})") from None
        return connection
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.netloc:
        raise TopError(f"{visible(url)!r} is not a URL to ask (expected http://HOST:PORT or unix:PATH)")
    return http.client.HTTPConnection(parts.netloc, timeout=TIMEOUT)


# ── showing ──


def view(status: Status, width: int) -> "Group":
    """Everything, one below the other, in so many columns. All texts of the gateway are plain text here: none is taken
    for markup."""
    from rich.console import Group

    parts: list[Any] = [_head(status), _routes(status, width), _services(status, width)]
    if status["limits"]:
        parts.append(_limits(status))
    return Group(*parts, _foot(status))


def _text(value: object, style: str = "") -> "Text":
    from rich.text import Text

    return Text(visible(str(value)), style)


def _table(title: str, heads: Sequence[str]) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, expand=True, padding=(0, 1), show_edge=False)
    table.add_column(title, header_style="bold", ratio=3, min_width=14, no_wrap=True, overflow="ellipsis")
    for head in heads:
        table.add_column(head, justify="right", header_style="dim", no_wrap=True)
    return table


def _line(*parts: "Text") -> "Text":
    from rich.text import Text

    return Text("  ").join(parts)


def _lines(*parts: "Text") -> "Text":
    from rich.text import Text

    return Text("\n").join(parts)


def _head(status: Status) -> "Text":
    is_serving, workers, total = status["state"] == "serving", status["workers"], status["total"]
    is_whole = workers["alive"] >= workers["configured"]
    return _line(
        _text(f"rawgate {status['version']}", "bold"),
        _text(status["state"], "green" if is_serving else "yellow"),
        _text(f"up {span(status['uptimeSeconds'])}"),
        _text(f"workers {workers['alive']}/{workers['configured']}", "" if is_whole else "red"),
        _text(f"clients {status['clients']['connections']:,}"),
        _text(f"{rate(total['perSecond'])}/s", "bold"),
        _text(f"not ok {rate(total['notOkPerSecond'])}/s", "yellow" if total["notOkPerSecond"] else "dim"),
        _text(f"p50 {latency(total['latencyMs']['p50'])}, p99 {latency(total['latencyMs']['p99'])}"),
    )


def _routes(status: Status, width: int) -> "Table":
    percentiles = ("p50", "p90", "p99") if width >= WIDE else ("p50", "p99")
    table = _table("route", ("/s", "not ok/s", *percentiles, "in flight", *(("so far",) if width >= WIDE else ())))
    table.add_column("not ok, by reason", ratio=3, min_width=16, header_style="dim", no_wrap=True, overflow="ellipsis")
    for route in status["routes"]:
        if not route["name"] and not route["requests"]:
            continue
        style = "" if route["perSecond"] or route["inFlight"] else "dim"
        cells = [
            _text(route["name"] or "(no route)", style),
            _text(rate(route["perSecond"]), style),
            _text(rate(route["notOkPerSecond"]), "yellow" if route["notOkPerSecond"] else style),
            *(_text(latency(route["latencyMs"][part]), style) for part in percentiles),
            _text(f"{route['inFlight'] + route['tunnels']:,}", style),
        ]
        if width >= WIDE:
            cells.append(_text(f"{route['requests']:,}", style))
        table.add_row(*cells, _text(_counts(route["reasons"]), "dim"))
    return table


def _services(status: Status, width: int) -> "Table":
    table = _table(
        "service", ("/s", "p50", "p99", "busy", "idle", "of", *(("tunnels",) if width >= WIDE else ()), "queue")
    )
    table.add_column("targets", ratio=3, min_width=16, header_style="dim", overflow="fold")
    for one in status["upstreams"]:
        pool, waiting = one["connections"], one["queue"]["waiting"]
        table.add_row(
            _text(one["name"]),
            _text(rate(one["perSecond"])),
            *(_text(latency(one["latencyMs"][part])) for part in ("p50", "p99")),
            _text(f"{pool['leased'] + pool['dialing']:,}", "red" if pool["leased"] >= pool["limit"] else ""),
            *(_text(f"{pool[state]:,}") for state in ("idle", "limit", "tunnels")[: 3 if width >= WIDE else 2]),
            _text(f"{waiting:,}", "yellow" if waiting else "dim"),
            _lines(*_trouble(one), *_targets(one["targets"], one.get("sources", ()))),
        )
    return table


def _trouble(upstream: Status) -> "list[Text]":
    """What is not as usual with a service as a whole."""
    breaker, said = upstream["breaker"], []
    if breaker is not None and breaker["state"] == "open":
        said.append(_text(f"circuit open, probe in {span(breaker['probeInSeconds'])}", "red"))
    if upstream["retries"]["made"]:
        said.append(_text(f"{upstream['retries']['made']:,} retries", "yellow"))
    return said


def _targets(targets: Sequence[Status], sources: Sequence[Status]) -> "list[Text]":
    said = [
        _text(target["target"] + _share(target, targets), "green")
        if target["up"]
        else _text(f"{target['target']} down: {target['why']}", "red")
        for target in targets
    ]
    return [*said, *map(_source, sources)]


def _source(source: Status) -> "Text":
    """Who tells of targets, and how long ago that was."""
    age = source["ageSeconds"]
    told = "never answered" if age is None else f"{span(age)} ago"
    if source["problem"]:
        return _text(f"{source['source']} {told}: {source['problem']}", "red")
    return _text(f"{source['source']} {told}", "dim")


def _share(target: Status, targets: Sequence[Status]) -> str:
    """A target's part of the requests, where there are several targets and requests."""
    return f" {target['share']:.0%}" if len(targets) > 1 and target["share"] is not None else ""


def _by(claim: str | None) -> str:
    """Before the number that holds for whoever has no plan."""
    return f"by {claim}, else " if claim else ""


def _limits(status: Status) -> "Table":
    table = _table("limit", ("at most", "for each", "counted", "admitted/s", "refused/s", "refused so far"))
    for limit in status["limits"]:
        table.add_row(
            _text(limit["name"]),
            _text(f"{_by(limit['by'])}{limit['max']:,} in {span(limit['windowSeconds'])}"),
            _text("for all" if limit["key"] == "all" else limit["key"]),
            _text(limit["shared"]),
            _text(rate(limit["admittedPerSecond"])),
            _text(rate(limit["refusedPerSecond"]), "yellow" if limit["refusedPerSecond"] else ""),
            _text(f"{limit['refused']:,}"),
        )
    return table


def _store(store: Status) -> "Text":
    if not store["up"]:
        return _text(f"the store does not count: {_MEANWHILE[store['onFailure']]}", "red")
    slow, asked = latency(store["latencyMs"]["p99"]), rate(store["askedPerSecond"])
    return _text(f"store asked {asked}/s, p99 {slow}, {rate(store['sparedPerSecond'])}/s by leases", "dim")


_MEANWHILE = {
    "local": "each host counts by itself",
    "refuse": "requests get 503",
    "allow": "its limits are not applied",
}
"""`store.on_failure` in words."""


def _foot(status: Status) -> "Text":
    last, dropped = status["lastReload"], status["log"]["dropped"]
    parts = [_text(f"keys of {one['name']} read {span(one['ageSeconds'])} ago", "dim") for one in status["keySets"]]
    if status["store"] is not None:
        parts.append(_store(status["store"]))
    for one in status["certificates"]:
        left = one["expirySeconds"]
        if left < SOON:
            said = f"ends in {span(left)}" if left > 0 else "has ended"
            parts.append(_text(f"certificate of {one['name']} {said}", "yellow" if left > 0 else "red"))
    if last is not None:
        ago = span(max(0.0, status["time"] - last["time"]))
        said = "done" if last["done"] else "refused"
        parts.append(_text(f"reload {said} {ago} ago", "dim" if last["done"] else "red"))
    if dropped:
        parts.append(_text(f"{dropped:,} lines of the log dropped", "red"))
    return _line(*parts)


def _counts(reasons: dict[str, int]) -> str:
    found: Iterable[tuple[str, int]] = sorted(reasons.items(), key=lambda one: -one[1])
    return ", ".join(f"{reason} {count:,}" for reason, count in found)


def rate(value: float) -> str:
    """`0.42`, `4.2`, `42`, `4,200`: what one can compare at a glance."""
    if not value:
        return "0"
    return f"{value:.2f}" if value < 1 else f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def latency(value: float | None) -> str:
    """Milliseconds, or a dash where nothing was measured."""
    return "–" if value is None else milliseconds(value / 1000)


def span(seconds: float) -> str:
    """The largest whole unit: `42 s`, `3 min`, `5 h`, `12 d`."""
    for name, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {name}"
    return f"{int(seconds)} s"
