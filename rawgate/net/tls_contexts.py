"""Contexts of TLS: what is offered, which certificates are shown, who is believed. For both sides, and for fetching.

Certificates and keys are octets here, as the configuration read and checked them. OpenSSL's own way to load them is by
the name of a file, which could hold something else meanwhile; so it gets a file in memory.

Sessions are resumed by tickets. Their keys belong to the context that a connection is made with, and stay with it when
the connection goes on with another one (SSL_set_SSL_CTX(3)). Python's ssl cannot set such keys, but it can keep that
first context: a `[tls.NAME]` has one, without certificates, which lives on over reloads. Workers are forked from a
process that has made it. So a ticket of one is good for all, also after certificates were renewed.

What else OpenSSL takes from the first context alone: the versions, and whether clients need certificates. And a session
that is resumed is not verified again. So a reload that changes any of that, or whose certificates are believed, makes a
new first context, in each worker its own, and no session from before is resumed.

With TLS 1.3 a ticket never weakens forward secrecy: keys are agreed on anew. With TLS 1.2 whoever gets at the memory of
the process can read the sessions that were recorded since it began.
"""

import contextlib
import os
import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from math import inf
from typing import Final, cast

HTTP_1_1: Final = "http/1.1"
"""The one protocol that is offered (ALPN, RFC 7301)."""

VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

CIPHERS: Final = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)
"""Of TLS 1.2, in no order of ours: the "intermediate" list of Mozilla's Server Side TLS, without its DHE suites, which
no client of these days needs. TLS 1.3 has its own, all of which are good."""

TICKETS: Final = 1
"""Session tickets after a handshake of TLS 1.3, as in Go. OpenSSL sends two, for clients that open two connections at
once; a client of ours that does so resumes none the worse, since a ticket may be used again."""

ELSEWHERE: Final = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Red Hat, Fedora
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # Alpine, macOS
)
"""Where systems keep their authorities. The single file has the OpenSSL of the system that it was built on, which looks
in that system's place only; Go's crypto/x509 has such a list too."""

SESSIONS: Final = 64
"""Servers of one service whose last session is kept."""


class CertificateFiles:
    """A certificate with its key, as PEM.

    names  that it is for, lower-cased: "api.example.com", "*.example.com"; an address in its usual text form
    chain  the certificate itself, then those that lead to its root
    """

    __slots__ = ("chain", "key", "names")

    def __init__(self, chain: bytes, key: bytes, names: Sequence[str] = ()) -> None:
        self.chain: Final = chain
        self.key: Final = key
        self.names: Final = tuple(names)


class ServerTls:
    """What one `[tls.NAME]` means: a context for each set of names, chosen by the name that the client asks for.

    admits             what is asked of clients
    first              what a connection is made with: it has the keys of tickets, and no certificates
    context            of the first certificate, for clients that name nothing that another one is for, as in nginx
    handshake_timeout  seconds
    """

    __slots__ = ("_by_name", "admits", "context", "first", "handshake_timeout")

    def __init__(
        self,
        certificates: Sequence[CertificateFiles],
        *,
        min_version: str = "1.2",
        client_ca: bytes = b"",
        require_client: bool = True,
        handshake_timeout: float = 10.0,
        before: "ServerTls | None" = None,
    ) -> None:
        """client_ca: PEM of those that clients' certificates are from; b"": clients need none. before: what this one
        succeeds, whose sessions are resumed if it admits the same clients. Raises ssl.SSLError."""
        self.handshake_timeout: Final = handshake_timeout
        self.admits: Final = (min_version, client_ca, require_client)
        resumes = before is not None and before.admits == self.admits
        self.first: Final[ssl.SSLContext] = before.first if before and resumes else _server_context(*self.admits)
        self._by_name: dict[str, ssl.SSLContext] = {}
        # One context may hold a certificate for each kind of key: OpenSSL shows the one that the client can verify.
        contexts: dict[tuple[str, ...], ssl.SSLContext] = {}
        for certificate in certificates:
            names = tuple(sorted(certificate.names))
            if names not in contexts:
                contexts[names] = _server_context(*self.admits)
            _show(contexts[names], certificate)
            for name in names:
                self._by_name.setdefault(name, contexts[names])
        self.context: Final = next(iter(contexts.values()))

    def shown_to(self, name: bytes) -> ssl.SSLContext:
        """What a connection goes on with whose client asks for this name; b"": for none. An exact name goes before a
        wildcard, which stands for one label (RFC 9525 section 6.3)."""
        # Not by a callback of OpenSSL's: Python's writes a traceback for each name that is not ASCII.
        asked = name.decode("latin-1").lower().removesuffix(".")
        found = self._by_name.get(asked) or self._by_name.get(f"*.{asked.partition('.')[2]}")
        return self.context if found is None else found


