"""Bodies: octets in, payload out. One interface for the three ways in which a body can end (RFC 9112 section 6.3).

    feed(data) → payload octets, maybe b""      done     the body has ended
    rest       octets behind the end            trailers field lines behind the last chunk

Bodies of known length are counted, not parsed. Chunked bodies have one strict reader for both sides and both lanes;
h11 is its oracle in the tests: what this one accepts, h11 accepts with the same octets.

Some readers accept framing that this one refuses: bare LF or CR, an extension that is not `;name` or `;name=value`, a
size of more than 16 digits (as Go; h11 takes 20), data that is not followed by exactly CRLF, and from clients blanks
around a size. Two servers of one chain have read each of these in two ways. Blanks from a service are accepted: some
services pad their sizes, and the gateway frames the body anew for the client.
"""

import re
from collections.abc import Callable, Sequence

from rawgate.errors import MessageError
from rawgate.message import CHUNKED, UNTIL_CLOSE, Octets
from rawgate.wire.fields import NOT_IN_TRAILERS
from rawgate.wire.grammar import FIELD_LINE, TCHAR, forbidden
from rawgate.wire.scan import HeadScan, ScanRules, no_overrun

Refuse = Callable[[str], MessageError]
Trailers = Sequence[tuple[bytes, bytes]]

_LINE_LIMIT = 4096
"""Octets of a chunk-size line with its extensions, as in Go's net/http."""

_FRAMING_CREDIT = 32 * 1024
"""Octets by which the framing may outweigh the payload. RFC 9112 section 7.1.1 asks for a limit on extensions, and a
body in chunks of an octet or two costs a hundred times as much as in one piece. Go's net/http has the same measure with
16 KiB; there each chunk also earns 16 octets, so that chunks of one octet never exceed it."""

_CHUNK_COST = 8
"""Octets of framing that each chunk counts as: two CRLFs, a size of two digits, a share of a buffer. So a client may
send chunks of eight octets or more for ever."""

_EXTENSION_COST = 64
"""Octets of framing that a chunk with extensions counts as, besides the octets of the extensions. The common use of
extensions, AWS's chunk signatures, has at least 8 KiB of payload in each chunk but the last."""


def _size_line(blanks: bytes) -> re.Pattern[bytes]:
    """chunk-size [ chunk-ext ] CRLF (RFC 9112 section 7.1); `blanks`: where the grammar has bad whitespace."""
    token, quoted = TCHAR + rb"++", rb"\"(?:[\t !#-\[\]-~\x80-\xff]++|\\[\t -~\x80-\xff])*\""
    value = blanks + b"=" + blanks + b"(?:" + token + b"|" + quoted + b")"
    extension = blanks + b";" + blanks + token + b"(?:" + value + b")?"
    return re.compile(b"([0-9A-Fa-f]{1,16}+)((?:" + extension + b")*)" + blanks + b"\r\n")


_STRICT_LINE = _size_line(b"").match
_PADDED_LINE = _size_line(rb"[\t ]*+").match


class CountedBody:
    """A body of `octets` octets."""

    __slots__ = ("_left", "done", "rest")
    trailers: Trailers = ()

    def __init__(self, octets: int) -> None:
        self._left = octets
        self.done = octets == 0
        self.rest = b""

    def feed(self, data: Octets) -> Octets:
        """The payload in `data`: the same object when all of it is."""
        left = self._left - len(data)
        if left > 0:
            self._left = left
            return data
        payload = data[: self._left]
        self.rest = bytes(data[self._left :])
        self._left = 0
        self.done = True
        return payload


class EndlessBody:
    """A body that ends with the connection. Nobody can tell whether it is complete."""

    __slots__ = ()
    done = False
    rest = b""
    trailers: Trailers = ()

    def feed(self, data: Octets) -> Octets:
        """Return `data`: all of it is payload."""
        return data


# Where a chunked body stands: before a chunk-size line, inside a chunk, before the CRLF behind one, in the trailer
# section, at the end.
_SIZE, _DATA, _CRLF, _TRAILER, _END = range(5)


