"""The lanes. A lane makes an input, plays it, and says what is wrong: "" when nothing is.

`requests` and `responses` read each head three times: with the fast lane, without it (h11 then reads every head), and
in pieces. All must agree. The strict reader of the tests, which shares no code with them, must see the same framing in
every head that it accepts, and must accept what the gateway would send on. `chunks` does the same for chunked bodies,
where h11 reads the whole body. `shell` plays whole sessions: any action in any order, on both sides of the whole
gateway; an input is the octets from which random choices are taken.
"""

import re
from collections.abc import Callable, Iterable
from random import Random
from typing import Any, Protocol
from zlib import crc32

import h11

from harness.actions import ACTIONS
from harness.books import miscounts
from harness.in_memory_gateway import InMemoryGateway, clocked
from harness.invariants import findings
from harness.mutation import Given, Mutator
from harness.stuck import stuck
from harness.values import contents
from harness.wire_reader import Cut, Malformed, Message, Stream, read_body, read_request_head, read_response_head
from rawgate.errors import BAD_REQUEST, MessageError, RequestError
from rawgate.message import CHUNKED, UNTIL_CLOSE, RequestHead, ResponseHead
from rawgate.wire import (
    ChunkedBody,
    RequestReader,
    RequestRules,
    ResponseReader,
    ResponseRules,
    request_head,
    response_tail,
)
from tools.fuzzing import NAMES
from tools.fuzzing.corpus import messages

HEAD, FIELDS, TARGET = 2048, 24, 256
"""Limits, small enough that inputs reach them."""

WANTED = frozenset((b"authorization", b"x-user-id", b"x-request-id", b"x-forwarded-for", b"via", b"date", b"server"))
PROTECTED = frozenset((b"authorization", b"x-user-id"))
REMOVABLE = frozenset((b"x-a", b"cache-control", b"set-cookie", b"x-forwarded-*"))
REQUEST_RULES = {fast: RequestRules(HEAD, FIELDS, TARGET, WANTED, PROTECTED, fast, REMOVABLE) for fast in (True, False)}
RESPONSE_RULES = {fast: ResponseRules(HEAD, FIELDS, WANTED, fast, REMOVABLE) for fast in (True, False)}

_HOP = re.compile(
    rb"(?i)\r\n(?:connection|keep-alive|proxy-connection|te|transfer[-_]encoding|content[-_]length|upgrade|host|expect):"
)

_WATCHED = re.compile(rb"x[^a-z0-9]a$|cache[^a-z0-9]control$|set[^a-z0-9]cookie$|x[^a-z0-9]forwarded[^a-z0-9]")

# Framing fields in a trailer section: the gateway drops them unread, h11 refuses some of their values.
_DROPPED = re.compile(rb"(?i)\r\n(?:content-length|transfer-encoding):")

Reading = tuple[Any, ...]


class Lane(Protocol):
    """One kind of input. `fast`: how many inputs the fast lane recognised."""

    fast: int

    def make(self) -> bytes:
        """The next input."""

    def check(self, octets: bytes) -> str:
        """Play an input. Returns what is wrong, or ""."""


def _cutter(octets: bytes) -> Mutator:
    """Random choices that depend on the input alone, so that a finding can be reproduced from its input."""
    return Mutator(Random(crc32(octets)))  # noqa: S311 - repeatable on purpose


def _read(feed: Callable[[bytes], object | None], rest: Callable[[], bytes], portions: Iterable[bytes]) -> Reading:
    """(head, octets after it), (None,) for an incomplete head, or (reason, detail) for a refused one."""
    queue = iter(portions)
    for portion in queue:
        try:
            head = feed(portion)
        except MessageError as error:
            return error.reason.code, error.detail
        if head is not None:
            return head, rest() + b"".join(queue)
    return (None,)


def _agree(one: Reading, other: Reading) -> bool:
    """Whether two readings are equal. Heads are compared by their fields, since they have no equality of their own."""
    return [contents(part) for part in one] == [contents(part) for part in other]


def _strict(read: Callable[[Stream], Message | None], octets: bytes) -> Message | None:
    """The head as the strict reader sees it; None: it does not accept it."""
    try:
        return read(Stream.of(octets))
    except (Malformed, Cut):
        return None


