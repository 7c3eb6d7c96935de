"""Standard streams that nobody takes from, that are full, or that are not there: what is served does not notice."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.gateway import PATIENCE, command
from harness.upstream import OK, Upstream, free_port, replying
from harness.wire_reader import Stream, read_response

pytestmark = pytest.mark.process

GET = b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n"
LAST = b"GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"

CONFIG = """
import sys

from rawgate.config.model import Config, Gateway, Route, Timeouts, Upstream


def fails(path: str) -> str:
    print("rewriting", path)
    print("rewriting", path * {often}, file=sys.stderr, flush=True)
    raise KeyError(path)


config = Config(
    gateway=Gateway(listen=["127.0.0.1:{port}"], timeouts=Timeouts(pre_stop="{pre_stop}")),
    upstreams={{"one": Upstream(targets=["{target}"])}},
    routes=[
        Route(prefix="/fails", upstream="one", auth="none", rewrite=fails),
        Route(prefix="/", upstream="one", auth="none"),
    ],
)
"""


class Program:
    """The program as a shell starts it: `streams` is what the shell does to its standard streams."""

    def __init__(
        self,
        folder: Path,
        target: str,
        streams: str = "",
        *,
        stdout: int | None = None,
        stderr: int | None = None,
        pre_stop: str = "0s",
        often: int = 1,
    ) -> None:
        self.port = free_port()
        text = CONFIG.format(target=target, port=self.port, pre_stop=pre_stop, often=often)
        (folder / "gateway.py").write_text(text)
        self.log, self.said = folder / "log", folder / "said"
        redirected = {"log": self.log, "said": self.said}
        words = " ".join(f"'{word}'" for word in [*command(), "run", "gateway.py"])
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", f"exec {words} {streams.format(**redirected)}"], cwd=folder, stdout=stdout, stderr=stderr
        )

    def connect(self) -> socket.socket:
        """Once it listens: nothing that it says can be waited for here."""
        ends = time.monotonic() + PATIENCE
        while True:
            try:
                return socket.create_connection(("127.0.0.1", self.port), PATIENCE)
            except ConnectionRefusedError:
                assert self.process.poll() is None, "it has ended"
                assert time.monotonic() < ends
                time.sleep(0.01)  # until the kernel has a listener: there is no event for that

    def get(self, path: str = "/x") -> int:
        with self.connect() as sock:
            sock.sendall(LAST.replace(b"/x", path.encode()))
            answer = read_response(Stream.of(sock))
            assert answer is not None
            return answer.status

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(PATIENCE)


@contextmanager
def ending(made: Program) -> Iterator[Program]:
    try:
        yield made
    finally:
        made.process.kill()
        made.process.wait()


@contextmanager
def nobody(kind: str) -> Iterator[int]:
    """A descriptor: nobody takes what is written to it."""
    if kind == "full":
        descriptor = os.open("/dev/full", os.O_WRONLY)
        yield descriptor
        os.close(descriptor)
        return
    reading, writing = os.pipe()
    if kind == "stalled":
        os.set_blocking(writing, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writing, b"x" * 4096)
        os.set_blocking(writing, True)
    else:
        os.close(reading)
    yield writing
    os.close(writing)
    if kind == "stalled":
        os.close(reading)


@pytest.mark.parametrize("kind", ["gone", "full", "stalled"])
def test_nothing_that_a_person_is_told_fails_what_is_served(tmp_path: Path, kind: str) -> None:
    """A function of the configuration that prints and fails; a signal that is told; a stop with its steps."""
    with (
        Upstream(replying(OK)) as upstream,
        nobody(kind) as stderr,
        ending(Program(tmp_path, upstream.target, ">{log}", stderr=stderr, pre_stop="50ms", often=5000)) as running,
    ):
        assert [running.get(path) for path in ("/x", "/fails", "/fails", "/x")] == [200, 500, 500, 200]
        running.process.send_signal(signal.SIGHUP)
        assert running.get() == 200
        assert running.stop() == 0
    lines = [json.loads(line) for line in running.log.read_text().splitlines()]
    assert [line["reason"] for line in lines] == ["ok", "internal", "internal", "ok", "ok"]


def test_a_request_under_way_is_drained_though_stderr_is_gone(tmp_path: Path) -> None:
    with (
        Upstream(replying(OK)) as upstream,
        nobody("gone") as stderr,
        ending(Program(tmp_path, upstream.target, ">{log}", stderr=stderr, pre_stop="1h")) as running,
    ):
        with running.connect() as sock:
            stream = Stream.of(sock)
            sock.sendall(GET)
            assert read_response(stream) is not None
            running.process.terminate()
            # It stops for an hour: it is served on, and told when the signal has been heard.
            heard = False
            while not heard:
                with running.connect() as other:
                    other.sendall(GET)
                    answer = read_response(Stream.of(other))
                    assert answer is not None
                    assert answer.status == 200
                    heard = answer.value(b"connection") == b"close"
            sock.sendall(GET)
            answer = read_response(stream)
            assert answer is not None
            assert (answer.status, answer.value(b"connection")) == (200, b"close")
        assert running.stop() == 1


@pytest.mark.parametrize("streams", ["<&-", ">&-", "2>&-", "<&- >&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_standard_stream_that_is_closed_is_as_dev_null(tmp_path: Path, streams: str) -> None:
    kept = ">{log} 2>{said} " + streams
    with Upstream(replying(OK)) as upstream, ending(Program(tmp_path, upstream.target, kept)) as running:
        assert [running.get(path) for path in ("/x", "/fails", "/x")] == [200, 500, 200]
        assert running.stop() == 0
    if ">&-" not in streams.replace("2>&-", ""):
        assert running.log.read_text().count("\n") == 3
    if "2>&-" not in streams:
        assert running.said.read_text().splitlines()[-1] == "rawgate: stopped"


@pytest.mark.parametrize("words", ["check", "run absent.toml", "version", "fly"])
def test_every_command_goes_without_standard_streams(tmp_path: Path, words: str) -> None:
    program = " ".join(f"'{word}'" for word in command())
    expected = subprocess.run(["/bin/sh", "-c", f"{program} {words} </dev/null >/dev/null 2>/dev/null"], cwd=tmp_path)
    done = subprocess.run(["/bin/sh", "-c", f"{program} {words} <&- >&- 2>&-"], cwd=tmp_path)
    assert done.returncode == expected.returncode


@pytest.mark.parametrize("kind", ["full", "gone"])
def test_a_failing_log_is_reported_once_and_counted_at_the_end(tmp_path: Path, kind: str) -> None:
    reason = {"full": "No space left on device", "gone": "Broken pipe"}[kind]
    with (
        Upstream(replying(OK)) as upstream,
        nobody(kind) as stdout,
        ending(Program(tmp_path, upstream.target, "2>{said}", stdout=stdout)) as running,
    ):
        for _ in range(3):
            assert running.get() == 200
            ends = time.monotonic() + PATIENCE
            while "cannot be written" not in running.said.read_text():
                assert time.monotonic() < ends
                time.sleep(0.01)  # a file: there is no event for what is written to it
        assert running.stop() == 0
    said = running.said.read_text()
    assert re.findall("cannot be written: ([^.]*)", said) == [reason]
    assert said.splitlines()[-1] == "rawgate: 3 lines of the access log were not written"
