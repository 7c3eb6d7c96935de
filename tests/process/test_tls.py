"""TLS for clients, through the real process: what is shown and asked, how connections end, what is told of failures."""

import signal
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Event

import httpx
import pytest

from harness.certificates import Authority
from harness.configs import one_route
from harness.gateway import PATIENCE, Gateway, running
from harness.stalls import TRIES
from harness.tls_client import ALERT, FIN, RESET, TlsClient
from harness.upstream import OK, Connection, Script, Upstream, free_port, once, replying, response

pytestmark = pytest.mark.process

GET = b"GET /x HTTP/1.1\r\nHost: api.test\r\n\r\n"
LAST = b"GET /x HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def folder(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates in files; each test that serves writes its configuration beside them."""
    folder = tmp_path_factory.mktemp("tls")
    authority.intermediate().issue("api.test", "127.0.0.1").write(folder, "api")
    authority.issue("*.wild.test", rsa_key=True).write(folder, "wild")
    authority.issue("exact.wild.test").write(folder, "exact")
    authority.issue("both.test").write(folder, "ecdsa")
    authority.issue("both.test", rsa_key=True).write(folder, "rsa")
    (folder / "root.pem").write_bytes(authority.pem)
    return folder


def config(
    target: str, *lines: str, gateway_has: tuple[str, ...] = (), certificates: tuple[str, ...] = ("api",)
) -> str:
    shown = ", ".join(f'{{ chain = "file:{name}.pem", key = "file:{name}.key" }}' for name in certificates)
    listen = 'listen = [{ address = "127.0.0.1:0", tls = "public" }]'
    text = one_route(target, gateway_has=gateway_has).replace('listen = ["127.0.0.1:0"]', listen)
    return text + "\n".join(["[tls.public]", f"certificates = [{shown}]", *lines, ""])


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream(replying(lambda message: response(b"x" * (3 << 20)) if message.target == b"/large" else OK)) as one:
        yield one


@pytest.fixture(scope="module")
def gateway(folder: Path, upstream: Upstream) -> Iterator[Gateway]:
    """Three certificates, and whoever wants may show one."""
    lines = ('client_ca = "file:root.pem"', 'client_auth = "ask"')
    text = config(upstream.target, *lines, certificates=("api", "wild", "exact"))
    with running(folder, text, name="shared.toml") as one:
        yield one


def client(gateway: Gateway, authority: Authority, name: str = "api.test") -> TlsClient:
    return TlsClient(gateway.connect(), authority.client_context(), name)


@pytest.mark.parametrize("parser", ["fast", "h11"])
def test_httpx_is_served(folder: Path, upstream: Upstream, authority: Authority, parser: str) -> None:
    text = config(upstream.target, gateway_has=(f'parser = "{parser}"',))
    with (
        running(folder, text, name=f"{parser}.toml") as gateway,
        httpx.Client(verify=authority.client_context(), trust_env=False, timeout=PATIENCE) as web,
    ):
        host, port = gateway.address
        before = len(upstream.requests)
        for _ in range(2):
            assert web.get(f"https://{host}:{port}/x").text == "ok"
        assert len(web.get(f"https://{host}:{port}/large").content) == 3 << 20
        assert web.post(f"https://{host}:{port}/up", content=b"y" * (3 << 20)).text == "ok"
        requests = upstream.requests[before:]
    assert [request.value(b"x-forwarded-proto") for request in requests] == [b"https"] * 4
    assert len(requests[3].body) == 3 << 20
    assert len({line["remote"] for line in gateway.log}) == 1