def _framing(body: int) -> tuple[str, int]:
    if body == CHUNKED:
        return "chunked", 0
    return ("close", 0) if body == UNTIL_CLOSE else ("length", body)


def _as_framed(message: Message) -> tuple[str, int]:
    return (message.framing, message.length) if message.framing in {"chunked", "close"} else ("length", message.length)


def _removable(head: RequestHead | ResponseHead) -> str:
    """What is wrong with the runs of a head, as far as policy may remove lines of it."""
    alone = dict(head.removable)
    for index, run in enumerate(head.passthrough):
        names = [line.partition(b":")[0].lower() for line in run.split(b"\r\n")[1:]]
        if names != [alone[index]] if index in alone else any(map(_WATCHED.match, names)):
            return "a line that policy may remove is not a run of its own"
    return ""


class Requests:
    """Heads from clients."""

    def __init__(self, random: Random) -> None:
        self.fast = 0
        self._mutator = Mutator(random, messages("request"))

    def make(self) -> bytes:
        return self._mutator.request()

    def check(self, octets: bytes) -> str:
        self.fast += RequestReader(REQUEST_RULES[True]).recognise(octets) is not None
        whole = self._reading(True, [octets])
        if not _agree(self._reading(False, [octets]), whole):
            return "the lanes differ"
        cutter = _cutter(octets)
        portions = cutter.portions(octets)
        if not _agree(self._reading(cutter.chance(0.5), portions), whole):
            return f"read differently in pieces: {[len(portion) for portion in portions]}"
        return self._sent(whole[0], octets) if isinstance(whole[0], RequestHead) else ""

    def _reading(self, fast: bool, portions: list[bytes]) -> Reading:
        reader = RequestReader(REQUEST_RULES[fast])
        return _read(reader.feed, lambda: reader.rest, portions)

    def _sent(self, head: RequestHead, octets: bytes) -> str:
        """What is wrong with a head that was accepted."""
        seen = _strict(read_request_head, octets)
        if seen is not None and (seen.method, *_as_framed(seen)) != (head.method, *_framing(head.body)):
            return "the strict reader sees another method or framing"
        lines = b"".join(head.passthrough)
        if _HOP.search(lines):
            return "a field of this hop goes through"
        if wrong := _removable(head):
            return wrong
        start = b"%b %b HTTP/1.1\r\nHost: a" % (head.method, head.target)
        out = request_head(
            start + lines + b"\r\n", head.body, head.expect, head.upgrade, b"content-length" in head.parsed
        )
        sent = _strict(read_request_head, out)
        if sent is None or sent.raw != out or _as_framed(sent) != _framing(head.body):
            return "what would be sent on is not one strict head"
        return ""


class Responses:
    """Heads from upstreams, interim ones too."""

    def __init__(self, random: Random) -> None:
        self.fast = 0
        self._mutator = Mutator(random, messages("response"))

    def make(self) -> bytes:
        return self._mutator.pick((b"G", b"G", b"G", b"H")) + self._mutator.response()

    def check(self, octets: bytes) -> str:
        method, octets = b"HEAD" if octets[:1] == b"H" else b"GET", octets[1:]
        self.fast += ResponseReader(RESPONSE_RULES[True]).recognise(octets, method) is not None
        whole = self._reading(True, method, [octets])
        if not _agree(self._reading(False, method, [octets]), whole):
            return "the lanes differ"
        cutter = _cutter(octets)
        portions = cutter.portions(octets)
        if not _agree(self._reading(cutter.chance(0.5), method, portions), whole):
            return f"read differently in pieces: {[len(portion) for portion in portions]}"
        return self._sent(whole[0], method, octets) if isinstance(whole[0], ResponseHead) else ""

    def _reading(self, fast: bool, method: bytes, portions: list[bytes]) -> Reading:
        reader = ResponseReader(RESPONSE_RULES[fast])
        return _read(lambda data: reader.feed(data, method), lambda: reader.rest, portions)

    def _sent(self, head: ResponseHead, method: bytes, octets: bytes) -> str:
        """What is wrong with a head that was accepted."""

        def read(stream: Stream) -> Message | None:
            return read_response_head(stream, method)

        seen = _strict(read, octets)
        bodiless = method == b"HEAD" or head.status < 200 or head.status in {204, 304}
        if seen is not None:
            theirs = ("length", 0) if bodiless else _as_framed(seen)
            if (seen.status, *theirs) != (head.status, *_framing(head.body)):
                return "the strict reader sees another status or framing"
        if bodiless and head.body:
            return "a body where none can be"
        if wrong := _removable(head):
            return wrong
        start = b"HTTP/1.1 %d %b" % (head.status, head.phrase)
        out = start + b"".join(head.passthrough) + b"\r\n" + response_tail(head.body, head.length, b"", head.upgrade)
        sent = _strict(read, out)
        if sent is None or sent.raw != out:
            return "what would be sent on is not one strict head"
        return ""


