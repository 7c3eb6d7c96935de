"""The drawing of the exchange's phases is what its table says, and the tool says so when it is not."""

import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from rawgate.relay.phases import AWAITING, DONE, OVER, SWITCHED, TABLE, Event, Phase

ROOT = Path(__file__).parents[1]
TOOL = runpy.run_path(str(ROOT / "tools/phases.py"))
DRAWING = (ROOT / "rawgate/relay/phases.svg").read_text("utf-8")

Moves = dict[Phase, dict[Event, Phase]]


def moves() -> Moves:
    """The table's own, to change."""
    return {phase: dict(row) for phase, row in TABLE.items()}


def call(tmp_path: Path, drawing: str | None) -> "subprocess.CompletedProcess[str]":
    """The tool's --check, beside a drawing."""
    (tmp_path / "tools").mkdir()
    (tmp_path / "rawgate/relay").mkdir(parents=True)
    tool = tmp_path / "tools/phases.py"
    tool.write_text((ROOT / "tools/phases.py").read_text("utf-8"), "utf-8")
    if drawing is not None:
        (tmp_path / "rawgate/relay/phases.svg").write_text(drawing, "utf-8")
    return subprocess.run([sys.executable, str(tool), "--check"], capture_output=True, text=True, check=False)


def test_the_drawing_is_current() -> None:
    check = [sys.executable, str(ROOT / "tools/phases.py"), "--check"]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("drawing", [None, "", DRAWING.replace("request_end", "request-end")])
def test_a_drawing_that_is_not_current(tmp_path: Path, drawing: str | None) -> None:
    done = call(tmp_path, drawing)
    assert done.returncode == 1
    assert done.stderr == "tools/draw-phases: phases.svg is not what the table says: run tools/draw-phases\n"


def test_the_drawing_says_what_the_table_says() -> None:
    texts = [element.text for element in ElementTree.fromstring(DRAWING).iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314 - our own file
    drawn = {name: texts.count(name) for row in TABLE.values() for name in map(repr, row)}
    expected: dict[str, int] = {}
    for row in TABLE.values():
        for event in row:
            expected[event.name] = expected.get(event.name, 0) + 1
    assert drawn == expected
    assert {phase.name for phase in TABLE} <= set(texts)


def _new_phase(table: Moves) -> None:
    table[Phase("resting")] = {OVER: DONE}


def _lost_phase(table: Moves) -> None:
    del table[AWAITING]


def _new_arrow(table: Moves) -> None:
    table[AWAITING][Event("again")] = AWAITING


def _lost_arrow(table: Moves) -> None:
    del table[AWAITING][SWITCHED]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_new_phase, "the phase resting has no box in the drawing: give it one in BOXES"),
        (_lost_phase, "the drawing has a box for awaiting, and the table no such phase: take it out of BOXES"),
        (_new_arrow, "the arrow from awaiting to awaiting is not in the drawing: add it to ARROWS"),
        (_lost_arrow, "the drawing has an arrow from awaiting to tunnel, and the table none: take it out of ARROWS"),
    ],
)
def test_a_table_that_does_not_fit_the_layout(change: Any, message: str) -> None:
    table = moves()
    change(table)
    with pytest.raises(TOOL["LayoutError"], match=f"^{message}$"):
        TOOL["draw"](table)


def _box(place: Any) -> tuple[float, float, float, float]:
    return (
        place.x - place.width // 2,
        place.y - place.height // 2,
        place.x + place.width // 2,
        place.y + place.height // 2,
    )


def test_nothing_overlaps() -> None:
    """No arrow runs through a box, no box or label lies upon a box. A label's letters are taken for 7.5 units wide."""
    boxes = {name: _box(place) for name, place in TOOL["BOXES"].items()}
    things = dict(boxes)
    for (start, end), events in TOOL["arrows"](TABLE).items():
        way = TOOL["ARROWS"][start, end]
        x, y = way.label
        half = 3.75 * max(map(len, events))
        left = x if way.anchor == "start" else x - half
        things[f"words {start} {end}"] = (left, y - 14 * len(events), left + 2 * half, y)
        for one, (first, last) in enumerate(zip(way.points, way.points[1:], strict=False)):
            (x1, x2), (y1, y2) = sorted((first[0], last[0])), sorted((first[1], last[1]))
            things[f"line {start} {end} {one}"] = (x1, y1, x2, y2)
    clashes = [
        (name, other)
        for name, box in boxes.items()
        for other, thing in things.items()
        if name != other and _meet(box, thing)
    ]
    assert clashes == []


def _meet(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    """Whether the insides of two rectangles meet; an arrow's end touches its box."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
