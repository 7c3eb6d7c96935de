"""The addresses that the gateway listens on: their sockets, opened without an event loop, so before any process that
accepts on them is there.

Each worker has a TCP socket of its own for each address (SO_REUSEPORT, socket(7)): the kernel shares the connections
out, and no two workers wake up for one. nginx does so with `reuseport`, Envoy by default. Of a Unix socket, and of one
that systemd hands over, there is one, and all workers accept on it.

To close a listening socket resets the connections that wait in its queue. Their clients take them for open and may have
sent a request. To empty the queue first is not enough: a connection may come between the last accept and the close. So
before that the queue gets an end (`Address.stop_queueing`): of a TCP socket a filter in the kernel drops each SYN, and
of a Unix socket the name goes. A client whose SYN was dropped sends it again after a second, and is refused, or served
by who listens then. What was measured, with two clients that connect as fast as they can to three sockets on loopback
(Linux 6.18, 2026-11-26): a client was reset in 1 of 100 ends of such sockets, and in none of 160 with the filter. What
was rejected: `shutdown(2)` of a listening socket, which resets the whole queue (clients were lost in 18 of 40 ends);
`listen(2)` with a backlog of 0, which lets one more in; `net.ipv4.tcp_migrate_req`, which only helps where another
socket of the group stays.
"""

import contextlib
import ctypes
import errno
import os
import socket
import stat
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from rawgate.config.model import Listen, listen_name, overlap
from rawgate.errors import RawgateError
from rawgate.message import authority_of

BACKLOG = 4096
"""Connections that the kernel has accepted and we have not (listen(2)). The kernel cuts it to `net.core.somaxconn`,
which is 4096 since Linux 5.4; nginx asks for 511. A full queue drops SYNs, and clients wait a second to try again."""

_ATTACH_FILTER = 26
"""SO_ATTACH_FILTER (socket(7))."""

_DROP_SYNS = b"".join(
    struct.pack("=HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, 13),  # load the octet of the TCP header that has the flags
        (0x45, 0, 1, 0x02),  # is SYN one of them?
        (0x06, 0, 0, 0),  # drop it
        (0x06, 0, 0, 0xFFFF_FFFF),  # else take it whole: the last octets of handshakes that have begun
    )
)
"""A program for the kernel, in classic BPF."""

FIRST_HANDED = 3
"""The first descriptor that systemd hands over (sd_listen_fds(3))."""


class StartError(RawgateError):
    """The gateway cannot start: one sentence that says why and what to do."""


class Address:
    """An address that is open.

    listen   as it is configured
    sockets  those that accept on it: one for each worker, or one for all
    url      "http://127.0.0.1:8080", "https://127.0.0.1:8443", "unix:PATH"
    """

    def __init__(
        self, listen: Listen, sockets: Sequence[socket.socket], *, made: bool = False, handed: bool = False
    ) -> None:
        """made: the file of the Unix socket is ours, and goes with it. handed: who has handed it over keeps the socket,
        and its queue."""
        self.listen = listen
        self.sockets = list(sockets)
        self.url = _url(listen, self.sockets[0])
        self._inode = _inode(listen.path) if made else 0
        self._owns_queue = not handed

    def of_worker(self, worker: int) -> socket.socket:
        """The socket that this worker accepts on."""
        return self.sockets[worker % len(self.sockets)]

    def change(self, listen: Listen) -> None:
        """It stays open, and something else is spoken there. The file of a Unix socket gets the mode of this entry.
        Raises StartError."""
        if listen.mode != self.listen.mode:
            try:
                Path(listen.path).chmod(_default_mode() if listen.mode is None else listen.mode)
            except OSError as error:
                raise StartError(f"cannot change the mode of unix:{listen.path}: {error.strerror}") from error
        self.become(listen)

    def become(self, listen: Listen) -> None:
        """The same for a worker, where the supervisor has changed the file."""
        self.listen = listen
        self.url = _url(listen, self.sockets[0])

    def disown(self) -> None:
        """This process is a worker: the file of a Unix socket is not its own, and others may accept on its queue."""
        self._inode = 0
        self._owns_queue = False

    def stop_queueing(self) -> None:
        """Let no further client in, see the module: what waits in the queues of the sockets is all that will come. On a
        system without such filters nothing happens, and a client may be reset."""
        if self._inode:
            self._unlink()
        elif self._owns_queue and not self.listen.path:
            program = ctypes.create_string_buffer(_DROP_SYNS)
            what = struct.pack("@HP", len(_DROP_SYNS) // 8, ctypes.addressof(program))
            for sock in self.sockets:
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, what)

    def close_others(self, workers: Collection[int]) -> None:
        """Close the sockets of all workers but these."""
        kept = {self.of_worker(worker) for worker in workers}
        for sock in self.sockets:
            if sock not in kept:
                sock.close()

    def close(self) -> None:
        """Close the sockets, and remove the file that was made for them, unless another process has put its own in its
        place."""
        for sock in self.sockets:
            sock.close()
        if self._inode:
            self._unlink()

    def _unlink(self) -> None:
        with contextlib.suppress(OSError):
            if _inode(self.listen.path) == self._inode:
                Path(self.listen.path).unlink()
        self._inode = 0


