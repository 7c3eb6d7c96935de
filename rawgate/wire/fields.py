"""What field lines mean to this hop, in either direction: framing, Connection, hop-by-hop.

A field is *parsed* if this hop or policy reads, replaces or removes it. All others are *passthrough*: they stay
untouched and in order. These functions serve both directions: they return a fault as one sentence, and the caller makes
a RequestError or ResponseError of it.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from rawgate.message import READ_AS, Removable
from rawgate.wire.grammar import DIGITS, TOKEN

# Fields of one hop (RFC 9110 section 7.6.1) and fields that frame the message; `write` makes new ones for the next hop.
# Trailer is not among them, although RFC 2616 listed it: it is end-to-end, and trailers are passed on.
HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"content-length", b"upgrade")
)

# Trailer fields that a recipient must not merge or that would change framing, routing, credentials or the meaning
# of the content (RFC 9110 section 6.5.1): dropped, whichever side sent them.
NOT_IN_TRAILERS = HOP_BY_HOP | frozenset(
    (
        *(b"host", b"expect", b"trailer", b"max-forwards", b"via", b"range", b"if-match", b"if-none-match"),
        *(b"if-modified-since", b"if-unmodified-since", b"if-range"),
        *(b"authorization", b"proxy-authorization", b"proxy-authenticate", b"www-authenticate", b"cookie"),
        *(b"set-cookie", b"content-encoding", b"content-type", b"content-range", b"age", b"cache-control"),
        *(b"expires", b"date", b"location", b"retry-after", b"vary", b"warning", b"pragma"),
    )
)

_MOST_DIGITS = 19
"""Significant digits of a length: below 10**19 octets, about where nginx, Go and llhttp stop (2**63 or 2**64). Python's
`int` would raise for more than 4,300 digits."""

MOST_MEMBERS = 64
"""Members of a list that is read here. Connection has two or three in practice. Each member costs time, and a head of
16 KiB has room for 8,000, so a longer list is refused unread, like a head with more field lines than `limits.headers`.
Others bound the head alone."""

_SPELLINGS = 4096
"""Spellings that are remembered: more than the clients of one gateway use, and less than 1 MB."""
_MEMORABLE = 64
"""Octets of a spelling that is remembered; the longest names in IANA's registry have about 40."""

PASSES: Final = b""
REMOVABLE: Final = b"-:"
NOT_A_NAME: Final = b":"
"""What `FieldNames` says of fields that are not parsed; no field has such a name."""

LONG_NAME: Final = 63
"""Octets. Names of this and any greater length are of the same shape (`FieldNames.shapes`)."""


class Spelling:
    """The spelling of a field name, and what the fast lane does with the field: `name` is the lower-cased name, or what
    else `FieldNames` says."""

    __slots__ = ("lowered", "name", "spelling")

    def __init__(self, spelling: bytes, lowered: bytes, name: bytes) -> None:
        self.spelling: Final = spelling
        self.lowered: Final = lowered
        self.name: Final = name


class FieldNames:
    """The spelling of a field name → what the fast lane does with the field:

        the lower-cased name   it is parsed
        REMOVABLE              it passes through, but policy may remove it
        PASSES                 it passes through
        NOT_A_NAME             the head is not for the fast lane

    Removable names are compared as `message.READ_AS` translates them: `X_Team` is removable if `x-team` is.

    Most names pass through, and are not even looked up: `shapes[min(length, LONG_NAME) * 32 + (first octet & 31)]` is 1
    if a name of that length and that first letter may be something else. That holds for names of letters, digits and
    "-"; all others are to be looked up. What was found is remembered, so the few spellings that clients use take one
    look-up. Clients choose the spellings, so the number and the length of those that are remembered are bounded. The
    first spelling of each shape is remembered in `usual` too, where it takes no look-up.

    parsed     lower-cased names
    removable  lower-cased names; one that ends in "*" stands for all names with that beginning
    h11_only   lower-cased names of fields whose values the fast lane cannot read
    aliased    names, translated by READ_AS. A field with another name that READ_AS translates to one of these would be
               taken for it by some servers; it is not for the fast lane
    """

    __slots__ = ("_aliased", "_families", "_h11_only", "_removable", "known", "parsed", "shapes", "usual")

    def __init__(
        self,
        parsed: frozenset[bytes],
        removable: frozenset[bytes] = frozenset(),
        h11_only: frozenset[bytes] = frozenset(),
        aliased: frozenset[bytes] = frozenset(),
    ) -> None:
        # Each to itself: a name is the very object that others look it up by, so a dictionary compares no octets then.
        self.parsed: Final = {name: name for name in parsed}
        self._removable = frozenset(name.translate(READ_AS) for name in removable if not name.endswith(b"*"))
        self._families = tuple(name[:-1].translate(READ_AS) for name in removable if name.endswith(b"*"))
        self._h11_only = h11_only
        self._aliased = aliased
        self.shapes: Final = _shapes(parsed | self._removable | h11_only | aliased, self._families)
        self.usual: Final[list[Spelling | None]] = [None] * len(self.shapes)
        self.known: Final[dict[bytes, Spelling]] = {}

    def look_up(self, spelling: bytes) -> Spelling:
        known = self.known.get(spelling)
        return self._learn(spelling) if known is None else known

    def _learn(self, spelling: bytes) -> Spelling:
        lowered = spelling.lower()
        if TOKEN.fullmatch(spelling) is None or lowered in self._h11_only or self.is_alias(lowered):
            return Spelling(spelling, lowered, NOT_A_NAME)
        name = self.parsed.get(lowered) or (REMOVABLE if self.is_removable(lowered) else PASSES)
        learned = Spelling(spelling, lowered, name)
        if len(self.known) < _SPELLINGS and len(spelling) <= _MEMORABLE:
            self.known[spelling] = learned
            shape = min(len(spelling), LONG_NAME) * 32 + (spelling[0] & 31)
            if self.usual[shape] is None:
                self.usual[shape] = learned
        return learned

    def is_removable(self, name: bytes) -> bool:
        """Whether policy may remove the field. `name` is lower-cased and not parsed."""
        plain = name.translate(READ_AS)
        return plain in self._removable or plain.startswith(self._families)

    def is_alias(self, name: bytes) -> bool:
        """Whether a lower-cased name is not parsed itself, but some servers take it for a name in `aliased`."""
        return name not in self.parsed and name.translate(READ_AS) in self._aliased


