"""Fakes of the relay's ports, which record how they are called."""

from math import inf

from rawgate.errors import Reason
from rawgate.message import Forward, Octets, ResponseHead
from rawgate.relay.endpoints import Endpoint
from rawgate.relay.flow import Flow
from rawgate.relay.lessee import Lessee
from rawgate.relay.ports import ClientPort, Port, UpstreamPort
from rawgate.wire import ResponseReader, ResponseRules

RULES = ResponseRules(16384, 100, frozenset(), True)


class FakePort(Port):
    def __init__(self) -> None:
        self.sent = b""
        self.paused = False
        self.was_reset = False
        self.eof_sent = False
        self.expects_large_body = False
        self.backlog = 0

    def write(self, data: Octets) -> None:
        assert data, "an empty write"
        self.sent += data

    def expect_large_body(self) -> None:
        self.expects_large_body = True

    def write_eof(self) -> None:
        self.eof_sent = True

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def reset(self) -> None:
        self.was_reset = True

    def buffered(self) -> int:
        return self.backlog

    def write_backlog(self) -> int:
        return self.backlog


EPOCH = 1_700_000_000.0
"""Unix seconds at 0 of the monotonic clock."""


class FakeClient(FakePort, ClientPort):
    def __init__(self) -> None:
        super().__init__()
        self.last = False
        self.over: list[Flow] = []
        self.tunnel: Flow | None = None
        self.armed: list[float] = []
        self.paused = True
        self.flush_from = 1
        self.flushed = 0
        self.was_cut = False

    def flush(self) -> None:
        """What the kernel has not taken then is the test's to say, before the end: `client_is_full`."""
        self.flushed += 1

    def cut(self) -> None:
        self.was_cut = True

    def date(self) -> bytes:
        return b"Thu, 01 Jan 1970 00:00:00 GMT"

    def monotonic(self, wall: float) -> float:
        return wall - EPOCH

    def arm(self, due: float) -> None:
        self.armed.append(due)

    def attach(self, flow: Flow) -> None:
        self.tunnel = flow

    def finished(self, flow: Flow) -> None:
        self.over.append(flow)


class FakeUpstream(FakePort, UpstreamPort):
    def __init__(self, endpoint: Endpoint, *, reused: bool = False, address: str = "") -> None:
        super().__init__()
        self.endpoint = endpoint
        self.address = address
        self.reader = ResponseReader(RULES)
        self.idle_since = self.retire_at = 0.0
        self.reused = reused
        self.is_last = False
        self.last_had_body = self.ever_had_body = False
        self.stale = self.failed = self.drained = False
        self.closed = False
        self.owner: object = None

    def attach(self, flow: Flow | None) -> None:
        self.owner = flow

    def is_stale(self) -> bool:
        return self.stale

    def has_failed(self) -> bool:
        return self.failed

    def drain(self) -> None:
        self.drained = True

    def close(self) -> None:
        self.closed = True


class FakeLessee(Lessee):
    """Somebody who asks a pool for a connection. `ways`: when it was told to make way."""

    address = ""
    key = ""
    stalled_since = inf

    def __init__(self, address: str = "", key: str = "") -> None:
        self.address = address
        self.key = key
        self.unrepeatable = False
        self.got: list[UpstreamPort] = []
        self.failed: list[Reason] = []
        self.ways: list[float] = []

    def leased(self, upstream: UpstreamPort, now: float) -> None:
        self.got.append(upstream)

    def lease_failed(self, reason: Reason, now: float, detail: str = "", endpoint: Endpoint | None = None) -> None:
        self.failed.append(reason)

    def make_way(self, now: float) -> None:
        self.ways.append(now)


def plain_response(forward: Forward, head: ResponseHead) -> bytes:
    """The head for the client, as it came: what a `Forward` has where no rule changes it."""
    return b"".join([b"HTTP/1.1 %d %b" % (head.status, head.phrase), *head.passthrough, b"\r\n"])
