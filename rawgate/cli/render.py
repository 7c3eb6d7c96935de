"""Lays out an explanation for a person: the parts in the order of the decision, each with its name at the left.

Marks: ✓ passed, ✗ failed, · neither, + added, − removed. The mark says what the colour says, so nothing is lost
without colours. Everything that came from the request goes through `visible`: it may hold terminal escapes.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from msgspec import Struct

from rawgate.config.model import AUTH_FAILURES
from rawgate.errors import OK
from rawgate.offline.explain.model import Destination, Explanation, Field, Fields, Tunnelling
from rawgate.offline.page import Page, Style, visible

MARGIN = 10
"""Columns for the name of a part."""


class _Row(Struct, frozen=True):
    """One row. `mark`: one sign, or " "; `aside`: shown dimmed behind the text."""

    text: str
    mark: str = " "
    aside: str = ""


_STYLES: dict[str, Style] = {"✓": "green", "✗": "red", "+": "green", "−": "red"}


def show(page: Page, explanation: Explanation) -> None:
    """Write an explanation to the page."""
    asked = explanation.request
    page.line(page.paint(visible(f"{asked.method} {asked.target}"), "bold"))
    for name, rows in _parts(explanation):
        label = name
        for row in rows:
            style = _STYLES.get(row.mark)
            mark = page.paint(row.mark, style) if style else row.mark
            aside = page.paint(f"  {visible(row.aside)}", "dim") if row.aside else ""
            page.line(f"{page.paint(f'{label:<{MARGIN}}', 'cyan')} {mark} {visible(row.text)}{aside}".rstrip())
            label = ""
    page.line()


def _parts(explanation: Explanation) -> Iterator[tuple[str, Iterable[_Row]]]:
    yield "request", _request(explanation)
    yield "client", _client(explanation)
    yield "path", _path(explanation)
    yield "routes", _routes(explanation)
    yield "auth", _authentication(explanation)
    yield "access", _access(explanation)
    yield "limit", _limit(explanation)
    yield "rewrite", _rewrite(explanation)
    if explanation.fields is not None:
        yield "fields up", _fields_up(explanation.fields)
        yield "down", (_field_row("+", field) for field in explanation.fields.answer)
    yield "upstream", _target(explanation)
    yield "verdict", _verdict(explanation)
    yield "log", _log(explanation)


def _request(explanation: Explanation) -> Iterator[_Row]:
    asked = explanation.request
    body = f", body {asked.body}" if asked.body == "chunked" else f", body of {asked.body} octets" if asked.body else ""
    yield _Row(f"for {asked.host or 'no host'}, from {asked.peer}", aside=f"head of {asked.octets} octets{body}")


def _client(explanation: Explanation) -> Iterator[_Row]:
    client = explanation.client
    if client is None:
        return
    if client.trusted and client.address != client.peer:
        yield _Row(client.address, aside=f"as {client.peer} says, which is a trusted proxy")
    else:
        yield _Row(client.address, aside=f"the peer itself; {'a' if client.trusted else 'no'} trusted proxy")


def _path(explanation: Explanation) -> Iterator[_Row]:
    path = explanation.path
    if path is None:
        return
    if not path.normalised:
        yield _Row(path.received, "✗", path.flaw)
    elif path.received == path.normalised:
        yield _Row(path.normalised, "✓", path.flaw or "as it came")
    else:
        yield _Row(f"{path.received} → {path.normalised}", "✓", path.flaw or "normalised")
    for reading in path.readings:
        yield _Row(f"{reading.path} {reading.reader}", "·", f"to {reading.route}" if reading.route else "to no route")


def _routes(explanation: Explanation) -> Iterator[_Row]:
    width = max((len(route.name) for route in explanation.routes), default=0)
    for route in explanation.routes:
        # A route that lost is no failure: "·", not "✗".
        mark = "✓" if route.outcome == "selected" else "·"
        lost = "" if route.outcome in ("selected", "earlier") else f"{route.outcome}: "
        yield _Row(f"{route.name:<{width}}", mark, f"{lost}{route.why}")


def _authentication(explanation: Explanation) -> Iterator[_Row]:
    found = explanation.authentication
    if found is None:
        if explanation.target is not None:
            yield _Row("none", "✓", "open to everyone")
        return
    marks = {True: "✓", False: "✗", None: "·"}
    yield _Row(found.verifier)
    for step in found.steps:
        yield _Row(step.text, marks[step.passed], "" if step.passed is not None else "not looked at")


def _access(explanation: Explanation) -> Iterator[_Row]:
    marks = {True: "✓", False: "✗", None: "·"}
    for check in explanation.access:
        yield _Row(check.text, marks[check.passed], "" if check.passed is not None else "not looked at")


def _limit(explanation: Explanation) -> Iterator[_Row]:
    for limit in explanation.limits:
        which = f"{limit.rule}: " if len(explanation.limits) > 1 or limit.rule == AUTH_FAILURES else ""
        rule = f"{which}{limit.max} in {limit.window:g} s for {limit.key}"
        shadow = "; a shadow, refuses nobody" if limit.shadow else ""
        rule += "" if limit.shared == "host" else f", {limit.shared} over hosts"
        yield _Row(rule, "✓" if limit.admitted else "✗", f"a first request leaves {limit.remaining}{shadow}")


def _rewrite(explanation: Explanation) -> Iterator[_Row]:
    change = explanation.rewrite
    if change is not None:
        sent = change.sent or "a path that cannot be sent"
        aside = change.rule if change.matched else f"{change.rule} does not match: as it is"
        yield _Row(f"{change.path} → {sent}", "✓" if change.sent else "✗", aside)


def _fields_up(fields: Fields) -> Iterator[_Row]:
    yield from (_field_row("−", field) for field in fields.removed)
    yield from (_field_row("+", field) for field in fields.added)
    yield from (_field_row(" ", field) for field in fields.kept)


def _field_row(mark: str, field: Field) -> _Row:
    return _Row(f"{field.name}: {field.value}", mark, field.why)


def _target(explanation: Explanation) -> Iterator[_Row]:
    target = explanation.target
    if target is None:
        return
    total = "" if target.total_timeout is None else f", all of it {target.total_timeout:g} s"
    yield _Row(f"{target.upstream}: {' or '.join(target.targets)}")
    yield from _balancing(target)
    yield _Row(
        f"connect within {target.connect_timeout:g} s, answer within {target.response_timeout:g} s, "
        f"never silent for {target.idle_timeout:g} s{total}"
    )
    if target.attempts > 1:
        after = ", ".join(map(str, target.retry_on))
        yield _Row(f"sent {target.attempts} times at most, again after {after}, while nothing of its body was taken")
    care = "; ".join(_care(target))
    if care:
        yield _Row(care)
    if target.tunnel is not None:
        yield _Row(f"may switch to {target.upgrade}: {_tunnel(target.tunnel)}")


def _tunnel(tunnel: Tunnelling) -> str:
    """When it ends."""
    ends = f"ends when it is silent for {tunnel.idle:g} s, after {tunnel.max_age:g} s"
    if tunnel.ends_from is None or tunnel.ends_by is None:
        return ends
    first, last = (f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}" for at in (tunnel.ends_from, tunnel.ends_by))
    return f"{ends}, or with its credential: between {first} and {last} UTC"


def _care(target: Destination) -> Iterator[str]:
    """What is done about targets that fail."""
    if target.health is not None:
        yield f"each target asked for {target.health.path} every {target.health.interval:g} s"
    if target.eject is not None:
        eject = target.eject
        yield f"ejected for {eject.seconds:g} s after {eject.failures} failures in a row (no answer, or {eject.status})"
    if target.breaker is not None:
        rule = target.breaker
        yield (
            f"circuit open for {rule.seconds:g} s when {rule.errors:.0%} of {rule.of} or more fail in {rule.within:g} s"
        )


def _balancing(target: Destination) -> Iterator[_Row]:
    """Which target, where there are several."""
    balance = target.balance
    if not balance.parts:
        by = f"by the hash of {balance.key}" if balance.key else balance.way.replace("_", " ")
        told = " and ".join(target.sources)
        tells = "tells" if len(target.sources) == 1 else "tell"
        yield _Row(f"to one of the instances that are there then, {by}; {told} {tells} of them")
        return
    if len(target.targets) < 2:
        return
    if balance.key:
        yield _Row(f"{balance.chosen} while it is up, by the hash of {balance.key}")
        return
    parts = ", ".join(f"{part:.0%} {name}" for name, part in zip(target.targets, balance.parts, strict=True))
    how = "the one of two with fewer requests" if balance.way == "least_requests" else "in turn"
    yield _Row(f"{how}: {parts}")


def _verdict(explanation: Explanation) -> Iterator[_Row]:
    verdict, target = explanation.verdict, explanation.target
    for code in verdict.shadow:
        yield _Row(f"{code}, in the shadow: not refused", "·")
    if target is not None:
        yield _Row(f"forwarded as {target.request_line}", "✓")
        return
    mark = "✓" if verdict.reason == OK.code else "✗"
    public = "" if verdict.public_reason == verdict.reason else f"; the client is told {verdict.public_reason}"
    yield _Row(f"{verdict.status or 'no answer yet'} {verdict.reason}{public}", mark)
    if verdict.detail:
        yield _Row(verdict.detail)
    yield from (_field_row("+", field) for field in verdict.fields)


def _log(explanation: Explanation) -> Iterator[_Row]:
    log = explanation.log
    status = "the upstream's" if log.status is None else log.status
    route = log.route or '""'
    yield _Row(f"route {route} · clientId {log.client_id} · status {status} · reason {log.reason}")
