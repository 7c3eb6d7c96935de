"""What supervisor and worker say to each other, over a pair of Unix sockets.

    supervisor → worker    Ping, Accept, Read, Prepare, Opened, Switch, Abandon, Reloaded, WindDown, Release,
                           Drain, Cut, Fetch, Seek, Check, Ejected
    worker → supervisor    Ready, Pong, WasRead, Prepared, Switched, Released, Want, Failing
    both ways              Fetched, Found, Checked

Each message is MessagePack behind its length, four octets. `Opened` carries listening sockets with it (SCM_RIGHTS,
unix(7)). Neither side ever waits for the other: what the socket does not take is kept until it does.
"""

import contextlib
import os
import socket
from array import array
from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Struct

from rawgate.net.instances import Instance, Source
from rawgate.relay.endpoints import PlaceKey

PIECE = 256 * 1024
"""Octets that are read at once."""

DESCRIPTORS = 128
"""Descriptors in one message, at most: one for each worker. The kernel allows 253 (SCM_MAX_FD)."""

_LENGTH = 4


class Message(Struct, frozen=True, tag=True):
    """One of those below."""


class Ping(Message, frozen=True):
    """Are you alive? The answer is a Pong."""


class Pong(Message, frozen=True):
    """Yes."""


class Ready(Message, frozen=True):
    """The worker serves."""


class Accept(Message, frozen=True):
    """Accept on the sockets of these workers: on your own, and on those of workers that are gone for a while. gone: the
    number of each of those, and its last life (see `relay.shared_quotas`): give back what it held."""

    workers: tuple[int, ...]
    gone: tuple[tuple[int, int], ...] = ()


class Read(Message, frozen=True):
    """Read the configuration again, and see whether it can be served. The answer is a WasRead of the same number."""

    number: int


class WasRead(Message, frozen=True):
    """What was read, see `config.files`, and what is wrong with it."""

    number: int
    files: dict[str, bytes | int]
    problems: tuple[str, ...]


class Prepare(Message, frozen=True):
    """Make what these files say ready to be served; see `config.files`. The answer is a Prepared of the same number."""

    number: int
    files: dict[str, bytes | int]


class Prepared(Message, frozen=True):
    """Whether it can be served, and what is wrong with it if not."""

    number: int
    problems: tuple[str, ...]


class Opened(Message, frozen=True):
    """An address that will be listened on from the next Switch on: `name` as in `config.model.listen_name`. Its sockets
    come with this message, before the Prepare."""

    name: str
    sockets: int


class Switch(Message, frozen=True):
    """Serve what was prepared. The answer is a Switched."""

    number: int


class Reloaded(Message, frozen=True):
    """A reload was done, or refused: what the admin listener tells of it. time: Unix seconds."""

    time: float
    done: bool
    lines: tuple[str, ...]


class Switched(Message, frozen=True):
    """From now on it is served."""

    number: int


class Abandon(Message, frozen=True):
    """Forget what was prepared."""

    number: int


class WindDown(Message, frozen=True):
    """The gateway stops soon: each response is the last one on its connection."""


class Release(Message, frozen=True):
    """Close the listening sockets that are not for you. The answer is a Released. Once all have done so, a socket is
    gone when the one that accepts on it closes it: nothing comes into its queue after that queue was emptied."""


class Released(Message, frozen=True):
    """They are closed."""


class Drain(Message, frozen=True):
    """Take what waits in the kernel's queue, accept no more, and end when all is served."""


class Cut(Message, frozen=True):
    """End now."""


class Fetch(Message, frozen=True):
    """Fetch a key set for all workers; see `keys.Source`. The answer is a Fetched."""

    url: str
    issuer: str
    authorities: str


class Want(Message, frozen=True):
    """A key set is wanted. since: the number of the last good answer that this worker has made use of; 0: of none. The
    answer is a Fetched of a later number, or says that it could not be fetched."""

    what: Fetch
    since: int


class Fetched(Message, frozen=True):
    """What became of it, for all workers.

    problem  why it could not be fetched, or ""
    number   how many good answers there have been for this key set, with this one; the supervisor counts
    """

    wanted: Fetch
    octets: bytes
    fresh_for: float | None
    problem: str
    number: int = 0


class Seek(Message, frozen=True):
    """Ask where services are, for all workers: each answer is a Found."""


class Found(Message, frozen=True):
    """Where the instances of a source are; see `discovery`.

    at       monotonic seconds of the last good answer; -1: there was none
    problem  why the last question brought none, or ""
    """

    source: Source
    instances: tuple[Instance, ...]
    at: float
    problem: str

    @property
    def has_answered(self) -> bool:
        return self.at >= 0


