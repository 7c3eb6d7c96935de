"""Names of methods, header fields and protocols that mean something to the gateway, so that they cannot be configured
freely. Each name is lower-cased, and has a reason that a message puts after it.
"""

from rawgate.message import READ_AS

Refused = tuple[tuple[str, str], ...]


def read_as(name: str) -> str:
    """A field name as services may read it (`message.READ_AS`)."""
    return name.encode().translate(READ_AS).decode()


FIELD = 'a field name such as "X-Team"'
METHOD = 'a method such as "GET"'
PROTOCOL = 'a protocol name such as "websocket"'

USUAL_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))

_METHODS = {
    "connect": "is not served: the gateway is no forward proxy",
    "trace": "is not served: it would show a client the fields that the gateway adds",
}

_UPGRADES = {
    "h2c": "cannot tunnel: requests inside HTTP/2 would pass without being checked",
    "h2": "cannot tunnel: requests inside HTTP/2 would pass without being checked",
    "http": "cannot tunnel: requests inside it would pass without being checked",
    "tls": "cannot tunnel: requests inside it would pass without being checked",
}

# Fields of one connection, which the gateway writes itself: RFC 9112 section 6, RFC 9110 sections 7.6 and 10.1.1.
_HOP = {
    "connection",
    "content-length",
    "expect",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}
_IDENTITY_UP = {
    "forwarded",
    "host",
    "proxy",
    "via",
    "x-auth-by",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "x-request-id",
    "x-user-id",
}
_OWN_DOWN = {
    "ratelimit",
    "ratelimit-policy",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-request-id",
}

_OF_HOP = "belongs to one connection and is the gateway's to write"
_OF_GATEWAY = "is the gateway's to write"

NOT_REQUEST_HEADER = dict.fromkeys(_HOP, _OF_HOP) | dict.fromkeys(_IDENTITY_UP, _OF_GATEWAY)
"""Request fields that a route can neither set nor remove."""

NOT_RESPONSE_HEADER = dict.fromkeys(_HOP, _OF_HOP) | dict.fromkeys(_OWN_DOWN, _OF_GATEWAY)
"""Response fields that a route can neither set nor remove."""

_API_KEYS = NOT_REQUEST_HEADER | {
    "authorization": "carries the credential of [jwt] verifiers",
    "content-type": "says what a body is",
    "cookie": "carries more than one value",
    "origin": "is written by browsers",
}
_CLIENT_IPS = _API_KEYS | {"x-forwarded-for": "is a list, and is walked when this key is left out"}
# X-Real-IP is made for this purpose; nginx's realip module reads it by default.
del _CLIENT_IPS["x-real-ip"]

_UNTRUSTED = {
    "authorization": "carries the credential of [jwt] verifiers",
    "cookie": "is a client's to send: remove it by a route's request_headers",
    "origin": "is written by browsers",
    "x-auth-by": "is taken from everyone in any case",
    "x-user-id": "is taken from everyone in any case",
} | dict.fromkeys(_HOP | {"host"}, _OF_HOP)

_LOGGED = {
    "authorization": "holds a credential, which no log may hold",
    "cookie": "holds credentials, which no log may hold",
    "certificate.name": 'is written "{certificate.name}"',
    "host": "is in each line already",
} | dict.fromkeys(_HOP, "belongs to one connection, and is not kept")

NOT_METHOD: Refused = tuple(_METHODS.items()) + tuple(
    dict.fromkeys(("*", "all", "any"), "is no method (expected the key left out: then any is taken)").items()
)
NOT_CORS_METHOD: Refused = tuple(_METHODS.items()) + tuple(
    dict.fromkeys(("*", "all", "any"), "is no method (expected each by name)").items()
)
NOT_UNTRUSTED: Refused = tuple(_UNTRUSTED.items())
NOT_UPGRADE: Refused = tuple(_UPGRADES.items())
NOT_API_KEY: Refused = tuple(_API_KEYS.items())
NOT_CLIENT_IP: Refused = tuple(_CLIENT_IPS.items())
NOT_LOGGED: Refused = tuple(_LOGGED.items())
NOT_MATCHED: Refused = tuple(
    (
        {name: why for name, why in NOT_REQUEST_HEADER.items() if name in _HOP | {"host", "x-auth-by", "x-user-id"}}
    ).items()
) + tuple(dict.fromkeys(("authorization", "cookie"), "carries a credential").items())
"""Fields that select no route: those of the hop are not seen, and those of the caller are not known yet."""
NOT_CORS_HEADER: Refused = (("*", "stands for no field here: name each of them"),)
