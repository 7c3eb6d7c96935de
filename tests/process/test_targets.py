"""Several targets, names with several addresses, names that are slow or not there: through the real program.

What its system knows of names, the configuration says: a program that answers for `socket.getaddrinfo`.
"""

import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event

import pytest

from harness.gateway import PATIENCE, Gateway, running
from harness.upstream import OK, Connection, Upstream, free_port, replying
from harness.wire_reader import Stream, read_response

pytestmark = pytest.mark.process

GET = b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"

CONFIG = """
import socket
import threading

from rawgate.config.model import Config, Gateway, Route, Upstream

NAMES = {names}
real = socket.getaddrinfo


def getaddrinfo(host, *arguments, **others):
    if host.startswith("slow"):
        threading.Event().wait()
    if host.endswith(".test") and host not in NAMES:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return [one for address in NAMES.get(host, [host]) for one in real(address, *arguments, **others)]


socket.getaddrinfo = getaddrinfo

config = Config(
    gateway=Gateway(listen=["127.0.0.1:0"], parser="{lane}"),
    upstreams={{name: Upstream(targets=targets, {options}) for name, targets in {upstreams}.items()}},
    routes=[Route(prefix=f"/{{name}}", upstream=name, auth="none") for name in {upstreams}],
)
"""


@contextmanager
def serving(
    folder: Path,
    names: dict[str, list[str]],
    options: str = "max_connections=256",
    lane: str = "fast",
    **upstreams: list[str],
) -> Iterator[Gateway]:
    text = CONFIG.format(names=names, upstreams=upstreams, options=options, lane=lane)
    with running(folder, text, name="gateway.py") as gateway:
        yield gateway


def closing(connection: Connection) -> None:
    """Reads a request, and closes without a word."""
    connection.request()


def get(gateway: Gateway, path: str, body: bytes = b"") -> int:
    """The status of a GET, or of a POST with this body."""
    head = POST % len(body) if body else GET
    with gateway.connect() as sock:
        sock.sendall(head.replace(b"/x", path.encode()) + body)
        answer = read_response(Stream.of(sock))
        assert answer is not None
        return answer.status


@contextmanager
def silent(host: str) -> Iterator[int]:
    """A port at which SYNs are not answered: its queue is full."""
    with socket.create_server((host, free_port()), backlog=0) as full, socket.create_connection(full.getsockname()):
        yield full.getsockname()[1]


@pytest.mark.parametrize("bad", ["127.0.0.2", "127.0.0.3"])
def test_a_silent_address_costs_no_request_and_is_told(tmp_path: Path, bad: str) -> None:
    with silent(bad) as port, Upstream(replying(OK), host="127.0.0.4", port=port) as good:
        names = {"users.test": [bad, "127.0.0.4"] if bad < "127.0.0.3" else ["127.0.0.4", bad]}
        with serving(tmp_path, names, users=[f"http://users.test:{port}"]) as gateway:
            assert [get(gateway, "/users") for _ in range(10)] == [200] * 10
            gateway.wait_said(f"upstream users: users.test:{port} at {bad} cannot be reached: ")
            assert len(good.requests) == 10


def test_a_name_with_two_addresses_has_its_load_on_both(tmp_path: Path) -> None:
    port = free_port()
    with (
        Upstream(replying(OK), host="127.0.0.2", port=port) as one,
        Upstream(replying(OK), host="127.0.0.3", port=port) as two,
    ):
        names = {"users.test": ["127.0.0.2", "127.0.0.3"]}
        with serving(tmp_path, names, users=[f"http://users.test:{port}"]) as gateway:
            assert [get(gateway, "/users") for _ in range(20)] == [200] * 20
        assert (len(one.requests), len(two.requests)) == (10, 10)


