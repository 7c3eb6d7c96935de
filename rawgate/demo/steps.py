"""The tour as data: what each step sends, what it expects, and what it shows."""

from msgspec import Struct

from rawgate.demo.check import Expectation, Step
from rawgate.demo.client import Field, Request, chunked
from rawgate.demo.credentials import Credentials
from rawgate.demo.services import TICK_EVERY, TICKS

UPLOAD = tuple(bytes([65 + number]) * 16384 for number in range(16))
"""A body of 256 KiB in 16 pieces: more than one read of a socket, so that it cannot pass by luck."""
SHOP = "https://shop.example"
MISSING = 'Bearer realm="rawgate"'
INVALID = 'Bearer realm="rawgate", error="invalid_token"'


class Chapter(Struct, frozen=True):
    """Steps that belong together."""

    title: str
    steps: tuple[Step, ...]


def tour(credentials: Credentials) -> tuple[Chapter, ...]:
    """All chapters, in order. Steps are independent of each other, except that the limit counts requests."""
    alice = _bearer(credentials.token("alice"), "alice's token")
    key = Field("X-Api-Key", credentials.api_key, "<acme's key>")
    return (
        Chapter("Who is calling", (*_tokens(credentials, alice), *_keys(key))),
        Chapter("What the service sees", _transforms(alice)),
        Chapter("How often", (_limit(alice),)),
        Chapter("From a browser", _preflights()),
        Chapter("Bodies, as they come", _bodies(key)),
        Chapter("When a service is in trouble", _troubles()),
        Chapter("Requests that try their luck", _oddities()),
    )


def _bearer(token: str, shown: str) -> Field:
    return Field("Authorization", f"Bearer {token}", f"Bearer <{shown}>")


def _tokens(credentials: Credentials, alice: Field) -> tuple[Step, ...]:
    target = "/api/users/7"
    forged = _bearer(credentials.forged("alice"), "alice's, made by somebody else")
    expired = _bearer(credentials.token("alice", -60), "alice's, a minute too old")
    return (
        Step(
            title="No token",
            request=Request(target=target),
            expected=Expectation(
                statuses=(401,), reason="auth_missing", route="users", fields={"WWW-Authenticate": MISSING}
            ),
            why="The route wants a JWT. The service never hears of this request.",
        ),
        Step(
            title="A forged token",
            request=Request(target=target, fields=(forged,)),
            expected=Expectation(
                statuses=(401,), reason="auth_bad_signature", route="users", fields={"WWW-Authenticate": INVALID}
            ),
            why="The log knows what was wrong with it; the caller only hears auth_invalid.",
        ),
        Step(
            title="An expired token",
            request=Request(target=target, fields=(expired,)),
            expected=Expectation(
                statuses=(401,), reason="auth_expired", route="users", fields={"WWW-Authenticate": INVALID}
            ),
            why="The signature is good, so the caller is told that only the time is over.",
        ),
        Step(
            title="A good token",
            request=Request(target=target, fields=(alice,)),
            expected=Expectation(
                statuses=(200,),
                route="users",
                saw="GET /v2/users/7",
                headers={"x-user-id": "alice"},
            ),
            why="The service need not verify anything: who it is stands in X-User-Id.",
        ),
    )


def _keys(key: Field) -> tuple[Step, ...]:
    body = b'{"order":1}'
    unknown = Field("X-Api-Key", "0123456789abcdef", "<some key>")

    def request(who: Field) -> Request:
        return Request(method="POST", target="/hooks/orders", fields=(who,), content=body, about=body.decode())

    return (
        Step(
            title="An API key",
            request=request(key),
            expected=Expectation(
                statuses=(202,),
                route="hooks",
                saw="POST /hooks/orders",
                headers={"x-user-id": "acme", "x-api-key": None},
                payload=body,
            ),
            why="The key stays here; the service gets the name that belongs to it.",
        ),
        Step(
            title="An unknown API key",
            request=request(unknown),
            expected=Expectation(
                statuses=(401,), reason="api_key_unknown", route="hooks", fields={"WWW-Authenticate": "ApiKey"}
            ),
            why="Keys are looked up by their SHA-256; none is ever logged.",
        ),
    )


def _transforms(alice: Field) -> tuple[Step, ...]:
    return (
        Step(
            title="Another path",
            request=Request(target="/api/users/7?fields=name", fields=(alice,)),
            expected=Expectation(
                statuses=(200,),
                route="users",
                saw="GET /v2/users/7?fields=name",
                headers={"via": "1.1 rawgate"},
                fields={"X-Request-Id": "[0-9a-f]{32}", "Server": None},
            ),
            why="The prefix is replaced, the query kept. The Server field stays inside.",
        ),
        Step(
            title="A false identity",
            request=Request(
                target="/api/users/7",
                fields=(
                    alice,
                    Field("X-User-Id", "root"),
                    Field("X_User_Id", "root"),
                    Field("X-Forwarded-For", "10.0.0.1"),
                ),
            ),
            expected=Expectation(
                statuses=(200,),
                route="users",
                saw="GET /v2/users/7",
                headers={"x-user-id": "alice", "x_user_id": None, "x-forwarded-for": "127.0.0.1"},
            ),
            why="Only the gateway may say this: taken from everybody, in any spelling.",
        ),
    )


