"""The access log's way out: a bounded queue and one thread that writes it.

    event loop ── write(record) ──▶ queue ──▶ thread: gather, encode, pack ──▶ fd

The event loop only ever appends. The thread alone touches `fd`, so a reader that stalls stalls the thread, then the
queue fills, then records are dropped: counted, and the count is logged as soon as there is room. Traffic never waits.

Rules
- Woken by a first record, the thread gathers for `GATHER` before it takes what is there: under load it costs a few
  context switches a second, not one per request.
- It encodes `BATCH` records at a time and then sleeps for `PAUSE`, unless more than `HURRY` wait: while it encodes, it
  has the interpreter, and after a write takes it back before the loop's thread has woken up. Without pauses what had
  been gathered was encoded in one go: at 28,000 requests a second one in a hundred took 4.1 ms, with them 1.9.
- One write is one or more whole lines. To a pipe or a socket it is at most 4,096 octets, which Linux takes in one piece
  or not at all: processes that share a pipe never tear each other's lines. A file takes more at a time; each write to
  it is one piece too.
- A file that fills up in the middle of a line gets the rest of that line first, once there is room.
- When writing fails (the reader is gone, the disk is full), what waits is dropped and counted, and the next record is
  tried again: a FIFO's reader may come back, and a disk may get room. SIGPIPE is ignored by the interpreter. The
  operator is told when this begins, and at the end how many lines are missing.

The thread is a daemon, because one that sits in a write to a stalled reader must not hold up the exit of the process;
that everything is written at shutdown is the promise of `close`.
"""

import os
import select
import stat
import time
from collections import deque
from collections.abc import Callable, Iterator
from math import inf
from threading import Event, Thread

from rawgate.observe.line import LINE_LIMIT, LineEncoder, Record

__all__ = ["AccessLog", "Record", "packed"]

GATHER = 0.075  # seconds
BATCH = 128  # records encoded at a time, held besides those in the queue
PAUSE = 0.001  # seconds
HURRY = 8192  # records that wait
FILE_WRITE = 64 * 1024
SELDOM = 60.0  # seconds between two reports that it cannot be written


def ignore(text: str) -> None:
    """For logs that nobody watches."""


