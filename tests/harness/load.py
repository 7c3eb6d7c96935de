"""Clients that ask a gateway without a pause while a test does something to it.

`Load` checks each answer: it must be the one to the request that was asked, whole, with status 200. `Wrk` is a program
that only counts, but asks over many connections at once.
"""

import re
import signal
import socket
import subprocess
from collections.abc import Callable
from contextlib import suppress
from threading import Condition, Thread
from typing import Self

from harness.gateway import PATIENCE
from harness.upstream import response
from harness.wire_reader import Cut, Message, Stream, read_response

SHOWN = 5


def echo(request: Message) -> bytes:
    """For `replying`: what the service of a `Load` answers. The first line of the body is the target that was asked
    for."""
    return response(request.target)


class Load:
    """Threads that ask one request after the other until told to stop, over connections that stay open. A client whose
    connection is lost connects again.

    clients   how many they are
    answered  requests that got their own answer
    lost      requests whose connection ended before the whole response
    refused   connections that were not let in
    wrong     what came in place of an answer
    """

    def __init__(self, connect: Callable[[], socket.socket], clients: int = 4, path: str = "/x", each: int = 0) -> None:
        """each: requests over a connection, the last of which says that it is; 0: as many as it lasts for."""
        self.answered = self.lost = self.refused = 0
        self.wrong: list[str] = []
        self.clients = clients
        self._heard = set[int]()  # the numbers of the clients that were answered
        self._connect = connect
        self._path = path
        self._each = each
        self._news = Condition()
        self._stops = False
        self._threads = [Thread(target=self._run, args=(number,), daemon=True) for number in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stops = True
        for thread in self._threads:
            thread.join(PATIENCE)
        assert not any(thread.is_alive() for thread in self._threads), "a client waits for an answer"

    def wait_more(self, count: int = 50) -> None:
        """Wait until so many more requests were answered."""
        with self._news:
            wanted = self.answered + count
            assert self._news.wait_for(lambda: self.answered >= wanted, PATIENCE), f"{self!r} does not go on"

    def wait_everybody(self) -> None:
        """Wait until each client was answered."""
        with self._news:
            assert self._news.wait_for(lambda: len(self._heard) == self.clients, PATIENCE), f"{self!r} is not complete"

    def __repr__(self) -> str:
        return f"<Load {self.answered} answered, {self.lost} lost, {self.refused} refused, {self.wrong[:SHOWN]}>"

    def _run(self, number: int) -> None:
        asked = 0
        while not self._stops:
            try:
                sock = self._connect()
            except OSError:
                with self._news:
                    self.refused += 1
                continue
            with sock:
                while not self._stops:
                    asked += 1
                    fields = b"Connection: close\r\n" if self._each and asked % self._each == 0 else b""
                    if not self._ask(sock, number, asked, fields) or fields:
                        break

    def _ask(self, sock: socket.socket, number: int, asked: int, fields: bytes) -> bool:
        """Whether the connection is good for another request. number, asked: the client's, and the request's."""
        target = f"{self._path}?{number}.{asked}".encode()
        message, stream = None, Stream.of(sock)
        with suppress(OSError, Cut):
            sock.sendall(b"GET %b HTTP/1.1\r\nHost: h\r\n%b\r\n" % (target, fields))
            message = read_response(stream)
        with self._news:
            if message is None:
                self.lost += 1
            elif message.status != 200 or message.body.partition(b"\n")[0] != target or stream.unread:
                self.wrong.append(f"{message.status} {message.body!r} to {target!r}")
            else:
                self.answered += 1
                self._heard.add(number)
            self._news.notify_all()
        return message is not None and message.value(b"connection") != b"close"


class Wrk:
    """wrk, over so many connections that stay open.

    answered  requests that got a whole response
    errors    connections that were not let in or were lost, by kind (connect, read, write, timeout), and responses with
              another status than 200 (status)
    """

    def __init__(self, program: str, address: tuple[str, int], path: str, connections: int) -> None:
        self.answered = 0
        self.errors: dict[str, int] = {}
        host, port = address
        options = ["-t1", f"-c{connections}", "-d60s", "--timeout", "30s"]
        self._process = subprocess.Popen(
            [program, *options, f"http://{host}:{port}{path}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # It ends at this signal, and tells what it has seen.
        self._process.send_signal(signal.SIGINT)
        told = self._process.communicate(timeout=PATIENCE)[0]
        found = re.search(r"(\d+) requests in", told)
        assert found is not None, told
        self.answered = int(found[1])
        for kind in ("connect", "read", "write", "timeout"):
            errors = re.search(rf"Socket errors:.* {kind} (\d+)", told)
            self.errors[kind] = int(errors[1]) if errors else 0
        others = re.search(r"Non-2xx or 3xx responses: (\d+)", told)
        self.errors["status"] = int(others[1]) if others else 0
        self.errors = {name: number for name, number in self.errors.items() if number}
