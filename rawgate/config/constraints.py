"""What may be written for a key, as data beside the field it belongs to (`typing.Annotated`).

A mark says which values are possible and how they are written; it does not read them. `convert` finds the reader of
each kind of mark, and a schema for editors can be made from the same data. Marks know nothing of the model, so that the
model can use them.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from msgspec import Struct

MILLISECOND = 0.001
HOUR = 3600.0
YEAR = 365 * 24 * HOUR
KIB = 1024
MIB = 1024 * KIB
TIB = 1024 * 1024 * MIB


class Duration(Struct, frozen=True):
    """Seconds, written "250ms", "5s", "1m" or "1h"; plain numbers in a Python configuration."""

    least: float = MILLISECOND
    most: float = YEAR

    expected = 'a duration such as "250ms", "5s", "1m" or "1h"'


class Size(Struct, frozen=True):
    """Octets, written "240B", "16KiB", "10MiB" or "1GiB"; plain numbers in a Python configuration."""

    least: int = 0
    most: int = TIB

    expected = 'a size such as "240B", "16KiB" or "10MiB"'


class Count(Struct, frozen=True):
    """A whole number."""

    least: int
    most: int

    @property
    def expected(self) -> str:
        return f"a whole number from {self.least} to {self.most}"


class NotBuilt(Struct, frozen=True):
    """A key whose feature is not built: `value` alone is accepted, anything else is refused with `because`.

    `value` None: nothing at all may be written.
    """

    value: object
    because: str

    expected = "nothing"


class Text(Struct, frozen=True):
    """Printable text that is not empty."""

    what: str = "text"

    @property
    def expected(self) -> str:
        return f"{self.what} that is not empty"


class Label(Struct, frozen=True):
    """A name that travels in a header field and in metrics: printable ASCII without quotes and backslashes."""

    expected = "1 to 255 printable ASCII characters without quotes, backslashes and blanks at the ends"


class TableName(Struct, frozen=True):
    """The name of an upstream or a verifier."""

    expected = "a name of 1 to 64 characters out of A–Z a–z 0–9 . _ -"


class Token(Struct, frozen=True):
    """A token (RFC 9110 section 5.6.2).

    what     what it is, for messages
    lower    case does not matter, and is not kept
    refused  words, lower-cased, that are not possible here, each with its reason
    family   a star at its end stands for whatever follows
    """

    what: str
    lower: bool = False
    refused: tuple[tuple[str, str], ...] = ()
    family: bool = False

    @property
    def expected(self) -> str:
        return self.what


class FieldValue(Struct, frozen=True):
    """The value of a header field. `beyond_ascii`: others than the gateway's own may be UTF-8."""

    beyond_ascii: bool = False

    @property
    def expected(self) -> str:
        return f"printable {'text' if self.beyond_ascii else 'ASCII'} without blanks at the ends"


class Json(Struct, frozen=True):
    """Any value that JSON can say."""

    expected = "a value as in JSON"


class PathPrefix(Struct, frozen=True):
    """A normalised path without query. `rest`: what becomes of what lies below, for those who write a pattern."""

    rest: str = "a prefix is no pattern, and takes what lies below it"

    expected = 'a path such as "/api/users"'


class Pathname(Struct, frozen=True):
    """A path and maybe a query, as a service would receive it."""

    expected = 'a path such as "/v2/users/7?x=1"'


class RequestLine(Struct, frozen=True):
    """Method and target of a test's request; an absolute target also names the host."""

    expected = '"METHOD /path" or "METHOD http://host/path"'


class Host(Struct, frozen=True):
    """A host name or address, as the Host field has it, without port."""

    expected = 'a host such as "api.example.com", "10.0.0.7" or "[::1]", without port'


class Origin(Struct, frozen=True):
    """A web origin (RFC 6454 section 6.2), or "*"."""

    expected = 'an origin such as "https://app.example.com" or "http://localhost:5173", or "*"'


class ListenAddress(Struct, frozen=True):
    """An address and a port, or a Unix socket."""

    expected = '"127.0.0.1:8080", "[::1]:8080" or "unix:PATH"'
    mode = 'a mode such as "0660"'


class TargetUrl(Struct, frozen=True):
    """Where a service listens."""

    expected = '"http://HOST:PORT"'


class AddressRange(Struct, frozen=True):
    """A network, or one address."""

    expected = 'a network such as "10.0.0.0/8", an address such as "::1", or "unix"'


class Source(Struct, frozen=True):
    """Where key material is found. `whole`: it is one secret, so that nothing may stand around it but line ends."""

    schemes: tuple[Literal["env", "file"], ...] = ("env", "file")
    whole: bool = False

    @property
    def expected(self) -> str:
        return " or ".join('"env:NAME"' if scheme == "env" else '"file:PATH"' for scheme in self.schemes)


class Reference(Struct, frozen=True):
    """The name of something else in the configuration: a key of the table `to`, or a route's name."""

    to: Literal["upstreams", "routes"]
    what: str

    @property
    def expected(self) -> str:
        return f"the name of {self.what}"


class Auth(Struct, frozen=True):
    """The verifier of a route, or "none"."""

    expected = '"jwt.NAME", "api_keys.NAME" or "none"'


class Choice(Struct, frozen=True):
    """One of a set of words that is made elsewhere."""

    words: tuple[str, ...]
    what: str

    @property
    def expected(self) -> str:
        return self.what


class Essential(Struct, frozen=True):
    """A field without which its table would mean something else: one that is wrong makes the table unusable for further
    checks, where any other falls back to its default."""


class Description(Struct, frozen=True):
    """What a key means, for people who are about to write it: editors show it (`schema`)."""

    text: str


class Example(Struct, frozen=True):
    """What a table, or a list of tables, may look like: what a message expects in the place of something else."""

    text: str


def itself(value: object) -> object:
    """The key by which elements are the same when they are equal."""
    return value


class ListOf(Struct, frozen=True):
    """A list.

    empty   may have no elements
    single  one element may be written without brackets
    key     elements with equal keys are the same thing written twice; None never is
    keys    of all elements together, where an element's key depends on the others
    at      where, inside an element, to say so
    once    and in which words
    clash   why two elements cannot stand side by side, in words, or ""
    """

    empty: bool = False
    single: bool = False
    key: Callable[[Any], object] = itself
    keys: Callable[[Any], Sequence[object]] | None = None
    at: tuple[str, ...] = ()
    once: str = "each only once"
    clash: Callable[[Any, Any], str] | None = None
