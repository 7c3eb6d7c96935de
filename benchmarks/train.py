"""The requests of the benchmarks, through a running single file: `python train.py FILE`.

`tools/build-binary` runs it with a file that counts which of its instructions are executed, and in which order. The
code of the real one is laid out by that. Nothing is measured here. The upstream, the clients and the tokens are this
program's own; it needs no other.

Fifty clients ask at a time, so requests come in turns of the loop as they do under load. How often a kind of request
comes says how much it matters where its code lies: that of all other kinds is what nobody trained, and stays as it is.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

from msgspec import structs
from suite.contenders import ALL as CONTENDERS
from suite.contenders import MIB, Testbed, bring_up
from suite.machine import Cores
from suite.processes import Server, stop
from suite.tokens import Issuer, api_keys, hs256_tokens
from whole import answer, browser_head, post, small_head

CLIENTS = 50
TOKENS = 2_000
"""That come again and again."""
PATIENCE = 60.0
"""Seconds for all requests of one kind. They take two."""

Kind = tuple[int, Callable[[], bytes]]
"""How many requests each client sends, and what makes one."""


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection of the upstream."""
    while head := await _head(reader):
        await _body(reader, head)
        if b" /files/" in head:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (MIB, bytes(MIB)))
        else:
            writer.write(answer(chunked=b"/chunked" in head))
        await writer.drain()
    writer.close()


async def _head(reader: asyncio.StreamReader) -> bytes:
    """A head, lower-cased; b"" at the end of the connection."""
    try:
        return (await reader.readuntil(b"\r\n\r\n")).lower()
    except asyncio.IncompleteReadError:
        return b""


async def _body(reader: asyncio.StreamReader, head: bytes) -> None:
    if b"\r\ntransfer-encoding: chunked" in head:
        await reader.readuntil(b"0\r\n\r\n")
    else:
        await reader.readexactly(int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0] or 0))


async def ask(port: int, kind: Kind) -> None:
    """One client: a request after the other. Each must be answered, and served."""
    count, make = kind
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(count):
        writer.write(make())
        await writer.drain()
        head = await _head(reader)
        if not head.startswith(b"http/1.1 200 "):
            raise SystemExit(f"train.py: not served: {head.decode('latin-1')}")
        await _body(reader, head)
    writer.close()
    await writer.wait_closed()


def kinds(name: str, secret: bytes, keys: list[bytes]) -> Iterator[Kind]:
    """What is asked of this contender."""
    if name == "rawgate-full":
        tokens = hs256_tokens(secret, TOKENS + 50 * CLIENTS)
        again, once = cycle(tokens[:TOKENS]), iter(tokens[TOKENS:])
        yield 150, lambda: small_head(next(again))
        yield 50, lambda: small_head(next(once))
    elif name == "rawgate-keys":
        ring = cycle(keys)
        yield 50, lambda: small_head().replace(b"Accept:", b"X-Api-Key: %b\r\nAccept:" % next(ring))
    else:
        yield 100, small_head
        yield 50, browser_head
        yield 50, post
        yield 25, lambda: small_head().replace(b"/api/users", b"/chunked")
        yield 2, lambda: b"GET /files/1MiB.bin HTTP/1.1\r\nHost: bench.test\r\n\r\n"
        yield 2, lambda: b"POST /put HTTP/1.1\r\nHost: bench.test\r\nContent-Length: %d\r\n\r\n%b" % (MIB, bytes(MIB))


def gateway(program: Path, name: str, testbed: Testbed) -> Server:
    """This file in the place of the contender's own program."""

    def command(_name: str, config: Path, _port: int, _upstream: int) -> list[str]:
        return [str(program), "run", str(config)]

    return bring_up(structs.replace(CONTENDERS[name], command=command), testbed)


async def train(program: Path, directory: Path) -> None:
    issuer, keys = Issuer(directory), api_keys()
    (directory / "api-keys.txt").write_text("".join(f"{name}:{key}\n" for name, key in keys.items()))
    upstream = await asyncio.start_server(serve, "127.0.0.1", 0, limit=2 * MIB)
    port = upstream.sockets[0].getsockname()[1]
    core = max(os.sched_getaffinity(0))
    testbed = Testbed(directory, Cores(core, core, core), {"JWT_SECRET": issuer.secret}, port, lambda: 0, issuer)
    for name in ("rawgate", "rawgate-full", "rawgate-keys"):
        server = await asyncio.to_thread(gateway, program, name, testbed)
        try:
            for kind in kinds(name, issuer.secret.encode(), [key.encode() for key in keys.values()]):
                clients = [ask(server.port, kind) for _ in range(CLIENTS)]
                await asyncio.wait_for(asyncio.gather(*clients), PATIENCE)
        finally:
            await asyncio.to_thread(stop, server.process)
    upstream.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="rawgate-train-") as folder:
        asyncio.run(train(Path(sys.argv[1]), Path(folder)))