class AccessLog:
    """`fd` stays the caller's: it is neither changed nor closed. `capacity`: records that may wait. `report` is told,
    in lines, what the operator should know: by the log's thread, and at the end by whoever closes it."""

    def __init__(self, fd: int, capacity: int = 65536, report: Callable[[str], None] = ignore) -> None:
        self._fd = fd
        self._tell = report
        self._is_told = False  # that writing fails, as it still does
        self._quiet_until = -inf
        self._write_limit = LINE_LIMIT if _torn_when_long(fd) else FILE_WRITE
        self._encoder = LineEncoder()
        self._waiting: deque[Record] = deque()
        self._capacity = capacity
        self._in_hand = 0  # records taken from the queue and not yet written
        self._unfinished = b""  # the rest of a line whose beginning is in the file
        # Each count has one writer: `_refused` and `_left` the event loop, `_lost` and `_reported` the thread.
        self._refused = self._lost = self._left = self._reported = 0
        self._writer = Thread(target=self._run, name="access-log", daemon=True)
        self._wake = Event()
        self._closing = Event()
        self._idle = False  # the thread sleeps, or is about to
        self._given_up = False

    def __repr__(self) -> str:
        return f"<AccessLog fd={self._fd} waiting={len(self._waiting)} dropped={self.dropped}>"

    @property
    def dropped(self) -> int:
        """Records that were never written, from the start."""
        return self._refused + self._lost + self._left

    def start(self) -> None:
        """Start the thread: after the process has forked. Records written before are not lost."""
        self._writer.start()

    def write(self, record: Record) -> None:
        """Queue a record, or count it as dropped. Never blocks. One thread only: the event loop's."""
        waiting = self._waiting
        if len(waiting) < self._capacity:
            waiting.append(record)
            # The thread says that it is idle before it looks at the queue for the last time, and here the queue has
            # grown before this is read: one of the two sees the other, so no record is left waiting.
            if self._idle:
                self._idle = False
                self._wake.set()
        else:
            self._refused += 1

    def close(self, timeout: float) -> None:
        """Write all that waits and stop the thread; after `timeout` seconds give up and count the rest as dropped.

        Later records are dropped. A line whose write is under way when time is up is counted, and may still come out.
        """
        self._capacity = 0
        self._closing.set()
        self._wake.set()
        self._writer.join(timeout)
        if self._writer.is_alive():
            self._given_up = True
            self._left = len(self._waiting) + self._in_hand
        if self.dropped:
            self._tell(f"{self.dropped:,} lines of the access log were not written")

    def _run(self) -> None:
        while self._something_to_do():
            self._closing.wait(GATHER)
            # What comes in meanwhile waits for the next round: else these rounds shrink to a record each.
            for _ in range(0, len(self._waiting), BATCH):
                if not self._write_batch():
                    break
                self._report()
                if len(self._waiting) < HURRY and not self._closing.is_set():
                    time.sleep(PAUSE)
        self._report()

    def _something_to_do(self) -> bool:
        """Sleep until a record waits: True. False when there will be none."""
        self._wake.clear()
        self._idle = True
        if not self._waiting and not self._closing.is_set():
            self._wake.wait()
        self._idle = False
        return not self._given_up and (bool(self._waiting) or not self._closing.is_set())

    def _write_batch(self) -> bool:
        """Write the next records; False when that failed, or came too late."""
        waiting = self._waiting
        batch = [waiting.popleft() for _ in range(min(len(waiting), BATCH))]
        self._in_hand = len(batch)
        for lines in packed(self._encoder.requests(batch), self._write_limit):
            missed = self._put(lines)
            self._in_hand -= lines.count(b"\n") - missed
            if missed and not self._given_up:
                self._lose_what_waits()
            if missed or self._given_up:
                return False
        return True

    def _lose_what_waits(self) -> None:
        lost = len(self._waiting)
        for _ in range(lost):
            self._waiting.popleft()
        self._lost += lost + self._in_hand
        self._in_hand = 0

    def _report(self) -> None:
        """Log how many were dropped since this was last logged."""
        missing = self.dropped - self._reported
        if missing and not self._given_up and not self._put(self._encoder.dropped(time.time(), missing)):
            self._reported += missing

    def _put(self, lines: bytes) -> int:
        """Write lines, after what is left of an unfinished one. Returns how many were not written."""
        data = self._unfinished + lines
        at = 0
        while at < len(data):
            try:
                at += os.write(self._fd, data[at:])
            except BlockingIOError:
                self._await_room()
                if self._given_up:
                    break
            except OSError as error:
                self._note_failure(error)
                break
        else:
            self._is_told = False
        begun = data[at - 1 : at] != b"\n" if at else bool(self._unfinished)
        end = data.index(b"\n", at) + 1 if begun else at
        self._unfinished = data[at:end]
        return data.count(b"\n", end)

    def _note_failure(self, error: OSError) -> None:
        """Tell the operator when it begins, but not for each failure of many."""
        now = time.monotonic()
        if not self._is_told and now >= self._quiet_until:
            self._is_told, self._quiet_until = True, now + SELDOM
            said = os.strerror(error.errno) if error.errno else str(error)
            self._tell(f"the access log cannot be written: {said}. Its lines are dropped and counted until it can")

    def _await_room(self) -> None:
        """Sleep until a descriptor that does not block takes more, or is broken."""
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        poll.poll()


def packed(lines: bytes, limit: int) -> Iterator[bytes]:
    """Cut lines, each with its line feed and none longer than `limit`, into pieces of at most `limit` octets."""
    start = 0
    while len(lines) - start > limit:
        stop = lines.rindex(b"\n", start, start + limit) + 1
        yield lines[start:stop]
        start = stop
    if start < len(lines):
        yield lines[start:]


def _torn_when_long(fd: int) -> bool:
    """Whether a long write may come out mixed with those of other processes: pipes, FIFOs and sockets."""
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
