"""What a line of the log holds, in this order. Apart from what makes lines, which is compiled ahead of time: the
compiler passes over `rename`."""

from msgspec import Struct


class Line(Struct, frozen=True, gc=False, rename="camel"):
    """The promised fields in the promised order; `request_id` is written as `requestId`, and so on."""

    time: str
    request_id: str
    method: str
    path: str
    route: str
    client_id: str
    status: int
    duration_ms: float
    upstream: str | None
    upstream_ms: float | None
    bytes_in: int
    bytes_out: int
    remote: str
    reason: str


class Dropped(Struct, frozen=True, gc=False):
    """The line that stands for others which could not be written."""

    time: str
    reason: str
    dropped: int
