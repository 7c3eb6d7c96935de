"""The state diagram of `rawgate.relay.phases`, drawn from its table as SVG.

The table says which arrows there are and what stands on them. Where a phase stands, and which way an arrow takes, is
chosen by hand, below: nine phases are few enough for that, and a person places them better than an algorithm. What the
table has and the layout has not, or the other way round, is an error: the drawing never shows less than the truth.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path

from msgspec import Struct

from rawgate.relay.phases import LEASING, TABLE, Event, Phase

FILE = Path(__file__).parents[1] / "rawgate/relay/phases.svg"
WIDTH, HEIGHT = 1310, 560
CORNER = 10
"""Radius at the bends of an arrow."""

Point = tuple[int, int]
Table = Mapping[Phase, Mapping[Event, Phase]]


class Place(Struct, frozen=True):
    """Where a phase stands: the middle of its box, its size, and a few words on what goes on in it."""

    x: int
    y: int
    words: tuple[str, ...]
    width: int = 150
    height: int = 56


class Way(Struct, frozen=True):
    """How an arrow goes: its corners from box to box, where its words stand, and on which side of that point."""

    points: tuple[Point, ...]
    label: Point
    anchor: str = "middle"


class LayoutError(Exception):
    """The table and the layout do not fit: one sentence that says what to change."""


# Rows, from above: a loss while the response is awaited; tunnel; the usual way; flushing; early; losses before that.
OVER, UP, MAIN, HELD, EARLY, RAIL = 50, 130, 240, 335, 430, 510
RETRY = 160
DONE = 1200
"""The left side of the last box."""

PLACES = {
    "leasing": Place(140, MAIN, ("waiting for a connection",)),
    "sending": Place(380, MAIN, ("the request goes up",)),
    "awaiting": Place(620, MAIN, ("the upstream works",)),
    "relaying": Place(860, MAIN, ("the response comes down",)),
    "tunnel": Place(860, UP, ("octets, both ways",)),
    "flushing": Place(1030, HELD, ("a slow client", "takes the rest"), width=120, height=64),
    "early": Place(860, EARLY, ("both ways go on",)),
    "uploading": Place(1105, EARLY, ("the rest goes up",), width=120),
    "done": Place(1240, 280, ("outcome", "is known"), width=80, height=500),
}

WAYS = {
    ("leasing", "sending"): Way(((215, MAIN), (305, MAIN)), (257, MAIN - 10)),
    ("sending", "awaiting"): Way(((455, MAIN), (545, MAIN)), (497, MAIN - 10)),
    ("awaiting", "relaying"): Way(((695, MAIN), (785, MAIN)), (737, MAIN - 10)),
    ("relaying", "done"): Way(((935, MAIN), (DONE, MAIN)), (1142, MAIN - 10)),
    # Back to the start: one rail for both.
    ("sending", "leasing"): Way(((380, 212), (380, RETRY), (140, RETRY), (140, 212)), (260, RETRY - 10)),
    ("awaiting", "leasing"): Way(((580, 212), (580, RETRY), (140, RETRY), (140, 212)), (480, RETRY - 10)),
    ("awaiting", "tunnel"): Way(((660, 212), (660, UP), (785, UP)), (722, UP - 10)),
    ("tunnel", "done"): Way(((935, UP), (DONE, UP)), (1142, UP - 10)),
    ("relaying", "flushing"): Way(((860, 268), (860, HELD - 14), (970, HELD - 14)), (912, HELD - 24)),
    ("early", "flushing"): Way(((860, 402), (860, HELD + 14), (970, HELD + 14)), (912, HELD + 34)),
    ("flushing", "done"): Way(((1090, HELD), (DONE, HELD)), (1142, HELD - 10)),
    ("sending", "early"): Way(((420, 268), (420, EARLY), (785, EARLY)), (602, EARLY - 10)),
    ("early", "relaying"): Way(((820, 402), (820, 268)), (812, 340), "end"),
    ("early", "uploading"): Way(((935, EARLY), (1045, EARLY)), (990, EARLY - 10)),
    ("relaying", "uploading"): Way(((935, 262), (1094, 262), (1094, 402)), (1015, 258)),
    ("uploading", "flushing"): Way(((1065, 402), (1065, 367)), (1010, 390)),
    ("uploading", "done"): Way(((1165, EARLY), (DONE, EARLY)), (1142, EARLY - 36)),
    ("early", "done"): Way(((860, 458), (860, 485), (DONE, 485)), (995, 478)),
    # Losses: each before a final head; the way to the end passes outside of all others.
    ("leasing", "done"): Way(((140, 268), (140, RAIL), (DONE, RAIL)), (150, 390), "start"),
    ("sending", "done"): Way(((340, 268), (340, RAIL), (DONE, RAIL)), (350, 390), "start"),
    ("awaiting", "done"): Way(((620, 212), (620, OVER), (DONE, OVER)), (1142, OVER - 10)),
}

# Plain colours first, for readers of SVG that know no media queries.
STYLE = """
  .paper { fill: #ffffff; }
  .box { fill: #f3f6fa; stroke: #8c959f; stroke-width: 1.5; }
  .way { fill: none; stroke: #57606a; stroke-width: 1.5; }
  .tip, .start { fill: #57606a; }
  text { font-family: system-ui, "Segoe UI", "DejaVu Sans", sans-serif; text-anchor: middle; fill: #1f2328; }
  .phase { font-size: 16px; font-weight: 600; }
  .words { font-size: 11px; fill: #656d76; }
  .event { font-size: 12px; font-style: italic; paint-order: stroke; stroke: #ffffff; stroke-width: 5px; }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #0d1117; }
    .box { fill: #1c2330; stroke: #6e7681; }
    .way { stroke: #a6adb5; }
    .tip, .start { fill: #a6adb5; }
    text { fill: #e6edf3; }
    .words { fill: #9198a1; }
    .event { stroke: #0d1117; }
  }
"""


OPENING = (
    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"',
    'role="img" aria-labelledby="title">',
    '<title id="title">The phases of an exchange, and the events between them</title>',
    "<!-- Written by tools/draw-phases from rawgate.relay.phases.TABLE. -->",
    f"<style>{STYLE}</style>",
    '<marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">',
    '<path class="tip" d="M0 0 8 4 0 8z"/></marker>',
    f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}" rx="8"/>',
)


def arrows(table: Table) -> dict[tuple[str, str], list[str]]:
    """(from, to) → the events that lead there, in the table's order."""
    found: dict[tuple[str, str], list[str]] = {}
    for phase, row in table.items():
        for event, target in row.items():
            found.setdefault((phase.name, target.name), []).append(event.name)
    return found


def check_layout(table: Table) -> None:
    """Raise LayoutError when the layout has less than the table, or more."""
    phases = {phase.name for phase in table}
    ways = set(arrows(table))
    for name in sorted(phases - PLACES.keys()):
        raise LayoutError(f"the phase {name} has no place in the drawing: give it one in PLACES")
    for name in sorted(PLACES.keys() - phases):
        raise LayoutError(f"the drawing has a place for {name}, and the table no such phase: take it out of PLACES")
    for start, end in sorted(ways - WAYS.keys()):
        raise LayoutError(f"the arrow from {start} to {end} has no way in the drawing: give it one in WAYS")
    for start, end in sorted(WAYS.keys() - ways):
        raise LayoutError(f"the drawing has a way from {start} to {end}, and the table none: take it out of WAYS")


def draw(table: Table) -> str:
    """The whole drawing. Raises LayoutError."""
    check_layout(table)
    found = arrows(table)
    lines = [
        *OPENING,
        *start_lines(PLACES[LEASING.name]),
        *(f'<path class="way" marker-end="url(#tip)" d="{path(WAYS[name].points)}"/>' for name in found),
    ]
    for name, place in PLACES.items():
        lines += box_lines(name, place)
    for ends, events in found.items():
        lines += label_lines(WAYS[ends], events)
    return "\n".join([*lines, "</svg>", ""])


def start_lines(first: Place) -> Iterator[str]:
    """The dot from which everything starts, and its arrow."""
    edge = first.x - first.width // 2
    yield f'<circle class="start" cx="{edge - 38}" cy="{first.y}" r="6"/>'
    yield f'<path class="way" marker-end="url(#tip)" d="M{edge - 32} {first.y} {edge} {first.y}"/>'


def path(points: tuple[Point, ...]) -> str:
    """Straight lines with round corners."""
    pieces = [f"M{points[0][0]} {points[0][1]}"]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        (x1, y1), (x2, y2) = towards(corner, before), towards(corner, after)
        pieces.append(f"L{x1} {y1}Q{corner[0]} {corner[1]} {x2} {y2}")
    return "".join([*pieces, f"L{points[-1][0]} {points[-1][1]}"])


def towards(corner: Point, other: Point) -> Point:
    """The point on the way from a corner where its curve begins. All lines are level or upright."""
    x, y = other[0] - corner[0], other[1] - corner[1]
    return (corner[0] + CORNER * ((x > 0) - (x < 0)), corner[1] + CORNER * ((y > 0) - (y < 0)))


def box_lines(name: str, place: Place) -> Iterator[str]:
    """A phase: its box, its name, and what goes on in it."""
    left, top = place.x - place.width // 2, place.y - place.height // 2
    yield f'<rect class="box" x="{left}" y="{top}" width="{place.width}" height="{place.height}" rx="8"/>'
    first = place.y + 5 - 8 * len(place.words)
    yield f'<text class="phase" x="{place.x}" y="{first}">{escape(name)}</text>'
    for number, words in enumerate(place.words, 1):
        yield f'<text class="words" x="{place.x}" y="{first + 3 + 14 * number}">{escape(words)}</text>'


def label_lines(way: Way, events: list[str]) -> Iterator[str]:
    """The events of an arrow, one below the other, growing upwards from the label's place."""
    x, y = way.label
    for number, event in enumerate(reversed(events)):
        text = escape(event)
        yield f'<text class="event" style="text-anchor: {way.anchor}" x="{x}" y="{y - 14 * number}">{text}</text>'


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="tools/draw-phases", description="Draw the phases of an exchange from its table."
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the drawing is not current")
    checks = parser.parse_args().check
    try:
        drawing = draw(TABLE)
    except LayoutError as error:
        sys.stderr.write(f"tools/draw-phases: {error}\n")
        return 1
    if not checks:
        FILE.write_text(drawing, "utf-8")
    elif not FILE.exists() or FILE.read_text("utf-8") != drawing:
        sys.stderr.write(f"tools/draw-phases: {FILE.name} is not what the table says: run tools/draw-phases\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
