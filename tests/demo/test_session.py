"""The tour, with a gateway in this process: what its exit status says."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import structs

from rawgate.demo import client, session, steps
from rawgate.demo.credentials import Credentials
from rawgate.offline.page import Page

pytestmark = pytest.mark.process


def played(folder: Path) -> tuple[int, str]:
    """The exit status of a tour, and what it showed."""
    path = folder / "shown"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        status = session.play_tour(Page(fd, colour=False), 0)
    finally:
        os.close(fd)
    return status, path.read_text("utf-8")


def only(title: str, **change: object) -> steps.Chapter:
    """The step of that title, with another expectation."""
    chapters = steps.tour(Credentials())
    step = next(step for chapter in chapters for step in chapter.steps if step.title == title)
    return steps.Chapter("One", (structs.replace(step, expected=structs.replace(step.expected, **change)),))


def test_an_answer_that_is_not_what_it_should_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chapter = only("No token", statuses=(200,))
    monkeypatch.setattr(session, "tour", lambda credentials: (chapter, only("Dots")))
    status, shown = played(tmp_path)
    assert status == 1
    assert " ✗ No token" in shown
    assert "✗ status is 401, not 200" in shown
    assert " ✓ Dots" in shown
    assert "1 of 2 answers are not what they should be." in shown


def test_answers_that_are_what_they_should_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "tour", lambda credentials: (only("No token"),))
    status, shown = played(tmp_path)
    assert status == 0
    assert "All 1 answers are what they should be" in shown


def test_no_answer_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def chapters(_: Credentials) -> Iterator[steps.Chapter]:
        monkeypatch.setattr(client, "PATIENCE", 0.05)
        yield only("A slow service")
        monkeypatch.setattr(client, "PATIENCE", 20.0)
        yield only("Dots")

    monkeypatch.setattr(session, "tour", chapters)
    status, shown = played(tmp_path)
    assert status == 1
    assert "✗ no answer within 0.05 s" in shown
    assert "1 of 2 answers" in shown
