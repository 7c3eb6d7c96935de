"""What a line of the log holds, in this order. Apart from what makes lines, which is compiled ahead of time: the
compiler passes over `rename`."""

from msgspec import Struct


class Line(Struct, gc=False, rename="camel", omit_defaults=True):
    """The promised fields in the promised order; `request_id` is written as `requestId`, and so on. Of them `detail` is
    left out when it is empty."""

    time: str
    request_id: str
    method: str
    host: str
    path: str
    route: str
    client_id: str
    status: int
    duration_ms: float
    upstream: str | None
    wait_ms: float | None
    head_ms: float | None
    upstream_ms: float | None
    bytes_in: int
    bytes_out: int
    remote: str
    reason: str
    detail: str = ""


class Dropped(Struct, frozen=True, gc=False):
    """The line that stands for others which could not be written."""

    time: str
    reason: str
    dropped: int
