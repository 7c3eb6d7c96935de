"""Shows the tour: for each step what was sent, what the service saw, what came back, what was logged, and why."""

from collections.abc import Iterator
from textwrap import wrap

from rawgate.demo.check import Outcome, Step, problem, seen
from rawgate.demo.client import Request
from rawgate.observe.line import Record
from rawgate.offline.page import WIDTH, Page, cut, flow, milliseconds, status_style, visible

MARGIN = 26
"""Columns for the title."""
COLUMN = WIDTH - MARGIN
"""Columns for the lines at its right."""


def show_heading(page: Page, url: str) -> None:
    """The heading, with a legend of the signs."""
    page.line(page.paint(f"A gateway on {url}, and six services behind it.", "bold"))
    page.line("→ what a client sends  ⇢ what the service sees of it  ← what comes back  ≡ what the gateway logs")
    page.line()


def show_chapter(page: Page, title: str) -> None:
    page.line(page.paint(title.upper(), "cyan", "bold"))
    page.line()


def show_step(page: Page, step: Step, outcome: Outcome | None, faults: list[str]) -> None:
    """One step. `outcome` None: there was no response; `faults`: what differs from the expectation."""
    mark = page.paint("✗", "red", "bold") if faults else page.paint("✓", "green")
    title = page.paint(step.title, "bold")
    lead = f" {mark} {title}{' ' * (MARGIN - 5 - len(step.title))}"
    for sign, lines in _rows(page, step, outcome):
        for line in lines:
            page.line(f"{lead}{page.paint(sign, 'cyan')} {line}")
            lead, sign = " " * (MARGIN - 2), " "
    for fault in faults:
        page.line(f"{lead}{page.paint(cut(f'✗ {fault}', COLUMN + 2), 'red')}")
    page.line()


def show_end(page: Page, results: list[bool], seconds: float) -> None:
    """How many outcomes were as expected, and what to do next."""
    count, good = len(results), sum(results)
    if good == count:
        page.line(page.paint(f"All {count} answers are what they should be ({seconds:.1f} s).", "green", "bold"))
        page.line("`rawgate demo` stays open, for requests of yours; `rawgate demo --config` shows what it serves.")
    else:
        page.line(page.paint(f"{count - good} of {count} answers are not what they should be.", "red", "bold"))


def _rows(page: Page, step: Step, outcome: Outcome | None) -> Iterator[tuple[str, list[str]]]:
    """The lines of a step, each group with its sign."""
    yield "→", flow(_sent(step.request), COLUMN)
    if outcome is None:
        return
    if step.expected.saw:
        yield "⇢", flow(_seen(step, outcome), COLUMN)
    yield "←", _came_back(page, step, outcome)
    yield "≡", [_logged(page, outcome.record)]
    yield " ", [page.paint(line, "dim") for line in wrap(step.why, COLUMN)]


def _sent(request: Request) -> list[str]:
    parts = [f"{request.method} {request.target}"]
    parts += [f"{field.name}: {field.shown or field.value}" for field in request.fields]
    return [*parts, request.about] if request.about else parts


def _seen(step: Step, outcome: Outcome) -> list[str]:
    """What the service received, as far as the step checks it."""
    report = seen(outcome.reply)
    fields = report.get("fields", {})
    parts = [f"{report.get('service', 'nobody')}: {report.get('saw', 'nothing')}"]
    for name in step.expected.headers:
        spelled = name.title()
        parts.append(f"{spelled}: {fields[name]}" if name in fields else f"no {spelled}")
    if step.expected.payload is not None and report:
        parts.append(f"{report['body']['octets']:,} octets")
    return [visible(part) for part in parts]


def _came_back(page: Page, step: Step, outcome: Outcome) -> list[str]:
    """Statuses, the gateway's reason, the fields that the step checks, and when the pieces of a stream came."""
    expected, reply = step.expected, outcome.reply
    phrase = reply.head.start.partition(" ")[2].partition(" ")[2] if len(outcome.statuses) == 1 else ""
    statuses = [str(status) for status in outcome.statuses]
    first = " ".join([*statuses, phrase]).rstrip()
    details = problem(reply)
    parts = [str(details["reason"])] if details else []
    for name in expected.fields:
        value = reply.head.fields.get(name.lower())
        parts.append(f"no {name}" if value is None else f"{name}: {value}")
    if expected.pieces:
        parts.append(f"a piece after {', '.join(f'{moment * 1000:.0f}' for moment in reply.arrivals)} ms")
    top, *rest = flow([first, *map(visible, parts)], COLUMN)
    if expected.detail and details:
        rest.append(visible(f"“{details['detail']}”"))
    painted = [page.paint(text, status_style(int(text)), "bold") for text in statuses]
    return [" ".join(painted) + top[len(" ".join(statuses)) :], *rest]


def _logged(page: Page, record: Record | None) -> str:
    """The part of the gateway's log line that shows the decision."""
    if record is None:
        return "nothing"
    colour = status_style(record.status)
    where = f"route {record.route}" if record.route else "no route"
    parts = [where, f"client {record.client_id}", milliseconds(record.duration)]
    return f"{page.paint(record.reason, colour)} · {' · '.join(map(visible, parts))}"