class Addresses:
    """All addresses that are open, by name.

    workers  how many processes accept
    hint     how a person chooses another address, for the StartError
    handed   sockets that were open before the gateway was, by the name of their address
    """

    def __init__(
        self, workers: int = 1, hint: str = "change gateway.listen", handed: Mapping[str, socket.socket] | None = None
    ) -> None:
        self.open: dict[str, Address] = {}
        self._workers = workers
        self._hint = hint
        self._handed = dict(handed or {})

    @property
    def urls(self) -> list[str]:
        return [address.url for address in self.open.values()]

    @property
    def unused(self) -> list[str]:
        """The names of handed sockets that no address has used."""
        return list(self._handed)

    def of_workers(self, workers: Iterable[int]) -> dict[socket.socket, Listen]:
        """The sockets that these workers accept on, and what is spoken there."""
        return {address.of_worker(worker): address.listen for worker in workers for address in self.open.values()}

    def add(self, wanted: Sequence[Listen]) -> list[str]:
        """Open those that are not open yet, and give Unix sockets that are the modes that are wanted. Returns the names
        of those that were opened. Raises StartError when one cannot be opened: then nothing has changed."""
        opened: list[str] = []
        try:
            for name, listen in _named(wanted).items():
                if name not in self.open:
                    self._refuse_overlap(listen)
                    self.open[name] = self._open(listen)
                    opened.append(name)
            for name, listen in _named(wanted).items():
                if self.open[name].listen != listen:
                    self.open[name].change(listen)
        except StartError:
            for name in opened:
                self.open.pop(name).close()
            raise
        return opened

    def close_others(self, workers: Collection[int]) -> None:
        """Close the sockets that are for other workers."""
        for address in self.open.values():
            address.close_others(workers)

    def take(self, wanted: Sequence[Listen], opened: Mapping[str, Sequence[socket.socket]]) -> None:
        """The same for a worker: all sockets are open already, and those that it has not got are handed to it."""
        for name, listen in _named(wanted).items():
            if name not in self.open:
                self.open[name] = Address(listen, opened[name])
                self.open[name].disown()
            self.open[name].become(listen)

    def leave(self, wanted: Sequence[Listen]) -> list[Address]:
        """Take all others out of the book. They are still open: the caller closes them, once their queues are taken."""
        return [self.open.pop(name) for name in self.open.keys() - _named(wanted).keys()]

    def stop_queueing(self, wanted: Sequence[Listen]) -> None:
        """Of all others: see `Address.stop_queueing`."""
        kept = _named(wanted)
        for name, address in self.open.items():
            if name not in kept:
                address.stop_queueing()

    def keep(self, wanted: Sequence[Listen]) -> None:
        """Close all others."""
        for address in self.leave(wanted):
            address.close()

    def close(self) -> None:
        """Close all."""
        self.keep(())

    def _refuse_overlap(self, new: Listen) -> None:
        """Raise StartError for an address that has an open one in it, or lies in one: the system refuses it, and would
        have us blame another program."""
        for address in self.open.values():
            if overlap(new, address.listen):
                where, there = listen_name(new), listen_name(address.listen)
                raise StartError(f"cannot listen on {where} while this gateway listens on {there}: it takes a restart")

    def _open(self, listen: Listen) -> Address:
        handed = self._handed.pop(listen_name(listen), None)
        if handed is not None:
            return Address(listen, [handed], handed=True)
        try:
            return _unix(listen) if listen.path else _tcp(listen, self._workers)
        except OSError as error:
            advice = _advice(listen, error, self._hint)
            raise StartError(f"cannot listen on {listen_name(listen)}: {advice}") from error


