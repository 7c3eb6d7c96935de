"""Writes the access log: lines are made on the event loop, and a thread writes them out.

    event loop ── write(record) ──▶ fresh ──▶ encode, 64 at a time ──▶ lines ──▶ thread: pack ──▶ fd

The event loop encodes its records, 64 at once: they are in the processor's cache still, and the thread needs the
interpreter's lock for moments only. What is left over, fewer than 64, the thread encodes. Only the thread touches `fd`.
When a reader stalls, the thread stalls, records wait, and those beyond the capacity are dropped and counted; the count
is logged as soon as there is room. Traffic never waits for the log.

Rules
- The first record wakes the thread. It then waits for `GATHER`, so that under load it costs a few context switches a
  second instead of one per request.
- It writes the lines of 128 records and then sleeps for `PAUSE`, unless more than `HURRY` wait. The reason is the
  interpreter's lock: after a write the thread takes it back before the loop's thread has woken up. Without pauses, at
  39,000 requests a second on one core, one request in a hundred took 3.4 ms; with them, 2.8.
- One write is one or more whole lines. To a pipe or a socket it is at most 4,096 octets, which Linux takes whole or not
  at all, so processes that share a pipe never tear each other's lines. A file takes more at a time, also in one piece.
- A file that fills up in the middle of a line gets the rest of that line first, once there is room.
- When a write fails (the reader is gone, the disk is full), all waiting records are dropped and counted, and the next
  record is tried again: a FIFO's reader may come back, and a disk may get room. The interpreter ignores SIGPIPE. The
  operator is told when this begins, and at the end how many lines are missing.

Two threads, which the interpreter may switch between any two of its instructions
- Whoever holds `_encoding` is the only one to use the encoder, to take records from `_fresh` and to touch the end of
  `_lines`. He takes the oldest records, and puts their lines there before he lets go: so lines have the order of their
  records, and each record is in one place.
- The loop never waits for that lock. Where the thread has it, the records stay in `_fresh`; the thread may have seen
  them or not. If not, they are 64 or more, and the loop tries again with its next record; or there is none, and then
  the thread finds them before it sleeps. The thread does wait for the loop, for the 64 lines that it is making.
- The thread sets `_idle` and then looks at both queues. The loop lengthens one and then reads `_idle`, after encoding.
  In any order one of the two sees the other's step, so nothing is left behind while the thread sleeps.
- Each count is changed by one thread only, and records wait that are accepted and neither written nor lost. No moment
  shows too few, wherever they are on their way: a record is accepted before it is in `_fresh`.

The thread is a daemon, because a write to a stalled reader must not hold up the exit of the process. `close` promises
that what can be written by then is written.
"""

import os
import select
import stat
import time
from collections import deque
from collections.abc import Callable, Iterator
from math import inf
from threading import Event, Lock, Thread
from typing import Final

from rawgate.observe.line import LINE_LIMIT, LineEncoder, Record

__all__ = ["CLOSE_TIMEOUT", "AccessLog", "Record", "packed"]

GATHER = 0.075  # seconds from a first record to the write; a person who follows the log does not notice them
BATCH: Final = 64  # records encoded at a time: 25 KB of lines, which a second-level cache has room for
TOGETHER: Final = 2  # batches that are written without a pause between
PAUSE = 0.001  # seconds
HURRY = 8192  # waiting records from which on throughput matters more than the latency of requests
FILE_WRITE = 64 * 1024  # octets, as nginx's `access_log … gzip` buffers by default
REPORT_EVERY = 60.0  # seconds between two reports that the log cannot be written

CLOSE_TIMEOUT = 5.0
"""Seconds that the reader of the log has at the end to take what is left."""


def ignore(text: str) -> None:
    """A `report` for tests and tools, which have no operator to tell."""


