"""A test bed of services that fail on command: many targets in a process of their own, each told live how to behave.

    with Upstreams(6) as bed:
        … targets = bed.targets …
        bed.tell(0, network="down")                             # its connections are reset, new ones refused
        bed.tell(1, times=((0.5, 0.01, 0.3), (0.5, 2.0, 0.5)))  # half of its requests take about two seconds
        bed.tell(0, network="up")
        assert bed.seen()[0].count("/work/17") == 1

A target is an HTTP server on a port that stays its own while nobody listens there. `GET /health` tells whether it wants
requests. Everything else is work: it takes one of the target's `workers` for a while, and waits in line for one. Work
that was begun is done, although its caller may have left: a server learns of that when it writes.

`Conduct` is the language, `Seen` is what a target remembers; `upstreams_server` is the process.
"""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Self, TypeVar

import msgspec
from msgspec import Struct

T = TypeVar("T")
TESTS = Path(__file__).parents[1]

HEALTH = "/health"


class Conduct(Struct, frozen=True, kw_only=True):
    """How a target behaves.

    network  "up"       it takes connections
             "leaving"  nobody listens, idle connections are closed, the others after the response that they wait for
             "down"     nobody listens, and open connections are reset
             "silent"   as behind a cut cable: nothing is answered, neither a SYN nor a request
    accept   what becomes of a new connection: "serve"; "close" or "reset" at once; "hold": it is never read
    answer   the status of a response; "close" or "reset": the connection ends in its place; "cut": it ends within the
             body; "nothing": no response ever comes
    ready    whether /health says 200 or 503
    closing  each response says `Connection: close`
    workers  requests that are worked on at once
    times    how long one takes: a mixture of log-normal distributions, each (share, median in seconds, sigma)
    cold     how many times as long it takes just after the network has come up
    warm_up  seconds in which that falls to 1, evenly
    """

    network: Literal["up", "leaving", "down", "silent"] = "up"
    accept: Literal["serve", "close", "reset", "hold"] = "serve"
    answer: int | Literal["close", "reset", "cut", "nothing"] = 200
    ready: bool = True
    closing: bool = False
    workers: int = 8
    times: tuple[tuple[float, float, float], ...] = ((1.0, 0.0, 0.0),)
    cold: float = 1.0
    warm_up: float = 0.0


class Arrival(Struct, frozen=True, array_like=True):
    """A request that a target has read, whole. `at`: monotonic seconds, the same clock for all processes of a host."""

    at: float
    method: str
    path: str


class Seen(Struct, frozen=True):
    """What a target got since the start, or since `Upstreams.reset`.

    arrivals     requests in their order, those for /health left out
    peak         the most that were in work or in line at once
    connections  accepted
    checks       requests for /health
    """

    arrivals: list[Arrival]
    peak: int
    connections: int
    checks: int

    def count(self, path: str) -> int:
        """How often a request for this path came."""
        return sum(arrival.path == path for arrival in self.arrivals)


class Order(Struct, frozen=True, omit_defaults=True):
    """One line to the process: set the conduct of these targets; then perhaps begin anew, answer somebody, wait, or
    report.

    release  let this target answer so many that are in line
    empty    answer only when these targets have no open connection
    arrived  answer only when this target has got so many requests
    """

    targets: list[int] = []
    conduct: Conduct | None = None
    anew: bool = False
    release: tuple[int, int] | None = None
    empty: list[int] = []
    arrived: tuple[int, int] | None = None
    report: bool = False


class Upstreams:
    """The running process.

    targets  URLs, in the order of the numbers that `tell` takes
    conduct  what each was told last
    """

    def __init__(self, count: int, conduct: Conduct = Conduct()) -> None:  # noqa: B008 - it is immutable
        command = [sys.executable, "-m", "harness.upstreams_server", str(count)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=TESTS)
        self.ports = self._line(list[int])
        self.targets = [f"http://127.0.0.1:{port}" for port in self.ports]
        self.conduct = [Conduct() for _ in self.ports]
        self.start = conduct
        self.reset()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def tell(self, targets: int | Iterable[int], **changes: object) -> None:
        """Change the conduct of these targets. It is in force when this returns."""
        for number in [targets] if isinstance(targets, int) else list(targets):
            self.conduct[number] = msgspec.structs.replace(self.conduct[number], **changes)
            self._order(Order([number], self.conduct[number]))

    def reset(self) -> None:
        """All targets are as at the start: they behave so, have no connection and no work, and have seen nothing."""
        for number in range(len(self.ports)):
            self.conduct[number] = self.start
        self._order(Order(list(range(len(self.ports))), self.start, anew=True))

    def release(self, target: int, count: int) -> None:
        """Let this target answer the first of those that wait in line, so many: where it has no workers, nobody else is
        answered."""
        self._order(Order(release=(target, count)))

    def wait_empty(self, *targets: int) -> None:
        """Wait until these targets have no open connection."""
        self._order(Order(empty=list(targets)))

    def wait_arrivals(self, target: int, count: int) -> None:
        """Wait until this target has got so many requests in all."""
        self._order(Order(arrived=(target, count)))

    def seen(self) -> list[Seen]:
        """What each target got."""
        self._send(Order(report=True))
        return self._line(list[Seen])

    def close(self) -> None:
        """The process ends when its orders end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def _order(self, order: Order) -> None:
        self._send(order)
        assert self._line(bool)

    def _send(self, order: Order) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(order) + b"\n")
        self._process.stdin.flush()

    def _line(self, kind: type[T]) -> T:
        assert self._process.stdout is not None
        return msgspec.json.decode(self._process.stdout.readline(), type=kind)
