"""Patterns of RFC 9110 and RFC 9112 that more than one module of this room needs.

All of them are used with `fullmatch` unless said otherwise, and none can backtrack more than linearly: repeats
of an octet class are possessive (`++`, `*+`) wherever one could give octets back. Repeats of a group never are: CPython
before 3.11.5 loses its place in those and matches what it should not, or nothing. Instead, each round of such a group
starts with an octet that the round before it cannot end with.
"""

import re

_CR, _LF = b"\r\n"

TCHAR = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"  # RFC 9110 section 5.6.2
TOKEN = re.compile(TCHAR + rb"++")

# A field line without its CRLF; obs-fold is not part of it (RFC 9112 section 5).
FIELD_LINE = re.compile(rb"(" + TCHAR + rb"++):[ \t]*+((?:[!-~\x80-\xff]++(?:[ \t]++(?=[!-~\x80-\xff]))?)*)[ \t]*+")

# What heads, trailer sections and chunk-size lines are made of: visible octets, SP, HTAB, and CRLF that does not start
# a folded line. Octets above 0x7F are opaque (RFC 9110 section 5.5).
_LINES = re.compile(rb"(?:[\t -~\x80-\xff]++|\r\n(?![ \t]))*").match

DIGITS = re.compile(rb"[0-9]+")

# uri-host of RFC 3986 section 3.2.2; then the port. Two things of its reg-name are left out: the comma, which some
# recipients take for a list, and percent-encoding, which some decode and some compare as it is, so that `%61.test`
# would be another host for a route than for the service. An address in brackets is checked further by its reader.
HOST = re.compile(rb"(?:(\[[0-9A-Fa-f:.]++\])|([A-Za-z0-9\-._~!$&'()*+;=]++))(?::(?:0*([0-9]{0,5})))?")

# A name whose last label is a number is an IPv4 address to readers of URLs (WHATWG URL, section "ends in a number"), in
# spellings such as `127.1` or `0x7f000001`.
ENDS_IN_NUMBER = re.compile(rb"(?:.*\.)?(?:[0-9]++|0[Xx][0-9A-Fa-f]*+)\.?")

REGISTERED_METHODS = frozenset(
    b"ACL BASELINE-CONTROL BIND CHECKIN CHECKOUT CONNECT COPY DELETE GET HEAD LABEL LINK LOCK MERGE MKACTIVITY "
    b"MKCALENDAR MKCOL MKREDIRECTREF MKWORKSPACE MOVE OPTIONS ORDERPATCH PATCH POST PRI PROPFIND PROPPATCH PUT QUERY "
    b"REBIND REPORT SEARCH TRACE UNBIND UNCHECKOUT UNLINK UNLOCK UPDATE UPDATEREDIRECTREF VERSION-CONTROL".split()
)
"""IANA's registry of HTTP methods (RFC 9110 section 16.1)."""


def forbidden(buffer: bytes | bytearray, start: int, stop: int) -> str:
    """The name of the first thing in `buffer[start:stop]` that no line may hold, or "".

    A CR at the very end is not judged, since the octet behind it decides; nor is CRLF, which may start a fold. So
    `start` must stand before such an end when the next portion is looked at.
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