class Check(Message, frozen=True):
    """Check the targets of upstreams from now on, for all workers; see `checking`. succeeds: another worker has done so
    before. failed: what is known to be down by its checks."""

    succeeds: bool
    failed: "tuple[Checked, ...]" = ()


class Checked(Message, frozen=True):
    """What the health checks of a target say has changed; see `relay.health`.

    place    its key; see `relay.endpoints.Place`
    target   its name, for people
    address  that the checks speak of, where it has several; "": all together
    failure  why they fail; "": they pass
    is_gone  it is no target any more, so its checks say nothing
    """

    upstream: str
    place: PlaceKey
    target: str
    address: str
    failure: str
    is_gone: bool = False


class Failing(Message, frozen=True):
    """So many requests in a row have failed at a target that this worker wants it ejected; see `relay.ejection`.

    seconds  that a first ejection lasts
    last     the number of the last ejection in this upstream that the worker knows of
    """

    upstream: str
    place: PlaceKey
    target: str
    why: str
    seconds: float
    last: int


class Ejected(Message, frozen=True):
    """It is ejected.

    until   monotonic seconds
    number  of this ejection, in its upstream
    by      the number of the worker that asked for it, from 0
    """

    upstream: str
    place: PlaceKey
    target: str
    why: str
    until: float
    number: int
    by: int


_Reloading = Read | Prepare | Opened | Switch | Abandon | Reloaded
_Stopping = WindDown | Release | Drain | Cut
News = Checked | Ejected
"""What all workers know of the health of targets."""
_Health = Check | News
ToWorker = Ping | Accept | _Reloading | _Stopping | Fetch | Fetched | Seek | Found | _Health
_Findings = Want | Fetched | Found | Checked | Failing
ToSupervisor = Ready | Pong | WasRead | Prepared | Switched | Released | _Findings
Said = ToWorker | ToSupervisor

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Said).decode


class Channel:
    """One end. It never blocks."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._unread = bytearray()
        self._unsent: list[tuple[bytes, Sequence[int]]] = []
        self._handed: list[int] = []  # descriptors that have come, and that no message was read for yet
        self._is_short = False  # some could not be taken, for want of descriptors: nobody knows which
        self.ended = False  # the other side is gone

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    @property
    def is_full(self) -> bool:
        """Whether something waits until the socket takes more."""
        return bool(self._unsent)

    def send(self, message: Said, sockets: Sequence[socket.socket] = ()) -> None:
        """Say this, after all that was said before. The sockets may be closed afterwards."""
        octets = _encode(message)
        self._unsent.append((len(octets).to_bytes(_LENGTH, "big") + octets, [sock.dup().detach() for sock in sockets]))
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as the socket takes it."""
        while self._unsent and not self.ended:
            octets, descriptors = self._unsent[0]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))] if descriptors else []
            try:
                sent = self._socket.sendmsg([octets], rights)
            except BlockingIOError:
                return
            except OSError:
                self.ended = True
                break
            _close(descriptors)
            if sent == len(octets):
                del self._unsent[0]
            else:
                self._unsent[0] = octets[sent:], ()
        if self.ended:
            for _, descriptors in self._unsent:
                _close(descriptors)
            self._unsent.clear()

    def receive(self) -> Iterator[Said]:
        """What has come. `ended` tells when no more will come."""
        with contextlib.suppress(BlockingIOError):
            while not self.ended:
                self._read()
        while len(self._unread) >= _LENGTH:
            end = _LENGTH + int.from_bytes(self._unread[:_LENGTH], "big")
            if len(self._unread) < end:
                return
            octets = bytes(self._unread[_LENGTH:end])
            del self._unread[:end]
            yield _decode(octets)

    def _read(self) -> None:
        try:
            octets, ancillary, flags, _ = self._socket.recvmsg(PIECE, socket.CMSG_SPACE(4 * DESCRIPTORS))
        except ConnectionError:
            octets, ancillary, flags = b"", [], 0
        self._is_short = self._is_short or bool(flags & socket.MSG_CTRUNC)
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                descriptors = array("i")
                descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
                self._handed += descriptors
        self._unread += octets
        self.ended = not octets

    def take_sockets(self, count: int) -> list[socket.socket]:
        """Those that came with the message that was just received: they come with its first octet. None, from the
        first that this process had no room for until `forget_shortage`."""
        taken, self._handed = self._handed[:count], self._handed[count:]
        if self._is_short:
            _close(taken)
            return []
        return [socket.socket(fileno=descriptor) for descriptor in taken]

    def forget_shortage(self) -> None:
        """Whoever sent sockets knows that some could not be taken."""
        self._is_short = False
        _close(self._handed)
        self._handed = []


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
