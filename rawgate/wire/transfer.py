"""A body on its way through: octets in, in one framing; octets out, in another.

A transfer is made only when a body is not here whole. Whoever has all of a body writes it in one piece with its head.
"""

from collections.abc import Callable

from rawgate.message import Octets
from rawgate.wire.body import Body, CountedBody, EndlessBody
from rawgate.wire.write import LAST_CHUNK, chunk, last_chunk


class Transfer:
    """One body.

    octets   of the payload so far; chunk framing is not counted
    trailed  a trailer field was passed on
    """

    __slots__ = ("_body", "_chunked", "_may_pass", "octets", "trailed")

    def __init__(self, body: Body, chunked: bool, may_pass: Callable[[bytes], bool] | None = None) -> None:
        """body: reads what comes. chunked: whether it goes out in chunks; otherwise the payload goes out as it is.
        may_pass: lower-cased name of a trailer field → whether the field goes out; None: all do."""
        self._body = body
        self._chunked = chunked
        self._may_pass = may_pass
        self.octets = 0
        self.trailed = False

    @property
    def done(self) -> bool:
        """The body has ended."""
        return self._body.done

    @property
    def rest(self) -> bytes:
        """What came behind the end of the body."""
        return self._body.rest

    @property
    def is_counted(self) -> bool:
        """Its length was announced, so its receiver notices when some of it is missing."""
        return isinstance(self._body, CountedBody)

    @property
    def is_endless(self) -> bool:
        """It ends with the connection that it comes from."""
        return isinstance(self._body, EndlessBody)

    def feed(self, data: Octets) -> Octets:
        """What is to be written for these octets, maybe nothing. Raises the MessageError of the body's reader."""
        body = self._body
        payload = body.feed(data)
        self.octets += len(payload)
        if not self._chunked:
            return payload
        out = chunk(bytes(payload)) if payload else b""
        return out + self._last_chunk(body) if body.done else out

    def _last_chunk(self, body: Body) -> bytes:
        may_pass = self._may_pass
        trailers = [field for field in body.trailers if may_pass is None or may_pass(field[0].lower())]
        self.trailed = bool(trailers)
        return last_chunk(trailers)

    def end(self) -> bytes:
        """What is to be written when an endless body has ended with its connection."""
        return LAST_CHUNK if self._chunked else b""
