"""The example configurations, and the environment and key files that they need."""

import json
from base64 import urlsafe_b64encode
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from harness.certificates import Authority

EXAMPLES = sorted((Path(__file__).parents[2] / "rawgate" / "examples").glob("*.*"))

KEY = "k" * 24

ENVIRON = {
    "API_KEYS": f"acme:{KEY}",
    "CONSUL_HTTP_TOKEN": "0b1c-2d3e",
    "INTERNAL_KEYS": f"ops:{KEY}",
    "JWT_SECRET": "correct horse battery staple, twice over",
    "JWT_SECRET_OLD": "battery correct staple horse, twice over",
    "PARTNER_KEYS": f"acme:{KEY},globex:sha256:{'0' * 64}",
    "STORE_PASSWORD": "a password of the store's",
}


def key_set() -> str:
    """A JWK set, as an identity provider publishes it."""
    numbers = generate_private_key(65537, 2048).public_key().public_numbers()
    modulus = urlsafe_b64encode(numbers.n.to_bytes(256, "big")).rstrip(b"=").decode()
    return json.dumps({"keys": [{"kty": "RSA", "kid": "1", "use": "sig", "alg": "RS256", "n": modulus, "e": "AQAB"}]})


def write_keys(folder: Path) -> None:
    """Write the key files that the examples name."""
    (folder / "keys").mkdir()
    (folder / "keys/provider.json").write_text(key_set())
    authority = Authority()
    authority.issue("gateway.internal").write(folder / "keys", "gateway")
    authority.issue("www.example.com").write(folder / "keys", "www")
    (folder / "keys/ca.pem").write_bytes(authority.pem)
    (folder / "keys/devices.toml").write_text(
        f'[[keys]]\nname = "greenhouse"\nsha256 = "{"a" * 64}"\nexpires = 2030-01-01T00:00:00Z\n'
        f'claims = {{ plan = "pro" }}\n\n[[keys]]\nname = "cellar"\nsha256 = "{"b" * 64}"\n'
    )
    (folder / "keys/jwt.secret").write_text(f"{ENVIRON['JWT_SECRET']}\n")
