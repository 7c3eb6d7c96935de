"""The access log through real pipes, sockets and files: order, whole lines, stalls, lost readers, shutdown."""

import fcntl
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.records import record as usual
from rawgate.observe.access_log import AccessLog, Record, packed

SOON = 20.0  # seconds; a bound on hanging, far above what anything here takes


def record(number: int, target: bytes = b"/") -> Record:
    """A record that can be told by its `bytesIn`."""
    return usual(target=target, bytes_in=number)


def parsed(data: bytes) -> list[dict[str, Any]]:
    """The lines, all of which must be whole."""
    assert data == b"" or data.endswith(b"\n")
    return [json.loads(line) for line in data.splitlines()]


def numbers(data: bytes) -> list[int]:
    return [line["bytesIn"] for line in parsed(data) if line["reason"] != "log_dropped"]


def reported(data: bytes) -> int:
    """How many records the log itself says are missing."""
    return sum(line["dropped"] for line in parsed(data) if line["reason"] == "log_dropped")


class Pipe:
    """A pipe with room for 4,096 octets, and what has been read from it."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        fcntl.fcntl(self.writing, fcntl.F_SETPIPE_SZ, 4096)
        self.data = b""
        self._reader = threading.Thread(target=self._read)

    def _read(self) -> None:
        while data := os.read(self.reading, 65536):
            self.data += data

    def start_reading(self) -> None:
        self._reader.start()

    def everything(self) -> bytes:
        """Close the writing end and read to the end."""
        if not self._reader.ident:
            self.start_reading()
        self.close_writing()
        return self.data

    def close_writing(self) -> None:
        if self.writing >= 0:
            os.close(self.writing)
            self.writing = -1
        if self._reader.ident:
            self._reader.join(SOON)

    def close_reading(self) -> None:
        if self.reading >= 0:
            os.close(self.reading)
            self.reading = -1


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close_writing()
    pipe.close_reading()


@pytest.fixture(params=["blocking", "non-blocking"])
def either_pipe(request: pytest.FixtureRequest, pipe: Pipe) -> Pipe:
    os.set_blocking(pipe.writing, request.param == "blocking")
    return pipe


def test_lines_come_in_order_and_in_bounded_pieces(either_pipe: Pipe) -> None:
    """The pipe holds one piece at a time, so a read returns a piece: whole lines, at most 4,096 octets."""
    log = AccessLog(either_pipe.writing)
    log.start()
    for number in range(1000):
        log.write(record(number, b"/" + b"x" * (number % 700)))
    closer = threading.Thread(target=log.close, args=(SOON,))
    closer.start()
    seen: list[int] = []
    while len(seen) < 1000:
        piece = os.read(either_pipe.reading, 65536)
        assert len(piece) <= 4096
        seen += numbers(piece)
    closer.join(SOON)
    assert seen == list(range(1000))
    assert log.dropped == 0


def test_a_record_is_written_without_being_asked_for(pipe: Pipe) -> None:
    """The thread sleeps and is woken, more than once."""
    log = AccessLog(pipe.writing)
    log.start()
    for number in range(3):
        log.write(record(number))
        assert numbers(os.read(pipe.reading, 65536)) == [number]
    log.close(SOON)


def test_records_written_before_the_start_are_kept(pipe: Pipe) -> None:
    log = AccessLog(pipe.writing)
    log.write(record(1))
    log.start()
    log.close(SOON)
    assert numbers(pipe.everything()) == [1]


def test_closing_writes_all_that_waits(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    with path.open("wb") as file:
        log = AccessLog(file.fileno())
        log.start()
        for number in range(20_000):
            log.write(record(number))
        log.close(SOON)
    assert numbers(path.read_bytes()) == list(range(20_000))
    assert log.dropped == 0


def test_closing_without_a_record_writes_nothing(pipe: Pipe) -> None:
    log = AccessLog(pipe.writing)
    log.start()
    log.close(SOON)
    assert pipe.everything() == b""


def test_records_after_closing_are_counted(pipe: Pipe) -> None:
    log = AccessLog(pipe.writing)
    log.start()
    log.close(SOON)
    log.write(record(1))
    assert log.dropped == 1
    assert pipe.everything() == b""


def test_a_stalled_reader_costs_records_but_never_blocks(either_pipe: Pipe) -> None:
    """Nobody reads while 2,000 records are written to a queue for 8: that this ends shows that no write blocks."""
    log = AccessLog(either_pipe.writing, capacity=8)
    log.start()
    for number in range(2000):
        log.write(record(number, b"/" + b"x" * 1500))
    assert log.dropped > 0
    either_pipe.start_reading()
    log.close(SOON)
    data = either_pipe.everything()
    assert reported(data) == log.dropped
    assert len(numbers(data)) + log.dropped == 2000
    assert numbers(data) == sorted(set(numbers(data)))


def test_the_count_is_logged_as_soon_as_there_is_room(pipe: Pipe) -> None:
    log = AccessLog(pipe.writing, capacity=1)
    log.write(record(0))
    log.write(record(1))
    log.start()
    pipe.start_reading()
    log.close(SOON)
    lines = parsed(pipe.everything())
    assert [line["reason"] for line in lines] == ["ok", "log_dropped"]
    assert lines[1]["dropped"] == 1
    assert list(lines[1]) == ["time", "reason", "dropped"]


def test_closing_gives_up_on_a_stalled_reader_and_counts(pipe: Pipe) -> None:
    """The pipe takes one piece; what is in it and what is counted make the whole."""
    os.set_blocking(pipe.writing, False)
    log = AccessLog(pipe.writing)
    log.start()
    for number in range(300):
        log.write(record(number))
    log.close(0.05)
    assert len(numbers(pipe.everything())) + log.dropped == 300
    assert log.dropped > 0


def test_closing_gives_up_though_the_thread_cannot(pipe: Pipe) -> None:
    log = AccessLog(pipe.writing)
    log.start()
    for number in range(300):
        log.write(record(number))
    log.close(0.05)
    assert log.dropped > 0


@pytest.mark.parametrize("capacity", [1, 10, 65536])
def test_a_lost_reader_costs_records_only(pipe: Pipe, capacity: int) -> None:
    pipe.close_reading()
    log = AccessLog(pipe.writing, capacity)
    log.start()
    for number in range(500):
        log.write(record(number))
    log.close(SOON)
    assert log.dropped == 500


def test_a_failing_log_is_reported_once_and_counted_at_the_end(pipe: Pipe) -> None:
    said: list[str] = []
    pipe.close_reading()
    log = AccessLog(pipe.writing, report=said.append)
    log.start()
    for number in range(1, 4):
        log.write(record(number))
        while log.dropped < number:
            os.sched_yield()
    log.close(SOON)
    assert said == [
        "the access log cannot be written: Broken pipe. Its lines are dropped and counted until it can",
        "3 lines of the access log were not written",
    ]


def test_nothing_is_told_of_a_log_that_is_whole(pipe: Pipe) -> None:
    said: list[str] = []
    log = AccessLog(pipe.writing, report=said.append)
    log.start()
    log.write(record(1))
    log.close(SOON)
    assert said == []


def test_a_reader_that_comes_back_gets_the_count(tmp_path: Path) -> None:
    """A FIFO whose first reader is gone: the records of that time are missing, and the next reader is told."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    first = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writing = os.open(path, os.O_WRONLY)
    os.close(first)
    log = AccessLog(writing)
    log.start()
    log.write(record(0))
    while not log.dropped:
        os.sched_yield()
    second = os.open(path, os.O_RDONLY)
    log.write(record(1))
    log.close(SOON)
    os.close(writing)
    with os.fdopen(second, "rb") as file:
        data = file.read()
    assert numbers(data) == [1]
    assert reported(data) == 1