def _named(wanted: Iterable[Listen]) -> dict[str, Listen]:
    """By name. Only entries for any free port can have the same; the later ones get a number."""
    named: dict[str, Listen] = {}
    for listen in wanted:
        name, again = listen_name(listen), 1
        while name in named:
            again += 1
            name = f"{listen_name(listen)} ({again})"
        named[name] = listen
    return named


def handed_over(environ: Mapping[str, str]) -> dict[str, socket.socket]:
    """The listening sockets that systemd has opened for this process (socket activation, sd_listen_fds(3)), by the
    name of their address as `gateway.listen` spells it."""
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return {}
    found = {}
    for descriptor in range(FIRST_HANDED, FIRST_HANDED + int(environ.get("LISTEN_FDS", "0"))):
        sock = socket.socket(fileno=descriptor)
        sock.setblocking(False)
        os.set_inheritable(descriptor, False)
        name = sock.getsockname()
        where = Listen(path=name) if sock.family == socket.AF_UNIX else Listen(name[0], name[1])
        found[listen_name(where)] = sock
    return found


def _tcp(listen: Listen, workers: int) -> Address:
    """A socket for each worker. OSError where the address cannot be had."""
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(_bound(listen, listen.port, shared=False))
        sockets, port = [first], first.getsockname()[1]
        if workers > 1:
            # The first socket has shown that no other program listens there, which one with SO_REUSEPORT would not be
            # told if that program runs as the same user. Port 0 has become a port.
            first.close()
            sockets = [stack.enter_context(_bound(listen, port, shared=True)) for _ in range(workers)]
        for sock in sockets:
            sock.listen(BACKLOG)
        stack.pop_all()
        return Address(listen, sockets)


def _bound(listen: Listen, port: int, *, shared: bool) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in listen.host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if sock.family == socket.AF_INET6:
            # As nginx's `ipv6only`: IPv4 has an entry of its own.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        sock.bind((listen.host, port))
    except OSError:
        sock.close()
        raise
    return sock


def _unix(listen: Listen) -> Address:
    """OSError where the name cannot be had."""
    _leave_to_others(listen.path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        with _made_with(listen.mode):
            sock.bind(listen.path)
        sock.listen(BACKLOG)
        return Address(listen, [sock], made=True)
    except OSError:
        sock.close()
        raise


def _leave_to_others(path: str) -> None:
    """Remove a Unix socket that nobody serves, which is a leftover; raise OSError for one that another process
    serves."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except BlockingIOError:  # its queue is full
            pass
        except ConnectionRefusedError:
            if stat.S_ISSOCK(Path(path).stat().st_mode):
                Path(path).unlink()
            return
        except OSError:
            return
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _url(listen: Listen, sock: socket.socket) -> str:
    if listen.path:
        return f"unix:{listen.path}"
    return f"{'https' if listen.tls else 'http'}://{authority_of(listen.host, sock.getsockname()[1])}"


@contextlib.contextmanager
def _made_with(mode: int | None) -> Iterator[None]:
    """Files that are made during the block have this mode from their first moment. A `chmod` afterwards would be too
    late: somebody could have connected. The umask belongs to the whole process, and nothing else makes files at that
    time."""
    if mode is None:
        yield
        return
    before = os.umask(~mode & 0o777)
    try:
        yield
    finally:
        os.umask(before)


def _default_mode() -> int:
    """The mode of a Unix socket for which none is configured: as bind(2) makes it."""
    umask = os.umask(0)
    os.umask(umask)
    return 0o777 & ~umask


def _inode(path: str) -> int:
    return Path(path).stat().st_ino


def _advice(listen: Listen, error: OSError, hint: str) -> str:
    """The system's words for an error, and what a person can do about it. 98 and 48 are EADDRINUSE, on Linux and on
    macOS."""
    said = os.strerror(error.errno) if error.errno else str(error)
    match error:
        case OSError(errno=98 | 48) if listen.path:
            return f"{said}; something else has this name: remove it, or {hint}"
        case _ if listen.path:
            return f"{said}; its folder must be there, and the user who starts rawgate must be allowed to write to it"
        case PermissionError():
            return f"{said}; ports under 1024 need privileges: take a higher one, or give CAP_NET_BIND_SERVICE"
        case OSError(errno=98 | 48):
            return f"{said}; another program has this port: stop it, or {hint}"
    return f"{said}; is this an address of this host?"
