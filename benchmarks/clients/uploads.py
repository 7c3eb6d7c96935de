"""Clients that send large bodies: `python uploads.py PORT SECONDS CONNECTIONS OCTETS`.

wrk holds the whole request of each connection in memory, so bodies of 100 MiB are sent from here, piece by piece.
Writes READY when connected, sends for SECONDS, writes a report in one line, and ends when standard input ends. The
upstream counts how much arrives, since bodies are left unfinished when the time is over.
"""

import socket
import sys
import threading
import time

PIECE = memoryview(bytes(256 * 1024))


class Sender(threading.Thread):
    """One connection: a body, its response, the next body. `requests`: responses with 200; `statuses`: other responses;
    `failures`: socket errors."""

    def __init__(self, port: int, number: int, octets: int, start: threading.Event) -> None:
        super().__init__(daemon=True)
        self.requests = self.statuses = self.failures = 0
        self._client = socket.create_connection(("127.0.0.1", port))
        self._number = number
        self._octets = octets
        self._start = start
        self.over = False

    def run(self) -> None:
        self._start.wait()
        turn = 0
        while not self.over:
            turn += 1
            try:
                status = self._send(f"/uploads/{self._number}/{turn}")
            except OSError:
                self.failures += 1
                return
            self.requests += status == b"200"
            self.statuses += status not in (b"200", b"")

    def _send(self, path: str) -> bytes:
        """Send a body. Returns the response's status; b"" when the time was over before."""
        head = f"POST {path} HTTP/1.1\r\nHost: bench.test\r\nContent-Length: {self._octets}\r\n\r\n"
        self._client.sendall(head.encode())
        left = self._octets
        while left and not self.over:
            piece = PIECE[:left]
            self._client.sendall(piece)
            left -= len(piece)
        answer = b""
        while not left and b"\r\n\r\n" not in answer:
            octets = self._client.recv(65536)
            if not octets:
                raise ConnectionError
            answer += octets
        return answer[9:12]


def send(port: int, seconds: float, connections: int, octets: int) -> None:
    start = threading.Event()
    senders = [Sender(port, number, octets, start) for number in range(connections)]
    for sender in senders:
        sender.start()
    print("READY", flush=True)
    began = time.monotonic()
    start.set()
    time.sleep(seconds)
    # Counted before they are stopped: an error on a connection that is being stopped is not the server's.
    requests, statuses, failures = (
        sum(getattr(sender, name) for sender in senders) for name in ("requests", "statuses", "failures")
    )
    print(
        f'BENCH {{"requests":{requests},"seconds":{time.monotonic() - began:.6f},"octets":0,'
        f'"statuses":{statuses},"failures":{failures}}}',
        flush=True,
    )
    for sender in senders:
        sender.over = True
    sys.stdin.read()


if __name__ == "__main__":
    send(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
