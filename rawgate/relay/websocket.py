"""What a tunnel has to know of WebSocket (RFC 6455): where one frame ends, and how to say goodbye.

Octets pass a tunnel unread. But a close frame may be put in only where the stream stands between two frames, so the
lengths of frames are followed, and nothing else of them. Between two fragments of a message is a good place, too:
control frames may stand there (section 5.4).
"""

from typing import Final

from rawgate.message import Octets

GOING_AWAY: Final = 1001
POLICY_VIOLATION: Final = 1008
SERVICE_RESTART: Final = 1012
"""Status codes (section 7.4.1, and IANA's registry, which has 1012: come back, after some seconds picked at random)."""

_CLOSE: Final = 8
_OPCODES: Final = frozenset((0, 1, 2, _CLOSE, 9, 10))
_KEY: Final = 4
"""Octets of a masking key. Behind the length it is skipped like content."""


class Frames:
    """One direction of a WebSocket.

    over  its close frame was seen, or what came is no WebSocket: nothing may be put in any more
    """

    __slots__ = ("_head", "_left", "over")

    def __init__(self) -> None:
        self._head = b""  # the beginning of a frame whose length is not known yet
        self._left = 0  # octets of the present frame that are still to come
        self.over = False

    def is_between(self) -> bool:
        """Whether the stream stands between two frames, and may go on."""
        return not self.over and not self._left and not self._head

    def feed(self, data: Octets) -> None:
        """So much has passed."""
        at = self._left
        if at >= len(data) or self.over:
            self._left = max(0, at - len(data))
            return
        if self._head:
            data = self._head + data
        size = len(data)
        while at + 2 <= size:
            opcode, second = data[at] & 15, data[at + 1]
            if opcode == _CLOSE or opcode not in _OPCODES:
                self.over = True
                return
            length, begin = second & 127, at + 2
            if length > 125:
                begin += 2 if length == 126 else 8
                if begin > size:
                    break
                length = int.from_bytes(data[at + 2 : begin], "big")
            at = begin + length + (_KEY if second & 128 else 0)
        self._left = max(0, at - size)
        self._head = bytes(data[at:])


def close_frame(code: int, why: str, key: bytes = b"") -> bytes:
    """A close frame. why: 123 octets at most. key: 4 octets, by which what a client sends is masked (section 5.3)."""
    content = code.to_bytes(2, "big") + why.encode()
    if not key:
        return bytes((0x80 | _CLOSE, len(content))) + content
    masked = bytes(octet ^ key[place % _KEY] for place, octet in enumerate(content))
    return bytes((0x80 | _CLOSE, 0x80 | len(content))) + key + masked