def _shapes(names: Iterable[bytes], families: Iterable[bytes]) -> bytes:
    """The shapes of these lower-cased names, and of all that begin with one of `families`."""
    shapes = bytearray((LONG_NAME + 1) * 32)
    for name in names:
        shapes[min(len(name), LONG_NAME) * 32 + (name[0] & 31)] = 1
    for family in families:
        for length in range(min(len(family), LONG_NAME), LONG_NAME + 1):
            for letter in family[:1] or range(32):
                shapes[length * 32 + (letter & 31)] = 1
    return bytes(shapes)


def members(value: bytes) -> list[bytes] | None:
    """The lower-cased tokens of a comma-separated list without its empty members. None if one is not a token, or if
    there are more than MOST_MEMBERS."""
    if value.count(b",") >= MOST_MEMBERS:
        return None
    found = []
    for part in value.split(b","):
        member = part.strip(b" \t")
        if member:
            if not TOKEN.fullmatch(member):
                return None
            found.append(member.lower())
    return found


def strip_connection_fields(
    options: list[bytes], parsed: dict[bytes, bytes], others: list[tuple[bytes, bytes]], names: FieldNames
) -> tuple[list[bytes], Removable]:
    """Remove the fields that Connection names (RFC 9110 section 7.6.1), from `parsed` in place. Returns the runs that
    pass through and which of them policy may remove.

    `close` names no field: that field name is reserved (RFC 9112 section 9.6).
    `others`: the name and the line of each field in order; the line is b"" if the field does not pass."""
    named = {option for option in options if option != b"close"}
    for name in named:
        parsed.pop(name, None)
    runs: list[bytes] = []
    removable: Removable = ()
    run: list[bytes] = []
    for name, line in (*others, (b"", b"")):
        passes = bool(line) and name not in named
        if passes and not names.is_removable(name):
            run += (b"\r\n", line)
            continue
        if run:
            runs.append(b"".join(run))
            run = []
        if passes:
            removable = (*removable, (len(runs), name))
            runs.append(b"\r\n" + line)
    return runs, removable


def raw_fields(head: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Lower-cased name and value of each line. The head may be malformed: this serves to find out why h11 refused
    it."""
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        yield name.lower(), value.strip(b" \t")


def content_length_fault(values: Iterable[bytes]) -> str | None:
    """What is wrong with the Content-Length lines of a message (RFC 9112 section 6.3 step 5), or None."""
    lengths = {part.strip(b" \t") for value in values for part in value.split(b",")}
    if any(not DIGITS.fullmatch(length) for length in lengths):
        return "Content-Length is not a number."
    if len(lengths) > 1:
        return "Content-Length is given more than once, with different values."
    return None


def read_length(value: bytes) -> int | None:
    """The number of octets that digits stand for; leading zeros are allowed. None for a number beyond any body."""
    digits = value.lstrip(b"0")  # zeros count towards the 4,300 digits of `int`, too
    return int(digits or b"0") if len(digits) <= _MOST_DIGITS else None
