"""Certificates and their keys, checked before they are served: what would fail in a handshake is told with its line.

OpenSSL itself says little: it takes an expired certificate, a chain in any order, and of a key that does not fit only
"key values mismatch". So the files are read here first.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import AuthorityInformationAccessOID

from rawgate.config.invalid import problem_text, quoted
from rawgate.config.model import Certificate, Config
from rawgate.errors import Key, Problem

SOON: Final = timedelta(days=30)
"""How long before its end a certificate is warned of. Let's Encrypt's are renewed 30 days before theirs."""

Path = tuple[Key, ...]


class Shown:
    """A certificate that can be shown.

    names    that it is for, lower-cased; an address in its usual text form
    expires  Unix seconds
    """

    __slots__ = ("expires", "names")

    def __init__(self, names: tuple[str, ...], expires: float) -> None:
        self.names: Final = names
        self.expires: Final = expires


def check_certificates(
    config: Config, wall: float, problems: list[Problem], warnings: list[Problem]
) -> dict[str, tuple[Shown, ...]]:
    """Check all certificates of a configuration. wall: Unix seconds. Returns those of each `[tls.NAME]`."""
    check = _Check(datetime.fromtimestamp(wall, UTC), problems, warnings)
    shown: dict[str, tuple[Shown, ...]] = {}
    for name, tls in config.tls.items():
        here: Path = ("tls", name)
        pairs = [
            check.pair(certificate, (*here, "certificates", position))
            for position, certificate in enumerate(tls.certificates)
        ]
        found = [pair for pair in pairs if pair is not None]
        check.twins(found, here)
        shown[name] = tuple(Shown(_names(leaf), _end(leaf).timestamp()) for leaf in found)
        if tls.client_ca is not None:
            check.authorities(tls.client_ca.value, (*here, "client_ca"))
    for name, upstream in config.upstreams.items():
        if upstream.tls is not None:
            if upstream.tls.ca is not None:
                check.authorities(upstream.tls.ca.value, ("upstreams", name, "tls", "ca"))
            if upstream.tls.certificate is not None:
                check.pair(upstream.tls.certificate, ("upstreams", name, "tls", "certificate"), of_server=False)
    store = config.store
    if store is not None and store.ca is not None:
        check.authorities(store.ca.value, ("store", "ca"))
    if store is not None and store.certificate is not None:
        check.pair(store.certificate, ("store", "certificate"), of_server=False)
    return shown


class _Check:
    """Checks certificates as of one time, and collects what it finds."""

    def __init__(self, now: datetime, problems: list[Problem], warnings: list[Problem]) -> None:
        self._now = now
        self._problems = problems
        self._warnings = warnings

    def pair(self, certificate: Certificate, where: Path, *, of_server: bool = True) -> x509.Certificate | None:
        """Check a chain and its key. Returns the first certificate of the chain, if both can be used. of_server: it is
        shown to clients, who look for a name in it."""
        before = len(self._problems)
        chain = self._chain(certificate.chain.value, (*where, "chain"))
        key = self._public_part(certificate.key.value, (*where, "key"))
        if chain and key:
            self._fitting(chain, key, where)
            self._lifetime(chain, (*where, "chain"))
            if of_server and not _names(chain[0]) and len(self._problems) == before:
                what = "the certificate has no alternative names, and clients look at nothing else"
                self._warn((*where, "chain"), what, "one with subjectAltName")
        return chain[0] if chain and len(self._problems) == before else None

    def authorities(self, pem: bytes, where: Path) -> None:
        """Check certificates that are believed."""
        for certificate in self._chain(pem, where):
            if _end(certificate) < self._now:
                self._warn(where, f"the certificate of {_subject(certificate)} has expired", "its successor")

    def twins(self, leaves: Sequence[x509.Certificate], where: Path) -> None:
        """Of certificates with the same names, clients may get one of each kind of key."""
        seen: set[tuple[tuple[str, ...], str]] = set()
        for position, leaf in enumerate(leaves):
            kind = (tuple(sorted(_names(leaf))), type(leaf.public_key()).__name__)
            if kind in seen:
                what = f"another certificate is for {', '.join(kind[0])}, too, and has a key of the same kind"
                self._fail((*where, "certificates", position), what, "one of the two")
            seen.add(kind)

    def _fail(self, where: Path, what: str, expected: str = "") -> None:
        self._problems.append(Problem(where, problem_text(what, expected=expected)))

    def _warn(self, where: Path, what: str, expected: str = "") -> None:
        self._warnings.append(Problem(where, problem_text(what, expected=expected)))

    def _chain(self, pem: bytes, where: Path) -> list[x509.Certificate]:
        try:
            return x509.load_pem_x509_certificates(pem)
        except (ValueError, UnsupportedAlgorithm):
            what = (
                "holds a certificate that cannot be read" if _BEGIN_CERTIFICATE in pem else _no_pem(pem, "certificate")
            )
            self._fail(where, what, f"PEM: {_BEGIN_CERTIFICATE.decode()}")
            return []

    def _public_part(self, pem: bytes, where: Path) -> bytes:
        """Of a private key, in a form that can be compared; b"" and a problem."""
        expected = "PEM: -----BEGIN PRIVATE KEY-----"
        try:
            return load_pem_private_key(pem, None).public_key().public_bytes(
                Encoding.DER, PublicFormat.SubjectPublicKeyInfo
            )  # fmt: skip
        except TypeError:
            self._fail(
                where, "holds an encrypted key", "one without a passphrase, in a file that only rawgate can read"
            )
        except (ValueError, UnsupportedAlgorithm):
            what = _no_pem(pem, "private key")
            if b"-----BEGIN ENCRYPTED" in pem:
                what = "holds an encrypted key"
            elif b"PRIVATE KEY-----" in pem:
                what = "holds a key that cannot be read"
            self._fail(where, what, expected)
        return b""

    def _fitting(self, chain: list[x509.Certificate], key: bytes, where: Path) -> None:
        """The key is the first certificate's, and each certificate is issued by the next."""
        fits = [_public(certificate) == key for certificate in chain]
        if not any(fits):
            self._fail(
                (*where, "key"), f"does not fit the certificate of {_subject(chain[0])}", "the key it was made of"
            )
            return
        if not fits[0]:
            what = f"has the wrong order: the key's own certificate is number {fits.index(True) + 1}"
            self._fail((*where, "chain"), what, "it first, then each one's issuer")
            return
        for position, (one, following) in enumerate(pairwise(chain), 1):
            if _issued(one, following):
                continue
            if any(_issued(one, other) for other in chain if other is not one):
                what = f"has the wrong order: number {position + 1} did not issue number {position}"
                self._fail((*where, "chain"), what, "each one's issuer behind it")
            else:
                what = f"lacks the issuer of {_subject(one)}, which is {quoted(one.issuer.rfc4514_string())}"
                self._fail((*where, "chain"), what, "the intermediate certificate behind it")
            return
        if len(chain) == 1 and chain[0].issuer != chain[0].subject and _tells_issuer(chain[0]):
            issuer = quoted(chain[0].issuer.rfc4514_string())
            self._warn(
                (*where, "chain"), f"holds one certificate, and its issuer {issuer} is probably no root", "the chain"
            )

    def _lifetime(self, chain: list[x509.Certificate], where: Path) -> None:
        for certificate in chain:
            end, subject = _end(certificate), _subject(certificate)
            if end < self._now:
                self._fail(
                    where, f"the certificate of {subject} has expired on {end:%Y-%m-%d %H:%M} UTC", "its successor"
                )
            elif certificate.not_valid_before_utc > self._now:
                begin = certificate.not_valid_before_utc
                self._fail(where, f"the certificate of {subject} is not valid before {begin:%Y-%m-%d %H:%M} UTC")
            elif end - self._now < SOON:
                days = (end - self._now).days
                what = f"the certificate of {subject} expires in {days} day{'s' * (days != 1)}, on {end:%Y-%m-%d}"
                self._warn(where, what, "its successor")