def test_curl_and_openssl(gateway: Gateway, folder: Path, program: Callable[[str], str]) -> None:
    host, port = gateway.address
    told = subprocess.run(
        [program("curl"), "-sSv", "--cacert", folder / "root.pem", f"https://{host}:{port}/x"],
        capture_output=True,
        check=True,
    )
    assert told.stdout == b"ok"
    assert b"http/1.1" in told.stderr
    told = subprocess.run(
        [program("openssl"), "s_client", "-connect", f"{host}:{port}", "-alpn", "h2", "-CAfile", folder / "root.pem"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert b"alert number 120" in told.stderr
    gateway.wait_said("it does not offer HTTP/1.1")


OFFERS = {
    "-tls1_3": True,
    "-tls1_2": True,
    "-tls1_1 -cipher ALL:@SECLEVEL=0": False,
    "-tls1 -cipher ALL:@SECLEVEL=0": False,
    "-ciphersuites TLS_AES_128_GCM_SHA256": True,
    "-ciphersuites TLS_AES_256_GCM_SHA384": True,
    "-ciphersuites TLS_CHACHA20_POLY1305_SHA256": True,
    "-ciphersuites TLS_AES_128_CCM_SHA256": False,
    "-tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256": True,
    "-tls1_2 -cipher ECDHE-ECDSA-AES256-GCM-SHA384": True,
    "-tls1_2 -cipher ECDHE-ECDSA-CHACHA20-POLY1305": True,
    "-tls1_2 -cipher ECDHE-RSA-AES128-GCM-SHA256": True,
    "-tls1_2 -cipher ECDHE-RSA-AES256-GCM-SHA384": True,
    "-tls1_2 -cipher ECDHE-RSA-CHACHA20-POLY1305": True,
    "-tls1_2 -cipher ECDHE-ECDSA-AES128-CCM": False,
    "-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA256": False,  # CBC
    "-tls1_2 -cipher ECDHE-RSA-AES256-SHA": False,
    "-tls1_2 -cipher kRSA:@SECLEVEL=0": False,  # no forward secrecy
    "-tls1_2 -cipher DHE:@SECLEVEL=0": False,
    "-tls1_2 -cipher aNULL:eNULL:@SECLEVEL=0": False,
    "-groups X25519": True,
    "-groups P-256": True,
    "-groups P-384": True,
    "-groups ffdhe2048:P-256 -tls1_2": True,
    "-groups brainpoolP256r1 -tls1_2": False,
    "-groups ffdhe2048": False,
    "-groups ffdhe8192:X25519": False,
    "-groups X25519:ffdhe8192": True,
    "-alpn h2,http/1.1": True,
    "-alpn h2": False,
}
"""Arguments of `openssl s_client` → whether it gets a connection."""


def test_what_is_offered(folder: Path, upstream: Upstream, program: Callable[[str], str]) -> None:
    """One certificate for each kind of key, since suites of TLS 1.2 are for one kind."""
    found = {}
    with running(folder, config(upstream.target, certificates=("ecdsa", "rsa")), name="offers.toml") as gateway:
        address = "{}:{}".format(*gateway.address)
        for offer in OFFERS:
            command = [program("openssl"), "s_client", "-connect", address, *offer.split()]
            told = subprocess.run(command, input=b"", capture_output=True, check=False).stdout
            # Its status says how the connection ended, too.
            found[offer] = b"Cipher is " in told and b"Cipher is (NONE)" not in told
    assert found == OFFERS


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("api.test", "api.test"),
        ("one.wild.test", "*.wild.test"),
        ("EXACT.wild.test", "exact.wild.test"),
        ("two.one.wild.test", "api.test"),
        ("wild.test", "api.test"),
        ("other.test", "api.test"),
        ("127.0.0.1", "api.test"),
    ],
)
def test_certificate_by_name(gateway: Gateway, authority: Authority, name: str, shown: str) -> None:
    context = authority.client_context()
    context.check_hostname = False
    with TlsClient(gateway.connect(), context, name).handshake() as one:
        certificate = one.tls.getpeercert()
        assert certificate is not None
        assert certificate["subjectAltName"][0] == ("DNS", shown)


def test_a_name_of_any_octets(gateway: Gateway, authority: Authority) -> None:
    """It is nobody's, and no reason to say anything."""
    context = authority.client_context()
    context.check_hostname = False
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="exact.wild.test").do_handshake()
    with gateway.connect() as sock:
        sock.sendall(outgoing.read().replace(b"exact.wild.test", b"\xff\x80\r\n\x1b.wild.test"))
        assert sock.recv(3)[:2] == b"\x16\x03", "a handshake, no alert"
    assert not any("Traceback" in line or "Exception" in line for line in gateway.said)


