"""Patterns of RFC 9110 and RFC 9112 that more than one module of this room needs.

All of them are used with `fullmatch` unless a comment says otherwise. None takes more than linear time: a repeated
octet class is possessive (`++`, `*+`) wherever it could give octets back. A repeated group is never possessive, because
CPython before 3.11.5 has a bug there and matches too much or nothing. Instead, each round of such a group starts with
an octet that the round before it cannot end with.
"""

import re

_CR, _LF = b"\r\n"

TCHAR = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"  # RFC 9110 section 5.6.2
TOKEN = re.compile(TCHAR + rb"++")
TOKEN_OCTETS = frozenset(octet for octet in range(256) if TOKEN.fullmatch(bytes((octet,))))
PLAIN_NAME_OCTETS = frozenset(b"-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
"""The characters of field names that `message.READ_AS` leaves alone, but for the case of letters."""

# A field line without its CRLF; obs-fold is not part of it (RFC 9112 section 5).
FIELD_LINE = re.compile(rb"(" + TCHAR + rb"++):[ \t]*+((?:[!-~\x80-\xff]++(?:[ \t]++(?=[!-~\x80-\xff]))?)*)[ \t]*+")

# The octets that heads, trailer sections and chunk-size lines may hold: visible octets, SP, HTAB, and a CRLF that does
# not start a folded line. Octets above 0x7F are opaque (RFC 9110 section 5.5).
_LINES = re.compile(rb"(?:[\t -~\x80-\xff]++|\r\n(?![ \t]))*").match

DIGITS = re.compile(rb"[0-9]+")

# uri-host of RFC 3986 section 3.2.2, and a port. Two parts of its reg-name are left out. The comma: some recipients
# read a list. Percent-encoding: some recipients decode it and some do not, so `%61.test` would be one host for a route
# and another for the service. `is_host` checks an address in brackets further.
HOST = re.compile(rb"(?:(\[[0-9A-Fa-f:.]++\])|([A-Za-z0-9\-._~!$&'()*+;=]++))(?::(?:0*([0-9]{0,5})))?")

# Readers of URLs take a name whose last label is a number for an IPv4 address (WHATWG URL, section "ends in a number"),
# also in spellings such as `127.1` or `0x7f000001`.
ENDS_IN_NUMBER = re.compile(rb"(?:.*\.)?(?:[0-9]++|0[Xx][0-9A-Fa-f]*+)\.?")

REGISTERED_METHODS = frozenset(
    b"ACL BASELINE-CONTROL BIND CHECKIN CHECKOUT CONNECT COPY DELETE GET HEAD LABEL LINK LOCK MERGE MKACTIVITY "
    b"MKCALENDAR MKCOL MKREDIRECTREF MKWORKSPACE MOVE OPTIONS ORDERPATCH PATCH POST PRI PROPFIND PROPPATCH PUT QUERY "
    b"REBIND REPORT SEARCH TRACE UNBIND UNCHECKOUT UNLINK UNLOCK UPDATE UPDATEREDIRECTREF VERSION-CONTROL".split()
)
"""IANA's registry of HTTP methods (RFC 9110 section 16.1)."""


def forbidden(buffer: bytes | bytearray, start: int, stop: int) -> str:
    """The name of the first fault in `buffer[start:stop]`, or "".

    A CR at the end is not judged, because the next octet decides; nor is a CRLF at the end, which may start a fold. The
    caller must therefore start its next call before such an end.
    """
    found = _LINES(buffer, start, stop)
    at = found.end() if found else start
    if at == stop:
        return ""
    if buffer[at] == _CR:
        if at + 1 == stop:
            return ""
        return "a folded line" if buffer[at + 1] == _LF else "a bare CR"
    return "a bare LF" if buffer[at] == _LF else "a control octet"
