"""HTTP/1.1 without I/O: octets in, values out, and back. The only door to h11.

    the client's octets     request.RequestReader     →  RequestHead      for policy
    the upstream's octets   response.ResponseReader   →  ResponseHead     for relay
    either's body           body.body_reader          →  payload octets
                            transfer.Transfer         →  octets in the other side's framing

        fast_lane    a whole common head, split at its delimiters; all other heads go, octet for octet, to:
        scan         the incremental pre-check: line ends, forbidden octets, limits
        h11_lane     h11 parses the head, the authority on grammar
        fields       what Connection, framing and hop-by-hop fields mean, for both sides
        grammar      patterns of RFC 9110 and 9112

    before HTTP             proxy.ProxyReader         →  who the client is (PROXY protocol)
                            client_hello              →  what a client of TLS offers to speak

    a head from policy      write                     →  octets, with this hop's own framing and Connection
    a reply of our own      reply                     →  its octets, whole

This room does not know routes, clocks, sockets or whose connection it reads. It refuses a message with a
`MessageError`, which names the broken rule and never repeats what was sent. Both lanes read and refuse alike.
"""

from rawgate.wire.body import Body, ChunkedBody, CountedBody, EndlessBody, body_reader
from rawgate.wire.reply import body_octets, reply
from rawgate.wire.request import RequestReader, RequestRules
from rawgate.wire.response import ResponseReader, ResponseRules
from rawgate.wire.transfer import Transfer
from rawgate.wire.write import CONNECTION, LAST_CHUNK, chunk, last_chunk, request_head, response_tail

__all__ = [
    "CONNECTION",
    "LAST_CHUNK",
    "Body",
    "ChunkedBody",
    "CountedBody",
    "EndlessBody",
    "RequestReader",
    "RequestRules",
    "ResponseReader",
    "ResponseRules",
    "Transfer",
    "body_octets",
    "body_reader",
    "chunk",
    "last_chunk",
    "reply",
    "request_head",
    "response_tail",
]
