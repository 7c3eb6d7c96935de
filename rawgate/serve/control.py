"""How `rawgate reload` finds the gateway that serves a configuration, and speaks to it.

The gateway listens on a Unix socket whose name follows from the configuration's path: nobody has to write down a
process id, and no file is left behind when the gateway is killed. Only the gateway's own user, and root, are obeyed.

    caller: one word and a line end            "reload\\n"
    gateway: lines of the report, then a status "0\\n" or "1\\n", and the end

On Linux the name is an abstract one (unix(7)), which ends with the process; elsewhere it is a file in the system's
folder for temporary files.

Nothing here waits, but for `ask`: whoever serves is told by its own loop when a socket can be read.
"""

import contextlib
import hashlib
import os
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path
from time import monotonic

from rawgate.errors import RawgateError

ANSWER_TIMEOUT = 60.0
"""Seconds that `ask` waits for each line: a reload reads and compiles the whole configuration."""

COMMAND_TIMEOUT = 5.0
"""Seconds that a caller has for its command: each that is connected takes a descriptor."""

LINE = 64
"""Octets of a command, at most."""

MOST_LINES = 200
"""Lines of a report that a caller is told."""

WAITING = 128
"""Callers that may wait to be heard (listen(2))."""

_CREDENTIALS = struct.Struct("3i")


class ControlError(RawgateError):
    """No gateway answers: one sentence that says why and what to do."""


def address_of(path: Path) -> str:
    """The name of the socket of the gateway that serves this configuration. Links are not followed: a new configuration
    is often put in place by a link's change (Kubernetes), and the gateway serves what the path means by then."""
    spelling = os.path.abspath(path)  # noqa: PTH100 - `Path.resolve` follows links
    digest = hashlib.sha256(os.fsencode(spelling)).hexdigest()[:32]
    name = f"rawgate-{digest}"
    if sys.platform != "linux":
        import tempfile

        return f"{tempfile.gettempdir()}/{name}"
    return f"\0{name}"


class Control:
    """The socket on which callers come.

    is_ours  False: another gateway of this configuration has the name, and callers reach that one
    """

    def __init__(self, path: Path) -> None:
        self.is_ours = True
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.bind(address_of(path))
            self._socket.listen(WAITING)
            self._socket.setblocking(False)
        except OSError:
            self.is_ours = False

    def fileno(self) -> int:
        return self._socket.fileno()

    def accept(self) -> "Caller | None":
        """The next caller; None: there is none, or it may not command, and was told so."""
        try:
            connection, _ = self._socket.accept()
        except OSError:
            return None
        caller = Caller(connection)
        # Before anything is waited for: others must not hold descriptors of ours.
        if not _is_allowed(connection):
            caller.answer(False, ["the gateway runs as another user: only that user, and root, may do this"])
            return None
        return caller

    def close(self) -> None:
        self._socket.close()


class Caller:
    """Somebody who commands, until it is answered."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._socket = connection
        self._heard = b""

    def fileno(self) -> int:
        return self._socket.fileno()

    def word(self) -> str | None:
        """Its command, when the socket can be read; None: it is not whole yet. Raises OSError when none will come."""
        octets = self._socket.recv(LINE + 1)
        self._heard += octets
        line, end, _ = self._heard.partition(b"\n")
        if not end and (not octets or len(line) > LINE):
            raise ConnectionAbortedError
        return line.decode("ascii", "replace").strip() if end else None

    def refuse(self, word: str) -> None:
        """Answer a command that there is not."""
        self.answer(False, [f"{word!r} is no command of this gateway"])

    def answer(self, done: bool, lines: Sequence[str]) -> None:
        """Say how it went, and end."""
        left = len(lines) - MOST_LINES
        more = [f"… and {left} lines more, on the gateway's stderr"] if left > 0 else []
        said = "".join(f"{line}\n" for line in (*lines[:MOST_LINES], *more, 0 if done else 1))
        # It fits into the socket's buffer, so nobody waits for a caller who does not read.
        with contextlib.suppress(OSError):
            self._socket.send(said.encode("utf-8", "backslashreplace"))
        self.close()

    def close(self) -> None:
        # A process that was forked meanwhile may hold the socket too.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


class Callers:
    """Those who have not said their command yet. A loop or a poll says when something can be read: `watch` and
    `unwatch` are theirs, for a descriptor.

    reload  is handed who asks for a reload, and has to answer
    """

    def __init__(
        self,
        control: Control,
        watch: Callable[[int, Callable[[], None]], object],
        unwatch: Callable[[int], object],
        reload: Callable[[Caller], None],
    ) -> None:
        self._control = control
        self._watch = watch
        self._unwatch = unwatch
        self._reload = reload
        self._until: dict[Caller, float] = {}

    @property
    def due(self) -> float:
        """When `tick` has something to do: monotonic seconds."""
        return min(self._until.values(), default=inf)

    def accept(self) -> None:
        """Somebody calls."""
        caller = self._control.accept()
        if caller is not None:
            self._until[caller] = monotonic() + COMMAND_TIMEOUT
            self._watch(caller.fileno(), lambda: self._hear(caller))

    def tick(self) -> None:
        """Forget those whose time is over."""
        now = monotonic()
        for caller in [caller for caller, until in self._until.items() if now >= until]:
            self._stop_hearing(caller)
            caller.close()

    def _hear(self, caller: Caller) -> None:
        try:
            word = caller.word()
        except OSError:
            self._stop_hearing(caller)
            caller.close()
            return
        if word is not None:
            self._stop_hearing(caller)
            if word == "reload":
                self._reload(caller)
            else:
                caller.refuse(word)

    def _stop_hearing(self, caller: Caller) -> None:
        self._unwatch(caller.fileno())
        del self._until[caller]


def _is_allowed(peer: socket.socket) -> bool:
    """The other end runs as the same user, or as root (SO_PEERCRED, unix(7)); elsewhere the file's owner decides."""
    if sys.platform != "linux":
        return True
    _, user, _ = _CREDENTIALS.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return user in (0, os.getuid())


def _is_gateway_of_ours(peer: socket.socket) -> bool:
    """Anybody may bind a name before the gateway does. Root asks whoever answers."""
    return os.getuid() == 0 or _is_allowed(peer)


def who_serves(path: Path) -> int:
    """The process id of the gateway that serves this configuration, on Linux; 0 where none does, or it is another
    user's."""
    if sys.platform != "linux":
        return 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        # With a queue that is full, it would wait.
        connection.setblocking(False)
        try:
            connection.connect(address_of(path))
        except OSError:
            return 0
        if not _is_gateway_of_ours(connection):
            return 0
        # Of who listens: the system noted it then (unix(7)).
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        return int(_CREDENTIALS.unpack(credentials)[0])


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
            if not path.exists():
                raise ControlError(f"there is no file {path}, and no gateway that was started with it") from None
            raise ControlError(
                f"no gateway that serves {path} answers ({error.strerror or error}): is it running here, and was it "
                "started with this path?"
            ) from None
    if not lines or lines[-1] not in ("0", "1"):
        raise ControlError(f"the gateway that serves {path} ended before it had answered")
    return lines[-1] == "0", lines[:-1]