class AccessLog:
    """The queues and their thread.

    fd        stays the caller's: it is neither changed nor closed
    capacity  records that may wait, as such or as lines; further ones are dropped
    report    receives a sentence for the operator: from the log's thread, and from the thread that calls `close`
    quiet     names of routes whose lines are left out when the reason is ok; may be replaced at any time
    """

    def __init__(self, fd: int, capacity: int = 65536, report: Callable[[str], None] = ignore) -> None:
        self.quiet: frozenset[str] = frozenset()
        self._fd = fd
        self._say = report
        self._is_failing = False  # a write has failed, the operator was told, and none has succeeded since
        self._quiet_until = -inf
        self._write_limit = LINE_LIMIT if _torn_when_long(fd) else FILE_WRITE
        self._capacity = capacity
        self._fresh: deque[Record] = deque()
        self._encoding = Lock()
        self._encoder = LineEncoder()
        self._lines: deque[tuple[bytes, int]] = deque()  # of one batch, and how many
        self._unfinished = b""  # the rest of a line whose beginning is in the file
        self._accepted = self._refused = 0  # records; changed by the event loop's thread
        self._written = self._lost = self._reported = 0  # changed by the log's
        self._writer = Thread(target=self._run, name="access-log", daemon=True)
        self._wake = Event()
        self._closing = Event()
        self._idle = False  # the thread sleeps, or is about to
        self._over = False  # nothing more is written

    def __repr__(self) -> str:
        return f"<AccessLog fd={self._fd} waiting={self._accepted - self._written - self._lost} dropped={self.dropped}>"

    @property
    def dropped(self) -> int:
        """Records that were never written, since the process started."""
        return self._refused + (self._accepted - self._written if self._over else self._lost)

    def start(self) -> None:
        """Start the thread. Call it after a fork, which threads do not survive; records queued earlier are kept."""
        self._writer.start()

    def write(self, record: Record) -> None:
        """Queue a record, or count it as dropped. Never blocks. Only the event loop's thread may call it."""
        if self.quiet and record.reason == "ok" and record.route in self.quiet:
            return
        if self._accepted - self._written - self._lost >= self._capacity:
            self._refused += 1
            return
        self._accepted += 1
        fresh = self._fresh
        fresh.append(record)
        if len(fresh) >= BATCH and self._encoding.acquire(blocking=False):
            try:
                self._encode()
            finally:
                self._encoding.release()
        if self._idle:
            self._idle = False
            self._wake.set()

    def close(self, timeout: float) -> None:
        """Write all waiting records and stop the thread. After `timeout` seconds give up, and count the rest as
        dropped.

        Records that come later are dropped. A line whose write is under way when time is up is counted as dropped, and
        may still come out.
        """
        self._capacity = 0
        self._closing.set()
        self._wake.set()
        self._writer.join(timeout)
        self._over = True
        if self.dropped:
            self._say(f"{self.dropped:,} lines of the access log were not written")

    def _encode(self) -> None:
        """Make lines of the oldest records, of `BATCH` at most. For who holds `_encoding`."""
        fresh = self._fresh
        batch = [fresh.popleft() for _ in range(min(len(fresh), BATCH))]
        self._lines.append((self._encoder.requests(batch), len(batch)))

    def _run(self) -> None:
        while self._something_to_do():
            self._closing.wait(GATHER)
            # Both times only what waits now. Without this bound the thread would chase new records.
            for _ in range(0, len(self._fresh), BATCH):
                with self._encoding:
                    self._encode()
            for _ in range(0, len(self._lines), TOGETHER):
                if not self._write_out(*self._next_lines()):
                    break
                self._report()
                if self._accepted - self._written - self._lost < HURRY and not self._closing.is_set():
                    time.sleep(PAUSE)
        self._report()

    def _something_to_do(self) -> bool:
        """Sleep until a record waits, and return True; return False when none will come."""
        self._wake.clear()
        self._idle = True
        if not self._fresh and not self._lines and not self._closing.is_set():
            self._wake.wait()
        self._idle = False
        return not self._over and (bool(self._fresh) or bool(self._lines) or not self._closing.is_set())

    def _next_lines(self) -> tuple[bytes, int]:
        """Lines to write together, and how many."""
        lines = self._lines
        batches = [lines.popleft() for _ in range(min(len(lines), TOGETHER))]
        return b"".join([text for text, _ in batches]), sum([count for _, count in batches])

    def _write_out(self, lines: bytes, in_hand: int) -> bool:
        """Write these lines, so many. Returns False when a write failed, and all that waits was dropped, or it is
        over."""
        for piece in packed(lines, self._write_limit):
            # Counting lines takes as long as encoding them. To a file, one piece has all.
            there = in_hand if len(piece) == len(lines) else piece.count(b"\n")
            missed = self._put(piece)
            written = there - missed
            self._written += written
            in_hand -= written
            if missed:
                self._drop_waiting(in_hand)
            if missed or self._over:
                return False
        return True

    def _drop_waiting(self, in_hand: int) -> None:
        lost = in_hand
        with self._encoding:
            for _, count in self._lines:
                lost += count
            self._lines.clear()
            for _ in range(len(self._fresh)):
                self._fresh.popleft()
                lost += 1
        self._lost += lost

    def _report(self) -> None:
        """Log how many records were dropped since the last such line."""
        missing = self._refused + self._lost - self._reported
        if missing and not self._over:
            with self._encoding:
                line = self._encoder.dropped(time.time(), missing)
            if not self._put(line):
                self._reported += missing

    def _put(self, lines: bytes) -> int:
        """Write lines, after the rest of an unfinished one. Returns how many lines were not written."""
        data = self._unfinished + lines
        at = 0
        while at < len(data):
            try:
                at += os.write(self._fd, data[at:])
            except BlockingIOError:
                self._await_room()
                if self._over:
                    break
            except OSError as error:
                self._note_failure(error)
                break
        else:
            self._is_failing = False
        # A write that stops in the middle of a line leaves its rest: the next write begins with it.
        begun = data[at - 1 : at] != b"\n" if at else bool(self._unfinished)
        end = data.index(b"\n", at) + 1 if begun else at
        self._unfinished = data[at:end]
        return data.count(b"\n", end)

    def _note_failure(self, error: OSError) -> None:
        """Tell the operator when writing begins to fail; then no more until it works again, and at most once a
        minute."""
        now = time.monotonic()
        if not self._is_failing and now >= self._quiet_until:
            self._is_failing, self._quiet_until = True, now + REPORT_EVERY
            why = os.strerror(error.errno) if error.errno else str(error)
            self._say(f"the access log cannot be written: {why}. Its lines are dropped and counted until it can")

    def _await_room(self) -> None:
        """Sleep until a non-blocking descriptor takes more, or is broken."""
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        poll.poll()


def packed(lines: bytes, limit: int) -> Iterator[bytes]:
    """Cut text into pieces of whole lines, each piece of at most `limit` octets. No line may be longer than `limit`."""
    start = 0
    while len(lines) - start > limit:
        stop = lines.rindex(b"\n", start, start + limit) + 1
        yield lines[start:stop]
        start = stop
    if start < len(lines):
        yield lines[start:]


def _torn_when_long(fd: int) -> bool:
    """Whether the kernel may mix a long write with those of other processes: true of pipes, FIFOs and sockets."""
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
