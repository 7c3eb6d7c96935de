"""Draws a part of the demo's terminal session as SVG.

`rawgate demo --once` is played on a pseudo-terminal, so that it writes in colour, and some of its steps are drawn as
text in a window. The drawing refers to nothing outside: no font file, no script. It has colours for light and dark
pages. Each stretch of text has its width (`textLength`), so columns line up in any fixed-width font.

Times, ports and ids differ from run to run. `--check` compares everything else.
"""

import argparse
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from msgspec import Struct

FILE = Path(__file__).parents[1] / "rawgate/demo.svg"
COMMAND = ("rawgate", "demo", "--once")

STEPS = ("A forged token", "A good token", "A false identity", "Over the limit", "Two lengths")
"""Titles of the steps to show, in this order: credentials, what the service sees, a limit, and bad framing."""

CELL, LINE, GAP = 8, 19, 11
"""Width of a character, height of a line and of an empty line, in units of the drawing."""
COLUMNS = 100
"""Width of the session, in characters."""
MARGIN, BAR = 24, 38
"""Space around the text, and the height of the window's title bar."""

# SGR parameters (ECMA-48) that the demo uses → classes of the style below.
CLASSES = {"1": "bold", "2": "dim", "31": "red", "32": "green", "33": "yellow", "36": "cyan"}

VARYING = (
    (r"127\.0\.0\.1:\d+", "127.0.0.1:PORT"),
    (r"\d+(?:\.\d+)?( m?s\b)", r"N\1"),
    (r"(Retry-After: |;t=)\d+", r"\1N"),
    (r"\b[0-9a-f]{32}\b", "ID"),
)
"""Patterns for what differs from run to run, and what replaces it before two runs are compared."""

# Plain colours first, for programs that ignore media queries.
STYLE = """
  .window { fill: #ffffff; stroke: #d0d7de; }
  .bar { fill: #f3f6fa; }
  .edge { stroke: #d0d7de; }
  .dot { fill: #c9d1d9; }
  text { font: 13px ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; white-space: pre;
         fill: #1f2328; }
  .name { fill: #656d76; text-anchor: middle; }
  .bold { font-weight: 700; }
  .dim { fill: #6e7781; }
  .red { fill: #cf222e; }
  .green { fill: #1a7f37; }
  .yellow { fill: #9a6700; }
  .cyan { fill: #0969da; }
  @media (prefers-color-scheme: dark) {
    .window { fill: #0d1117; stroke: #30363d; }
    .bar { fill: #161b22; }
    .edge { stroke: #30363d; }
    .dot { fill: #484f58; }
    text { fill: #e6edf3; }
    .name { fill: #9198a1; }
    .dim { fill: #8b949e; }
    .red { fill: #ff7b72; }
    .green { fill: #3fb950; }
    .yellow { fill: #d29922; }
    .cyan { fill: #58a6ff; }
  }
"""


class Span(Struct, frozen=True):
    """Part of a line in one style. `column`: of its first character, from 0; `style`: CSS classes, or ""."""

    column: int
    text: str
    style: str


Row = tuple[Span, ...]


class SessionError(Exception):
    """The session cannot be drawn. One sentence: why."""


def play() -> str:
    """What the demo writes to a terminal. Raises SessionError when the demo fails."""
    master, slave = pty.openpty()
    environ = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | {"TERM": "xterm"}
    with subprocess.Popen([sys.executable, "-m", *COMMAND], stdout=slave, env=environ) as demo:  # noqa: S603
        os.close(slave)
        written = b"".join(_pieces(master))
    os.close(master)
    if demo.returncode:
        raise SessionError(f"{' '.join(COMMAND)} ended with status {demo.returncode}")
    return written.decode().replace("\r\n", "\n")


def _pieces(master: int) -> Iterator[bytes]:
    """Read to the end, which Linux reports as an error on a pseudo-terminal (EIO)."""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:
            return
        if not piece:
            return
        yield piece


