"""What is said to a store, in commands that Redis and Valkey know. The only door to redis-py, which is optional:
`rawgate[store]`.

Each script is called by its digest, and by its text where the store does not know it: after a restart, a failover, or a
`SCRIPT FLUSH`. Nothing is tried twice: whoever asks has milliseconds, and knows what to do without an answer.

A Unix socket, TLS, Sentinels and Clusters are the package's work. That is why it is used: our own protocol over the
parser of hiredis took a fifth of the processor time of a lone question and a seventh of one among fifty, but would have
to follow a Cluster's redirections and a Sentinel's failovers by itself.

Of a Cluster the package looks up once who has which counters, and follows redirections. Where a node is lost there is
none to redirect, so whoever probes calls `look_again`.
"""

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from hashlib import sha1
from importlib import import_module
from random import choice
from typing import TYPE_CHECKING, Any

from rawgate.config.model import Store
from rawgate.errors import RawgateError
from rawgate.net.tls_contexts import file_of
from rawgate.policy.store import Question, Undone
from rawgate.policy.store_scripts import COUNT, TAKE_BACK

if TYPE_CHECKING:
    from redis.asyncio import Redis

CONNECTIONS = 8
"""Open at most: more than `keeper` has questions under way at a time."""

CONNECT_TIMEOUT = 1.0
"""Seconds; `store.timeout` if that is longer."""

