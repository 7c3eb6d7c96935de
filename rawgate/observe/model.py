"""The fields of a log line, in the promised order. They stand apart from `line`, which is compiled ahead of time,
because the compiler ignores `rename`."""

from msgspec import Struct


class Line(Struct, gc=False, rename="camel", omit_defaults=True):
    """One finished request. Names are written in camelCase: `request_id` is `requestId`. `client_ms`, `detail`,
    `trace_id`, `fields`, `shadow`, `target` and `attempts` are left out when there is nothing to say."""

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
    client_ms: float | None = None
    detail: str = ""
    trace_id: str = ""
    fields: dict[str, str] | None = None
    shadow: tuple[str, ...] = ()
    target: str = ""
    attempts: int = 1


class Dropped(Struct, frozen=True, gc=False):
    """A line that says how many others could not be written."""

    time: str
    reason: str
    dropped: int