def row(line: str) -> Row:
    """A line with control sequences → its spans, without the blanks at either end of each."""
    spans: list[Span] = []
    column, style = 0, ""
    for number, piece in enumerate(re.split(r"\x1b\[([\d;]*)m", line)):
        if number % 2:
            style = " ".join(CLASSES[code] for code in piece.split(";") if code in CLASSES)
            continue
        text = piece.strip(" ")
        if text:
            spans.append(Span(column + len(piece) - len(piece.lstrip(" ")), text, style))
        column += len(piece)
    return tuple(spans)


def text_of(row: Row) -> str:
    """The line without its colours."""
    line = ""
    for span in row:
        line = line.ljust(span.column) + span.text
    return line


def chosen(session: str, titles: Sequence[str]) -> list[Row]:
    """The rows to draw: the heading, the steps with these titles, the last line. Raises SessionError."""
    blocks = [list(map(row, block.split("\n"))) for block in session.strip("\n").split("\n\n")]
    steps = {block[0][1].text: block for block in blocks if len(block[0]) > 1}
    for title in titles:
        if title not in steps:
            raise SessionError(f'the demo has no step "{title}": choose another one in STEPS')
    shown = [blocks[0], *(steps[title] for title in titles), blocks[-1][:1]]
    return [line for block in shown for line in (*block, ())][:-1]


def draw(rows: Sequence[Row]) -> str:
    """The whole drawing. Raises SessionError when a line is wider than the window."""
    for line in rows:
        if len(text_of(line)) > COLUMNS:
            raise SessionError(f"a line has more than {COLUMNS} characters: {text_of(line)}")
    texts, y = [], BAR + MARGIN
    for line in (row(f"\x1b[2m$\x1b[0m {' '.join(COMMAND)}"), (), *rows):
        texts += [_text(span, y + 13) for span in line]
        y += LINE if line else GAP
    return "\n".join([*_window(COLUMNS * CELL + 2 * MARGIN, y + MARGIN), *texts, "</svg>", ""])


def _window(width: int, height: int) -> Iterator[str]:
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    yield 'role="img" aria-labelledby="title" xml:space="preserve">'
    yield '<title id="title">A terminal in which rawgate demo shows what it decides about five requests</title>'
    yield "<!-- Written by tools/draw-demo from a run of the tour of rawgate demo. -->"
    yield f"<style>{STYLE}</style>"
    yield f'<rect class="window" x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="10"/>'
    yield f'<path class="bar" d="M1 {BAR}V11a10 10 0 0 1 10-10H{width - 11}a10 10 0 0 1 10 10V{BAR}z"/>'
    yield f'<path class="edge" d="M1 {BAR}.5H{width - 1}"/>'
    for x in (MARGIN, MARGIN + 20, MARGIN + 40):
        yield f'<circle class="dot" cx="{x}" cy="{BAR // 2}" r="6"/>'
    yield f'<text class="name" x="{width // 2}" y="{BAR // 2 + 5}">rawgate demo</text>'


def _text(span: Span, y: int) -> str:
    style = f' class="{span.style}"' if span.style else ""
    place = f'x="{MARGIN + span.column * CELL}" y="{y}" textLength="{len(span.text) * CELL}"'
    return f'<text{style} {place} lengthAdjust="spacingAndGlyphs">{escape(span.text, quote=False)}</text>'


def comparable(drawing: str) -> str:
    """The drawing without what differs from run to run. Positions go too: a longer number moves what follows it."""
    drawing = re.sub(r' (?:x|y|textLength)="\d+"', "", drawing)
    for pattern, instead in VARYING:
        drawing = re.sub(pattern, instead, drawing)
    return drawing


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/draw-demo", description="Draw a part of the demo's terminal session.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the drawing is not current")
    checks = parser.parse_args().check
    try:
        drawing = draw(chosen(play(), STEPS))
    except SessionError as error:
        sys.stderr.write(f"tools/draw-demo: {error}\n")
        return 1
    if not checks:
        FILE.write_text(drawing, "utf-8")
    elif not FILE.exists() or comparable(FILE.read_text("utf-8")) != comparable(drawing):
        sys.stderr.write(f"tools/draw-demo: {FILE.name} is not what the demo shows: run tools/draw-demo\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
