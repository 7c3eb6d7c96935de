"""The storms of `tools/storms` in small: what must hold for clients and for services, however the timing falls.

Nothing waits for time to pass. A storm goes on when each client has had so many answers, when targets have got so many
requests, or when the gateway has said something.
"""

import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Condition, Event, Thread
from time import monotonic
from typing import NamedTuple

import pytest

from harness import configs
from harness.gateway import PATIENCE, Gateway, running
from harness.stalls import again_after_stalls
from harness.upstreams import Conduct, Seen, Upstreams
from harness.wire_reader import Cut, Stream, read_response

pytestmark = pytest.mark.process

TARGETS = 3
ALL = range(TARGETS)
CLIENTS = 3
"""As many retries may always be under way, so here every request has its second attempt."""
CALM = Conduct(times=((1.0, 0.002, 0.3),))
GET = b"GET /%b HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /%b HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody"
LOST = 0
"""In place of a status."""

HEALTH = 'health = { path = "/health", interval = "100ms", timeout = "10s", rise = 1, fall = 1 }'
EJECT = 'eject = { failures = 3, for = "60s" }'
RETRY = 'retry = { on = ["connect", "reset", "timeout", 503] }'


class Answer(NamedTuple):
    """target: the number of the one that responded; "": none did."""

    path: str
    method: str
    status: int
    target: str