def test_a_file_that_was_full_has_whole_lines_when_it_has_room(tmp_path: Path) -> None:
    """The limit on the size of files stands for a full disk: it cuts in the middle of a line."""
    path = tmp_path / "access.log"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with path.open("ab") as file:
            log = AccessLog(file.fileno())
            log.start()
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
            for number in range(100):
                log.write(record(number))
            while not log.dropped:
                os.sched_yield()
            assert path.stat().st_size == 1000
            assert not path.read_bytes().endswith(b"\n")
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            log.write(record(100))
            log.close(SOON)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    data = path.read_bytes()
    whole = numbers(data)
    assert whole == [*range(len(whole) - 1), 100]
    assert reported(data) == log.dropped == 101 - len(whole)


def test_a_stream_socket_takes_whole_lines() -> None:
    """As under systemd, where standard output is a socket."""
    reading, writing = socket.socketpair()
    with reading, writing:
        writing.setblocking(False)
        log = AccessLog(writing.fileno())
        log.start()
        for number in range(5000):
            log.write(record(number))
        closer = threading.Thread(target=log.close, args=(SOON,))
        closer.start()
        data = b""
        while data.count(b"\n") < 5000:
            data += reading.recv(65536)
        closer.join(SOON)
    assert numbers(data) == list(range(5000))


WRITER = """
import sys
from rawgate.observe.access_log import AccessLog, Record
log = AccessLog(1)
log.start()
for number in range(300):
    target = b"/" + b"x" * (number * 7 % 2000)
    spans = (-1.0, -1.0, -1.0, -1.0)
    log.write(Record(0.0, sys.argv[1], b"GET", b"h", target, "r", "c", 200, 0.0, "", *spans, number, 0, "p", "ok", ""))
log.close(60)
sys.exit(log.dropped)
"""


@pytest.mark.process
def test_processes_that_share_a_pipe_do_not_tear_each_others_lines(pipe: Pipe) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(number)], stdout=pipe.writing) for number in range(3)
    ]
    pipe.start_reading()
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    lines = parsed(pipe.everything())
    for number in range(3):
        own = [line["bytesIn"] for line in lines if line["requestId"] == str(number)]
        assert own == list(range(300))


@given(st.lists(st.integers(1, 40), max_size=60), st.integers(40, 100))
def test_packing_keeps_every_line_whole_and_fills_what_it_can(lengths: list[int], limit: int) -> None:
    lines = [bytes([65 + at % 26]) * (length - 1) + b"\n" for at, length in enumerate(lengths)]
    pieces = list(packed(b"".join(lines), limit))
    assert b"".join(pieces) == b"".join(lines)
    assert all(0 < len(piece) <= limit and piece.endswith(b"\n") for piece in pieces)
    for piece, following in pairwise(pieces):
        assert len(piece) + following.index(b"\n") + 1 > limit
