"""`rawgate explain`: what the gateway would do with one request, and why.

The arguments are curl's, so that a command that failed can be turned into a question: method, URL, -H. The exit status
is 0 for a request that would be refused too, as curl's is for a 404 without --fail: the question was answered. A script
reads `.verdict` of --json.
"""

import argparse
import os
import sys
from ipaddress import ip_address
from time import time
from typing import TYPE_CHECKING

import msgspec.json

from rawgate.cli.arguments import add_config_flag, command
from rawgate.cli.render import show
from rawgate.message import Peer
from rawgate.offline.explain.explanation import explain
from rawgate.offline.page import Page, wants_colour
from rawgate.offline.sample import request_octets, scheme_of
from rawgate.serve.clock import HttpDate, RequestIds
from rawgate.serve.load import load_gate

if TYPE_CHECKING:
    from rawgate.cli.arguments import Commands

EXAMPLES = """\
  rawgate explain GET /api/users/7
  rawgate explain GET http://api.example.com/api/users/7 -H "Authorization: Bearer $TOKEN"
  rawgate explain POST /upload -H 'Content-Length: 20000000' --config conf/rawgate.toml
  rawgate explain OPTIONS /api/users -H 'Origin: https://app.example.com' -H 'Access-Control-Request-Method: PUT'
  rawgate explain GET /api/users --peer 10.0.0.1 -H 'X-Forwarded-For: 203.0.113.9'
  rawgate explain GET /api/../secret --json | jq .verdict

Nothing is sent and nothing is counted: the request is written out, read and decided by the gateway's own code,
in this process. A URL with a host is taken apart as a client does it, and https:// comes over TLS; anything else is
the request target as it stands (%2e%2e, *, …), with Host: localhost unless -H says otherwise.

--json prints one object: request, client, path, routes, authentication, access, limit, limits, rewrite, fields,
target, verdict, log. What the decision did not reach is null. Secrets and signatures are never shown.

Exit status 0 whatever the verdict is, 1 when the configuration cannot be used.
"""


def add(commands: "Commands") -> None:
    parser = command(commands, "explain", "say what would become of a request, and why", EXAMPLES, _call)
    parser.add_argument("method", metavar="METHOD", help="GET, POST, …")
    parser.add_argument("url", metavar="URL", help="http://HOST/PATH, or a request target")
    parser.add_argument(
        "-H",
        dest="fields",
        action="append",
        default=[],
        metavar="'NAME: VALUE'",
        help="a header field; may be repeated",
    )
    add_config_flag(parser)
    parser.add_argument(
        "--peer", type=_address, default="127.0.0.1", help="the address that it comes from (default: 127.0.0.1)"
    )
    parser.add_argument("--certificate", default="", metavar="NAME", help="of the client's verified certificate")
    parser.add_argument("--json", action="store_true", help="for programs")


def _address(text: str) -> str:
    """An IP address in its canonical form, as a socket reports it; "unix" for a client on a Unix socket."""
    try:
        return str(ip_address(text))
    except ValueError:
        if text == "unix":
            return text
        raise argparse.ArgumentTypeError(f"{text!r} is not an IP address") from None


def _call(arguments: argparse.Namespace) -> int:
    # Time stands still at 0 on the limiter's clock, which has counted nothing yet. `wall` is real: tokens expire by it.
    new_id, date = RequestIds(), HttpDate()
    loaded = load_gate(arguments.config, os.environ, new_id=new_id, date=date)
    octets = request_octets(arguments.method, arguments.url, arguments.fields)
    scheme = scheme_of(arguments.url, arguments.certificate)
    peer = Peer(arguments.peer, arguments.peer, scheme, arguments.certificate)
    explanation = explain(loaded, octets, peer, now=0.0, wall=time(), new_id=new_id, date=date)
    fd = sys.stdout.fileno()
    page = Page(fd, colour=wants_colour(os.environ, is_terminal=os.isatty(fd)))
    if arguments.json:
        page.line(msgspec.json.format(msgspec.json.encode(explanation)).decode())
    else:
        show(page, explanation)
    page.end()
    return 0
