"""An identity provider for tests: an HTTPS server that publishes the public halves of its keys, rotates them, and
misbehaves when it is told to. Its certificate, and that of the authority behind it, are made for the test.

    with Issuer(tmp_path) as issuer:
        … jwks = "{issuer.url}/keys" … jwks_ca = "file:{issuer.authority}" …
        token = issuer.token("alice")
        issuer.rotate()

`IssuerProcess` is the same in a process of its own: `python -m harness.issuer DIRECTORY`.
"""

import contextlib
import datetime
import json
import ssl
import subprocess
import sys
from base64 import urlsafe_b64encode
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from threading import Condition, Lock, Thread
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from harness.upstream import free_port

FAR = 4_000_000_000


def encoded(octets: bytes) -> str:
    return urlsafe_b64encode(octets).rstrip(b"=").decode()


def _certificate(
    subject: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    signer: ec.EllipticCurvePrivateKey,
    *,
    is_authority: bool,
) -> x509.Certificate:
    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if is_authority:
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        builder = builder.add_extension(usage, critical=True)
    else:
        names = [x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName("localhost")]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(signer, SHA256())


class Issuer:
    """A provider on a loopback port.

    url        "https://127.0.0.1:PORT", also its name in tokens
    authority  the file with the certificate that its own is signed with
    asked      the paths that were asked for
    answer     path → (status, fields, body): what it answers; a test may put another function here
    """

    def __init__(self, directory: Path) -> None:
        # One that is down keeps its port, until it comes back.
        self.port = free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.authority = directory / "authority.pem"
        own, above = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        root = _certificate("authority", above, "authority", above, is_authority=True)
        self.authority.write_bytes(root.public_bytes(Encoding.PEM))
        chain = directory / "issuer.pem"
        chain.write_bytes(
            own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            + _certificate("issuer", own, "authority", above, is_authority=False).public_bytes(Encoding.PEM)
        )
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(chain)
        self.asked: list[str] = []
        self.news = Condition()
        self.answer: Callable[[str], tuple[int, dict[str, str], bytes]] = self.properly
        self.cache_control = "max-age=3600"
        self.number = 0
        self.keys: list[tuple[str, ec.EllipticCurvePrivateKey]] = []
        self.rotate()

    def __enter__(self) -> Self:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                with issuer.news:
                    issuer.asked.append(self.path)
                    issuer.news.notify_all()
                status, fields, body = issuer.answer(self.path)
                with contextlib.suppress(OSError):  # the gateway may have given up
                    self.send_response(status)
                    for name, value in fields.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def get_request(self) -> Any:
                sock, address = super().get_request()
                sock.settimeout(20.0)
                # Its handshake is for the thread of the connection.
                return issuer._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False), address

            def handle_error(self, request: object, client_address: object) -> None:
                """A client that does not trust the certificate ends the handshake: that is its business."""

        self._server = Server(("127.0.0.1", self.port), Handler)
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    # ── keys and tokens ──

    def rotate(self, *, keep: int = 0) -> None:
        """Sign with a new key from now on. `keep`: how many of the old ones are still published."""
        self.number += 1
        fresh = (f"k{self.number}", ec.generate_private_key(ec.SECP256R1()))
        self.keys = [fresh, *self.keys[:keep]]

    def token(self, subject: str, key: int = 0, kid: str | None = None, **claims: object) -> str:
        """A token by the newest key, or by an older one; `kid` to say that it is another."""
        name, private = self.keys[key]
        return sign(private, name if kid is None else kid, {"sub": subject, "iss": self.url, "exp": FAR, **claims})

    def document(self) -> bytes:
        return json.dumps({"keys": [jwk(name, key) for name, key in self.keys]}).encode()

    def properly(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """What a provider answers."""
        if path == "/.well-known/openid-configuration":
            return 200, {}, json.dumps({"issuer": self.url, "jwks_uri": f"{self.url}/keys"}).encode()
        return 200, {"Cache-Control": self.cache_control}, self.document()

    def wait_asked(self, count: int, patience: float = 20.0) -> None:
        """Wait until it was asked so many times."""
        with self.news:
            assert self.news.wait_for(lambda: len(self.asked) >= count, patience), self.asked


class IssuerProcess:
    """An `Issuer` in a process of its own. It is told by a line each on its standard input; threads may share it."""

    def __init__(self, directory: Path) -> None:
        command = [sys.executable, "-m", "harness.issuer", str(directory)]
        tests = Path(__file__).parents[1]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tests, encoding="utf-8"
        )
        self._turn = Lock()
        self.url: str = self._call("url")
        self.authority = directory / "authority.pem"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    @property
    def asked(self) -> list[str]:
        found: list[str] = self._call("asked")
        return found

    def rotate(self, *, keep: int = 0) -> None:
        self._call("rotate", keep)

    def token(self, subject: str, key: int = 0) -> str:
        return str(self._call("token", subject, key))

    def _call(self, *words: object) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._turn:
            self._process.stdin.write(json.dumps(words) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())


def _serve(directory: Path) -> None:
    with Issuer(directory) as issuer:
        calls: dict[str, Callable[..., object]] = {
            "url": lambda: issuer.url,
            "asked": lambda: issuer.asked,
            "rotate": lambda keep: issuer.rotate(keep=keep),
            "token": issuer.token,
        }
        for line in sys.stdin:
            name, *arguments = json.loads(line)
            print(json.dumps(calls[name](*arguments)), flush=True)


def sign(key: ec.EllipticCurvePrivateKey, kid: str, claims: dict[str, object]) -> str:
    header = {"alg": "ES256", "kid": kid}
    text = f"{encoded(json.dumps(header).encode())}.{encoded(json.dumps(claims).encode())}"
    r, s = decode_dss_signature(key.sign(text.encode(), ec.ECDSA(SHA256())))
    return f"{text}.{encoded(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def jwk(kid: str, key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    numbers = key.public_key().public_numbers()
    return {
        "kty": "EC",
        "crv": "P-256",
        "kid": kid,
        "alg": "ES256",
        "use": "sig",
        "x": encoded(numbers.x.to_bytes(32, "big")),
        "y": encoded(numbers.y.to_bytes(32, "big")),
    }


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
