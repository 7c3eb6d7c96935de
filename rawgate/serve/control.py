"""How `rawgate reload` finds the gateway that serves a configuration, and speaks to it.

The gateway listens on a Unix socket whose name follows from the configuration's path: nobody has to write down a
process id, and no file is left behind when the gateway is killed. Only the gateway's own user, and root, are obeyed.

    client: one word and a line end            "reload\\n"
    gateway: lines of the report, then a status "0\\n" or "1\\n", and the end

On Linux the name is an abstract one (unix(7)), which ends with the process; elsewhere it is a file in the system's
folder for temporary files.
"""

import asyncio
import contextlib
import hashlib
import os
import socket
import struct
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from rawgate.errors import RawgateError

ANSWER_TIMEOUT = 60.0
"""Seconds that `ask` waits for each line: a reload reads and compiles the whole configuration."""

COMMAND_TIMEOUT = 5.0
"""Seconds that a client has for its command: each that is connected takes a descriptor."""

LINE = 64
"""Octets of a command, at most."""

_CREDENTIALS = struct.Struct("3i")

Command = Callable[[], Awaitable[tuple[bool, tuple[str, ...]]]]
"""Does something and returns whether it went well, and the lines of its report."""


class ControlError(RawgateError):
    """No gateway answers: one sentence that says why and what to do."""


def address_of(path: Path) -> str:
    """The name of the socket of the gateway that serves this configuration. Links are not followed: a new configuration
    is often put in place by a link's change (Kubernetes), and the gateway serves what the path means by then."""
    spelling = os.path.abspath(path)  # noqa: PTH100 - `Path.resolve` follows links
    digest = hashlib.sha256(os.fsencode(spelling)).hexdigest()[:32]
    name = f"rawgate-{digest}"
    return f"\0{name}" if sys.platform == "linux" else f"{tempfile.gettempdir()}/{name}"


@contextlib.asynccontextmanager
async def controlled(path: Path, commands: dict[str, Command]) -> AsyncIterator[bool]:
    """Take commands while the block lasts. Yields False when another gateway of this configuration takes them."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(address_of(path))
    except OSError:
        listener.close()
        yield False
        return

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _serve(reader, writer, commands)

    server = await asyncio.start_unix_server(serve, sock=listener, limit=LINE)
    try:
        yield True
    finally:
        server.close()


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, commands: dict[str, Command]) -> None:
    with contextlib.suppress(OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        lines: tuple[str, ...]
        # Before anything is waited for: others must not hold descriptors of ours.
        if not _is_allowed(writer.get_extra_info("socket")):
            done, lines = False, ("the gateway runs as another user: only that user, and root, may do this",)
        else:
            async with asyncio.timeout(COMMAND_TIMEOUT):
                word = (await reader.readuntil(b"\n")).decode("ascii", "replace").strip()
            command = commands.get(word)
            if command is None:
                done, lines = False, (f"{word!r} is no command of this gateway",)
            else:
                done, lines = await command()
        said = "".join(f"{line}\n" for line in (*lines, 0 if done else 1))
        writer.write(said.encode("utf-8", "backslashreplace"))
        await writer.drain()
    writer.close()


def _is_allowed(peer: socket.socket) -> bool:
    """The other end runs as the same user, or as root (SO_PEERCRED, unix(7)); elsewhere the file's owner decides."""
    if sys.platform != "linux":
        return True
    _, user, _ = _CREDENTIALS.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return user in (0, os.getuid())


def _is_gateway_of_ours(peer: socket.socket) -> bool:
    """Anybody may bind a name before the gateway does. Root asks whoever answers."""
    return os.getuid() == 0 or _is_allowed(peer)


def ask(path: Path, word: str) -> tuple[bool, list[str]]:
    """Send a command to the gateway that serves this configuration. Returns whether it went well, and the report.
    Raises ControlError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(ANSWER_TIMEOUT)
        try:
            connection.connect(address_of(path))
            if not _is_gateway_of_ours(connection):
                raise ControlError(
                    f"what answers for {path} runs as another user: `rawgate reload` is for that user, and root"
                )
            with contextlib.suppress(BrokenPipeError):
                connection.sendall(f"{word}\n".encode())
            said = b""
            # A refusal may come before our command was read: then it ends by a reset.
            with contextlib.suppress(ConnectionResetError):
                while octets := connection.recv(65536):
                    said += octets
            lines = said.decode("utf-8", "replace").splitlines()
        except OSError as error:
            raise ControlError(
                f"no gateway that serves {path} answers ({error.strerror or error}): is it running here, and was it "
                "started with this path?"
            ) from None
    if not lines or lines[-1] not in ("0", "1"):
        raise ControlError(f"the gateway that serves {path} ended before it had answered")
    return lines[-1] == "0", lines[:-1]