_BEGIN_CERTIFICATE: Final = b"-----BEGIN CERTIFICATE-----"


def _no_pem(content: bytes, wanted: str) -> str:
    """What a file is that holds no PEM of the wanted kind."""
    if content[:1] == b"\x30":
        return f"is DER, or PKCS #12, not a {wanted} in PEM form"
    if b"-----BEGIN " in content:
        kind = content.partition(b"-----BEGIN ")[2].partition(b"-----")[0].decode("ascii", "replace").lower()
        return f"holds no {wanted}, but: {kind}"
    return f"holds no {wanted}"


def _end(certificate: x509.Certificate) -> datetime:
    return certificate.not_valid_after_utc


def _subject(certificate: x509.Certificate) -> str:
    names = _names(certificate)
    return quoted(names[0] if names else certificate.subject.rfc4514_string())


def _public(certificate: x509.Certificate) -> bytes:
    try:
        return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm):
        return b""


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _tells_issuer(certificate: x509.Certificate) -> bool:
    """Whether it says where its issuer's certificate is, as those of public authorities do."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    return any(one.access_method == AuthorityInformationAccessOID.CA_ISSUERS for one in found)


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    return tuple(_alternative_names(certificate))


def _alternative_names(certificate: x509.Certificate) -> Iterator[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return
    yield from (name.lower().removesuffix(".") for name in found.get_values_for_type(x509.DNSName))
    yield from (str(address) for address in found.get_values_for_type(x509.IPAddress))
