"""Who is lost, and what is not lost with them: over real sockets, in both lanes.

Requests that are sent again, targets that close without a word. What `test_losses` says of single connections is here
said of several at once.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.gateway import PATIENCE, Gateway, running
from harness.upstream import OK, Connection, Script, Upstream, replying
from harness.wire_reader import Message, Stream, read_response

pytestmark = pytest.mark.process

CONFIG = """
[gateway]
listen = ["127.0.0.1:0"]
parser = "{parser}"
{gateway}

[upstreams.u]
targets = [{targets}]
{terms}

[[routes]]
prefix = "/"
upstream = "u"
auth = "none"
"""

Serve = Callable[..., tuple[Gateway, list[Upstream]]]


@pytest.fixture(params=["fast", "h11"])
def serve(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Serve]:
    """Start a gateway before upstreams that play these scripts."""
    with ExitStack() as stack:

        def start(*scripts: Script, terms: str = "", gateway: str = "") -> tuple[Gateway, list[Upstream]]:
            upstreams = [stack.enter_context(Upstream(script)) for script in scripts]
            targets = ", ".join(f'"{upstream.target}"' for upstream in upstreams)
            text = CONFIG.format(parser=request.param, targets=targets, terms=terms, gateway=gateway)
            return stack.enter_context(running(tmp_path, text)), upstreams

        yield start


def get(path: str = "/", *fields: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: h", *fields, "", ""]).encode()


def ask(gateway: Gateway, request: bytes) -> Message:
    """The whole response to a request on a connection of its own."""
    with gateway.connect() as sock:
        sock.sendall(request)
        message = read_response(Stream.of(sock), request.partition(b" ")[0])
        assert message is not None
        return message


# ── sent again ──


def serves_one(connection: Connection) -> None:
    """Answers one request, and closes silently when the next one comes."""
    if connection.request() is not None:
        connection.send(OK)
        connection.head()


@pytest.mark.parametrize(("connections", "clients"), [(1, 3), (2, 10), (4, 40)])
def test_no_request_that_may_be_sent_again_fails_at_the_limit(serve: Serve, connections: int, clients: int) -> None:
    terms = f'max_connections = {connections}\nqueue_timeout = "{PATIENCE:g}s"'
    gateway, _ = serve(serves_one, terms=terms)
    with ThreadPoolExecutor(clients) as pool:
        answers = pool.map(lambda _: ask(gateway, get()).status, range(clients))
        assert list(answers) == [200] * clients


def test_a_target_that_closes_without_a_word_is_left_for_another(serve: Serve) -> None:
    gateway, (broken, good) = serve(lambda connection: None, replying(OK))
    with gateway.connect() as sock:
        stream = Stream.of(sock)
        for _ in range(4):
            sock.sendall(get("/", "Connection: keep-alive"))
            message = read_response(stream, b"GET")
            assert message is not None
            assert message.status == 200
    assert len(good.requests) == 4
    assert len(broken.connections) <= 1
