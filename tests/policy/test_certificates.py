"""What is told of certificates before they are served."""

import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec.structs import replace

from harness.certificates import DAY, Authority, Issued
from rawgate.config.model import Certificate, Config, Gateway, Secret, Store, StoreUrl, Tls, Upstream, UpstreamTls
from rawgate.errors import Problem
from rawgate.policy.certificates import check_certificates

ROOT = Authority()
MIDDLE = ROOT.intermediate()
GOOD = MIDDLE.issue("api.test", "*.API.test", "192.0.2.7")
OTHER = ROOT.issue("other.test")
PATH = ("tls", "public", "certificates", 0)


def secret(value: bytes) -> Secret:
    return Secret(source="file:x", value=value)


def config(*pairs: tuple[bytes, bytes], client_ca: bytes | None = None, upstream: UpstreamTls | None = None) -> Config:
    tls = Tls(
        certificates=tuple(Certificate(chain=secret(chain), key=secret(key)) for chain, key in pairs),
        client_ca=None if client_ca is None else secret(client_ca),
    )
    upstreams = {} if upstream is None else {"users": Upstream(targets=(), tls=upstream)}
    return Config(gateway=Gateway(listen=()), upstreams=upstreams, routes=(), tls={"public": tls})


def found(checked: Config) -> tuple[list[Problem], list[Problem]]:
    problems: list[Problem] = []
    warnings: list[Problem] = []
    check_certificates(checked, time.time(), problems, warnings)
    return problems, warnings


def test_good_ones() -> None:
    problems: list[Problem] = []
    checked = config((GOOD.chain, GOOD.key), (OTHER.chain, OTHER.key), client_ca=ROOT.pem)
    shown = check_certificates(checked, time.time(), problems, problems)["public"]
    assert problems == []
    assert [one.names for one in shown] == [("api.test", "*.api.test", "192.0.2.7"), ("other.test",)]
    assert 364 < (shown[0].expires - time.time()) / 86400 < 366


LONE = GOOD.certificate.public_bytes(Encoding.PEM)


@pytest.mark.parametrize(
    ("chain", "key", "at", "told"),
    [
        (GOOD.chain, OTHER.key, "key", 'does not fit the certificate of "api.test" (expected the key it was made of)'),
        (MIDDLE.pem + LONE, GOOD.key, "chain", "has the wrong order: the key's own certificate is number 2"),
        (LONE + ROOT.pem + MIDDLE.pem, GOOD.key, "chain", "has the wrong order: number 2 did not issue number 1"),
        (LONE + ROOT.pem, GOOD.key, "chain", 'lacks the issuer of "api.test", which is "CN=Test Intermediate"'),
        (LONE + OTHER.chain, GOOD.key, "chain", 'lacks the issuer of "api.test"'),
        (GOOD.key, GOOD.key, "chain", "holds no certificate, but: private key (expected PEM"),
        (GOOD.chain, GOOD.chain, "key", "holds no private key, but: certificate (expected PEM"),
        (
            GOOD.certificate.public_bytes(Encoding.DER),
            GOOD.key,
            "chain",
            "is DER, or PKCS #12, not a certificate in PEM",
        ),
        (b"hello\n", GOOD.key, "chain", "holds no certificate (expected PEM"),
        (GOOD.chain, b"hello\n", "key", "holds no private key (expected PEM"),
        (GOOD.chain, GOOD.encrypted_key(), "key", "holds an encrypted key (expected one without a passphrase"),
        (GOOD.chain[:200] + GOOD.chain[210:], GOOD.key, "chain", "holds a certificate that cannot be read"),
        (GOOD.chain, GOOD.key[:80] + GOOD.key[90:], "key", "holds a key that cannot be read"),
    ],
)
def test_faults(chain: bytes, key: bytes, at: str, told: str) -> None:
    problems, warnings = found(config((chain, key)))
    assert [problem.path for problem in problems] == [(*PATH, at)]
    assert told in problems[0].message
    assert warnings == []


@pytest.mark.parametrize(
    ("issued", "fault", "warning"),
    [
        (ROOT.issue("a.test", ends=-DAY / 2), 'the certificate of "a.test" has expired on ', ""),
        (ROOT.issue("a.test", begins=DAY), 'the certificate of "a.test" is not valid before ', ""),
        (ROOT.issue("a.test", ends=29 * DAY), "", 'the certificate of "a.test" expires in 28 days, on '),
        (ROOT.issue("a.test", ends=1.5 * DAY), "", "expires in 1 day, on "),
        (ROOT.issue("a.test", ends=31 * DAY), "", ""),
        (ROOT.issue(subject="old.test"), "", "has no alternative names, and clients look at nothing else"),
        (ROOT.issue("a.test", tells_issuer=True), "", 'its issuer "CN=Test Root" is probably no root'),
    ],
)
def test_times_names_and_issuers(issued: Issued, fault: str, warning: str) -> None:
    for found_, told in zip(found(config((issued.chain, issued.key))), (fault, warning), strict=True):
        assert [problem.path for problem in found_] == ([(*PATH, "chain")] if told else [])
        assert told in "".join(problem.message for problem in found_)


def test_two_for_one_name_differ_in_their_keys() -> None:
    one, same, differs = (ROOT.issue("a.test", rsa_key=rsa) for rsa in (False, False, True))
    problems, _ = found(config((one.chain, one.key), (differs.chain, differs.key), (same.chain, same.key)))
    assert [problem.path for problem in problems] == [("tls", "public", "certificates", 2)]
    assert "another certificate is for a.test, too" in problems[0].message


def test_authorities() -> None:
    problems, _ = found(config((GOOD.chain, GOOD.key), client_ca=GOOD.key))
    assert [problem.path for problem in problems] == [("tls", "public", "client_ca")]


def test_of_upstreams() -> None:
    pair = Certificate(chain=secret(GOOD.chain), key=secret(OTHER.key))
    upstream = UpstreamTls(ca=secret(b"none"), certificate=pair)
    problems, _ = found(config((GOOD.chain, GOOD.key), upstream=upstream))
    where = ("upstreams", "users", "tls")
    assert [problem.path for problem in problems] == [(*where, "ca"), (*where, "certificate", "key")]


def test_no_message_shows_a_key(tmp_path: Path) -> None:
    for chain, key in ((GOOD.key, GOOD.key), (GOOD.chain, OTHER.key), (GOOD.chain, GOOD.key[:99])):
        problems, warnings = found(config((chain, key)))
        assert problems
        for problem in (*problems, *warnings):
            assert key[40:60].decode() not in problem.message


def test_of_the_store() -> None:
    """A certificate that the gateway shows needs no name."""
    nameless = ROOT.issue()
    url = StoreUrl(text="rediss://h", tls=True, hosts=(("h", 6379),))
    shown = Certificate(chain=secret(nameless.chain), key=secret(nameless.key))
    checked = config((GOOD.chain, GOOD.key))
    assert found(replace(checked, store=Store(url=url, ca=secret(ROOT.pem), certificate=shown))) == ([], [])
    wrong = Certificate(chain=secret(nameless.chain), key=secret(GOOD.key))
    problems, _ = found(replace(checked, store=Store(url=url, ca=secret(b"none"), certificate=wrong)))
    assert [problem.path for problem in problems] == [("store", "ca"), ("store", "certificate", "key")]
