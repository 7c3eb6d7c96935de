"""A name server for tests, over UDP and TCP on one port: what it answers, and whether it does, each test says.

It shows what a real one does only when something goes wrong. What a real one does otherwise is tested with dnsmasq.
"""

import contextlib
import socket
from threading import Condition, Thread
from typing import Self

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

Question = tuple[str, str]


class NameServer:
    """records   (name, type) → their texts; a name without any type does not exist
    ttl       of all records
    silent    types of questions that get no answer
    failing   types of questions that get SERVFAIL
    truncated types of questions that are answered over TCP alone
    alias     (name, what it stands for), and for how many seconds
    asked     (name, type, "udp" or "tcp"), in order
    """

    def __init__(self, records: dict[Question, list[str]] | None = None, ttl: int = 30) -> None:
        self.records = records or {}
        self.ttl = ttl
        self.silent: set[str] = set()
        self.failing: set[str] = set()
        self.truncated: set[str] = set()
        self.alias = ("", "")
        self.alias_ttl = 0
        self.asked: list[tuple[str, str, str]] = []
        self.news = Condition()
        self._tcp, self._udp = _pair()
        self.port: int = self._tcp.getsockname()[1]
        for work in (self._serve_udp, self._serve_tcp):
            Thread(target=work, daemon=True).start()

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in (self._udp, self._tcp):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _serve_udp(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                octets, peer = self._udp.recvfrom(4096)
                if not octets:  # it was shut down
                    return
                answer = self._answer(octets, "udp")
                if answer is not None:
                    self._udp.sendto(answer, peer)

    def _serve_tcp(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._tcp.accept()
                with connection, contextlib.suppress(OSError):
                    size = int.from_bytes(connection.recv(2, socket.MSG_WAITALL), "big")
                    answer = self._answer(connection.recv(size, socket.MSG_WAITALL), "tcp")
                    if answer is not None:
                        connection.sendall(len(answer).to_bytes(2, "big") + answer)

    def _answer(self, octets: bytes, over: str) -> bytes | None:
        asked = dns.message.from_wire(octets)
        name, kind = asked.question[0].name, dns.rdatatype.to_text(asked.question[0].rdtype)
        text = name.to_text(omit_final_dot=True).lower()
        with self.news:
            self.asked.append((text, kind, over))
            self.news.notify_all()
        if kind in self.silent:
            return None
        answer = dns.message.make_response(asked)
        if text == self.alias[0]:
            text = self.alias[1]
            answer.answer.append(dns.rrset.from_text(name, self.alias_ttl, "IN", "CNAME", f"{text}."))
            name = dns.name.from_text(text)
        if kind in self.failing:
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif over == "udp" and kind in self.truncated:
            answer.flags |= dns.flags.TC
        elif (text, kind) in self.records:
            answer.answer.append(dns.rrset.from_text_list(name, self.ttl, "IN", kind, self.records[text, kind]))
        elif all(other != text for other, _ in self.records):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        return answer.to_wire(max_size=65535)


def _pair() -> tuple[socket.socket, socket.socket]:
    """Sockets for TCP and UDP on one port. The system chooses one that is free for TCP; for UDP it may be taken."""
    for _ in range(100):
        tcp, udp = socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            udp.bind(tcp.getsockname())
        except OSError:
            tcp.close()
            udp.close()
        else:
            return tcp, udp
    raise AssertionError("no port is free for both")
