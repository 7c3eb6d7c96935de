"""What the tests of this room share: readers fed in every portioning, and outcomes that can be compared."""

from collections.abc import Callable, Iterable

import pytest

from rawgate.errors import MessageError
from rawgate.message import RequestHead, ResponseHead
from rawgate.wire import RequestReader, RequestRules, ResponseReader, ResponseRules

WANTED = frozenset((b"authorization", b"x-user-id", b"x-api-key"))
PROTECTED = frozenset((b"x-user-id", b"x-api-key"))

Reading = tuple[object, bytes]
"""(The head, the octets behind it), (None, octets so far) when incomplete, or (status and reason code, b"")."""
Portions = Iterable[bytes]


def _feed(feed: Callable[[bytes], object | None], rest: Callable[[], bytes], portions: Portions) -> Reading:
    """Feed portions until there is a head; what is left of them belongs behind it."""
    queue = list(portions)
    taken = b""
    while queue:
        portion = queue.pop(0)
        taken += portion
        try:
            head = feed(portion)
        except MessageError as error:
            return (error.reason.status, error.reason.code), b""
        if head is not None:
            return head, rest() + b"".join(queue)
    return None, taken


@pytest.fixture(params=[True, False], ids=["fast", "h11"])
def fast(request: pytest.FixtureRequest) -> bool:
    """Each test that asks for it runs through both lanes."""
    return bool(request.param)


def request_rules(fast: bool, head: int = 16384, headers: int = 100, target: int = 8192) -> RequestRules:
    return RequestRules(head, headers, target, WANTED, PROTECTED, fast, methods=frozenset((b"PURGE",)))


def response_rules(fast: bool, head: int = 16384, headers: int = 100) -> ResponseRules:
    return ResponseRules(head, headers, frozenset((b"server", b"date")), fast)


@pytest.fixture
def make_request_rules() -> Callable[..., RequestRules]:
    return request_rules


@pytest.fixture
def make_response_rules() -> Callable[..., ResponseRules]:
    return response_rules


@pytest.fixture
def read_request() -> Callable[..., Reading]:
    """`read_request(portions, fast, **limits)`: what one reader makes of them."""

    def read(portions: Portions, fast: bool, **limits: int) -> Reading:
        reader = RequestReader(request_rules(fast, **limits))
        return _feed(reader.feed, lambda: reader.rest, portions)

    return read


@pytest.fixture
def read_response() -> Callable[..., Reading]:
    """`read_response(portions, method, fast, **limits)`: what one reader makes of them."""

    def read(portions: Portions, method: bytes, fast: bool, **limits: int) -> Reading:
        reader = ResponseReader(response_rules(fast, **limits))
        return _feed(lambda data: reader.feed(data, method), lambda: reader.rest, portions)

    return read


@pytest.fixture
def portionings() -> Callable[[bytes], list[list[bytes]]]:
    """Every way in which a test feeds octets: whole, cut in two at every point, one by one."""

    def cut(data: bytes) -> list[list[bytes]]:
        halves = [[data[:at], data[at:]] for at in range(1, len(data))]
        return [[data], *halves, [data[at : at + 1] for at in range(len(data))]]

    return cut


@pytest.fixture
def request_head() -> Callable[..., RequestHead]:
    """A plain GET for http://a/, with the given differences."""

    def make(**differences: object) -> RequestHead:
        plain: dict[str, object] = {
            "method": b"GET",
            "target": b"/",
            "minor": 1,
            "authority": b"a",
            "parsed": {b"host": b"a"},
            "passthrough": [],
            "body": 0,
            "close": False,
            "expect": False,
            "upgrade": b"",
            "size": 0,
        }
        return RequestHead(**plain | differences)  # type: ignore[arg-type]

    return make


@pytest.fixture
def response_head() -> Callable[..., ResponseHead]:
    """A 200 without fields on an HTTP/1.1 connection, with the given differences."""

    def make(**differences: object) -> ResponseHead:
        plain: dict[str, object] = {
            "status": 200,
            "phrase": b"OK",
            "parsed": {},
            "passthrough": [],
            "body": -2,
            "length": -1,
            "close": False,
            "keep_alive": -1,
            "upgrade": b"",
        }
        return ResponseHead(**plain | differences)  # type: ignore[arg-type]

    return make
