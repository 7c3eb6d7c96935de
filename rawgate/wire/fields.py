"""What field lines mean to this hop, in either direction: framing, Connection, hop-by-hop.

A field is *parsed* when the hop or policy has business with it; all others are *passthrough*, untouched and in order.
Nothing here knows which side sent the message: the caller turns a finding, one sentence or None, into its own error.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from rawgate.message import READ_AS, Removable
from rawgate.wire.grammar import DIGITS, TOKEN

# Fields that concern one hop only (RFC 9110 section 7.6.1) and those that frame the message; the writer makes the
# next hop's own. Trailer stays: it is end-to-end, and trailers are passed on.
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
"""Significant digits of a length that is worth reading: below 10**19 octets, and far from Python's limit of 4,300."""

MOST_MEMBERS = 64
"""Members of a list that is read here. Connection has two or three in practice. Reading costs by the member, and a head
of 16 KiB has room for 8,000: refused before they are looked at, as more than `limits.headers` field lines are."""

_SPELLINGS = 4096
_MEMORABLE = 64
"""Octets."""


NOT_A_NAME: Final = b":"
"""Stands for all spellings that `FieldNames` has nothing to say about."""


class FieldNames(dict[bytes, bytes | None]):
    """Spelling of a field name, as the fast lane finds it → the lower-cased name when it is a parsed one; None when the
    field passes through; b"" when it does, but policy may remove it; NOT_A_NAME when it is no token or not for that
    lane. Names are compared as `message.READ_AS` has them: `X_Team` is removable where `x-team` is.

    A memo of names, not of messages: the few spellings that clients use are looked up in one step. Names come from
    outside, so it takes a fixed number of them and none that is long; others cost a few steps each time.

    removable  lower-cased names; one that ends in "*" stands for all that begin so
    h11_only  lower-cased names of fields that need more thought than the fast lane gives to any
    aliased  names, as READ_AS has them, that no other spelling may stand for: such a field is not for the fast lane
    """

    __slots__ = ("_aliased", "_families", "_h11_only", "_removable", "parsed")

    def __init__(
        self,
        parsed: frozenset[bytes],
        removable: frozenset[bytes] = frozenset(),
        h11_only: frozenset[bytes] = frozenset(),
        aliased: frozenset[bytes] = frozenset(),
    ) -> None:
        super().__init__()
        self.parsed = parsed
        self._removable = frozenset(name.translate(READ_AS) for name in removable if not name.endswith(b"*"))
        self._families = tuple(name[:-1].translate(READ_AS) for name in removable if name.endswith(b"*"))
        self._h11_only = h11_only
        self._aliased = aliased

    def __missing__(self, spelling: bytes) -> bytes | None:
        lowered = spelling.lower()
        if TOKEN.fullmatch(spelling) is None or lowered in self._h11_only or self.is_alias(lowered):
            return NOT_A_NAME
        name = lowered if lowered in self.parsed else b"" if self.is_removable(lowered) else None
        if len(self) < _SPELLINGS and len(spelling) <= _MEMORABLE:
            self[spelling] = name
        return name

    def is_removable(self, name: bytes) -> bool:
        """Of a lower-cased name that is not parsed."""
        plain = name.translate(READ_AS)
        return plain in self._removable or plain.startswith(self._families)

    def is_alias(self, name: bytes) -> bool:
        """Whether a lower-cased name is none of ours, and some reader takes it for one of them."""
        return name not in self.parsed and name.translate(READ_AS) in self._aliased


def members(value: bytes) -> list[bytes] | None:
    """The lower-cased tokens of a comma-separated list, empty members left out; None if one is not a token, or if there
    are more than MOST_MEMBERS."""
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
    """The lines that pass through once the fields that Connection names are gone (RFC 9110 section 7.6.1), from
    `parsed` too; and which of them policy may remove. `close` is an option only: the field name is reserved so that it
    never means a field (RFC 9112 section 9.6)."""
    named = {option for option in options if option != b"close"}
    for name in named:
        parsed.pop(name, None)
    passing = [(name, line) for name, line in others if name not in named]
    removable = tuple([(index, name) for index, (name, _) in enumerate(passing) if names.is_removable(name)])
    return [line for _, line in passing], removable


def raw_fields(head: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Lower-cased name and value of each line of a head that may be malformed; to find out why it was refused."""
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
    """Octets, from digits that may have leading zeros; None for a number beyond any body."""
    digits = value.lstrip(b"0")  # however many: `int` counts zeros, too, and refuses 4,300 of them
    return int(digits or b"0") if len(digits) <= _MOST_DIGITS else None
