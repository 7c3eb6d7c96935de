"""Writes the access log: a bounded queue, and one thread that empties it.

    event loop ── write(record) ──▶ queue ──▶ thread: gather, encode, pack ──▶ fd

The event loop only appends. Only the thread touches `fd`. When a reader stalls, the thread stalls, the queue fills, and
further records are dropped and counted; the count is logged as soon as there is room. Traffic never waits for the log.

Rules
- The first record wakes the thread. It then waits for `GATHER`, so that under load it costs a few context switches a
  second instead of one per request.
- It encodes `BATCH` records at a time and then sleeps for `PAUSE`, unless more than `HURRY` wait. The reason is the
  interpreter's lock: the thread holds it while it encodes, and after a write takes it back before the loop's thread has
  woken up. Without pauses, at 28,000 requests a second, one request in a hundred took 4.1 ms; with them, 1.9.
- One write is one or more whole lines. To a pipe or a socket it is at most 4,096 octets, which Linux takes whole or not
  at all, so processes that share a pipe never tear each other's lines. A file takes more at a time, also in one piece.
- A file that fills up in the middle of a line gets the rest of that line first, once there is room.
- When a write fails (the reader is gone, the disk is full), all waiting records are dropped and counted, and the next
  record is tried again: a FIFO's reader may come back, and a disk may get room. The interpreter ignores SIGPIPE. The
  operator is told when this begins, and at the end how many lines are missing.

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
from threading import Event, Thread

from rawgate.observe.line import LINE_LIMIT, LineEncoder, Record

__all__ = ["CLOSE_TIMEOUT", "AccessLog", "Record", "packed"]

GATHER = 0.075  # seconds from a first record to the write; a person who follows the log does not notice them
BATCH = 128  # records encoded at a time; `capacity` does not count them
PAUSE = 0.001  # seconds
HURRY = 8192  # waiting records from which on throughput matters more than the latency of requests
FILE_WRITE = 64 * 1024  # octets, as nginx's `access_log … gzip` buffers by default
REPORT_EVERY = 60.0  # seconds between two reports that the log cannot be written

CLOSE_TIMEOUT = 5.0
"""Seconds that the reader of the log has at the end to take what is left."""


def ignore(text: str) -> None:
    """A `report` for tests and tools, which have no operator to tell."""


class AccessLog:
    """The queue and its thread.

    fd        stays the caller's: it is neither changed nor closed
    capacity  records that may wait; further ones are dropped
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
        self._encoder = LineEncoder()
        self._waiting: deque[Record] = deque()
        self._capacity = capacity
        self._in_hand = 0  # records taken from the queue and not yet written
        self._unfinished = b""  # the rest of a line whose beginning is in the file
        # Each count is changed by one thread only: `_refused` and `_left` by the event loop's, `_lost` and `_reported`
        # by the log's.
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
        """Records that were never written, since the process started."""
        return self._refused + self._lost + self._left

    def start(self) -> None:
        """Start the thread. Call it after a fork, which threads do not survive; records queued earlier are kept."""
        self._writer.start()

    def write(self, record: Record) -> None:
        """Queue a record, or count it as dropped. Never blocks. Only the event loop's thread may call it."""
        waiting = self._waiting
        if len(waiting) < self._capacity:
            waiting.append(record)
            # The thread sets `_idle` and then looks at the queue. Here the queue grows and then `_idle` is read. In any
            # interleaving one of the two sees the other's step, so no record is left behind while the thread sleeps.
            if self._idle:
                self._idle = False
                self._wake.set()
        else:
            self._refused += 1

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
        if self._writer.is_alive():
            self._given_up = True
            self._left = len(self._waiting) + self._in_hand
        if self.dropped:
            self._say(f"{self.dropped:,} lines of the access log were not written")

    def _run(self) -> None:
        while self._something_to_do():
            self._closing.wait(GATHER)
            # Only what waits now. Without this bound the loop would chase new records, in batches of one.
            for _ in range(0, len(self._waiting), BATCH):
                if not self._write_batch():
                    break
                self._report()
                if len(self._waiting) < HURRY and not self._closing.is_set():
                    time.sleep(PAUSE)
        self._report()

    def _something_to_do(self) -> bool:
        """Sleep until a record waits, and return True; return False when none will come."""
        self._wake.clear()
        self._idle = True
        if not self._waiting and not self._closing.is_set():
            self._wake.wait()
        self._idle = False
        return not self._given_up and (bool(self._waiting) or not self._closing.is_set())

    def _write_batch(self) -> bool:
        """Write the next batch. Returns False when a write failed or `close` has given up."""
        waiting = self._waiting
        batch = [waiting.popleft() for _ in range(min(len(waiting), BATCH))]
        if self.quiet:
            quiet = self.quiet
            batch = [record for record in batch if record.reason != "ok" or record.route not in quiet]
        self._in_hand = len(batch)
        for lines in packed(self._encoder.requests(batch), self._write_limit):
            missed = self._put(lines)
            self._in_hand -= lines.count(b"\n") - missed
            if missed and not self._given_up:
                self._drop_waiting()
            if missed or self._given_up:
                return False
        return True

    def _drop_waiting(self) -> None:
        lost = len(self._waiting)
        for _ in range(lost):
            self._waiting.popleft()
        self._lost += lost + self._in_hand
        self._in_hand = 0

    def _report(self) -> None:
        """Log how many records were dropped since the last such line."""
        missing = self.dropped - self._reported
        if missing and not self._given_up and not self._put(self._encoder.dropped(time.time(), missing)):
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
                if self._given_up:
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