class Chunks:
    """Chunked bodies, and what is behind them."""

    def __init__(self, random: Random) -> None:
        self.fast = 0
        self._mutator = Mutator(random)

    def make(self) -> bytes:
        return self._mutator.damaged(self._mutator.chunked()) + self._mutator.pick(
            (b"", b"", b"GET / HTTP/1.1\r\n", b"\r\n")
        )

    def check(self, octets: bytes) -> str:
        whole = _dechunk([octets])
        portions = _cutter(octets).portions(octets)
        if _dechunk(portions) != whole:
            return f"read differently in pieces: {[len(portion) for portion in portions]}"
        if whole[0] != "whole":
            return ""
        payload, rest = whole[1], bytes(whole[2])
        if _h11_dechunks(octets.removesuffix(rest), rest) != (payload, rest):
            return "h11 reads something else"
        message = Message(b"", [], framing="chunked")
        try:
            stream = Stream.of(octets)
            read_body(stream, message)
        except (Malformed, Cut):
            return ""  # it takes no extensions
        return "" if (message.body, stream.unread) == (payload, rest) else "the strict reader reads something else"


def _dechunk(portions: list[bytes]) -> Reading:
    """("whole", payload, rest, trailers), ("unfinished", payload) or ("refused", detail)."""
    body = ChunkedBody(lambda detail: RequestError(BAD_REQUEST, detail), 1024, 8)
    payload = b""
    queue = iter(portions)
    for portion in queue:
        try:
            payload += body.feed(portion)
        except MessageError as error:
            return "refused", error.detail
        if body.done:
            return "whole", payload, body.rest + b"".join(queue), list(body.trailers)
    return "unfinished", payload


def _h11_dechunks(octets: bytes, rest: bytes) -> Reading:
    connection = h11.Connection(h11.SERVER, 1 << 20)
    connection.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    connection.receive_data(_DROPPED.sub(b"\r\nx-dropped:", octets) + rest)
    payload = b""
    try:
        connection.next_event()
        while isinstance(event := connection.next_event(), h11.Data):
            payload += event.data
    except h11.RemoteProtocolError:
        return ("refused",)
    return (payload, connection.trailing_data[0]) if isinstance(event, h11.EndOfMessage) else ("unfinished",)


class Sessions:
    """The whole gateway, and everything that clients and upstreams may do to it."""

    def __init__(self, random: Random) -> None:
        self.fast = 0
        self._random = random

    def make(self) -> bytes:
        return self._random.randbytes(self._random.randint(20, 400))

    def check(self, octets: bytes) -> str:
        given = Given(octets)
        chance = Mutator(given)
        fast = chance.chance(0.7)
        self.fast += fast
        flows = chance.chance(0.5)
        gateway = InMemoryGateway(
            fast=fast,
            connections=chance.number(1, 5),
            upstreams=chance.number(1, 3),
            share=chance.number(1, 2),
            buffers=1500 if chance.chance(0.3) else 1 << 30,
            keyed=chance.chance(0.3),
            repeats=chance.chance(0.4),
            half_close=chance.chance(0.2),
        )
        with clocked(gateway):
            for _ in range(chance.number(1, 3)):
                gateway.connect()
            while not given.spent:
                ACTIONS[chance.number(0, len(ACTIONS) - 1)](gateway, chance)
                if found := list(miscounts(gateway)):
                    return "; ".join(found)
            if flows:
                gateway.flow()
                if found := [*miscounts(gateway), *stuck(gateway)]:
                    return "; ".join(found)
            gateway.settle()
            return "; ".join([*miscounts(gateway), *findings(gateway)])


_LANES: tuple[Callable[[Random], Lane], ...] = (Requests, Responses, Chunks, Sessions)
LANES = dict(zip(NAMES, _LANES, strict=True))
