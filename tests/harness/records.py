"""A record of the access log: usual values, and a test's own in the fields that it names."""

from typing import Any

from rawgate.observe.line import Record

USUAL: dict[str, Any] = {
    "wall": 0.0,
    "request_id": "id",
    "method": b"GET",
    "host": b"api.test",
    "target": b"/",
    "route": "route",
    "client_id": "client",
    "status": 200,
    "duration": 0.001,
    "upstream": "up",
    "asked_at": 10.0,
    "leased_at": 10.0,
    "head_at": 10.001,
    "ended_at": 10.001,
    "bytes_in": 0,
    "bytes_out": 0,
    "remote": "127.0.0.1:1",
    "reason": "ok",
    "detail": "",
}


def record(**fields: Any) -> Record:
    return Record(**(USUAL | fields))
