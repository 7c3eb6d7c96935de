"""What is said to real stores: over TCP, a socket and TLS, with a password, to a Cluster, through Sentinels; and what
people are told when one does not answer."""

import asyncio
import socket
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar, cast

import pytest

from harness.certificates import Authority
from harness.upstream import free_port
from rawgate.config.constraints import StoreAddress
from rawgate.config.model import Secret, Store
from rawgate.config.stores import store_url
from rawgate.policy.store import Question, Undone
from rawgate.policy.store import Store as Counters
from rawgate.serve.store_client import StoreClient, StoreError
from tools.storing.server import RedisServer, redis_server

pytestmark = pytest.mark.process
T = TypeVar("T")
Redis = Callable[..., RedisServer]


PATIENCE = 10.0
"""Seconds that a store has to answer: the default is for one that has a host to itself."""


def spec(url: str, **more: Any) -> Store:
    found = store_url(StoreAddress(), url, cast("Any", None))
    return Store(url=found, **({"timeout": PATIENCE} | more))


def question(client: str = "sub:a", maximum: int = 3) -> Question:
    one = Question(Counters(10), b"rawgate:a:1000000:" + client.encode(), 60_000_000, maximum, None)
    one.need = 1
    return one


def with_client(spec: Store, work: Callable[[StoreClient], Awaitable[T]]) -> T:
    async def run() -> T:
        client = StoreClient(spec)
        try:
            async with asyncio.timeout(2 * PATIENCE):
                return await work(client)
        finally:
            await client.close()

    return asyncio.run(run())


async def use(client: StoreClient) -> list[int]:
    """How many of four requests are served; the second one is taken back."""
    granted = []
    for _ in range(4):
        answer = (await client.ask([question()], []))[0]
        assert not isinstance(answer, StoreError), answer
        granted.append(answer[0])
        if len(granted) == 2:
            one = question()
            await client.ask([], [Undone(one.key, one.width, answer[4])])
    await client.probe(question().key)
    return granted


def failure(spec: Store) -> str:
    """Why a store does not answer: both a question and a probe say so."""

    async def work(client: StoreClient) -> str:
        with pytest.raises(StoreError) as probed:
            await client.probe(b"a")
        try:
            answer = (await client.ask([question("sub:b", 1000)], []))[0]
        except StoreError as error:
            answer = error
        assert str(answer) == str(probed.value)
        return str(answer)

    return with_client(spec, work)


@pytest.fixture
def redis(program: Callable[[str], str], tmp_path: Path) -> Iterator[Redis]:
    with ExitStack() as stack:

        def start(*arguments: str, name: str = "redis") -> RedisServer:
            folder = tmp_path / name
            folder.mkdir(exist_ok=True)
            return stack.enter_context(redis_server(program("redis-server"), folder, *arguments))

        yield start


def test_a_server_by_each_way(redis: Redis, tmp_path: Path) -> None:
    issued = Authority("Store Root")
    shown = issued.issue("localhost", "127.0.0.1")
    shown.write(tmp_path, "store")
    tls_port = free_port()
    server = redis(
        *("--tls-port", str(tls_port), "--tls-auth-clients", "no", "--tls-cert-file", str(tmp_path / "store.pem")),
        *("--tls-key-file", str(tmp_path / "store.key"), "--tls-ca-cert-file", str(tmp_path / "store.pem")),
        *("--requirepass", "secret", "--user", "gate", "on", ">other", "~rawgate:*", "+@all"),
    )
    password = Secret("env:P", b"secret")
    ca = Secret("file:ca.pem", issued.pem)
    ways = [
        spec(server.url, password=password),
        spec(f"unix://{server.path}", password=password),
        spec(server.url.replace("//", "//gate@"), password=Secret("env:P", b"other")),
        spec(f"rediss://localhost:{tls_port}/2", password=password, ca=ca),
    ]
    for number, way in enumerate(ways):
        assert with_client(way, use) == [1, 1, 1, 1], number
        assert with_client(way, lambda client: client.ask([question()], [])) != [], number
        for words in (("SCRIPT", "FLUSH"), ("FLUSHALL",)):
            assert server.say(*words, password="secret") == b"+OK\r\n"
    assert "certificate" in failure(spec(f"rediss://localhost:{tls_port}", password=password))
    assert failure(spec(server.url)) == "it asks for a password (expected store.password)"
    assert failure(spec(server.url, password=Secret("env:P", b"wrong"))) == "it does not take the password"


