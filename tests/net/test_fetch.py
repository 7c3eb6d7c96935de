"""Requests of the gateway's own: what is taken, and what each refusal is called."""

import asyncio
import errno
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import uvloop

from harness.issuer import Issuer
from rawgate.net.fetch import Document, FetchError, fetch, probe
from rawgate.net.names import Names, system_look_up
from rawgate.net.tls_contexts import client_context
from rawgate.relay.endpoints import Place

PATIENCE = 20.0
Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def saying(*pieces: bytes) -> Script:
    """Answers with these octets, piece by piece, and closes."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()

    return script


def fetched(
    script: Script, path: str = "/keys", *, most: int = 1000, patience: float = PATIENCE, host: str = "127.0.0.1"
) -> tuple[Document, bytes]:
    """What a plain server's answer becomes, and the request that it got."""
    asked = b""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked = await reader.readuntil(b"\r\n\r\n")
        await script(reader, writer)
        writer.close()

    async def scene() -> Document:
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        names = Names(loop, lambda text: None, lambda name: ("127.0.0.1",))
        try:
            url = f"http://{host}:{port}{path}"
            return await fetch(url, names, TLS, most=most, patience=patience)
        finally:
            names.close()
            server.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(asyncio.wait_for(scene(), PATIENCE)), asked


