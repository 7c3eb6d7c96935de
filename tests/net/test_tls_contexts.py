"""Names in certificates, and why a handshake failed; what is offered is tested through the process."""

import ssl
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Any

import pytest

from harness.certificates import Authority, server_context
from rawgate.net import tls_contexts
from rawgate.net.tls_contexts import (
    SESSIONS,
    CertificateFiles,
    ClientTls,
    ServerTls,
    certificate_name,
    client_context,
    ends_at,
    why_not_secured,
)


@pytest.mark.parametrize(
    ("certificate", "name"),
    [
        (None, ""),
        ({}, ""),
        (
            {"subjectAltName": (("DNS", "a.test"), ("URI", "spiffe://test/a"), ("URI", "spiffe://test/b"))},
            "spiffe://test/a",
        ),
        (
            {"subjectAltName": (("IP Address", "::1"), ("DNS", "a.test")), "subject": ((("commonName", "x"),),)},
            "a.test",
        ),
        ({"subject": ((("countryName", "DE"),), (("commonName", "alice"),))}, "CN=alice,C=DE"),
        ({"subject": ((("commonName", "a"), ("userId", "7")),)}, "CN=a+UID=7"),
        ({"subject": ((("commonName", ' a,b"+;<>=\\ '),),)}, 'CN=\\ a\\,b\\"\\+\\;\\<\\>\\=\\\\\\ '),
        ({"subject": ((("commonName", "#a\r\nX: é"),),)}, "CN=\\#a\\0D\\0AX: é"),
        ({"subject": ((("emailAddress", "a@b.test"),),), "subjectAltName": ()}, "emailAddress=a@b.test"),
    ],
)
def test_name_of_a_client(certificate: dict[str, object] | None, name: str) -> None:
    assert certificate_name(certificate) == name


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (None, "it ended the connection during the handshake"),
        (ConnectionResetError(), "it ended the connection during the handshake"),
        (ssl.SSLEOFError(8, "x"), "it ended the connection during the handshake"),
    ],
)
def test_why(error: Exception | None, why: str) -> None:
    assert why_not_secured(error) == why


def test_sessions_without_a_ticket_are_not_kept() -> None:
    tls = ClientTls(client_context(verify=False))
    tls.remember("a.test", "127.0.0.1", 443, None, inf)
    assert tls.session("a.test", "127.0.0.1", 443, 0.0) is None
    assert SESSIONS > 1


def test_sessions_end_with_the_certificate_of_their_server(tmp_path: Path) -> None:
    """In a session that is resumed it is not looked at again."""
    authority = Authority()
    serving, ours = server_context(authority.issue("a.test"), tmp_path), client_context(ca=authority.pem)
    ours.maximum_version = ssl.TLSVersion.TLSv1_2
    client, server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [ours.wrap_bio(client, server, server_hostname="a.test"), serving.wrap_bio(server, client, server_side=True)]
    for end in (*ends, *ends, ends[0]):
        with suppress(ssl.SSLWantReadError):
            end.do_handshake()
    tls, where = ClientTls(ours), ("a.test", "127.0.0.1", 443)
    tls.remember(*where, ends[0].session, 1000.0)
    assert tls.session(*where, 1000.0) is not None
    assert tls.session(*where, 1001.0) is None


def test_everything_is_verified_unless_said() -> None:
    context = client_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert client_context(min_version="1.3").minimum_version is ssl.TLSVersion.TLSv1_3


def test_authorities_of_a_system_that_openssl_does_not_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bundle.pem").write_bytes(Authority("Of Another Distribution").pem)
    monkeypatch.setattr(tls_contexts, "ELSEWHERE", (str(tmp_path / "none.pem"), str(tmp_path / "bundle.pem")))

    def believed() -> bool:
        return any("Of Another Distribution" in str(one["subject"]) for one in client_context().get_ca_certs())

    known = ssl.get_default_verify_paths()
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: known._replace(cafile="", capath=""))
    assert believed()
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: known._replace(cafile="", capath="/etc/ssl/certs"))
    assert not believed()


def test_what_is_no_certificate() -> None:
    with pytest.raises(ssl.SSLError):
        client_context(ca=b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")


def test_sessions_are_resumed_where_the_same_clients_are_admitted() -> None:
    """Of a first context OpenSSL takes versions and whether clients need certificates, whatever the next one says."""
    authority = Authority()
    old, new = (CertificateFiles(one.chain, one.key) for one in (authority.issue("a.test"), authority.issue("a.test")))
    ca = authority.pem
    before = ServerTls([old], client_ca=ca)
    assert ServerTls([new], client_ca=ca, handshake_timeout=1.0, before=before).first is before.first
    others: tuple[dict[str, Any], ...] = (
        {},
        {"client_ca": ca + Authority("Other").pem},
        {"client_ca": ca, "require_client": False},
        {"client_ca": ca, "min_version": "1.3"},
    )
    for changed in others:
        assert ServerTls([old], before=before, **changed).first is not before.first


def test_end_of_a_certificate() -> None:
    assert ends_at({"notAfter": "Jan  1 00:00:10 1970 GMT"}) == 10.0
    assert ends_at({}) == ends_at(None) == inf
