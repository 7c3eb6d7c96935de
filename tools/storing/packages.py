"""What a question costs a worker's processor with each package that speaks to a store: `store_client` with redis-py, as
rawgate does; a protocol of our own over the parser of hiredis; coredis, where it is installed.

All ask a real store over loopback, with uvloop, the same script, one round trip after the other.
"""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from hashlib import sha1
from importlib import import_module
from pathlib import Path
from typing import Any

import hiredis
import uvloop

from rawgate.config.model import Store, StoreUrl
from rawgate.policy.store import Question
from rawgate.policy.store import Store as Counters
from rawgate.policy.store_scripts import COUNT, counter_key, key_prefix, width_of
from rawgate.serve.store_client import StoreClient
from tools.storing.leases import MAXIMUM, WINDOW
from tools.storing.server import redis_server, store_program

SIZES = (1, 10, 50)
"""Questions in a round trip."""
QUESTIONS = 20_000

DIGEST = sha1(COUNT.encode()).hexdigest()  # noqa: S324 - the store's choice
WIDTH = width_of(WINDOW)

Round = Callable[[Sequence[bytes]], Awaitable[object]]
"""Asks about these counters in one round trip."""


async def with_redis_py(port: int, stack: AsyncExitStack) -> Round:
    client = StoreClient(Store(url=StoreUrl(text="", hosts=(("127.0.0.1", port),)), timeout=10.0))
    stack.push_async_callback(client.close)
    counters = Counters(10)

    async def ask(keys: Sequence[bytes]) -> object:
        questions = [Question(counters, key, WIDTH, MAXIMUM, None) for key in keys]
        return await client.ask(questions, [])

    return ask


class _Own(asyncio.Protocol):
    """Replies in the order of the commands."""

    def __init__(self) -> None:
        self.reader = hiredis.Reader()
        self.left = 0
        self.done: asyncio.Future[list[object]] | None = None
        self.replies: list[object] = []

    def data_received(self, data: bytes) -> None:
        self.reader.feed(data)
        while (reply := self.reader.gets()) is not False:
            self.replies.append(reply)
        if self.done is not None and len(self.replies) == self.left:
            self.done.set_result(self.replies)


async def with_own_protocol(port: int, stack: AsyncExitStack) -> Round:
    loop = asyncio.get_running_loop()
    transport, own = await loop.create_connection(_Own, "127.0.0.1", port)
    stack.callback(transport.close)

    async def ask(keys: Sequence[bytes]) -> object:
        own.replies, own.left, own.done = [], len(keys), loop.create_future()
        commands: list[Any] = [("EVALSHA", DIGEST, 1, key, WIDTH, MAXIMUM, 1, 0) for key in keys]
        transport.write(b"".join(map(hiredis.pack_command, commands)))
        return await own.done

    return ask


async def with_coredis(port: int, stack: AsyncExitStack) -> Round:
    client: Any = import_module("coredis").Redis(host="127.0.0.1", port=port)
    await stack.enter_async_context(client)

    async def ask(keys: Sequence[bytes]) -> object:
        async with client.pipeline(transaction=False) as pipeline:
            waiting = [pipeline.evalsha(DIGEST, [key], [WIDTH, MAXIMUM, 1, 0]) for key in keys]
        return [await one for one in waiting]

    return ask


async def microseconds(ask: Round, size: int) -> float:
    """Of this process's processor, for one question."""
    prefix = key_prefix("limits.api", WINDOW)
    keys = [counter_key(prefix, f"sub:{number}") for number in range(size)]
    for _ in range(50):
        await ask(keys)
    rounds = QUESTIONS // size
    began = time.process_time()
    for _ in range(rounds):
        await ask(keys)
    return (time.process_time() - began) / (rounds * size) * 1e6


def tell() -> None:
    """Print the table."""
    print(f"µs of a question{''.join(f'{size:>8} together' for size in SIZES)}")
    with (
        tempfile.TemporaryDirectory(prefix="rawgate-stores-") as name,
        redis_server(store_program(), Path(name)) as store,
    ):

        async def measure(make: Callable[[int, AsyncExitStack], Awaitable[Round]]) -> list[float]:
            async with AsyncExitStack() as stack:
                ask = await make(store.port, stack)
                return [await microseconds(ask, size) for size in SIZES]

        store.say("SCRIPT", "LOAD", COUNT)
        for title, make in [("redis-py", with_redis_py), ("our own", with_own_protocol), ("coredis", with_coredis)]:
            try:
                found = uvloop.run(measure(make))
            except ModuleNotFoundError:
                print(f"{title:16}  not installed")
                continue
            print(f"{title:16}{''.join(f'{took:17.1f}' for took in found)}")
