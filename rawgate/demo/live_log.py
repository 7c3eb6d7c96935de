"""A finished request as one line for a person. `rawgate run` writes JSON instead, with more fields."""

from rawgate.observe.line import Record
from rawgate.offline.page import Page, cut, milliseconds, status_style, visible

COLUMNS = (
    ("method", 7),
    ("path", 26),
    ("", 3),
    ("reason", 23),
    ("client", 9),
    ("route → upstream", 19),
)
"""Headings and widths, 92 columns in all. The duration follows."""


class LiveLog:
    """Shows each record at once, from the event loop: a terminal that is stopped (Ctrl-S) stops the demo too. For a
    person that is right; the access log, which must never do so, writes from a thread."""

    def __init__(self, page: Page) -> None:
        self._page = page

    def heading(self) -> None:
        row = " ".join(name.ljust(width) for name, width in COLUMNS)
        self._page.line(self._page.paint(f"{row}    took", "dim"))

    def write(self, record: Record) -> None:
        self._page.line(live_line(self._page, record))


def live_line(page: Page, record: Record) -> str:
    """One record under the headings of COLUMNS."""
    status, reason = record.status, record.reason
    path = record.target.partition(b"?")[0].decode("latin-1")
    way = f"{record.route or '–'} → {record.upstream}" if record.upstream else record.route or "–"
    texts = (record.method.decode("latin-1") or "–", path or "–", str(status), reason, record.client_id, way)
    cells = [cut(visible(text), width).ljust(width) for text, (_, width) in zip(texts, COLUMNS, strict=True)]
    cells[2] = page.paint(cells[2], status_style(status), "bold")
    cells[3] = cells[3] if reason == "ok" else page.paint(cells[3], status_style(status))
    return f"{' '.join(cells)} {page.paint(milliseconds(record.duration).rjust(7), 'dim')}"