@pytest.mark.parametrize("count", [50, 200])
def test_a_burst_is_spread_over_the_targets(tmp_path: Path, count: int) -> None:
    """The services answer when all has come, so that no connection is used twice meanwhile."""
    opened = Event()

    def waits(connection: Connection) -> None:
        while connection.request() is not None:
            assert opened.wait(PATIENCE)
            connection.send(OK)

    with Upstream(waits) as one, Upstream(waits) as two, ExitStack() as stack:
        options = 'per_client=256, response_timeout="60s"'
        gateway = stack.enter_context(serving(tmp_path, {}, options, users=[one.target, two.target]))
        clients = [stack.enter_context(gateway.connect()) for _ in range(count)]
        for _ in range(2):
            opened.clear()
            before = len(one.requests), len(two.requests)
            for client in clients:
                client.sendall(GET.replace(b"/x", b"/users"))
            one.wait_requests(before[0] + count // 2)
            two.wait_requests(before[1] + count // 2)
            opened.set()
            for client in clients:
                answer = read_response(Stream.of(client))
                assert answer is not None
                assert answer.status == 200
        assert (len(one.requests), len(two.requests)) == (count, count)


def test_a_slow_look_up_harms_no_other_name_and_not_the_end(tmp_path: Path) -> None:
    with Upstream(replying(OK)) as upstream:
        targets = {
            **{f"slow{number}": [f"http://slow{number}.test:80"] for number in range(8)},
            "quick": [f"http://quick.test:{upstream.port}"],
        }
        options = 'connect_timeout="300ms" if name.startswith("slow") else "10s"'
        with serving(tmp_path, {"quick.test": ["127.0.0.1"]}, options, "fast", **targets) as gateway:
            waiting = [get(gateway, f"/slow{number}") for number in range(2)]
            assert get(gateway, "/quick") == 200
            assert waiting == [504, 504]
            gateway.stop()
            assert gateway.said[-1] == "rawgate: stopped"


def test_a_target_that_goes_and_comes_back_is_reported(tmp_path: Path) -> None:
    port = free_port()
    with Upstream(replying(OK)) as good:
        targets = [good.target, f"http://127.0.0.1:{port}", "http://absent.test:80"]
        with serving(tmp_path, {}, users=targets, alone=[f"http://127.0.0.1:{port}"]) as gateway:
            gateway.wait_said("absent.test cannot be looked up: no such name")
            assert Counter(get(gateway, "/users") for _ in range(12)) == {200: 12}
            assert get(gateway, "/alone") == 502
            gateway.wait_said(f"upstream users: 127.0.0.1:{port} cannot be reached: connection refused")
            gateway.wait_said("upstream users: absent.test:80 cannot be reached: no such name")
            with Upstream(replying(OK), port=port):
                assert get(gateway, "/alone") == 200
                gateway.wait_said(f"upstream alone: 127.0.0.1:{port} can be reached again")
        assert len([line for line in gateway.said if "cannot be reached" in line]) == 3


@pytest.mark.parametrize("lane", ["fast", "h11"])
@pytest.mark.parametrize("body", [b"", b"hello"])
def test_a_mute_address_is_reported_once_and_the_others_serve(tmp_path: Path, lane: str, body: bytes) -> None:
    """One with a body that has been taken cannot be sent again: it costs at most one request, since each address has
    its turn."""
    said, port = "closes new connections without a word", free_port()
    with (
        Upstream(closing, port=port),
        Upstream(replying(OK), host="127.0.0.2", port=port) as good,
        serving(
            tmp_path,
            {"users.test": ["127.0.0.1", "127.0.0.2"]},
            lane=lane,
            users=[f"http://users.test:{port}"],
        ) as gateway,
    ):
        statuses = [get(gateway, "/users", body) for _ in range(10)]
        gateway.stop()
    assert statuses.count(200) >= (9 if body else 10)
    assert len(good.requests) == statuses.count(200)
    assert len([line for line in gateway.said if said in line or "cannot be reached" in line]) == 1
    assert not [line for line in gateway.said if "again" in line]
