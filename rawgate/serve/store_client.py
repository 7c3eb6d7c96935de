"""What is said to a store, in commands that Redis and Valkey know. The only door to redis-py, which is optional:
`rawgate[store]`.

Each script is called by its digest, and by its text where the store does not know it: after a restart, a failover, or a
`SCRIPT FLUSH`. Nothing is tried twice: whoever asks has milliseconds, and knows what to do without an answer.

A Unix socket, TLS, Sentinels and Clusters are the package's work. That is why it is used: our own protocol over the
parser of hiredis took a fifth of the processor time of a lone question and a seventh of one among fifty, but would have
to follow a Cluster's redirections and a Sentinel's failovers by itself.
"""

import contextlib
from collections.abc import Callable, Sequence
from hashlib import sha1
from importlib import import_module
from typing import TYPE_CHECKING, Any

from rawgate.config.model import Store
from rawgate.errors import RawgateError
from rawgate.policy.store import Question, Undone
from rawgate.policy.store_scripts import COUNT, TAKE_BACK

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.asyncio.cluster import RedisCluster

CONNECTIONS = 8
"""Open at most: more than `keeper` has questions under way at a time."""

CONNECT_TIMEOUT = 1.0
"""Seconds."""

Answer = tuple[int, int, int, int, int]
"""What `store_scripts.COUNT` returns."""


class StoreError(RawgateError):
    """Why the store does not answer, for the operator."""


def is_there() -> bool:
    """Whether the package is installed. It is imported then: that takes as long as all else of a start, and is done
    once for all workers, or in the thread of a reload."""
    try:
        import_module("redis.asyncio.cluster")
        import_module("redis.asyncio.sentinel")
    except ModuleNotFoundError:
        return False
    return True