def _server_context(min_version: str, client_ca: bytes, require_client: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _common(context, min_version)
    context.num_tickets = TICKETS
    if client_ca:
        context.load_verify_locations(cadata=client_ca.decode("ascii", "ignore"))
        context.verify_mode = ssl.CERT_REQUIRED if require_client else ssl.CERT_OPTIONAL
    return context


class ClientTls:
    """How connections to one service are secured.

    context      see `client_context`
    server_name  that its certificate must have, and that it is asked for; "": the host of each target
    identity     differs when what is believed or shown does
    """

    __slots__ = ("_sessions", "context", "identity", "server_name")

    def __init__(self, context: ssl.SSLContext, server_name: str = "", identity: str = "") -> None:
        self.context: Final = context
        self.identity: Final = identity
        self.server_name: Final = server_name
        self._sessions: dict[tuple[str, str, int], tuple[ssl.SSLSession, float]] = {}

    def session(self, name: str, address: str, port: int, wall: float) -> ssl.SSLSession | None:
        """The last session with a server, to resume: the handshake then goes without certificates. So it is none where
        that of the server has ended by now. wall: Unix seconds."""
        session, ends = self._sessions.get((name, address, port), (None, inf))
        return session if wall <= ends else None

    def remember(self, name: str, address: str, port: int, session: ssl.SSLSession | None, ends: float) -> None:
        """Keep a session. The oldest goes when addresses of a name change again and again. ends: see `ends_at`."""
        if session is not None and session.has_ticket:
            self._sessions.pop((name, address, port), None)
            self._sessions[name, address, port] = session, ends
            if len(self._sessions) > SESSIONS:
                del self._sessions[next(iter(self._sessions))]


def client_context(
    *,
    ca: bytes = b"",
    certificate: CertificateFiles | None = None,
    min_version: str = "1.2",
    verify: bool = True,
) -> ssl.SSLContext:
    """For connections that we open. It verifies chain and name of the server's certificate. Takes a few hundredths of a
    second for the system's authorities, which are many. Raises ssl.SSLError.

    ca           PEM of those that are believed; b"": those of the system
    certificate  what we show, if we are asked
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _common(context, min_version)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif ca:
        context.load_verify_locations(cadata=ca.decode("ascii", "ignore"))
        # A single certificate of the service itself is a fair thing to believe, too.
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    else:
        _believe_the_system(context)
    if certificate is not None:
        _show(context, certificate)
    return context


def _believe_the_system(context: ssl.SSLContext) -> None:
    context.load_default_certs()
    known = ssl.get_default_verify_paths()
    if not (known.cafile or known.capath):
        for place in ELSEWHERE:
            with contextlib.suppress(OSError):
                context.load_verify_locations(place)
                break


def _common(context: ssl.SSLContext, min_version: str) -> None:
    context.minimum_version = VERSIONS[min_version]
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    # All suites are good, and the client knows whether its hardware has AES: so nginx and Mozilla's intermediate list.
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_ciphers(CIPHERS)
    context.set_alpn_protocols([HTTP_1_1])


def _show(context: ssl.SSLContext, certificate: CertificateFiles) -> None:
    with file_of(certificate.chain + b"\n" + certificate.key) as path:
        # Without the function OpenSSL would ask whoever sits at the terminal.
        context.load_cert_chain(path, password=lambda: b"")


@contextlib.contextmanager
def file_of(content: bytes) -> Iterator[str]:
    """A name under which the content can be read, while the block lasts. On Linux it is in memory alone."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("rawgate")
        try:
            os.write(descriptor, content)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
    else:
        # Only here: it brings every format of compression along, which would slow each start down.
        import tempfile

        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            yield file.name


def ends_at(certificate: Mapping[str, object] | None) -> float:
    """When a verified certificate, as `ssl` presents one, ends: Unix seconds. None, or an empty one: never."""
    return ssl.cert_time_to_seconds(cast("str", certificate["notAfter"])) if certificate else inf


def certificate_name(certificate: Mapping[str, object] | None) -> str:
    """The name in a verified certificate, as `ssl` presents one: see `message.Peer`. None, or an empty one: "". What is
    no URI and no host name, whoever signed it, is passed over."""
    if not certificate:
        return ""
    names = cast("Sequence[tuple[str, str]]", certificate.get("subjectAltName", ()))
    for wanted in ("URI", "DNS"):
        for kind, name in names:
            if kind == wanted and name.isascii() and name.isprintable() and " " not in name:
                return name
    subject = cast("Sequence[Sequence[tuple[str, str]]]", certificate.get("subject", ()))
    # RFC 4514 section 2.1: the last one first.
    return ",".join("+".join(_attribute(*pair) for pair in pairs) for pairs in reversed(subject))


_SHORT: Final = {
    "commonName": "CN",
    "countryName": "C",
    "domainComponent": "DC",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
    "streetAddress": "STREET",
    "userId": "UID",
}
_SPECIAL: Final = re.compile(r'([,+"\\<>;=]|^[ #]| $)')


def _attribute(name: str, value: str) -> str:
    """RFC 4514 section 2.4; control characters as hexadecimal pairs, so that the text is one line."""
    escaped = _SPECIAL.sub(r"\\\1", value)
    text = "".join(c if c.isprintable() else "".join(f"\\{octet:02X}" for octet in c.encode()) for c in escaped)
    return f"{_SHORT.get(name, name)}={text}"


_WHY: Final = {
    "certificate has expired": "its certificate has expired",
    "certificate is not yet valid": "its certificate is not valid yet",
    "self-signed certificate": "its certificate is self-signed, and not among those that are believed",
    "self-signed certificate in certificate chain": "its certificate is from an authority that is not believed",
    "unable to get local issuer certificate": "its certificate is from an unknown authority",
    "unable to get issuer certificate": "its certificate is from an unknown authority",
    "unable to verify the first certificate": "its certificate is from an unknown authority",
}
_REASONS: Final = {
    "WRONG_VERSION_NUMBER": "it does not speak TLS there",
    "HTTP_REQUEST": "it speaks plain HTTP",
    "UNSUPPORTED_PROTOCOL": "it speaks an older version of TLS only",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it refuses our versions of TLS",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "it refuses what we offer",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it asks for a certificate, and got none",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not know the authority of the certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it refuses the certificate",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it refuses the certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it finds the certificate expired",
    "NO_SHARED_CIPHER": "it offers no cipher that we take",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it showed no certificate",
    "NO_SUITABLE_SIGNATURE_ALGORITHM": "it takes no signature that the certificate's key can make",
}


def why_not_secured(error: Exception | None) -> str:
    """Why a handshake failed, of the other side: "its certificate has expired"."""
    if isinstance(error, ssl.SSLCertVerificationError):
        said = error.verify_message
        if said.startswith(("Hostname mismatch", "IP address mismatch")):
            return f"its certificate is for another name than {said.rpartition('for ')[2].rstrip('.')}"
        return _WHY.get(said, f"its certificate is not good: {said}")
    if error is None or isinstance(error, ssl.SSLEOFError | ConnectionError):
        return "it ended the connection during the handshake"
    if isinstance(error, ssl.SSLError):
        reason = error.reason or "unknown"
        return _REASONS.get(reason, f"TLS failed: {reason.lower().replace('_', ' ')}")
    return str(error)