class ChunkedBody:
    """A body in chunks.

    error           makes the exception that `feed` raises
    trailer_octets  limit of the trailer section, the empty line included
    trailer_fields  the same, in field lines
    strict          for the body of a client: refuse blanks around sizes, and count small chunks as framing. A service
                    may pad its sizes and may stream word by word
    """

    __slots__ = (
        "_at",
        "_credit",
        "_error",
        "_fields",
        "_held",
        "_left",
        "_octets",
        "_scan",
        "_size_line",
        "_strict",
        "done",
        "rest",
        "trailers",
    )

    def __init__(self, error: Refuse, trailer_octets: int, trailer_fields: int, *, strict: bool = True) -> None:
        self._error = error
        self._octets = trailer_octets
        self._fields = trailer_fields
        self._at = _SIZE
        self._left = 0  # octets of this chunk that are still to come
        self._held = bytearray()  # an unfinished chunk-size line or CRLF
        self._scan: HeadScan | None = None  # an unfinished trailer section
        self._credit = _FRAMING_CREDIT
        self._strict = strict
        self._size_line = _STRICT_LINE if strict else _PADDED_LINE
        self.done = False
        self.rest = b""
        self.trailers: Trailers = ()

    def feed(self, data: Octets) -> bytes:
        """The payload in `data`, chunks joined. Raises what `error` makes; do not use the reader after that."""
        data = bytes(data)
        payload: list[bytes] = []
        index = 0
        while index < len(data):
            if self._at == _DATA:
                piece = data[index : index + self._left]
                payload.append(piece)
                index += len(piece)
                self._left -= len(piece)
                self._credit += len(piece)
                if not self._left:
                    self._at = _CRLF
                    if data.startswith(b"\r\n", index):  # almost always here too
                        self._at = _SIZE
                        index += 2
            elif self._at == _SIZE:
                index = self._size(data, index)
            elif self._at == _CRLF:
                index = self._crlf(data, index)
            elif self._at == _TRAILER:
                index = self._trailer(data, index)
            else:
                self.rest = data[index:]
                break
        return payload[0] if len(payload) == 1 else b"".join(payload)

    def _size(self, data: bytes, index: int) -> int:
        """Take the part of a chunk-size line that is here; returns the index behind it."""
        found = None if self._held else self._size_line(data, index, index + _LINE_LIMIT)
        if found is not None:
            index = found.end()
        else:
            index = self._hold(data, index)
            if not self._held.endswith(b"\n"):
                return index
            found = self._size_line(self._held)
            if found is None:
                raise self._error("A chunk-size line is malformed.")
            self._held = bytearray()
        size, extensions = found.groups()
        self._credit -= len(extensions)
        if self._strict:
            self._credit -= _EXTENSION_COST if extensions else _CHUNK_COST
        if self._credit < 0:
            raise self._error("The chunks' framing outweighs what is in them.")
        self._left = int(size, 16)
        self._at = _DATA if self._left else _TRAILER
        return index

    def _hold(self, data: bytes, index: int) -> int:
        """Keep an unfinished chunk-size line up to its line end. Refuse one that no further octet could make valid."""
        held = self._held
        seen = max(len(held) - 1, 0)
        room = _LINE_LIMIT - len(held)
        line_end = data.find(b"\n", index, index + room) + 1
        stop = line_end or min(len(data), index + room)
        held += data[index:stop]
        if name := forbidden(held, seen, len(held)):
            raise self._error(f"A chunk-size line holds {name}.")
        if len(held) == _LINE_LIMIT and not line_end:
            raise self._error("A chunk-size line is longer than the limit.")
        return stop

    def _crlf(self, data: bytes, index: int) -> int:
        """Take the CRLF behind a chunk, or only its CR if no more is here."""
        held = self._held
        stop = index + 2 - len(held)
        held += data[index:stop]
        if not b"\r\n".startswith(held):
            raise self._error("A chunk is not followed by CRLF.")
        if len(held) == 2:
            self._held = bytearray()
            self._at = _SIZE
        return stop

    def _trailer(self, data: bytes, index: int) -> int:
        """Take the part of the trailer section that is here; returns the index behind it."""
        if self._scan is None:
            if data.startswith(b"\r\n", index):  # almost always: no trailer fields
                self._finish()
                return index + 2
            rules = ScanRules("The trailer section", self._octets + 2, self._error, self._error, no_overrun, False)
            self._scan = HeadScan(rules)
            self._scan.skip_start_line()
        scan = self._scan
        before = len(scan.buffer)
        scan.take(data[index:])
        end = scan.head_end()
        if not end:
            return len(data)
        self._read_trailers(bytes(scan.buffer[2 : end - 4]))
        self._finish()
        return index + end - before

    def _read_trailers(self, block: bytes) -> None:
        lines = block.split(b"\r\n") if block else []
        if len(lines) > self._fields:
            raise self._error("The trailer section has more fields than the limit.")
        trailers = []
        for line in lines:
            found = FIELD_LINE.fullmatch(line)
            if found is None:
                raise self._error("A trailer field line is not `name: value`.")
            name, value = found.groups()
            if name.lower() not in NOT_IN_TRAILERS:
                trailers.append((name, value))
        self.trailers = trailers

    def _finish(self) -> None:
        self._at = _END
        self.done = True


Body = CountedBody | ChunkedBody | EndlessBody


def body_reader(
    body: int, error: Refuse, trailer_octets: int = 8192, trailer_fields: int = 32, *, strict: bool = True
) -> Body:
    """The reader for a body as `RequestHead.body` or, with `strict=False`, `ResponseHead.body` describes it. The other
    arguments are those of `ChunkedBody`."""
    if body == CHUNKED:
        return ChunkedBody(error, trailer_octets, trailer_fields, strict=strict)
    return EndlessBody() if body == UNTIL_CLOSE else CountedBody(body)