class _Script:
    """Its text, and the digest by which the store knows it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.digest = sha1(text.encode()).hexdigest()  # noqa: S324 - the store's choice


_COUNT, _TAKE_BACK = _Script(COUNT), _Script(TAKE_BACK)

NO_STORE = "it does not answer as a store does"

Call = tuple[_Script, tuple[bytes | int, ...]]
"""A script, its key and arguments."""


class StoreClient:
    """The connections of one process to the store. Nothing is connected before it is asked."""

    def __init__(self, spec: Store) -> None:
        """Raises ImportError where the package is missing."""
        self._spec = spec
        self._client, self._sentinels = _clients_of(spec)

    async def ask(self, questions: Sequence[Question], undone: Sequence[Undone]) -> list[Answer | StoreError]:
        """Ask all of it in one round trip: an answer, or why there is none, for each question. Raises StoreError: there
        is none at all."""
        calls: list[Call] = [(_TAKE_BACK, (one.key, one.width, one.subwindow, 1)) for one in undone]
        calls += [(_COUNT, (one.key, one.width, one.maximum, one.need, one.extra)) for one in questions]
        replies = await self._run(calls)
        return [_answer(reply) for reply in replies[len(undone) :]]

    async def probe(self, key: bytes) -> None:
        """Ask about a counter of the gateway's own, which has the node of that key. Raises StoreError."""
        name = b"rawgate:probe:{%b}" % key.replace(b"}", b"")
        found = _answer((await self._run([(_COUNT, (name, 100_000, 1_000_000, 1, 0))]))[0])
        if isinstance(found, StoreError):
            raise found

    async def describe(self) -> dict[str, Any]:
        """What the store says of itself (INFO); nothing where it may not be asked, or is many."""
        if self._spec.url.kind == "cluster":
            return {}
        try:
            return {**await self._client.info("server"), **await self._client.info("memory")}
        except Exception:  # noqa: BLE001 - see `_run`
            return {}

    async def close(self) -> None:
        from redis.exceptions import RedisError

        for client in (self._client, *self._sentinels):
            with contextlib.suppress(RedisError, OSError):  # it may be lost already
                await client.aclose()

    async def _run(self, calls: Sequence[Call]) -> list[Any]:
        from redis.exceptions import NoScriptError, RedisClusterException, RedisError

        try:
            replies = await self._send([("EVALSHA", script.digest, 1, *rest) for script, rest in calls])
            unknown = [at for at, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
            if unknown:
                again = [calls[at] for at in unknown]
                texts = await self._send([("EVAL", script.text, 1, *rest) for script, rest in again])
                for at, reply in zip(unknown, texts, strict=True):
                    replies[at] = reply
        except (RedisError, RedisClusterException, OSError) as error:
            raise StoreError(why(error)) from error
        except Exception as error:
            # The package takes what Sentinels and Clusters tell of themselves for well-formed: it fails by whatever
            # Python says of something else (TypeError, IndexError, …).
            raise StoreError(NO_STORE) from error
        return replies

    async def _send(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        pipeline: Any = self._client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        replies: list[Any] = await pipeline.execute(raise_on_error=False)
        return replies


def _answer(reply: object) -> Answer | StoreError:
    if isinstance(reply, Exception):
        return StoreError(why(reply))
    if isinstance(reply, list) and len(reply) == 5 and all(isinstance(number, int) for number in reply):
        granted, free, release, left, subwindow = reply
        return granted, free, release, left, subwindow
    return StoreError(NO_STORE)


def _clients_of(spec: Store) -> "tuple[Redis | RedisCluster, Sequence[Redis]]":
    """The package's client of one server, of one that Sentinels name, or of a Cluster; and those of the Sentinels."""
    from redis.asyncio import Redis
    from redis.asyncio.cluster import ClusterNode, RedisCluster
    from redis.asyncio.retry import Retry
    from redis.asyncio.sentinel import Sentinel
    from redis.backoff import NoBackoff

    url = spec.url
    options: dict[str, Any] = {
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "socket_timeout": None,  # each question has its own
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "client_name": "rawgate",
        "max_connections": CONNECTIONS,
    }
    secured: dict[str, Any] = {"ssl": True} if url.tls else {}
    if url.tls and spec.ca is not None:
        secured["ssl_ca_data"] = spec.ca.value.decode("ascii", "replace")
    who: dict[str, Any] = {"username": url.user or None}
    if spec.password is not None:
        who["password"] = spec.password.value.decode("utf-8", "surrogateescape")
    if url.kind == "cluster":
        nodes = [ClusterNode(host, port) for host, port in url.hosts]
        return RedisCluster(startup_nodes=nodes, **options, **secured, **who), ()
    if url.kind == "sentinel":
        # Sentinels have users of their own, and mostly none.
        watching = {"socket_connect_timeout": CONNECT_TIMEOUT, "socket_timeout": CONNECT_TIMEOUT, **secured}
        make: Callable[..., Any] = Sentinel
        sentinel = make(url.hosts, sentinel_kwargs=watching)
        found: Redis = sentinel.master_for(url.service, db=url.database, **options, **secured, **who)
        return found, sentinel.sentinels
    place = {"unix_socket_path": url.path} if url.path else {"host": url.hosts[0][0], "port": url.hosts[0][1]}
    return Redis(db=url.database, **place, **options, **secured, **who), ()


_WORDS = (
    ("OutOfMemoryError", "its memory is full"),
    ("BusyLoadingError", "it is still loading its data"),
    ("ReadOnlyError", "it is a replica, which takes no counts"),
    ("MovedError", 'it is a Cluster (expected "redis+cluster://…" in store.url)'),
    ("NoPermissionError", "its user may not do what counting needs (EVALSHA, EVAL, TIME, GET, SET)"),
    ("AuthenticationError", "it does not take the password"),
    ("AuthorizationError", "its user may not come in"),
    ("MasterDownError", "its master is down"),
    ("ClusterDownError", "the Cluster is down"),
    ("SlotNotCoveredError", "a part of the Cluster is down"),
    ("MasterNotFoundError", "the Sentinels know no such master"),
    ("TimeoutError", "it takes no connection in time"),
)
"""Exceptions of redis-py by name, the more special first → what they mean here."""


def why(error: BaseException) -> str:
    """In words for the operator; never a password."""
    kinds = [kind.__name__ for kind in type(error).__mro__]
    said = str(error).strip().partition("\n")[0][:200].rstrip(".")
    if said.startswith(("NOAUTH", "Authentication required")):
        return "it asks for a password (expected store.password)"
    for name, text in _WORDS:
        if name in kinds:
            return text
    if said.startswith(("BUSY", "MISCONF", "NOREPLICAS", "UNKILLABLE")):
        return said
    if "ConnectionError" in kinds or isinstance(error, OSError):
        return f"it cannot be reached: {said}"
    return f"it replies: {said}"