TLS = client_context()
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("pieces", "octets"),
    [
        pytest.param((OK + b"Content-Length: 5\r\n\r\nhello",), b"hello", id="length"),
        pytest.param((OK + b"Content-Length: 0\r\n\r\n",), b"", id="empty"),
        pytest.param((OK + CHUNKED + b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",), b"hello", id="chunks"),
        pytest.param((OK + b"\r\n", b"hel", b"lo"), b"hello", id="until-close"),
        pytest.param((b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nok",), b"ok", id="interim"),
        pytest.param(tuple(bytes([octet]) for octet in OK + b"Content-Length: 2\r\n\r\nok"), b"ok", id="octets"),
        pytest.param((OK + b"Content-Length: 1000\r\n\r\n" + b"x" * 1000,), b"x" * 1000, id="as-large-as-may-be"),
    ],
)
def test_a_document(pieces: tuple[bytes, ...], octets: bytes) -> None:
    document, asked = fetched(saying(*pieces))
    assert document.octets == octets
    assert document.fresh_for is None
    assert asked.startswith(b"GET /keys HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"\r\nAccept-Encoding: identity\r\n" in asked


@pytest.mark.parametrize(("path", "target"), [("", b"/"), ("?a=1", b"/?a=1"), ("/a/b?c=%20", b"/a/b?c=%20")])
def test_the_target(path: str, target: bytes) -> None:
    _, asked = fetched(saying(OK + b"Content-Length: 0\r\n\r\n"), path, host="idp.test")
    assert asked.split(b"\r\n")[0] == b"GET %b HTTP/1.1" % target
    assert b"\r\nHost: idp.test:" in asked


@pytest.mark.parametrize(
    ("fields", "fresh_for"),
    [
        (b"", None),
        (b"Cache-Control: max-age=300\r\n", 300.0),
        (b"Cache-Control: public, MAX-AGE=300, must-revalidate\r\n", 300.0),
        (b'Cache-Control: max-age="300"\r\n', 300.0),
        (b"Cache-Control: max-age=300\r\nCache-Control: max-age=200\r\n", 200.0),
        (b"Cache-Control: max-age=300\r\nAge: 100\r\n", 200.0),
        (b"Cache-Control: max-age=300\r\nAge: 400\r\n", 0.0),
        (b"Cache-Control: max-age=300\r\nAge: old\r\n", 300.0),
        (b"Cache-Control: no-store, max-age=300\r\n", 0.0),
        (b"Cache-Control: no-cache\r\n", 0.0),
        (b"Cache-Control: s-maxage=300\r\n", None),
        (b"Cache-Control: x-max-age=300\r\n", None),
        (b"Cache-Control: max-age=soon\r\n", None),
        (b"Age: 100\r\n", None),
    ],
)
def test_how_long_it_is_fresh(fields: bytes, fresh_for: float | None) -> None:
    document, _ = fetched(saying(OK + fields + b"Content-Length: 0\r\n\r\n"))
    assert document.fresh_for == fresh_for


@pytest.mark.parametrize(
    ("pieces", "why"),
    [
        pytest.param((), "closed before a response", id="nothing"),
        pytest.param((OK,), "closed before a response", id="half-a-head"),
        pytest.param((b"SSH-2.0-x\r\n",), "not valid HTTP/1.1", id="no-http"),
        pytest.param((OK + b"Content-Length: 9\r\n\r\nhello",), "broke off", id="cut"),
        pytest.param((OK + CHUNKED + b"3\r\nhel\r\n",), "broke off", id="cut-between-chunks"),
        pytest.param((OK + CHUNKED + b"zz\r\n",), "not valid HTTP/1.1", id="no-chunk"),
        pytest.param((b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",), "status 404", id="404"),
        pytest.param((b"HTTP/1.1 204 No Content\r\n\r\n",), "status 204", id="204"),
        pytest.param((b"HTTP/1.1 304 Not Modified\r\n\r\n",), "status 304", id="304"),
        pytest.param(
            (b"HTTP/1.1 301 Moved\r\nLocation: https://a.test/\r\nContent-Length: 0\r\n\r\n",),
            "status 301, to 'https://a.test/': redirects are not followed",
            id="redirect",
        ),
        pytest.param((b"HTTP/1.1 100 Continue\r\n\r\n" * 20,), "no end of interim responses", id="interim-for-ever"),
        pytest.param((OK + b"Content-Length: 1001\r\n\r\n",), "larger than 1,000 octets", id="too-long"),
        pytest.param((OK + CHUNKED + b"3e9\r\n" + b"x" * 1001,), "larger than 1,000 octets", id="too-long-in-chunks"),
        pytest.param((OK + b"\r\n" + b"x" * 1001,), "larger than 1,000 octets", id="too-long-without-end"),
        pytest.param((OK + b"X: " + b"x" * 20_000,), "not valid HTTP/1.1", id="head-too-long"),
        pytest.param((OK + b"Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx",), "compressed", id="compressed"),
    ],
)
def test_no_document(pieces: tuple[bytes, ...], why: str) -> None:
    with pytest.raises(FetchError) as caught:
        fetched(saying(*pieces))
    assert why in str(caught.value)


@pytest.mark.parametrize("begun", [b"", OK, OK + b"Content-Length: 5\r\n\r\nhel"], ids=["nothing", "head", "body"])
def test_one_deadline_holds_for_all(begun: bytes) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(begun)
        await reader.read()

    with pytest.raises(FetchError, match=r"no answer within 0\.05 s"):
        fetched(script, patience=0.05)


async def over_tls(url: str, tls: ssl.SSLContext, addresses: tuple[str, ...] = ("127.0.0.1",)) -> bytes:
    names = Names(asyncio.get_running_loop(), lambda text: None, lambda name: addresses)
    try:
        return (await fetch(url, names, tls, most=1 << 20, patience=PATIENCE)).octets
    finally:
        names.close()


def run(work: Awaitable[bytes]) -> bytes:
    async def scene() -> bytes:
        return await work

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(scene())


def test_the_server_is_verified(tmp_path: Path) -> None:
    with Issuer(tmp_path) as issuer:
        ours = client_context(ca=issuer.authority.read_bytes())
        assert run(over_tls(f"{issuer.url}/keys", ours)) == issuer.document()
        assert run(over_tls(f"https://localhost:{issuer.port}/keys", ours)) == issuer.document()
        with pytest.raises(FetchError, match="its certificate is from an unknown authority"):
            run(over_tls(f"{issuer.url}/keys", TLS))
        with pytest.raises(FetchError, match=r"its certificate is for another name than 'other\.test'"):
            run(over_tls(f"https://other.test:{issuer.port}/keys", ours))
        assert len(issuer.asked) == 2
    with pytest.raises(FetchError, match="connection refused"):
        run(over_tls(f"{issuer.url}/keys", ours))


def test_the_next_address_is_tried(tmp_path: Path) -> None:
    with Issuer(tmp_path) as issuer:
        ours = client_context(ca=issuer.authority.read_bytes())
        url = f"https://localhost:{issuer.port}/keys"
        assert run(over_tls(url, ours, ("127.0.0.2", "127.0.0.1"))) == issuer.document()


def test_a_server_that_speaks_no_tls() -> None:
    async def scene() -> bytes:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        try:
            return await over_tls(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/", TLS)
        finally:
            server.close()

    with pytest.raises(FetchError, match="it does not speak TLS there"):
        run(scene())


def test_a_name_that_is_none() -> None:
    async def scene() -> bytes:
        names = Names(asyncio.get_running_loop(), lambda text: None, system_look_up)
        try:
            return (await fetch("https://no-such-name.invalid/", names, TLS, most=9, patience=PATIENCE)).octets
        finally:
            names.close()

    with pytest.raises(FetchError, match=r"no such name|[Tt]emporary failure"):
        run(scene())


# ── does a service work? ──


def probed(script: Script, *, unix: Path | None = None, patience: float = PATIENCE) -> tuple[int, bytes]:
    """The status that a health check gets, and its request."""
    asked = b""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked = await reader.readuntil(b"\r\n\r\n")
        await script(reader, writer)
        writer.close()

    async def scene() -> int:
        if unix is None:
            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            place = Place("a.test", server.sockets[0].getsockname()[1])
        else:
            server = await asyncio.start_unix_server(serve, unix)
            place = Place("localhost", 0, path=str(unix))
        try:
            return await probe(place, "127.0.0.1", None, "/up?a=1", "a.test", patience)
        finally:
            server.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(asyncio.wait_for(scene(), PATIENCE)), asked


@pytest.mark.parametrize(
    ("pieces", "status"),
    [
        pytest.param((OK + b"Content-Length: 5\r\n\r\nhello",), 200, id="200"),
        pytest.param((OK + b"\r\nhello",), 200, id="until-close"),
        pytest.param((b"HTTP/1.1 204 No Content\r\n\r\n",), 204, id="204"),
        pytest.param((b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n",), 503, id="503"),
        pytest.param((b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n",), 302, id="redirect"),
        pytest.param((OK + b"Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx",), 200, id="compressed"),
        pytest.param((OK + b"Content-Length: 1000000\r\n\r\nx",), 200, id="announced-as-too-long"),
        pytest.param((OK + CHUNKED + b"11000\r\n" + b"x" * 0x11000,), 200, id="too-long-in-chunks"),
    ],
)
def test_a_probe_tells_the_status(pieces: tuple[bytes, ...], status: int) -> None:
    found, asked = probed(saying(*pieces))
    assert found == status
    assert asked.startswith(b"GET /up?a=1 HTTP/1.1\r\nHost: a.test\r\n")
    assert b"\r\nConnection: close\r\n" in asked


def test_a_probe_of_a_unix_socket(tmp_path: Path) -> None:
    assert probed(saying(OK + b"Content-Length: 0\r\n\r\n"), unix=tmp_path / "s")[0] == 200


@pytest.mark.parametrize(
    ("pieces", "why"),
    [
        pytest.param((), "closed before a response", id="nothing"),
        pytest.param((b"SSH-2.0-x\r\n",), "not valid HTTP/1.1", id="no-http"),
        pytest.param((OK + b"Content-Length: 9\r\n\r\nhello",), "broke off", id="cut"),
    ],
)
def test_a_probe_that_fails(pieces: tuple[bytes, ...], why: str) -> None:
    with pytest.raises(FetchError, match=why):
        probed(saying(*pieces))


@pytest.mark.parametrize("begun", [b"", OK, OK + b"Content-Length: 5\r\n\r\nhel"], ids=["nothing", "head", "body"])
def test_a_probe_has_one_deadline(begun: bytes) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(begun)
        await reader.read()

    with pytest.raises(FetchError, match=r"no answer within 0\.05 s"):
        probed(script, patience=0.05)


def test_a_probe_verifies_as_requests_do(tmp_path: Path) -> None:
    async def probed_over_tls(issuer: Issuer, name: str, tls: ssl.SSLContext) -> bytes:
        place = Place("ignored.test", issuer.port, "https", server_name=name)
        return b"%d" % await probe(place, "127.0.0.1", tls, "/keys", "a.test", PATIENCE)

    with Issuer(tmp_path) as issuer:
        ours = client_context(ca=issuer.authority.read_bytes())
        assert run(probed_over_tls(issuer, "localhost", ours)) == b"200"
        with pytest.raises(FetchError, match="its certificate is from an unknown authority"):
            run(probed_over_tls(issuer, "localhost", TLS))
        with pytest.raises(FetchError, match="its certificate is for another name"):
            run(probed_over_tls(issuer, "other.test", ours))


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENFILE])
def test_without_descriptors_there_is_no_document(monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    async def refuse(*args: object, **options: object) -> None:
        raise OSError(error, "Too many open files")

    monkeypatch.setattr(asyncio, "open_connection", refuse)
    with pytest.raises(FetchError, match="too many open files"):
        fetched(saying())


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENFILE])
def test_a_shortage_of_descriptors_is_nobodys_failure(monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    async def refuse(*args: object, **options: object) -> None:
        raise OSError(error, "too many open files")

    monkeypatch.setattr(asyncio, "open_connection", refuse)
    with pytest.raises(OSError, match="too many open files"):
        probed(saying())