class Crowd:
    """Clients that each ask one request after the other, each with a path of its own; every fourth is a POST.

    answers  in the order in which they came
    """

    def __init__(self, gateway: Gateway) -> None:
        self.answers: list[Answer] = []
        self._gateway = gateway
        self._news = Condition()
        self._over = Event()
        self._turns = [0] * CLIENTS
        self._threads = [Thread(target=self._ask, args=(number,), daemon=True) for number in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def wait(self, turns: int = 1) -> list[Answer]:
        """Wait until each has asked and been answered so many more times. Returns the answers that came meanwhile."""
        with self._news:
            before = len(self.answers)
            # What is under way was asked earlier.
            goals = [done + 1 + turns for done in self._turns]
            done = self._news.wait_for(lambda: all(map(int.__ge__, self._turns, goals)), PATIENCE)
            assert done, self.answers[-5:]
            return self.answers[before:]

    def close(self) -> None:
        """Wait until each has its last answer."""
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _ask(self, client: int) -> None:
        sock: socket.socket | None = None
        while not self._over.is_set():
            turn = self._turns[client] + 1
            path, method = f"/{client}-{turn}", "POST" if turn % 4 == 0 else "GET"
            sock = sock or self._gateway.connect()
            status, target, keeps = exchange(sock, (GET if method == "GET" else POST) % path[1:].encode())
            if not keeps:
                sock.close()
                sock = None
            with self._news:
                self.answers.append(Answer(path, method, status, target))
                self._turns[client] = turn
                self._news.notify_all()
        if sock is not None:
            sock.close()


def exchange(sock: socket.socket, request: bytes) -> tuple[int, str, bool]:
    """The status, the target that responded, and whether the connection may be used again."""
    try:
        sock.sendall(request)
        answer = read_response(Stream.of(sock))
    except (OSError, Cut):
        answer = None
    if answer is None:
        return LOST, "", False
    return answer.status, (answer.value(b"x-target") or b"").decode(), answer.value(b"connection") != b"close"


class Scene(NamedTuple):
    bed: Upstreams
    gateway: Gateway
    crowd: Crowd


@pytest.fixture(scope="module")
def process() -> Iterator[Upstreams]:
    with Upstreams(TARGETS, CALM) as bed:
        yield bed


@contextmanager
def storm(folder: Path, bed: Upstreams, *lines: str) -> Iterator[Scene]:
    """The crowd before a gateway whose upstream has these lines. At the end the log must be true to what both sides
    saw."""
    bed.reset()
    with running(folder, configs.one_route(*bed.targets, upstream_has=lines)) as gateway:
        crowd = Crowd(gateway)
        try:
            crowd.wait()
            yield Scene(bed, gateway, crowd)
        finally:
            crowd.close()
        gateway.stop()
        assert_log_is_true(gateway, bed, crowd.answers)


def assert_log_is_true(gateway: Gateway, bed: Upstreams, answers: Sequence[Answer]) -> None:
    """Each answer has its line, with its status and its target. A path came to targets as often as there were attempts,
    or less often, where one met nobody. Nobody got a POST that another one had got."""
    assert sorted((line["path"], line["status"]) for line in gateway.log) == sorted(
        (answer.path, answer.status) for answer in answers
    )
    came = Counter(arrival.path for seen in bed.seen() for arrival in seen.arrivals)
    lines = {line["path"]: line for line in gateway.log}
    for answer in answers:
        line = lines[answer.path]
        assert came[answer.path] <= line.get("attempts", 1), line
        if answer.method == "POST":
            assert came[answer.path] <= 1, line
        if answer.target:
            assert f"http://{line['target']}" == bed.targets[int(answer.target)], line


def failed(answers: Sequence[Answer], method: str = "") -> list[Answer]:
    return [answer for answer in answers if answer.status != 200 and answer.method.startswith(method)]


def name(bed: Upstreams, number: int) -> str:
    return bed.targets[number].removeprefix("http://")


def arrivals(seen: Sequence[Seen]) -> int:
    return sum(len(one.arrivals) for one in seen)


def test_a_polite_deploy_costs_no_request(tmp_path: Path, process: Upstreams) -> None:
    """Each target says by its health that it will go, ends what it has, goes, and comes back."""
    with storm(tmp_path, process, HEALTH) as (bed, gateway, crowd):
        for number in ALL:
            bed.tell(number, ready=False, closing=True)
            gateway.wait_said(f"{name(bed, number)} is left out: health check: status 503")
            crowd.wait()
            bed.tell(number, network="leaving")
            bed.wait_empty(number)
            crowd.wait()
            bed.tell(number, network="up", ready=True, closing=False)
            bed.wait_arrivals(number, len(bed.seen()[number].arrivals) + 1)
    assert failed(crowd.answers) == []


def test_a_rude_deploy_costs_only_what_cannot_be_sent_again(tmp_path: Path, process: Upstreams) -> None:
    """Connections are reset, new ones refused, one target after the other. A POST that was on its way may be lost."""
    with storm(tmp_path, process, RETRY) as (bed, _, crowd):
        for number in ALL:
            bed.tell(number, network="down")
            crowd.wait(4)
            bed.tell(number, network="up")
            crowd.wait(4)
    assert failed(crowd.answers, "GET") == []
    assert len(failed(crowd.answers, "POST")) <= TARGETS * CLIENTS


@pytest.mark.parametrize(
    "wrong",
    [
        {"network": "silent"},
        {"times": ((1.0, 600.0, 0.0),), "workers": 1000},
        {"answer": 503, "times": ((1.0, 0.0, 0.0),)},
    ],
    ids=["lost", "slow", "poison"],
)
@again_after_stalls(0.2)
def test_a_bad_target_is_left_alone(tmp_path: Path, process: Upstreams, wrong: dict[str, object]) -> None:
    """It falls silent, or takes too long, or fails at once and so seems to have the least to do."""
    patience = 'connect_timeout = "400ms"', 'response_timeout = "400ms"'
    with storm(tmp_path, process, 'balance = "least_requests"', EJECT, RETRY, *patience) as (bed, gateway, crowd):
        bed.tell(0, **wrong)
        gateway.wait_said(f"{name(bed, 0)} is ejected")
        crowd.wait()
        before = len(bed.seen()[0].arrivals)
        assert failed(crowd.wait(5)) == []
        assert len(bed.seen()[0].arrivals) == before
    assert failed(crowd.answers, "GET") == []


def test_all_are_back_at_once(tmp_path: Path, process: Upstreams) -> None:
    """When every target has failed, nobody is left out for it once they are back, and they are not run over."""
    few = "max_connections = 2", 'queue_timeout = "20s"'
    with storm(tmp_path, process, EJECT, RETRY, *few) as (bed, _, crowd):
        bed.tell(ALL, network="down")
        crowd.wait(4)
        bed.tell(ALL, network="up", cold=20.0, warm_up=1.0)
        crowd.wait()
        assert failed(crowd.wait(4)) == []
    assert max(seen.peak for seen in bed.seen()) <= 2


def test_a_storm_of_retries_keeps_to_its_budget(tmp_path: Path, process: Upstreams) -> None:
    """Of sixty requests at once every one fails, and no second attempt ends: then retries are a fifth of the others at
    most, beside the three that may always be."""
    crowd, share, always = 60, 0.2, 3
    process.reset()
    process.tell(ALL, answer=503, workers=0)
    lines = 'retry = { budget = "20%" }', 'response_timeout = "60s"'
    text = configs.one_route(*process.targets, gateway_has=['timeouts = { drain = "0s" }'], upstream_has=lines)
    with running(tmp_path, text) as gateway, ExitStack() as stack:
        for number in range(crowd):
            stack.enter_context(gateway.connect()).sendall(GET % b"%d" % number)
        for target in ALL:
            process.wait_arrivals(target, crowd // TARGETS)
        for target in ALL:
            process.release(target, crowd // TARGETS)
        most = int(share * crowd) + always
        gateway.wait_lines(crowd - most, status=503, attempts=None)
        ends = monotonic() + PATIENCE
        while arrivals(process.seen()) < crowd + always:
            assert monotonic() < ends
        assert arrivals(process.seen()) <= crowd + most
