"""The trace that a request belongs to (W3C Trace Context): `gateway.trace = "make"`.

A request that has a traceparent keeps it as it came, and its tracestate: the gateway is no span of the trace, only on
its way. A request without one, or with one that is malformed, begins a trace here; its tracestate, which says nothing
without the traceparent that it belongs to, goes no further.

With `gateway.trace = "pass"` nothing of this exists: both fields pass as all others do.
"""

from collections.abc import Callable
from typing import Final

from rawgate.message import TRACEPARENT, trace_id_of

TRACE_NAMES: Final = frozenset((TRACEPARENT, b"tracestate"))
"""The request fields that are parsed for it."""

Trace = Callable[[dict[bytes, bytes], bool], dict[bytes, bytes]]
"""`(parsed fields, whether the sender's traceparent counts)` → the same fields, or others in which a trace begins."""

_FORM: Final = "00-%s-%s-01"
"""Sampled: the line of the log stands for the span that begins the trace. With 00, services that follow their caller,
as OpenTelemetry's do by default, would record no trace at all."""


def compile_trace(new_id: Callable[[], str]) -> Trace:
    """new_id: → 32 hexadecimal digits of 128 random bits. They are 0 once in 2**64 requests at most, which would be a
    malformed traceparent; nobody waits for that."""

    def trace(parsed: dict[bytes, bytes], counts: bool) -> dict[bytes, bytes]:
        came = parsed.get(TRACEPARENT)
        if came is not None and counts and trace_id_of(came):
            return parsed
        begun = {name: value for name, value in parsed.items() if name not in TRACE_NAMES}
        begun[TRACEPARENT] = (_FORM % (new_id(), new_id()[:16])).encode()
        return begun

    return trace
