"""The request fields that the operator wants in the log (`gateway.log.fields`), as the client sent them; and the trace.

They are looked for only where some are configured, and only when the request is over: a request that asks for none pays
one look at an empty tuple. They are copied there and then, cut, because a record may wait for the log's thread while
its head, which may be large, is let go.
"""

from typing import Final

from rawgate.message import TRACEPARENT, Peer, RequestHead, trace_id_of

VALUE_LIMIT = 256
"""Octets of a value that are kept: user agents and trace contexts fit."""

CERTIFICATE: Final = b"{certificate.name}"
"""In place of a field: the name of the client's verified certificate."""

_TRACED: Final = b"\r\n%b: " % TRACEPARENT


def trace_id_sent(sent: bytes) -> str:
    """The id of the trace that a request was given on its way to the upstream; "": none, where its route removes the
    field. sent: `Forward.head`."""
    _, label, rest = sent.partition(_TRACED)
    return trace_id_of(rest.partition(b"\r\n")[0]) if label else ""


def logged_fields(head: RequestHead, names: tuple[bytes, ...], peer: Peer) -> dict[str, str] | None:
    """Lower-cased name → value, of those of `names` (lower-cased) that the request has; None for none. Values of
    several lines are joined with ", " (RFC 9110 section 5.3). Octets stand for the code points of the same number, as
    in the rest of a line. CERTIFICATE stands for what `peer` has shown."""
    found: dict[str, str] = {}
    for name in names:
        if name == CERTIFICATE:
            if peer.certificate_name:
                found["certificate.name"] = peer.certificate_name[:VALUE_LIMIT]
            continue
        value = head.parsed.get(name)
        if value is None:
            value = _passed_through(head.passthrough, name)
        if value:
            found[name.decode("latin-1")] = value[:VALUE_LIMIT].decode("latin-1")
    return found or None


def _passed_through(runs: list[bytes], name: bytes) -> bytes:
    """The value of a field among lines that pass through, each with the CRLF before it; b"" for none."""
    values: list[bytes] = []
    start = b"\r\n%b:" % name
    for run in runs:
        lowered = run.lower()
        at = lowered.find(start)
        while at >= 0:
            begin = at + len(start)
            end = run.find(b"\r\n", begin)
            values.append((run[begin:] if end < 0 else run[begin:end]).strip(b" \t"))
            at = lowered.find(start, begin)
    return b", ".join(values)
