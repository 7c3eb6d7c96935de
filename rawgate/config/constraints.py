"""What may be written for a key, as data beside its field (`typing.Annotated`).

A constraint says which values are possible and how they are written. It does not read them: `convert` has a reader for
each kind of constraint, and `schema` makes the JSON Schema from the same data. Nothing here imports the model, because
the model imports this.
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


class Percent(Struct, frozen=True):
    """A part of a whole, 0 to 1, written "50%"; plain numbers in a Python configuration. `least`, `most`: whole
    percents."""

    least: int = 1
    most: int = 100

    @property
    def expected(self) -> str:
        return f'a part such as "50%", from {self.least}% to {self.most}%'


class Count(Struct, frozen=True):
    """A whole number."""

    least: int
    most: int

    @property
    def expected(self) -> str:
        return f"a whole number from {self.least} to {self.most}"


class Statuses(Struct, frozen=True):
    """Statuses of responses, as a list of ranges, none below `least`. They become pairs: from, to."""

    least: int = 200

    @property
    def expected(self) -> str:
        examples = '"200-399", "204" or "200-299, 401"' if self.least == 200 else '"500", "502-504" or "500-504, 507"'
        return f"statuses such as {examples}"


class Text(Struct, frozen=True):
    """Printable text that is not empty."""

    what: str = "text"

    @property
    def expected(self) -> str:
        return f"{self.what} that is not empty"


class Label(Struct, frozen=True):
    """A name that is sent in a header field: printable ASCII without quotes and backslashes."""

    expected = "1 to 255 printable ASCII characters without quotes, backslashes and blanks at the ends"


class TableName(Struct, frozen=True):
    """The name of an upstream or a verifier."""

    expected = "a name of 1 to 64 characters out of A–Z a–z 0–9 . _ -"


class Token(Struct, frozen=True):
    """A token (RFC 9110 section 5.6.2).

    what     what the token is, for messages
    lower    whether it is lower-cased, because its case does not matter
    refused  lower-cased words that cannot be used here, each with the reason
    family   whether a star at the end may stand for any further characters
    besides  words that are no tokens, and may stand in place of one
    """

    what: str
    lower: bool = False
    refused: tuple[tuple[str, str], ...] = ()
    family: bool = False
    besides: tuple[str, ...] = ()

    @property
    def expected(self) -> str:
        return self.what


class FieldValue(Struct, frozen=True):
    """The value of a header field. `beyond_ascii`: it may be UTF-8, because the gateway does not write it itself."""

    beyond_ascii: bool = False

    @property
    def expected(self) -> str:
        return f"printable {'text' if self.beyond_ascii else 'ASCII'} without blanks at the ends"


class Json(Struct, frozen=True):
    """Any value that JSON has."""

    expected = "a value as in JSON"


class PathPrefix(Struct, frozen=True):
    """A normalised path without query. `rest`: what becomes of the paths below it, for the message about patterns."""

    rest: str = "a prefix is no pattern, and takes what lies below it"

    expected = 'a path such as "/api/users"'


class PathTemplate(Struct, frozen=True):
    """A whole normalised path, in which a segment may be a name in braces; the last one may stand for all the rest."""

    expected = 'a path such as "/health", "/users/{id}/avatar" or "/files/{rest*}"'


class Pathname(Struct, frozen=True):
    """A path, with or without a query, as a service would receive it."""

    expected = 'a path such as "/v2/users/7?x=1"'


class Address(Struct, frozen=True):
    """The address of a client."""

    expected = 'an address such as "203.0.113.7" or "::1", or "unix"'


class Moment(Struct, frozen=True):
    """A moment as Unix seconds; TOML has it as a date and time with its offset."""

    expected = "a date and time such as 2027-01-01T00:00:00Z"


class RequestLine(Struct, frozen=True):
    """Method and target of a test's request; an absolute target also names the scheme and the host."""

    expected = '"METHOD /path" or "METHOD http://host/path"'


class Host(Struct, frozen=True):
    """A host name or address, as the Host field has it, without port; "*." before a name stands for all names below."""

    expected = 'a host such as "api.example.com", "*.example.com", "10.0.0.7" or "[::1]", without port'


class Location(Struct, frozen=True):
    """Where a redirect leads: a path or a URL, in which names in braces stand for parts of the request."""

    expected = 'a path or URL such as "/new/{id}" or "https://{host}{path}"'


class Origin(Struct, frozen=True):
    """A web origin (RFC 6454 section 6.2), or "*"."""

    expected = 'an origin such as "https://app.example.com" or "http://localhost:5173", or "*"'


class ListenAddress(Struct, frozen=True):
    """An address and a port, or a Unix socket. `plain`: neither TLS nor the PROXY protocol can be spoken there."""

    plain: bool = False

    expected = '"127.0.0.1:8080", "[::1]:8080" or "unix:PATH"'
    mode = 'a mode such as "0660"'

    @property
    def keys(self) -> tuple[str, ...]:
        """Of an entry that is a table."""
        return ("address", "mode") if self.plain else ("address", "tls", "proxy_protocol", "mode")


