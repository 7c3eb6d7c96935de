"""Good messages. Most of a fuzzed session consists of them, so that it gets beyond the first refusal."""

from rawgate.wire import chunk

_SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n"


def _request(start: bytes, *lines: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join((start + b" HTTP/1.1", b"Host: a.test", *lines, b"", b"")) + body


def _response(status: bytes, *lines: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join((b"HTTP/1.1 " + status, *lines, b"", b"")) + body


def _chunks(*payloads: bytes, trailers: bytes = b"") -> bytes:
    return b"".join(map(chunk, payloads)) + b"0\r\n" + trailers + b"\r\n"


CHUNKED = b"Transfer-Encoding: chunked"

REQUESTS = (
    _request(b"GET /a"),
    _request(b"GET /a") + _request(b"GET /b?x"),
    _request(b"HEAD /a"),
    _request(b"DELETE /a", b"Connection: close"),
    _request(b"PUT /a", b"Content-Length: 5", body=b"hello"),
    _request(b"POST /a", b"Content-Length: %d" % len(_SMUGGLED), body=_SMUGGLED),
    _request(b"POST /a", b"Content-Length: 2000", body=b"p" * 2000),
    _request(b"POST /a", CHUNKED, body=_chunks(b"hello", _SMUGGLED, trailers=b"X-T: 1\r\n")),
    _request(b"PUT /a", CHUNKED, body=_chunks(b"q" * 900, b"r" * 900)),
    _request(b"POST /a", CHUNKED, body=_chunks(b"s" * 4000)),
    _request(b"POST /a", b"Expect: 100-continue", b"Content-Length: 5", body=b"hello"),
    _request(b"GET /ws", b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13"),
    _request(b"GET /locked"),
    _request(b"POST /locked", b"Content-Length: %d" % len(_SMUGGLED), body=_SMUGGLED),
    _request(b"GET /page"),
    _request(b"POST /page", b"Content-Length: 5", body=b"hello"),
    _request(b"GET /wait"),
    _request(b"GET /wait/twice"),
    _request(b"OPTIONS *"),
    b"GET /a HTTP/1.0\r\n\r\n",
    b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    _request(b"POST /a", b"Idempotency-Key: 1"),
    _request(b"GET /ws", b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13", body=b"ahead"),
    _request(b"PUT /a", b"Content-Length: 2900", body=b"v" * 2900) + _request(b"GET /c"),
)

SWITCHES = _response(b"101 Switching Protocols", b"Connection: Upgrade", b"Upgrade: websocket") + b"first octets"

ANSWERS = (
    _response(b"200 OK", b"Content-Length: 2", body=b"ok"),
    _response(b"200 OK", b"Content-Length: 2", b"Connection: close", body=b"ok"),
    _response(b"200 OK", b"Content-Length: 2000", b"Keep-Alive: timeout=5", body=b"t" * 2000),
    _response(b"200 OK", CHUNKED, body=_chunks(b"hello", b"world", trailers=b"X-T: 1\r\n")),
    _response(b"200 OK", CHUNKED, body=_chunks(b"u" * 1500)),
    _response(b"200 OK", body=b"until the end"),
    _response(b"204 No Content"),
    _response(b"304 Not Modified", b"Content-Length: 2"),
    _response(b"100 Continue"),
    _response(b"103 Early Hints") + _response(b"404 Not Found", b"Content-Length: 2", body=b"no"),
    SWITCHES,
    _response(b"413 Content Too Large", b"Content-Length: 2", body=b"no"),
    _response(b"200 OK", b"Content-Length: 2", body=b"ok") + _response(b"200 OK", b"Content-Length: 6", body=b"poison"),
    _response(b"200 OK", CHUNKED, body=_chunks(b"ok")) + _response(b"200 OK", b"Content-Length: 6", body=b"poison"),
    _response(b"503 Busy", b"Content-Length: 2", b"Retry-After: 1", body=b"no"),
    _response(b"103 Early Hints"),
    _response(b"200 OK", b"Content-Length: 5000", body=b"w" * 5000),
)