@pytest.mark.parametrize(("ciphers", "kind"), [("ECDHE+aRSA", "RSA"), ("ECDHE+aECDSA", "ECDSA")])
def test_certificate_by_kind_of_key(
    folder: Path, upstream: Upstream, authority: Authority, ciphers: str, kind: str
) -> None:
    authority.issue("api.test", subject="ECDSA").write(folder, "one")
    authority.issue("api.test", subject="RSA", rsa_key=True).write(folder, "other")
    context = authority.client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(ciphers)
    with (
        running(folder, config(upstream.target, certificates=("one", "other")), name="kinds.toml") as gateway,
        TlsClient(gateway.connect(), context).handshake() as one,
    ):
        certificate = one.tls.getpeercert()
        assert certificate is not None
        assert certificate["subject"] == ((("commonName", kind),),)


def test_sessions_are_resumed(gateway: Gateway, authority: Authority) -> None:
    context, name = authority.client_context(), "api.test"
    with socket.create_connection(gateway.address) as raw, context.wrap_socket(raw, server_hostname=name) as first:
        first.sendall(GET)
        assert first.recv(65536).endswith(b"ok")
        session = first.session
    raw = socket.create_connection(gateway.address)
    with raw, context.wrap_socket(raw, server_hostname=name, session=session) as second:
        assert second.session_reused


def session_with(gateway: Gateway, context: ssl.SSLContext) -> ssl.SSLSession:
    """One that a ticket is of."""
    with (
        socket.create_connection(gateway.address) as raw,
        context.wrap_socket(raw, server_hostname="api.test") as one,
    ):
        one.sendall(GET)
        assert one.recv(65536).endswith(b"ok")
        session = one.session
    assert session is not None
    assert session.has_ticket
    return session


def resumed(gateway: Gateway, context: ssl.SSLContext, session: ssl.SSLSession) -> set[bool]:
    """Whether that is resumed, by so many connections that each of two workers gets one."""
    found = set()
    for _ in range(6):
        raw = socket.create_connection(gateway.address)
        with raw, context.wrap_socket(raw, server_hostname="api.test", session=session) as one:
            one.sendall(LAST)
            assert one.recv(65536).endswith(b"ok")
            assert one.selected_alpn_protocol() in (None, "http/1.1")
            found.add(one.session_reused is True)
    return found


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_are_resumed_by_any_worker(
    folder: Path, upstream: Upstream, authority: Authority, version: ssl.TLSVersion
) -> None:
    """Also after a reload, with other certificates too. Not where others are believed than before: who was verified by
    the old authorities is verified anew."""
    authority.issue("api.test").write(folder, "fleeting")
    context = authority.client_context(authority.issue("alice.test"), folder)
    context.maximum_version = version
    lines = ('client_ca = "file:root.pem"', 'client_auth = "ask"')
    text = config(upstream.target, *lines, gateway_has=("workers = 2",), certificates=("fleeting", "wild"))
    with running(folder, text, name="workers.toml") as gateway:
        session = session_with(gateway, context)
        assert resumed(gateway, context, session) == {True}
        (folder / "workers.toml").write_text(text + "[gateway.log]\nfields = ['user-agent']\n")
        reload(gateway, 1)
        assert resumed(gateway, context, session) == {True}
        authority.issue("api.test").write(folder, "fleeting")
        (folder / "workers.toml").write_text(text + 'handshake_timeout = "9s"\n')
        reload(gateway, 2)
        assert resumed(gateway, context, session) == {True}
        (folder / "root-and-other.pem").write_bytes(authority.pem + Authority("Another").pem)
        (folder / "workers.toml").write_text(text.replace("root.pem", "root-and-other.pem"))
        reload(gateway, 3)
        assert resumed(gateway, context, session) == {False}


def test_pipelined_and_whole_ends_by_a_closure_alert(gateway: Gateway, authority: Authority) -> None:
    with client(gateway, authority).handshake() as one:
        one.send(GET + GET + LAST)
        assert one.rest().count(b"HTTP/1.1 200 OK") == 3
        assert one.ended == ALERT
        assert one.after_alert() == FIN


