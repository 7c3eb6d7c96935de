"""A configuration that turns on every step before a limit: credentials of each kind, trusted proxies, CORS, rewrites,
header rules, Upgrade, many routes and hosts."""

import json
from base64 import urlsafe_b64encode
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tools.costing.grammar import KIDS, SECRET

ENVIRONMENT = {
    "WORST_SECRET": SECRET.decode(),
    "WORST_OLD_SECRET": SECRET[::-1].decode(),
    "WORST_KEYS": ",".join(f"partner{number}:the-key-of-partner-{number}" for number in range(50)),
}
"""The secrets that the configuration names."""

CONFIG = """
[gateway]
listen = ["127.0.0.1:0"]
parser = "{lane}"
limits = {{ limiter_keys = 1000 }}
trusted_proxies = ["127.0.0.1/32", "10.0.0.0/8", "172.16.0.0/12", "fd00::/8"]

[jwt.shared]
algorithm = "HS256"
secret = ["env:WORST_SECRET", "env:WORST_OLD_SECRET"]

[jwt.set]
algorithm = "RS256"
jwks = "file:keys.json"

[jwt.rotated]
algorithm = "RS256"
public_key = ["file:key-0.pem", "file:key-1.pem", "file:key-2.pem"]

[api_keys.partners]
header = "X-Api-Key"
keys = "env:WORST_KEYS"

[upstreams.service]
targets = ["http://127.0.0.1:{port}"]
"""

ROUTE = """
[[routes]]
name = "{name}"
prefix = "/{name}"
upstream = "service"
rate_limit = {{ max = 1000000000, window = "60s" }}
"""

SPECIAL = {
    "shared": 'auth = "jwt.shared"',
    "set": 'auth = "jwt.set"',
    "rotated": 'auth = "jwt.rotated"',
    "key": 'auth = "api_keys.partners"',
    "regex": 'auth = "none"\nrewrite = { pattern = "/regex/([^/]*)/?(.*)", to = "/x/\\\\2/\\\\1" }',
    "swap": 'auth = "none"\nrewrite = "/somewhere/else"',
    "keep": 'auth = "none"\nencoded_slash = "keep"',
    "rules": 'auth = "none"\nrequest_headers = { set = { X-Team = "a" }, remove = ["Cookie", "X-Odd", "X-Old"] }',
    "cors": 'auth = "none"\ncors = { origins = ["https://app.example"], methods = ["PUT"], headers = ["X-A", "X-B"] }',
    "up": 'auth = "none"\nupgrade = ["websocket", "chat"]',
    "few": 'auth = "none"\nmethods = ["GET", "POST"]',
}
"""Special routes: name → their own lines. Many ordinary routes follow them, and last one that takes everything."""


def configuration(lane: str, port: int) -> str:
    """The configuration's text, for the folder in which `write_keys` has put the keys."""
    routes = [ROUTE.format(name=name) + own + "\n" for name, own in SPECIAL.items()]
    for number in range(200):
        host = f'host = "h{number % 20}.test"\n' if number % 2 else ""
        routes.append(ROUTE.format(name=f"r{number}/s/t") + host + 'auth = "none"\n')
    routes.append(ROUTE.format(name="").replace('name = ""', 'name = "all"') + 'auth = "none"\n')
    return CONFIG.format(lane=lane, port=port) + "".join(routes)


def _number(value: int) -> str:
    return urlsafe_b64encode(value.to_bytes((value.bit_length() + 7) // 8, "big")).rstrip(b"=").decode()


def _jwk(kid: str, key: RSAPrivateKey) -> dict[str, str]:
    numbers = key.public_key().public_numbers()
    return {"kty": "RSA", "kid": kid, "n": _number(numbers.n), "e": _number(numbers.e)}


def write_keys(folder: Path) -> None:
    """Write the key files that the configuration names."""
    keys = [generate_private_key(65537, 2048) for _ in KIDS]
    (folder / "keys.json").write_text(json.dumps({"keys": [_jwk(*pair) for pair in zip(KIDS, keys, strict=True)]}))
    for number, key in enumerate(keys[:3]):
        pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (folder / f"key-{number}.pem").write_bytes(pem)
