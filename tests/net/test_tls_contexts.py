"""Names in certificates, and why a handshake failed; what is offered is tested through the process."""

import ssl
from pathlib import Path

import pytest

from harness.certificates import Authority
from rawgate.net import tls_contexts
from rawgate.net.tls_contexts import SESSIONS, ClientTls, certificate_name, client_context, why_not_secured


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
    tls.remember("a.test", "127.0.0.1", 443, None)
    assert tls.session("a.test", "127.0.0.1", 443) is None
    assert SESSIONS > 1


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