SENTINELS = 4
"""A part of that time is what a Sentinel has to be reached, and to answer: they are asked one after the other, and one
that hangs must not take the time of those behind it."""

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
        self._files = contextlib.ExitStack()
        self._client, self._sentinels = _clients_of(spec, self._files)
        self._nodes = self._client.nodes_manager if spec.url.kind == "cluster" else None

    def server_of(self, key: bytes) -> str:
        """The name of the server that has this counter, as far as is known: HOST:PORT of a Cluster's node, else ""."""
        if self._nodes is None:
            return ""
        from redis.crc import key_slot

        nodes = self._nodes.slots_cache.get(key_slot(key))
        return nodes[0].name if nodes else ""

    async def ask(self, questions: Sequence[Question], undone: Sequence[Undone]) -> list[Answer | StoreError]:
        """Ask all of it in one round trip: an answer, or why there is none, for each question. Raises StoreError: there
        is none at all."""
        calls: list[Call] = [(_TAKE_BACK, (one.key, one.width, one.subwindow, 1)) for one in undone]
        calls += [(_COUNT, (one.key, one.width, one.maximum, one.need, one.extra)) for one in questions]
        replies = await self._run(calls)
        return [_answer(reply) for reply in replies[len(undone) :]]

    async def look_again(self, lost: str, key: bytes) -> None:
        """Find out whether another server than the lost one has this counter by now. Raises StoreError."""
        nodes = self._nodes
        if nodes is None or not nodes.slots_cache:  # what was never known is looked up by the first question
            return
        from redis.asyncio.cluster import ClusterNode
        from redis.crc import key_slot

        # All that are known, and those of the configuration: a Cluster may have moved to other addresses meanwhile.
        for host, port in self._spec.url.hosts:
            node = ClusterNode(host, port, **nodes.connection_kwargs)
            nodes.startup_nodes.setdefault(node.name, node)
        slot = key_slot(key)
        async with _told():
            others = [node for name, node in nodes.startup_nodes.items() if name != lost]
            # One that hangs takes the time of this try, and may not be the first one of the next.
            asked = choice(others or [*nodes.startup_nodes.values()])  # noqa: S311 - no secret
            told = await asked.execute_command("CLUSTER SLOTS")
            owners = [f"{owner[0].decode()}:{owner[1]}" for first, last, owner, *_ in told if first <= slot <= last]
            # To take over all of it takes milliseconds, and new connections to all.
            if lost not in owners:
                await nodes.initialize(last_failed_node_name=lost)

    async def probe(self, key: bytes) -> None:
        """Ask about a counter of the gateway's own, which has the node of that key. Raises StoreError."""
        found = _answer((await self._run([(_COUNT, (b"rawgate:probe:{%b}" % key, 100_000, 1_000_000, 1, 0))]))[0])
        if isinstance(found, StoreError):
            raise found

    async def describe(self) -> dict[str, dict[str, Any]]:
        """What each server says of itself (INFO), by `server_of`'s names; nothing of those that may not be asked."""
        told: dict[str, dict[str, Any]] = {}
        with contextlib.suppress(Exception):  # see `_told`
            if self._nodes is None:
                told[""] = await self._client.info()
            else:
                for node in self._client.get_primaries():
                    told[node.name] = await self._client.info(target_nodes=node)
        return told

    async def close(self) -> None:
        from redis.exceptions import RedisError

        for client in (self._client, *self._sentinels):
            with contextlib.suppress(RedisError, OSError):  # it may be lost already
                await client.aclose()
        self._files.close()

    async def _run(self, calls: Sequence[Call]) -> list[Any]:
        from redis.exceptions import NoScriptError

        async with _told():
            replies = await self._send([("EVALSHA", script.digest, 1, *rest) for script, rest in calls])
            unknown = [at for at, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
            if unknown:
                again = [calls[at] for at in unknown]
                texts = await self._send([("EVAL", script.text, 1, *rest) for script, rest in again])
                for at, reply in zip(unknown, texts, strict=True):
                    replies[at] = reply
        return replies

    async def _send(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        pipeline: Any = self._client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        replies: list[Any] = await pipeline.execute(raise_on_error=False)
        return replies


@contextlib.asynccontextmanager
async def _told() -> AsyncIterator[None]:
    """What the package raises, as StoreError."""
    from redis.exceptions import RedisClusterException, RedisError

    try:
        yield
    except (RedisError, RedisClusterException, OSError) as error:
        raise StoreError(why(error)) from error
    except Exception as error:
        # The package takes what Sentinels and Clusters tell of themselves for well-formed: it fails by whatever Python
        # says of something else (TypeError, IndexError, …).
        raise StoreError(NO_STORE) from error


def _answer(reply: object) -> Answer | StoreError:
    if isinstance(reply, Exception):
        return StoreError(why(reply))
    if isinstance(reply, list) and len(reply) == 5 and all(isinstance(number, int) for number in reply):
        granted, free, release, left, subwindow = reply
        return granted, free, release, left, subwindow
    return StoreError(NO_STORE)


def _clients_of(spec: Store, files: contextlib.ExitStack) -> "tuple[Any, Sequence[Redis]]":
    """The package's client of one server, of one that Sentinels name, or of a Cluster; and those of the Sentinels.
    files: they stay as long as these do."""
    from redis.asyncio import Redis
    from redis.asyncio.cluster import ClusterNode, RedisCluster
    from redis.asyncio.retry import Retry
    from redis.asyncio.sentinel import Sentinel
    from redis.backoff import NoBackoff

    url = spec.url
    patience = max(CONNECT_TIMEOUT, spec.timeout)
    options: dict[str, Any] = {
        "socket_connect_timeout": patience,
        "socket_timeout": None,  # each question has its own
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "max_connections": CONNECTIONS,
    }
    secured: dict[str, Any] = {"ssl": True} if url.tls else {}
    if url.tls and spec.ca is not None:
        secured["ssl_ca_data"] = spec.ca.value.decode("ascii", "replace")
    if url.tls and spec.certificate is not None:
        for name, secret in (("certfile", spec.certificate.chain), ("keyfile", spec.certificate.key)):
            secured[f"ssl_{name}"] = files.enter_context(file_of(secret.value))
    who: dict[str, Any] = {"username": url.user or None}
    if spec.password is not None:
        who["password"] = spec.password.value.decode("utf-8", "surrogateescape")
    if url.kind == "cluster":
        nodes = [ClusterNode(host, port) for host, port in url.hosts]
        # 0: at a redirection it would close all connections, and lose what others wait for.
        cluster = RedisCluster(
            startup_nodes=nodes, require_full_coverage=False, reinitialize_steps=0, **options, **secured, **who
        )
        return cluster, ()
    if url.kind == "sentinel":
        watching: dict[str, Any] = {**options, **secured}
        watching["socket_connect_timeout"] = watching["socket_timeout"] = patience / SENTINELS
        if spec.sentinel_password is not None:
            watching["password"] = spec.sentinel_password.value.decode("utf-8", "surrogateescape")
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
    ("NoPermissionError", "its user may not do what counting needs (EVALSHA, EVAL, TIME, GET, SET, SELECT)"),
    ("AuthenticationError", "it does not take the password"),
    ("AuthorizationError", "its user may not come in"),
    ("MasterDownError", "its master is down"),
    ("ClusterDownError", "the Cluster is down"),
    ("SlotNotCoveredError", "a part of the Cluster is down"),
    ("TimeoutError", "it takes no connection in time"),
)
"""Exceptions of redis-py by name, the more special first → what they mean here."""

_IN_SCRIPTS = (("-OOM ", "its memory is full"), ("-READONLY ", "it is a replica, which takes no counts"))
"""Where Redis 6 says so of a command in a script → the same."""


def why(error: BaseException) -> str:
    """In words for the operator; never a password."""
    kinds = [kind.__name__ for kind in type(error).__mro__]
    said = str(error).strip().partition("\n")[0][:200].rstrip(".")
    if said.startswith(("NOAUTH", "Authentication required")):
        return "it asks for a password (expected store.password)"
    if "RedisClusterException" in kinds:
        reason = str(error).rpartition("reachable node: ")[2][:200]
        is_none = "mode is not enabled" in reason
        return "it is no Cluster, or its user may not do CLUSTER SLOTS" if is_none else f"no node answers: {reason}"
    if "MasterNotFoundError" in kinds:
        return _unnamed(str(error))
    for name, text in _WORDS:
        if name in kinds:
            return text
    for code, text in _IN_SCRIPTS:
        if code in said:
            return text
    if said.startswith(("BUSY", "MISCONF", "NOREPLICAS", "UNKILLABLE")):
        return said
    if "ConnectionError" in kinds or isinstance(error, OSError):
        return f"it cannot be reached: {said}"
    return f"it replies: {said}"


def _unnamed(said: str) -> str:
    """Why no Sentinel names a master: what those said that did not answer stands behind the first colon."""
    if "NOAUTH" in said or "Authentication" in said:
        return "its Sentinels ask for a password (expected store.sentinel_password)"
    if " : " in said:
        return "its Sentinels do not answer, or name no master"
    return "its Sentinels know no such master, or take it for down"