class TargetUrl(Struct, frozen=True):
    """Where a service listens, or who tells where its instances do; alone or in a table with how much it gets. `plain`:
    an address or a name, and nothing else."""

    plain: bool = False

    keys = ("url", "weight", "zone", "backup")
    most = 65_535  # as in an SRV record (RFC 2782)

    @property
    def expected(self) -> str:
        others = ' or "https://HOST"' if self.plain else ', "https://HOST" or "unix:PATH"'
        return f'"http://HOST:PORT"{others}'

    @property
    def weight(self) -> str:
        return f"a whole number from 1 to {self.most}"


class HashKey(Struct, frozen=True):
    """What requests are divided by."""

    expected = '"client", "header:NAME" or "path"'


class Nameserver(Struct, frozen=True):
    """The address of a name server, and its port unless it is 53."""

    expected = 'an address such as "10.0.0.2", "127.0.0.1:8600" or "[::1]:8600"'


class AddressRange(Struct, frozen=True):
    """A network, or one address. `unix`: or whoever connects over a Unix socket; `believes`: what those who are in it
    say is believed."""

    believes: bool = True

    unix: bool = True

    @property
    def expected(self) -> str:
        network, address = 'a network such as "10.0.0.0/8"', 'an address such as "::1"'
        return f'{network}, {address}, or "unix"' if self.unix else f"{network} or {address}"


class Source(Struct, frozen=True):
    """Where key material is found. `whole`: the content is one secret, so it may have line ends at its end, and nothing
    else around it."""

    schemes: tuple[Literal["env", "file"], ...] = ("env", "file")
    whole: bool = False

    @property
    def expected(self) -> str:
        return " or ".join('"env:NAME"' if scheme == "env" else '"file:PATH"' for scheme in self.schemes)


class KeySetSource(Struct, frozen=True):
    """Where a key set is: a file, a URL, or what the issuer's discovery document says."""

    expected = '"file:PATH", "https://…" or "discover"'


class StoreAddress(Struct, frozen=True):
    """Where a store is."""

    expected = (
        '"redis://HOST:PORT", "rediss://HOST:PORT", "unix:///PATH", "redis+sentinel://HOST:PORT,…/NAME" or '
        '"redis+cluster://HOST:PORT,…"'
    )


class Failure(Struct, frozen=True):
    """What a request may be sent again after: a word, or a status."""

    words = ("connect", "reset", "timeout")
    least = 500
    most = 599

    expected = '"connect", "reset", "timeout" or a status from 500 to 599'


class Reference(Struct, frozen=True):
    """The name of something else in the configuration: a key of the table `to`, or a route's name."""

    to: Literal["upstreams", "routes", "limits"]
    what: str

    @property
    def expected(self) -> str:
        return f"the name of {self.what}"


class Auth(Struct, frozen=True):
    """The verifier of a route, several in a list, or "none"."""

    expected = '"jwt.NAME", "api_keys.NAME" or "none"'


class TokenPlace(Struct, frozen=True):
    """Where a token may be."""

    expected = '"header", "cookie:NAME", "query:NAME" or "subprotocol"'


class ClaimRules(Struct, frozen=True):
    """What claims must say: name → value, or a list of values of which one will do. Tables in it are objects in claims,
    so that `realm.roles = "a"` may be written with and without quotes."""

    expected = 'a table such as { scope = "orders:write", "realm.roles" = ["admin", "ops"] }'


class Choice(Struct, frozen=True):
    """One of the words in `words`, which another module lists."""

    words: tuple[str, ...]
    what: str

    @property
    def expected(self) -> str:
        return self.what


class OneOf(Struct, frozen=True):
    """Of the keys `names` of a table exactly one is written. Each of them has this constraint; the first is the one
    that a message asks for when there is none."""

    names: tuple[str, ...]


class Maximum(Struct, frozen=True):
    """How many requests a limit lets through: a number, or a table of them by the value of a claim."""

    table = '{ by = "claim:plan", free = 100, pro = 1000, other = 10 }'

    least: int = 1
    most: int = 1_000_000_000

    expected = f"a whole number, or a table such as {table}"


class LimitKey(Struct, frozen=True):
    """What a limit counts by."""

    expected = '"client", "ip", "claim:NAME", "header:NAME" or "all"'


class Essential(Struct, frozen=True):
    """A field without which its table would mean something else. When it cannot be read, its table is not checked any
    further; any other field falls back to its default."""


class Description(Struct, frozen=True):
    """What a key means. Editors show it (`schema`)."""

    text: str


class Example(Struct, frozen=True):
    """What a table, or a list of tables, may look like. Messages show it as what was expected."""

    text: str


def itself(value: object) -> object:
    """The usual `ListOf.key`: two elements are the same when they are equal."""
    return value


class ListOf(Struct, frozen=True):
    """A list.

    empty   whether it may have no elements
    single  whether one element may be written without brackets
    key     element → its key. Two elements with equal keys are duplicates, unless the key is None
    keys    all elements → their keys; in place of `key`, where a key depends on the other elements
    at      the key path, inside an element, that a message about a duplicate names
    once    what that message says is expected
    clash   two elements → why they cannot stand side by side, or ""
    """

    empty: bool = False
    single: bool = False
    key: Callable[[Any], object] = itself
    keys: Callable[[Any], Sequence[object]] | None = None
    at: tuple[str, ...] = ()
    once: str = "each only once"
    clash: Callable[[Any, Any], str] | None = None
