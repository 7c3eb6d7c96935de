"""Certificates for tests: an authority of one's own, what it issues, and contexts for clients and servers.

authority = Authority()
shown = authority.issue("api.test")           # a chain and its key, as PEM
chain, key = shown.write(tmp_path, "api")     # names of files
"""

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

DAY = timedelta(days=1)

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Issued:
    """A certificate with its key. `above`: the certificates behind it in its chain."""

    def __init__(self, certificate: x509.Certificate, key: Key, above: tuple[x509.Certificate, ...] = ()) -> None:
        self.certificate = certificate
        self.private = key
        self.above = above

    @property
    def chain(self) -> bytes:
        return b"".join(one.public_bytes(Encoding.PEM) for one in (self.certificate, *self.above))

    @property
    def key(self) -> bytes:
        return self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def encrypted_key(self) -> bytes:
        return self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))

    def write(self, folder: Path, name: str) -> tuple[str, str]:
        """Write NAME.pem and NAME.key. Returns their names."""
        (folder / f"{name}.pem").write_bytes(self.chain)
        (folder / f"{name}.key").write_bytes(self.key)
        return f"{name}.pem", f"{name}.key"


class Authority:
    """An authority that issues certificates, with a root of its own or below another one."""

    def __init__(self, name: str = "Test Root", above: "Authority | None" = None) -> None:
        self._above = above
        self.certificate: x509.Certificate
        self.private = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(name, self.private, datetime.now(UTC) - DAY, datetime.now(UTC) + 3650 * DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        issuer = self if above is None else above
        subject = _name(name) if above is None else above.certificate.subject
        self.certificate = builder.issuer_name(subject).sign(issuer.private, SHA256())

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def intermediate(self, name: str = "Test Intermediate") -> "Authority":
        return Authority(name, self)

    def issue(
        self,
        *names: str,
        begins: timedelta = -DAY,
        ends: timedelta = 365 * DAY,
        subject: str = "",
        rsa_key: bool = False,
        tells_issuer: bool = False,
    ) -> Issued:
        """A certificate for DNS names, addresses and URIs. begins, ends: from now on. subject: its common name."""
        key: Key = rsa.generate_private_key(65537, 2048) if rsa_key else ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        builder = _builder(subject or (names[0] if names else "nobody"), key, now + begins, now + ends)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(map(_alternative, names)), critical=False)
        if tells_issuer:
            place = x509.UniformResourceIdentifier("http://ca.test/issuer.der")
            access = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, place)
            builder = builder.add_extension(x509.AuthorityInformationAccess([access]), critical=False)
        certificate = builder.issuer_name(self.certificate.subject).sign(self.private, SHA256())
        return Issued(certificate, key, () if self._above is None else (self.certificate,))

    def client_context(self, shown: Issued | None = None, folder: Path | None = None) -> ssl.SSLContext:
        """A context that believes this authority alone. `shown`: the client's own certificate, written to `folder`."""
        context = ssl.create_default_context(cadata=self.pem.decode())
        if shown is not None and folder is not None:
            chain, key = shown.write(folder, "client-context")
            context.load_cert_chain(folder / chain, folder / key)
        return context


def server_context(shown: Issued, folder: Path) -> ssl.SSLContext:
    """A context for an upstream of a test."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    chain, key = shown.write(folder, "server-context")
    context.load_cert_chain(folder / chain, folder / key)
    return context


def _builder(subject: str, key: Key, begins: datetime, ends: datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternative(name: str) -> x509.GeneralName:
    if "://" in name:
        return x509.UniformResourceIdentifier(name)
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
