"""An explanation for a person: one part after the other, each under its name, marks at the left."""

from collections.abc import Iterable, Iterator

from msgspec import Struct

from rawgate.errors import OK
from rawgate.offline.explain.model import Explanation, Field, Fields
from rawgate.offline.page import Page, Style, visible

MARGIN = 10


class _Line(Struct, frozen=True):
    """`mark`: one sign, or " "; `aside` is said more quietly."""

    text: str
    mark: str = " "
    aside: str = ""


_STYLES: dict[str, Style] = {"✓": "green", "✗": "red", "+": "green", "−": "red"}


def show(page: Page, explanation: Explanation) -> None:
    """Write it."""
    asked = explanation.request
    page.line(page.paint(visible(f"{asked.method} {asked.target}"), "bold"))
    for name, lines in _parts(explanation):
        label = name
        for line in lines:
            style = _STYLES.get(line.mark)
            mark = page.paint(line.mark, style) if style else line.mark
            aside = page.paint(f"  {visible(line.aside)}", "dim") if line.aside else ""
            page.line(f"{page.paint(f'{label:<{MARGIN}}', 'cyan')} {mark} {visible(line.text)}{aside}".rstrip())
            label = ""
    page.line()


def _parts(explanation: Explanation) -> Iterator[tuple[str, Iterable[_Line]]]:
    yield "request", _request(explanation)
    yield "client", _client(explanation)
    yield "path", _path(explanation)
    yield "routes", _routes(explanation)
    yield "auth", _authentication(explanation)
    yield "limit", _limit(explanation)
    yield "rewrite", _rewrite(explanation)
    if explanation.fields is not None:
        yield "fields up", _up(explanation.fields)
        yield "down", (_line("+", field) for field in explanation.fields.answer)
    yield "upstream", _target(explanation)
    yield "verdict", _verdict(explanation)
    yield "log", _log(explanation)


def _request(explanation: Explanation) -> Iterator[_Line]:
    asked = explanation.request
    body = f", body {asked.body}" if asked.body == "chunked" else f", body of {asked.body} octets" if asked.body else ""
    yield _Line(f"for {asked.host or 'no host'}, from {asked.peer}", aside=f"head of {asked.octets} octets{body}")


def _client(explanation: Explanation) -> Iterator[_Line]:
    client = explanation.client
    if client is None:
        return
    if client.trusted and client.address != client.peer:
        yield _Line(client.address, aside=f"as {client.peer} says, which is a trusted proxy")
    else:
        yield _Line(client.address, aside=f"the peer itself; {'a' if client.trusted else 'no'} trusted proxy")


def _path(explanation: Explanation) -> Iterator[_Line]:
    path = explanation.path
    if path is None:
        return
    if not path.normalised:
        yield _Line(path.received, "✗", path.flaw)
    elif path.received == path.normalised:
        yield _Line(path.normalised, "✓", path.flaw or "as it came")
    else:
        yield _Line(f"{path.received} → {path.normalised}", "✓", path.flaw or "normalised")
    for reading in path.readings:
        yield _Line(f"{reading.path} {reading.reader}", "·", f"to {reading.route}" if reading.route else "to no route")


def _routes(explanation: Explanation) -> Iterator[_Line]:
    width = max((len(route.name) for route in explanation.routes), default=0)
    for route in explanation.routes:
        mark = "✓" if route.outcome == "selected" else "·"
        lost = "" if route.outcome in ("selected", "earlier") else f"{route.outcome}: "
        yield _Line(f"{route.name:<{width}}", mark, f"{lost}{route.why}")


def _authentication(explanation: Explanation) -> Iterator[_Line]:
    found = explanation.authentication
    if found is None:
        if explanation.target is not None:
            yield _Line("none", "✓", "open to everyone")
        return
    marks = {True: "✓", False: "✗", None: "·"}
    yield _Line(found.verifier)
    for step in found.steps:
        yield _Line(step.text, marks[step.passed], "" if step.passed is not None else "not looked at")


def _limit(explanation: Explanation) -> Iterator[_Line]:
    limit = explanation.limit
    if limit is not None:
        rule = f"{limit.max} in {limit.window:g} s for {limit.key}"
        yield _Line(rule, "✓" if limit.admitted else "✗", f"a first request leaves {limit.remaining}")


def _rewrite(explanation: Explanation) -> Iterator[_Line]:
    change = explanation.rewrite
    if change is not None:
        sent = change.sent or "a path that cannot be sent"
        aside = change.rule if change.matched else f"{change.rule} does not match: as it is"
        yield _Line(f"{change.path} → {sent}", "✓" if change.sent else "✗", aside)


def _up(fields: Fields) -> Iterator[_Line]:
    yield from (_line("−", field) for field in fields.removed)
    yield from (_line("+", field) for field in fields.added)
    yield from (_line(" ", field) for field in fields.kept)


def _line(mark: str, field: Field) -> _Line:
    return _Line(f"{field.name}: {field.value}", mark, field.why)


def _target(explanation: Explanation) -> Iterator[_Line]:
    target = explanation.target
    if target is None:
        return
    total = "" if target.total_timeout is None else f", all of it {target.total_timeout:g} s"
    yield _Line(f"{target.upstream}: {' or '.join(target.targets)}")
    yield _Line(
        f"connect within {target.connect_timeout:g} s, answer within {target.response_timeout:g} s, "
        f"never silent for {target.idle_timeout:g} s{total}"
    )
    if target.upgrade:
        yield _Line(f"may switch to {target.upgrade}")


def _verdict(explanation: Explanation) -> Iterator[_Line]:
    verdict, target = explanation.verdict, explanation.target
    if target is not None:
        yield _Line(f"forwarded as {target.request_line}", "✓")
        return
    mark = "✓" if verdict.reason == OK.code else "✗"
    public = "" if verdict.public_reason == verdict.reason else f"; the client is explanation {verdict.public_reason}"
    yield _Line(f"{verdict.status or 'no answer yet'} {verdict.reason}{public}", mark)
    if verdict.detail:
        yield _Line(verdict.detail)
    yield from (_line("+", field) for field in verdict.fields)


def _log(explanation: Explanation) -> Iterator[_Line]:
    log = explanation.log
    status = "the upstream's" if log.status is None else log.status
    route = log.route or '""'
    yield _Line(f"route {route} · clientId {log.client_id} · status {status} · reason {log.reason}")
