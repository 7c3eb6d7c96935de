"""`rawgate token`: a JWT to try a configuration with.

The token alone goes to stdout, so that `$(rawgate token …)` is the token. A token that the gateway would refuse is
minted all the same, with status 0 and a warning on stderr: an expired or a foreign token is what one needs to see a
401.
"""

import argparse
import os
import sys
from time import time
from typing import TYPE_CHECKING

from msgspec import DecodeError
from msgspec.json import decode

from rawgate.cli.arguments import add_config, command
from rawgate.config.command_line import duration, secret
from rawgate.config.invalid import InvalidError
from rawgate.offline.mint import MintError, mint_token
from rawgate.offline.page import Page, put
from rawgate.serve.clock import HttpDate, RequestIds
from rawgate.serve.load import load_gate

if TYPE_CHECKING:
    from rawgate.cli.arguments import Commands

EXAMPLES = """\
  rawgate token main --sub alice
  curl -H "Authorization: Bearer $(rawgate token main --sub alice)" http://127.0.0.1:8080/api/users
  rawgate token main conf/rawgate.toml --sub alice --ttl 5m --claim scope=read --claim 'groups=["a","b"]'
  rawgate token main --sub alice --ttl=-5m                  one that has expired
  rawgate token main --sub alice --claim iss=somebody       one from another issuer
  rawgate token idp --sub alice --key file:private.pem      the gateway has the public key only

A claim's value is JSON where it is valid JSON (7, true, ["a","b"]), else text. Signed with the first
secret of [jwt.NAME], with the first iss and aud that it asks for. Only the token goes to stdout; if the gateway
would refuse it, stderr says why.
"""


def add(commands: "Commands") -> None:
    parser = command(commands, "token", "mint a JWT for [jwt.NAME], to try things out", EXAMPLES, _call)
    parser.add_argument("name", metavar="NAME", help="the verifier, as in [jwt.NAME]")
    add_config(parser)
    parser.add_argument("--sub", required=True, help="whom it speaks for: X-User-Id, clientId in the log")
    parser.add_argument("--ttl", type=_lifetime, default=3600.0, help="how long it is good (default: 1h)")
    parser.add_argument("--claim", action="append", type=_claim, default=[], metavar="K=V", help="a further claim")
    parser.add_argument("--key", help="the private key, as file:PATH or env:NAME; HS… needs none")


def _lifetime(text: str) -> float:
    try:
        return duration(text)
    except InvalidError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _claim(text: str) -> tuple[str, object]:
    """NAME=VALUE. The value is JSON where it parses as JSON, else text, so that plain words need no quotes."""
    name, sign, value = text.partition("=")
    if not name or not sign:
        raise argparse.ArgumentTypeError(f"{text!r} is not a claim (expected NAME=VALUE)")
    try:
        return name, decode(value)
    except DecodeError:
        return name, value


def _call(arguments: argparse.Namespace) -> int:
    loaded = load_gate(arguments.config, os.environ, new_id=RequestIds(), date=HttpDate())
    try:
        key = None if arguments.key is None else secret(arguments.key, os.environ)
    except InvalidError as error:
        raise MintError(f"--key: {error}") from None
    # A --claim may replace `sub` too: how the gateway reads an odd subject can be tried.
    claims = {"sub": arguments.sub, **dict(arguments.claim)}
    minted = mint_token(loaded, arguments.name, claims, arguments.ttl, key, time())
    put(sys.stdout.fileno(), minted.token)
    if minted.warning:
        Page(sys.stderr.fileno()).line(f"rawgate: {minted.warning}")
    return 0
