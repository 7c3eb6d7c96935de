"""What a person is told: all of it where somebody takes it, and never a failure where nobody does."""

import fcntl
import os
import sys
import traceback

import pytest

from rawgate.serve.telling import Unfailing, say, unfailing


def test_what_is_taken_arrives_whole_and_in_order() -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 65536)
    text = "".join(f"line {number} é \udc80\n" for number in range(1500))
    stream = Unfailing(writing)
    assert stream.write(text) == len(text)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read() == text.encode("utf-8", "backslashreplace")


@pytest.mark.parametrize("kind", ["gone", "stalled", "closed", "full"])
def test_what_is_not_taken_is_lost(kind: str) -> None:
    """That this ends shows that nothing waits."""
    reading, writing = os.pipe()
    if kind == "full":
        os.close(writing)
        writing = os.open("/dev/full", os.O_WRONLY)
    stream = Unfailing(writing)
    if kind == "gone":
        os.close(reading)
    if kind == "closed":
        os.close(writing)
    text = "x" * 1_000_000
    assert stream.write(text) == len(text)
    print("a line", file=stream, flush=True)
    if kind != "closed":
        os.close(writing)
    if kind != "gone":
        os.close(reading)


def test_all_that_is_printed_goes_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    before = (sys.stdout, sys.stderr)
    with unfailing():
        say("hello")
        print("printed")
        try:
            raise KeyError("x")
        except KeyError:
            traceback.print_exc()
    assert (sys.stdout, sys.stderr) == before
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("rawgate: hello\nprinted\nTraceback")