def _limit(alice: Field) -> Step:
    return Step(
        title="Over the limit",
        request=Request(
            method="POST",
            target="/api/payments",
            fields=(alice,),
            content=b'{"amount":5}',
            about='{"amount":5}, 4 times',
        ),
        expected=Expectation(
            statuses=(201, 201, 201, 429),
            reason="rate_limited",
            route="payments",
            fields={"Retry-After": "[1-9]|1[01]", "RateLimit": r'"payments";r=0;t=[1-9][0-9]?'},
        ),
        why="At most 3 in any 10 seconds, whenever they begin.",
    )


def _preflights() -> tuple[Step, ...]:
    asked = (
        Field("Access-Control-Request-Method", "POST"),
        Field("Access-Control-Request-Headers", "authorization"),
    )
    return (
        Step(
            title="A CORS preflight",
            request=Request(method="OPTIONS", target="/api/payments", fields=(Field("Origin", SHOP), *asked)),
            expected=Expectation(
                statuses=(204,),
                route="payments",
                fields={"Access-Control-Allow-Origin": SHOP, "Access-Control-Allow-Methods": "POST"},
            ),
            why="Answered here, without a credential and without counting.",
        ),
    )


def _bodies(key: Field) -> tuple[Step, ...]:
    return (
        Step(
            title="An upload",
            request=Request(
                method="POST",
                target="/hooks/files",
                fields=(key, Field("Transfer-Encoding", "chunked")),
                body=chunked(UPLOAD),
                about=f"{len(UPLOAD)} chunks of {len(UPLOAD[0]) // 1024} KiB",
            ),
            expected=Expectation(
                statuses=(202,),
                route="hooks",
                saw="POST /hooks/files",
                headers={"transfer-encoding": "chunked"},
                payload=b"".join(UPLOAD),
            ),
            why="Passed on as it comes, never collected; the service got the same SHA-256.",
        ),
        Step(
            title="Too large an upload",
            request=Request(
                method="POST", target="/hooks/files", fields=(key, Field("Content-Length", str(5 * 1024 * 1024)))
            ),
            expected=Expectation(statuses=(413,), reason="body_too_large", route="hooks"),
            why="The route takes 1 MiB: refused for its length, before any of it is read.",
        ),
        Step(
            title="A streamed answer",
            request=Request(target="/events"),
            expected=Expectation(statuses=(200,), route="events", pieces=TICKS, apart=TICK_EVERY * (TICKS - 1) / 2),
            why="Each event is passed on when it comes, not when the answer is complete.",
        ),
    )


def _troubles() -> tuple[Step, ...]:
    return (
        Step(
            title="A slow service",
            request=Request(target="/reports/annual"),
            expected=Expectation(statuses=(504,), reason="upstream_timeout", route="reports"),
            why="It has 300 ms to begin its answer (response_timeout), and needs 5 s.",
        ),
        Step(
            title="A dead service",
            request=Request(target="/legacy/inventory"),
            expected=Expectation(statuses=(502,), reason="upstream_connect_failed", route="legacy"),
            why="Nobody listens there. The caller hears so at once, but not where that is.",
        ),
    )


def _oddities() -> tuple[Step, ...]:
    around = Expectation(statuses=(401,), reason="auth_missing", route="admin")
    return (
        Step(
            title="Dots",
            request=Request(target="/public/../admin"),
            expected=around,
            why="/public is open, /admin is not. The path is resolved first, then routed.",
        ),
        Step(
            title="Encoded dots",
            request=Request(target="/public/%2e%2e/admin"),
            expected=around,
            why="The same path in disguise, the same answer.",
        ),
        Step(
            title="An encoded slash",
            request=Request(target="/public/..%2Fadmin"),
            expected=Expectation(
                statuses=(400,),
                reason="bad_request",
                detail="The path hides a dot segment behind a parameter or an encoded slash.",
            ),
            why="Two readers could take this for two different paths: so nobody gets to.",
        ),
        Step(
            title="Two lengths",
            request=Request(
                method="POST",
                target="/public/search",
                fields=(Field("Content-Length", "4"), Field("Transfer-Encoding", "chunked")),
                body=(b"0\r\n\r\nGET /admin HTTP/1.1\r\n\r\n",),
                about="last chunk, GET /admin …",
            ),
            expected=Expectation(
                statuses=(400,), reason="bad_request", detail="Content-Length and Transfer-Encoding are both given."
            ),
            why="Two readers could disagree where the body ends: request smuggling.",
        ),
    )
