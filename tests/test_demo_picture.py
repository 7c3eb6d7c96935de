"""The drawing of the demo's session is what the demo shows, and the tool says so when it is not."""

import runpy
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[1]
TOOL = runpy.run_path(str(ROOT / "tools/demo_picture.py"))
DRAWING = (ROOT / "rawgate/demo.svg").read_text("utf-8")
SVG = "{http://www.w3.org/2000/svg}"

SESSION = (
    "\x1b[1mA gateway on http://127.0.0.1:1.\x1b[0m\nwhat the signs mean\n\n"
    "\x1b[36;1mA CHAPTER\x1b[0m\n\n"
    " \x1b[32m✓\x1b[0m \x1b[1mFirst\x1b[0m   \x1b[36m→\x1b[0m GET /1\n"
    "   \x1b[36m≡\x1b[0m \x1b[33mno <reason>\x1b[0m · 3 ms\n\n"
    " \x1b[32m✓\x1b[0m \x1b[1mSecond\x1b[0m  \x1b[36m→\x1b[0m GET /2\n\n"
    "All 2 answers are what they should be (0.1 s).\nwhat to do next\n"
)


def texts(drawing: str) -> list[str]:
    found = ElementTree.fromstring(drawing).iter(f"{SVG}text")  # noqa: S314 - our own
    return [element.text or "" for element in found]


def check(tmp_path: Path, drawing: str | None) -> "subprocess.CompletedProcess[str]":
    """The tool's --check, beside a drawing."""
    (tmp_path / "tools").mkdir()
    (tmp_path / "rawgate").mkdir()
    tool = tmp_path / "tools/demo_picture.py"
    tool.write_text((ROOT / "tools/demo_picture.py").read_text("utf-8"), "utf-8")
    if drawing is not None:
        (tmp_path / "rawgate/demo.svg").write_text(drawing, "utf-8")
    command = [sys.executable, str(tool), "--check"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.process
def test_the_drawing_is_current(tmp_path: Path) -> None:
    done = check(tmp_path, DRAWING)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.process
@pytest.mark.parametrize("drawing", [None, "", DRAWING.replace("rate_limited", "rate-limited")])
def test_a_drawing_that_is_not_current(tmp_path: Path, drawing: str | None) -> None:
    done = check(tmp_path, drawing)
    assert done.returncode == 1
    assert done.stderr == "tools/draw-demo: demo.svg is not what the demo shows: run tools/draw-demo\n"


def test_the_drawing_shows_the_chosen_steps_and_the_verdict() -> None:
    drawn = texts(DRAWING)
    assert [text for text in drawn if text in TOOL["STEPS"]] == list(TOOL["STEPS"])
    assert drawn[-1].startswith("All ")


def test_the_drawing_needs_nothing_from_outside() -> None:
    attributes = [name for element in ElementTree.fromstring(DRAWING).iter() for name in element.attrib]  # noqa: S314 - our own
    assert not [name for name in attributes if name.endswith(("href", "src"))]
    assert "url(" not in DRAWING
    assert "@import" not in DRAWING


def test_a_line_becomes_spans_that_know_their_columns() -> None:
    row = TOOL["row"](" \x1b[32m✓\x1b[0m \x1b[1mTitle\x1b[0m   \x1b[33;1m401\x1b[0m no")
    assert [(span.column, span.text, span.style) for span in row] == [
        (1, "✓", "green"),
        (3, "Title", "bold"),
        (11, "401", "yellow bold"),
        (15, "no", ""),
    ]
    assert TOOL["text_of"](row) == " ✓ Title   401 no"


def test_only_what_was_chosen_is_drawn_in_the_order_chosen() -> None:
    rows = TOOL["chosen"](SESSION, ("Second", "First"))
    assert list(map(TOOL["text_of"], rows)) == [
        "A gateway on http://127.0.0.1:1.",
        "what the signs mean",
        "",
        " ✓ Second  → GET /2",
        "",
        " ✓ First   → GET /1",
        "   ≡ no <reason> · 3 ms",
        "",
        "All 2 answers are what they should be (0.1 s).",
    ]


def test_a_step_that_the_demo_has_not() -> None:
    with pytest.raises(TOOL["SessionError"], match=r'^the demo has no step "Third": choose another one in STEPS$'):
        TOOL["chosen"](SESSION, ("First", "Third"))


def test_a_line_that_is_too_wide() -> None:
    with pytest.raises(TOOL["SessionError"], match=r"^a line has more than 100 characters: x+$"):
        TOOL["draw"]([TOOL["row"]("x" * 101)])


def test_each_text_stands_in_its_column_and_beside_the_next() -> None:
    drawing = TOOL["draw"](TOOL["chosen"](SESSION, ("First",)))
    assert "no <reason>" in texts(drawing)
    ends: dict[str, int] = {}
    for element in ElementTree.fromstring(drawing).iter(f"{SVG}text"):  # noqa: S314 - our own
        if "textLength" not in element.attrib:
            continue
        x, line, length = int(element.attrib["x"]), element.attrib["y"], int(element.attrib["textLength"])
        assert (x - TOOL["MARGIN"]) % TOOL["CELL"] == 0
        assert length == TOOL["CELL"] * len(element.text or "")
        assert x >= ends.get(line, 0)
        ends[line] = x + length
    assert len(ends) == 6


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("route users · 0.31 ms", "route users · 12 ms", True),
        ("should be (0.9 s)", "should be (1.0 s)", True),
        ("http://127.0.0.1:80", "http://127.0.0.1:40000", True),
        ('Retry-After: 11 · "payments";r=0;t=11', 'Retry-After: 10 · "payments";r=0;t=10', True),
        ('<text x="24" y="9" textLength="8">a', '<text x="32" y="9" textLength="16">a', True),
        (f"id {'a1' * 16}", f"id {'b2' * 16}", True),
        ("client 127.0.0.1", "client 127.0.0.2", False),
        ('"payments";r=0;t=11', '"payments";r=1;t=11', False),
        ("401", "403", False),
    ],
)
def test_only_what_varies_is_left_out_of_a_comparison(one: str, other: str, same: bool) -> None:
    assert (TOOL["comparable"](one) == TOOL["comparable"](other)) is same
