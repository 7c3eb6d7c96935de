"""What is said to real stores: over TCP, a socket and TLS, with a password, to a Cluster, through Sentinels; and what
people are told when one does not answer."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import Any, TypeVar, cast

import pytest
from redis.crc import key_slot
from redis.exceptions import ResponseError

from harness.certificates import Authority
from harness.upstream import free_port
from rawgate.config.constraints import StoreAddress
from rawgate.config.model import Certificate, Secret, Store
from rawgate.config.stores import store_url
from rawgate.policy.store import Question, Undone
from rawgate.policy.store import Store as Counters
from rawgate.serve.store_client import StoreClient, StoreError, why
from tools.storing.groups import cluster
from tools.storing.server import STORE, RedisServer, redis_server

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
            async with asyncio.timeout(6 * PATIENCE):
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

        def start(*arguments: str, name: str = "redis", password: str = "") -> RedisServer:
            folder = tmp_path / name
            folder.mkdir(exist_ok=True)
            return stack.enter_context(redis_server(program(STORE), folder, *arguments, password=password))

        yield start


def test_a_server_by_each_way(redis: Redis, tmp_path: Path) -> None:
    issued = Authority("Store Root")
    issued.issue("localhost", "127.0.0.1").write(tmp_path, "store")
    gate = issued.issue("gate")
    (tmp_path / "ca.pem").write_bytes(issued.pem)
    tls_port = free_port()
    server = redis(
        *("--tls-port", str(tls_port), "--tls-auth-clients", "yes", "--tls-cert-file", str(tmp_path / "store.pem")),
        *("--tls-key-file", str(tmp_path / "store.key"), "--tls-ca-cert-file", str(tmp_path / "ca.pem")),
        *("--requirepass", "secret", "--user", "gate", "on", ">other", "~rawgate:*", "+@all"),
    )
    password = Secret("env:P", b"secret")
    ca = Secret("file:ca.pem", issued.pem)
    certificate = Certificate(chain=Secret("file:gate.pem", gate.chain), key=Secret("file:gate.key", gate.key))
    ways = [
        spec(server.url, password=password),
        spec(f"unix://{server.path}", password=password),
        spec(server.url.replace("//", "//gate@"), password=Secret("env:P", b"other")),
        spec(f"rediss://localhost:{tls_port}/2", password=password, ca=ca, certificate=certificate),
    ]
    for number, way in enumerate(ways):
        assert with_client(way, use) == [1, 1, 1, 1], number
        assert with_client(way, lambda client: client.ask([question()], [])) != [], number
        for words in (("SCRIPT", "FLUSH"), ("FLUSHALL",)):
            assert server.say(*words, password="secret") == b"+OK\r\n"
    assert "certificate" in failure(spec(f"rediss://localhost:{tls_port}", password=password, certificate=certificate))
    unknown = spec(f"rediss://localhost:{tls_port}", password=password, ca=ca)
    assert "cannot be reached" in str(with_client(unknown, lambda client: granted(client, "sub:a"))[0])
    assert failure(spec(server.url)) == "it asks for a password (expected store.password)"
    assert failure(spec(server.url, password=Secret("env:P", b"wrong"))) == "it does not take the password"


def test_rights_that_the_manual_asks_for_are_enough(redis: Redis) -> None:
    rights = ["EVALSHA", "EVAL", "TIME", "GET", "SET"]
    page = (Path(__file__).parents[2] / "rawgate/operating.md").read_text("utf-8")
    assert ", ".join(f"`{name}`" for name in rights) in page
    server = redis("--user", "gate", "on", "nopass", "~rawgate:*", "-@all", *[f"+{name}" for name in rights])
    way = spec(server.url.replace("//", "//gate@"), password=Secret("env:P", b"any"))
    assert with_client(way, use) == [1, 1, 1, 1]
    assert with_client(way, StoreClient.describe) == {}
    server.say("ACL", "SETUSER", "gate", "+info", "+select")
    assert [*with_client(spec(f"{way.url.text}/1", password=way.password), StoreClient.describe)] == [""]


def test_what_makes_a_store_useless(redis: Redis) -> None:
    server = redis("--user", "default", "on", "nopass", "~*", "+@all", "-@scripting")
    assert "EVALSHA" in failure(spec(server.url))
    server.say("ACL", "SETUSER", "default", "+@scripting")
    assert with_client(spec(server.url), use) == [1, 1, 1, 1]
    assert failure(spec(f"redis+cluster://127.0.0.1:{server.port}")).startswith("it is no Cluster, or ")
    server.say("CONFIG", "SET", "maxmemory", "1")
    assert failure(spec(server.url)) == "its memory is full"
    server.say("CONFIG", "SET", "maxmemory", "0")
    told = with_client(spec(server.url), StoreClient.describe)[""]
    assert (told["maxmemory_policy"], len(told["run_id"])) == ("noeviction", 40)
    server.say("REPLICAOF", "127.0.0.1", "1")
    assert failure(spec(server.url)) == "it is a replica, which takes no counts"
    server.say("REPLICAOF", "NO", "ONE")
    server.stop()
    assert failure(spec(server.url)).startswith("it cannot be reached: ")
    assert failure(spec("unix:///nowhere.sock")).startswith("it cannot be reached: ")
    assert failure(spec(f"redis+cluster://127.0.0.1:{server.port}")).startswith("no node answers: ")


def granted(client: StoreClient, *clients: str, maximum: int = 3) -> Coroutine[Any, Any, list[int | StoreError]]:
    """What each of them is told, when all are asked together."""

    async def asked() -> list[int | StoreError]:
        try:
            answers = await client.ask([question(one, maximum) for one in clients], [])
        except StoreError as error:
            return [error] * len(clients)
        return [answer if isinstance(answer, StoreError) else answer[0] for answer in answers]

    return asked()


@pytest.mark.parametrize(("code", "told"), [("OOM", "full"), ("READONLY", "replica")])
def test_what_redis_6_says_of_commands_in_scripts(code: str, told: str) -> None:
    assert told in why(ResponseError(f"Error running script (call to f_30b5): @user_script:34: -{code} command not …"))


def test_a_server_that_is_in_a_cluster(redis: Redis) -> None:
    # Left out, the port of the bus is 10,000 higher, which may be beyond the last one there is.
    server = redis("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    assert failure(spec(server.url)) == "the Cluster is down"


def test_a_cluster(program: Callable[[str], str], tmp_path: Path) -> None:
    """Three masters. Clients are counted on all of them, also when a slot moves. One that is lost takes its counters
    along, until its replica has taken its place: there they go on from what that knew."""
    with cluster(program(STORE), tmp_path) as nodes:
        masters = [f"127.0.0.1:{node.port}" for node in nodes.nodes[:3]]

        async def work(client: StoreClient) -> None:
            assert client.server_of(question().key) == ""
            many = [f"sub:{number}" for number in range(60)]
            assert await granted(client, *many) == [1] * 60
            mine = {name: [one for one in many if client.server_of(question(one).key) == name] for name in masters}
            first, second = mine[masters[0]], mine[masters[1]]
            assert all(mine.values())
            assert {*await client.describe()} == {*masters}
            # One slot goes over, with what is counted in it.
            moved = question(first[0]).key
            nodes.move(key_slot(moved), nodes.nodes[0], nodes.nodes[1], [moved.decode()])
            assert await granted(client, *first[:2], second[0], maximum=2) == [1, 1, 1]
            assert client.server_of(moved) == masters[1]
            assert await granted(client, *first[:2], second[0], maximum=2) == [0, 0, 0]
            # A master is lost, and its replica takes its place.
            nodes.nodes[3].wait_for_all_of(nodes.nodes[0])
            nodes.nodes[0].stop()
            assert isinstance((await granted(client, first[1]))[0], StoreError)
            assert await granted(client, first[0], second[0]) == [1, 1]
            await client.look_again(masters[0], question(first[1]).key)
            assert client.server_of(question(first[1]).key) == masters[0]
            nodes.nodes[3].say("CLUSTER", "FAILOVER", "TAKEOVER")
            nodes.wait_for_master(nodes.nodes[3])
            await client.look_again(masters[0], question(first[1]).key)
            assert client.server_of(question(first[1]).key) == f"127.0.0.1:{nodes.nodes[3].port}"
            await client.probe(question(first[1]).key)
            assert await granted(client, first[1]) == [1]
            assert await granted(client, first[1]) == [0]

        with_client(spec(nodes.url), work)


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
    """One hangs, and holds up nobody. When a replica takes the master's place it is found, with its counts."""
    secured = ("--requirepass", "secret", "--masterauth", "secret", "--repl-diskless-sync-delay", "0")
    server = redis(*secured, name="master", password="secret")
    follows = ("--replicaof", "127.0.0.1", str(server.port))
    replica = redis(*secured, *follows, name="replica", password="secret")
    sentinels = []
    with ExitStack() as stack:
        for name in ("one", "other"):
            (tmp_path / name).mkdir()
            file = tmp_path / name / "sentinel.conf"
            file.write_text(
                f"sentinel monitor main 127.0.0.1 {server.port} 1\nsentinel auth-pass main secret\nrequirepass word\n"
            )
            sentinels.append(
                stack.enter_context(redis_server(program(STORE), tmp_path / name, sentinel=file, password="word"))
            )
        hanging, sentinel = sentinels
        where = ",".join(f"127.0.0.1:{one.port}" for one in sentinels)
        secrets = {"password": Secret("env:P", b"secret"), "sentinel_password": Secret("env:S", b"word")}
        way = spec(f"redis+sentinel://{where}/main", timeout=4.0, **secrets)
        unknown = failure(spec(f"redis+sentinel://{where}/other", **secrets))
        assert unknown == "its Sentinels know no such master, or take it for down"
        assert "(expected store.sentinel_password)" in failure(spec(way.url.text, password=secrets["password"]))
        hanging.pause()

        async def work(client: StoreClient) -> None:
            assert await use(client) == [1, 1, 1, 1]
            sentinel.wait_for("num-slaves\r\n$1\r\n1", "SENTINEL", "MASTER", "main")
            replica.wait_for_all_of(server)
            server.stop()
            with pytest.raises(StoreError):
                await client.probe(b"a")
            # Not before it has heard of the replica from the replica itself.
            ends = monotonic() + PATIENCE
            while not sentinel.say("SENTINEL", "FAILOVER", "main").startswith(b"+OK"):
                assert monotonic() < ends
            sentinel.wait_for(f"port\r\n${len(str(replica.port))}\r\n{replica.port}", "SENTINEL", "MASTER", "main")
            assert await granted(client, "sub:a") == [0]

        with_client(way, work)
        sentinel.stop()
        assert failure(spec(f"redis+sentinel://127.0.0.1:{sentinel.port}/main")) == (
            "its Sentinels do not answer, or name no master"
        )


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