def test_what_makes_a_store_useless(redis: Redis) -> None:
    server = redis("--user", "default", "on", "nopass", "~*", "+@all", "-@scripting")
    assert "EVALSHA" in failure(spec(server.url))
    server.say("ACL", "SETUSER", "default", "+@scripting")
    assert with_client(spec(server.url), use) == [1, 1, 1, 1]
    server.say("CONFIG", "SET", "maxmemory", "1")
    assert failure(spec(server.url)) == "its memory is full"
    server.say("CONFIG", "SET", "maxmemory", "0")
    told = with_client(spec(server.url), StoreClient.describe)
    assert (told["maxmemory_policy"], len(told["run_id"])) == ("noeviction", 40)
    server.say("REPLICAOF", "127.0.0.1", "1")
    assert failure(spec(server.url)) == "it is a replica, which takes no counts"
    server.say("REPLICAOF", "NO", "ONE")
    server.stop()
    assert failure(spec(server.url)).startswith("it cannot be reached: ")
    assert failure(spec("unix:///nowhere.sock")).startswith("it cannot be reached: ")


def test_a_cluster(redis: Redis) -> None:
    # Left out, the port of the bus is 10,000 higher, which may be beyond the last one there is.
    server = redis("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    assert failure(spec(server.url)) == "the Cluster is down"
    server.say("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
    server.wait_for("cluster_state:ok", "CLUSTER", "INFO")
    way = spec(f"redis+cluster://127.0.0.1:{server.port}")
    assert with_client(way, use) == [1, 1, 1, 1]

    async def many(client: StoreClient) -> list[Any]:
        return await client.ask([question(f"sub:{number}") for number in range(50)], [])

    assert [answer[0] for answer in with_client(way, many)] == [1] * 50
    assert with_client(way, StoreClient.describe) == {}


@pytest.mark.parametrize("url", ["redis://", "redis+cluster://", "redis+sentinel://"])
@pytest.mark.parametrize("reply", [b":5\r\n", b"$-1\r\n", b"*1\r\n*3\r\n:0\r\n:16383\r\n:7\r\n"])
def test_what_answers_in_a_form_of_its_own(url: str, reply: bytes) -> None:
    """It greets as one, and answers all else in a form of its own. Whoever probes it hears of it, and goes on."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            asked = [line.upper() for line in data.split(b"\r\n")]
            greetings = asked.count(b"CLIENT") + asked.count(b"SELECT")
            writer.write(b"+OK\r\n" * greetings + reply * (sum(line[:1] == b"*" for line in asked) - greetings))
        writer.close()

    async def run() -> str:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            client = StoreClient(spec(f"{url}127.0.0.1:{port}{'/main' if 'sentinel' in url else ''}"))
            assert await client.describe() == {}
            with pytest.raises(StoreError) as error:
                await client.probe(b"a")
            await client.close()
            return str(error.value)

    assert asyncio.run(run()) == "it does not answer as a store does"


def test_sentinels(redis: Redis, program: Callable[[str], str], tmp_path: Path) -> None:
    server = redis()
    port, file = free_port(), tmp_path / "sentinel.conf"
    file.write_text(f"port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {server.port} 1\n")
    with subprocess.Popen(
        [program("redis-server"), str(file), "--sentinel"], stdout=subprocess.DEVNULL, cwd=tmp_path
    ) as sentinel:
        try:
            RedisServer.wait_at(port)
            way = spec(f"redis+sentinel://127.0.0.1:{port}/main")
            assert with_client(way, use) == [1, 1, 1, 1]
            assert failure(spec(f"redis+sentinel://127.0.0.1:{port}/other")) == "the Sentinels know no such master"
        finally:
            sentinel.kill()


def test_what_is_no_store(redis: Redis) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        answering = Thread(target=answer_as_http, args=(listening,))
        answering.start()
        said = failure(spec(f"redis://127.0.0.1:{port}"))
        answering.join()
    assert said.startswith("it ")


def answer_as_http(listening: socket.socket) -> None:
    for _ in range(2):
        sock, _ = listening.accept()
        with sock:
            sock.recv(1000)
            sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