@pytest.mark.parametrize("plain", [b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n", b"SSH-2.0-a\r\n"])
def test_plain_text_gets_a_plain_400(gateway: Gateway, plain: bytes) -> None:
    with gateway.connect() as sock:
        sock.sendall(plain)
        reply = b"".join(iter(lambda: sock.recv(65536), b""))
    assert reply.startswith(b"HTTP/1.1 400 ")
    assert b"This port speaks TLS" in reply
    assert gateway.line(reason="bad_request", path="")["detail"].startswith("This port speaks TLS")


def test_older_version_is_refused_and_told(folder: Path, upstream: Upstream, authority: Authority) -> None:
    context = authority.client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with running(folder, config(upstream.target, 'min_version = "1.3"'), name="new.toml") as gateway:
        with TlsClient(gateway.connect(), context) as one, pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
            one.handshake()
        gateway.wait_said("no TLS: it speaks an older version of TLS only")


def test_handshake_has_a_deadline(folder: Path, upstream: Upstream) -> None:
    """A client that says nothing is not told of; one that begins a handshake is."""
    told = "did not end its handshake in time"
    with running(folder, config(upstream.target, 'handshake_timeout = "200ms"'), name="late.toml") as gateway:
        with gateway.connect() as silent:
            assert silent.recv(1) == b""
        # One that is held up for so long before its first octets counts as silent: then the next one begins.
        for number in range(1, TRIES + 1):
            with gateway.connect() as slow, suppress(ConnectionError):
                slow.sendall(b"\x16\x03\x01")
                assert slow.recv(1) == b""
            # What there was to be said has been said when this is.
            gateway.signal(signal.SIGUSR1)
            gateway.wait(lambda number=number: sum("is ignored" in line for line in gateway.said) == number)  # type: ignore[misc]
            if any(told in line for line in gateway.said):
                break
        gateway.stop()
        assert sum("handshake" in line for line in gateway.said) == 1
        assert gateway.log == []


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_client_certificates(folder: Path, upstream: Upstream, authority: Authority, version: ssl.TLSVersion) -> None:
    ours = authority.issue("spiffe://test/alice", subject="alice")
    theirs = Authority("Other Root").issue("mallory.test")
    text = config(upstream.target, 'client_ca = "file:root.pem"')
    with running(folder, text, name="strict.toml") as gateway:
        for shown, is_served in ((ours, True), (theirs, False), (None, False)):
            context = authority.client_context(shown, folder)
            context.maximum_version = version
            with TlsClient(gateway.connect(), context) as one:
                try:
                    one.handshake().send(LAST)
                    served = one.rest().startswith(b"HTTP/1.1 200 ")
                except (ssl.SSLError, OSError):
                    served = False
                assert served == is_served
        gateway.wait_said("no TLS: it")
        gateway.stop()
        assert len(gateway.lines(status=200)) == 1


def test_who_is_no_longer_believed_is_gone(folder: Path, upstream: Upstream, authority: Authority) -> None:
    """Open connections go on over reloads, but for one that changes who is let in: not before a request has ended that
    has begun, and not with a further one."""
    other, shown = Authority("Other Root"), authority.issue("alice.test")
    (folder / "believed.pem").write_bytes(authority.pem + other.pem)
    text = config(upstream.target, 'client_ca = "file:believed.pem"')
    context = authority.client_context(shown, folder)
    with running(folder, text, name="gone.toml") as gateway, gateway.connect() as silent:
        idle = TlsClient(gateway.connect(), context).handshake()
        busy = TlsClient(gateway.connect(), context).handshake()
        with idle, busy:
            for times in (0, 1):
                idle.send(GET)
                assert idle.until(b"ok").endswith(b"ok")
                busy.send(b"POST /x HTTP/1.1\r\nHost: api.test\r\nContent-Length: 2\r\n\r\n1")
                if times:
                    (folder / "believed.pem").write_bytes(other.pem)
                else:
                    (folder / "gone.toml").write_text(text + 'handshake_timeout = "9s"\n')
                reload(gateway, times + 1)
                busy.send(b"2")
                head = busy.until(b"ok")
                assert (b"Connection: close" in head) == (times == 1)
            assert (idle.rest(), idle.ended, busy.rest(), busy.ended) == (b"", ALERT, b"", ALERT)
            assert silent.recv(1) == b""
            with TlsClient(gateway.connect(), context) as again, suppress(ssl.SSLError, OSError):
                again.handshake().send(GET)
                assert again.rest() == b""
        gateway.stop()
        assert [line["status"] for line in gateway.log] == [200] * 4


def test_client_certificate_may_be_asked_for(gateway: Gateway, authority: Authority, folder: Path) -> None:
    for shown in (authority.issue("alice.test"), None):
        with TlsClient(gateway.connect(), authority.client_context(shown, folder)).handshake() as one:
            one.send(LAST)
            assert one.rest().startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("parser", ["fast", "h11"])
def test_the_name_of_a_certificate_is_asked_for_and_told(
    folder: Path, upstream: Upstream, authority: Authority, parser: str
) -> None:
    route = (
        'require = { "certificate.name" = ["spiffe://test/alice"] }\n'
        '[routes.request_headers]\nset = { X-Client-Name = "{certificate.name}" }\n[tls.public]'
    )
    more = (f'parser = "{parser}"', 'log = { fields = ["{certificate.name}"] }')
    text = config(upstream.target, 'client_ca = "file:root.pem"', 'client_auth = "ask"', gateway_has=more)
    forged = LAST.replace(b"\r\n\r\n", b"\r\nX-Client-Name: spiffe://test/alice\r\nX-SSL-Client-Cert: x\r\n\r\n")
    with running(folder, text.replace("[tls.public]", route), name="names.toml") as gateway:
        for name, status in (("spiffe://test/alice", b"200"), ("spiffe://test/bob", b"403"), ("", b"403")):
            shown = authority.issue(name) if name else None
            with TlsClient(gateway.connect(), authority.client_context(shown, folder)).handshake() as one:
                one.send(forged)
                assert one.rest().startswith(b"HTTP/1.1 " + status)
        gateway.stop()
        assert [line.get("detail") for line in gateway.log] == [None, *["require: certificate.name"] * 2]
        names = [{"certificate.name": name} for name in ("spiffe://test/alice", "spiffe://test/bob")]
        assert [line.get("fields") for line in gateway.log] == [*names, None]
    sent = upstream.requests[-1]
    assert sent.value(b"x-client-name") == b"spiffe://test/alice"
    assert sent.value(b"x-ssl-client-cert") is None


# ── how connections end ──


def cutting(now: Event) -> Script:
    """Half a response, then a reset when it is told to."""

    def script(connection: Connection) -> None:
        request = connection.request()
        if request is not None:
            framing = b"Content-Length: 10\r\n\r\nhalf" if request.target == b"/length" else b"\r\nhalf"
            connection.send(b"HTTP/1.1 200 OK\r\n" + framing)
            now.wait(20)
            connection.reset()

    return script


@pytest.mark.parametrize(("target", "ends"), [(b"/length", FIN), (b"/close", RESET)])
def test_cut_response_has_no_closure_alert(folder: Path, authority: Authority, target: bytes, ends: str) -> None:
    """With a length, a client sees that octets are missing; without one, a closure alert would say that none are."""
    now = Event()
    with Upstream(cutting(now)) as upstream, running(folder, config(upstream.target), name="cut.toml") as gateway:
        with client(gateway, authority).handshake() as one:
            # HTTP/1.0 has no chunks.
            one.send(b"GET %b HTTP/1.0\r\n\r\n" % target)
            assert one.until(b"half").endswith(b"half")
            now.set()
            one.rest()
            assert one.ended == ends
        assert gateway.line(reason="upstream_cut")


@pytest.mark.parametrize("ending", ["send_alert", "send_fin"])
def test_client_that_ends_is_gone(folder: Path, authority: Authority, ending: str) -> None:
    def waiting(connection: Connection) -> None:
        connection.request()
        connection.wait_end()

    with Upstream(waiting) as upstream, running(folder, config(upstream.target), name="gone.toml") as gateway:
        with client(gateway, authority).handshake() as one:
            one.send(GET)
            upstream.wait_requests(1)
            getattr(one, ending)()
            one.rest()
        assert gateway.line(reason="client_gone", status=499)


def test_half_closed_client_is_served(folder: Path, authority: Authority) -> None:
    """TLS 1.3: the alert is the end of what the client sends, and no more."""
    with Upstream(once(OK)) as upstream:
        text = config(upstream.target, gateway_has=('half_close = "serve"',))
        with running(folder, text, name="half.toml") as gateway, client(gateway, authority).handshake() as one:
            one.send(GET)
            one.send_alert()
            assert one.rest().endswith(b"ok")
            assert one.ended == ALERT


def test_refused_body_does_not_cost_the_reply(folder: Path, upstream: Upstream, authority: Authority) -> None:
    """The client sends on; the reply, the alert and FIN come first (lingering)."""
    text = config(upstream.target) + '[gateway.limits]\nbody = "1KiB"\n'
    with running(folder, text, name="body.toml") as gateway, client(gateway, authority).handshake() as one:
        one.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + b"y" * 50000)
        assert one.until(b"body_too_large").startswith(b"HTTP/1.1 413 ")
        one.send(b"y" * 50000)
        one.rest()
        assert one.ended == ALERT


def test_tunnel_passes_half_closes(folder: Path, authority: Authority) -> None:
    def echo(connection: Connection) -> None:
        connection.head()
        connection.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello")
        connection.wait_end()
        connection.send(b"bye")

    with Upstream(echo) as upstream, running(folder, config(upstream.target), name="tunnel.toml") as gateway:
        with client(gateway, authority).handshake() as one:
            one.send(GET.replace(b"\r\n\r\n", b"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"))
            assert one.until(b"hello").startswith(b"HTTP/1.1 101 ")
            one.send(b"octets")
            one.send_alert()
            assert one.rest() == b"bye"
            assert one.ended == ALERT
        assert upstream.connections[0].stream.octets.endswith(b"octets")
        assert gateway.line(status=101)["reason"] == "ok"


def test_slow_reader_gets_all(gateway: Gateway, authority: Authority) -> None:
    """3 MiB for a client whose system has room for a little: the transport is full again and again."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    raw.settimeout(20)
    raw.connect(gateway.address)
    with TlsClient(raw, authority.client_context()).handshake() as one:
        one.send(LAST.replace(b"/x", b"/large"))
        assert one.rest().count(b"x") >= 3 << 20
        assert one.ended == ALERT


def reload(gateway: Gateway, times: int) -> None:
    """Reload, for that many times by now."""
    gateway.signal(signal.SIGHUP)
    gateway.wait(lambda: sum("reloaded in" in line for line in gateway.said) == times, "the reload")


def test_reload_changes_the_certificate(folder: Path, upstream: Upstream, authority: Authority) -> None:
    """An open connection goes on; the next handshake shows the new one. An address may become a plain one, and stays
    open meanwhile."""
    authority.issue("api.test", subject="old").write(folder, "renewed")
    text = config(upstream.target, certificates=("renewed",))
    text = text.replace("127.0.0.1:0", f"127.0.0.1:{free_port()}")
    with running(folder, text, name="reload.toml") as gateway, client(gateway, authority).handshake() as old:
        old.send(GET)
        assert old.until(b"ok").endswith(b"ok")
        authority.issue("api.test", subject="new").write(folder, "renewed")
        reload(gateway, 1)
        with client(gateway, authority).handshake() as new:
            certificate = new.tls.getpeercert()
            assert certificate is not None
            assert certificate["subject"] == ((("commonName", "new"),),)
        old.send(GET)
        assert old.until(b"ok").endswith(b"ok")
        (folder / "reload.toml").write_text(text.replace(', tls = "public"', ""))
        reload(gateway, 2)
        with gateway.connect() as plain:
            plain.sendall(LAST)
            assert plain.recv(65536).startswith(b"HTTP/1.1 200 ")
        old.send(LAST)
        assert old.rest().endswith(b"ok")
