"""The gateway between servers and clients that real people run: nginx, uvicorn, Node and Python's HTTP/1.0 server;
curl, httpx and aiohttp.

Whatever can be asked of a server directly is asked of it directly too: what the gateway adds and takes away is listed
in `ADDED` and `TAKEN`, and nothing else may differ.
"""

import asyncio
import getpass
import gzip
import hashlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import aiohttp
import httpx
import pytest

from harness import configs
from harness.gateway import PATIENCE, Gateway, running
from harness.upstream import free_port, has_ipv6
from harness.wire_reader import FIN, Message, Stream, read_response

pytestmark = pytest.mark.process

HAS_IPV6 = has_ipv6()
NEEDS_IPV6 = pytest.mark.skipif(not HAS_IPV6, reason="this host has no IPv6")

SERVERS = Path(__file__).parent / "servers"
PIECE = bytes(range(256)) * 256
LARGE = PIECE * 64

Program = Callable[[str], str]


# ── servers ──

NGINX = """
user {user};
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/client;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    client_max_body_size 64m;
    gzip_types text/plain;
    gzip_proxied any;
    types {{ text/plain txt; }}
    server {{
        listen 127.0.0.1:{port};
        root {directory}/files;
        location /cookies {{ add_header Set-Cookie "a=1; Path=/"; add_header Set-Cookie "b=2"; return 200 ok; }}
        location /status/204 {{ return 204; }}
        location /status/301 {{ return 301 /elsewhere; }}
        location /connection {{ return 200 "$connection $connection_requests"; }}
        location /gzip {{ gzip on; alias {directory}/files; }}
        location /endless {{ gzip on; chunked_transfer_encoding off; alias {directory}/files; }}
        location /store {{ dav_methods PUT DELETE; alias {directory}/files; }}
    }}
}}
"""


@contextmanager
def process(*command: str, env: dict[str, str] | None = None, fds: tuple[int, ...] = ()) -> Iterator[str]:
    """Run it; its first line on stdout, unless it writes none."""
    stdout = None if fds else subprocess.PIPE
    with subprocess.Popen(command, stdout=stdout, env={**os.environ, **(env or {})}, pass_fds=fds) as child:
        try:
            yield child.stdout.readline().decode().strip() if child.stdout is not None else ""
        finally:
            child.terminate()


@contextmanager
def nginx(program: str, directory: Path) -> Iterator[int]:
    """nginx takes over a socket that listens already, as it does when it is upgraded: nobody waits for it."""
    (directory / "files").mkdir()
    (directory / "files" / "small.txt").write_text("small\n" * 100)
    (directory / "files" / "large.bin").write_bytes(LARGE)
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        port: int = listening.getsockname()[1]
        config = directory / "nginx.conf"
        config.write_text(NGINX.format(directory=directory, port=port, user=getpass.getuser()))
        arguments = (program, "-p", str(directory), "-c", str(config), "-e", "stderr")
        with process(*arguments, env={"NGINX": f"{listening.fileno()};"}, fds=(listening.fileno(),)):
            yield port


class OldHandler(BaseHTTPRequestHandler):
    """Answers in HTTP/1.0, until close."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(LARGE if self.path == "/large" else self.path.encode())

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the name that it is called with
        pass


@contextmanager
def old_server() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), OldHandler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


# ── the gateways: one for each lane, in front of the same servers ──


class House:
    """All of it: `ports` of the servers by name, `gateways` by lane."""

    def __init__(self, ports: dict[str, int]) -> None:
        self.ports = ports
        self.gateways: dict[str, Gateway] = {}


@pytest.fixture(scope="module")
def house(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with ExitStack() as stack:
        node = (program("node"), str(SERVERS / "node_app.mjs"))
        asgi = stack.enter_context(process(sys.executable, str(SERVERS / "asgi_app.py")))
        ports = {
            "nginx": stack.enter_context(nginx(program("nginx"), tmp_path_factory.mktemp("nginx"))),
            "uvicorn": int(asgi),
            "node": int(stack.enter_context(process(*node))),
            "other": int(stack.enter_context(process(*node, "127.0.0.1", "other"))),
            "old": stack.enter_context(old_server()),
        }
        targets = {name: [f"http://127.0.0.1:{port}"] for name, port in ports.items()}
        listens = ["127.0.0.1:0", "unix:gateway.sock"]
        if HAS_IPV6:
            targets["six"] = [f"http://[::1]:{stack.enter_context(process(*node, '::1', 'six'))}"]
            listens.append("[::1]:0")
        targets["several"] = [*targets["node"], *targets["other"], f"http://127.0.0.1:{free_port()}"]
        house = House(ports)
        for lane in ("fast", "h11"):
            text = configs.gateway(f'parser = "{lane}"', 'timeouts = { drain = "1s" }', listen=listens)
            for name, found in targets.items():
                text += configs.upstream(name, found) + configs.route(f"/{name}", name, 'rewrite = "/"')
            house.gateways[lane] = stack.enter_context(running(tmp_path_factory.mktemp(lane), text))
        yield house


@pytest.fixture(params=["fast", "h11"])
def gateway(house: House, request: pytest.FixtureRequest) -> Gateway:
    return house.gateways[request.param]


@pytest.fixture
def url(gateway: Gateway) -> str:
    return "http://{}:{}".format(*gateway.address)


# ── the same answer as without the gateway ──

ADDED = {b"x-request-id"}
TAKEN = {b"server", b"x-powered-by"}
HOP = {b"connection", b"keep-alive", b"transfer-encoding"}
APART = {b"date", b"content-length"}
"""The clock goes on; the length is written anew, in its own place."""

ASKED = [
    ("nginx", "GET", "/small.txt", ()),
    ("nginx", "GET", "/large.bin", ()),
    ("nginx", "GET", "/large.bin", ("Range: bytes=100-199",)),
    ("nginx", "GET", "/small.txt", ("If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT",)),
    ("nginx", "GET", "/gzip/small.txt", ("Accept-Encoding: gzip",)),
    ("nginx", "GET", "/endless/small.txt", ("Accept-Encoding: gzip",)),
    ("nginx", "GET", "/cookies", ()),
    ("nginx", "GET", "/status/204", ()),
    ("nginx", "GET", "/nothing", ()),
    ("nginx", "HEAD", "/large.bin", ()),
    ("nginx", "OPTIONS", "/small.txt", ()),
    *[
        (server, method, path, ())
        for server in ("uvicorn", "node")
        for method, path in (
            ("GET", "/counted/1048576"),
            ("GET", "/chunked/1048576"),
            ("GET", "/cookies"),
            ("GET", "/gzip"),
            ("GET", "/status/204"),
            ("GET", "/status/304"),
            ("GET", "/status/404"),
            ("GET", "/status/503"),
            ("HEAD", "/counted/1048576"),
            ("HEAD", "/status/204"),
            ("DELETE", "/status/204"),
            ("OPTIONS", "/status/200"),
        )
    ],
    ("node", "GET", "/endless/1048576", ()),
]


@pytest.mark.parametrize(
    ("server", "method", "path", "fields"), ASKED, ids=[" ".join((*asked[:3], *asked[3])) for asked in ASKED]
)
def test_an_answer_is_the_same_as_without_the_gateway(
    house: House, gateway: Gateway, server: str, method: str, path: str, fields: tuple[str, ...]
) -> None:
    direct = ask(("127.0.0.1", house.ports[server]), method, path, *fields)
    through = ask(gateway.address, method, f"/{server}{path}", *fields)
    assert (through.status, through.body) == (direct.status, direct.body)
    assert end_to_end(through, ADDED) == end_to_end(direct, TAKEN)
    if direct.framing == "length" or method == "HEAD":
        assert through.values(b"content-length") == direct.values(b"content-length")
    assert len(through.values(b"x-request-id")) == len(through.values(b"date")) == 1


def ask(address: tuple[str, int], method: str, path: str, *fields: str) -> Message:
    lines = [f"{method} {path} HTTP/1.1", "Host: h", "Connection: close", *fields]
    with socket.create_connection(address, PATIENCE) as sock:
        sock.sendall("\r\n".join([*lines, "", ""]).encode())
        message = read_response(Stream.of(sock), method.encode())
    assert message is not None
    return message


def end_to_end(message: Message, but: set[bytes]) -> list[tuple[bytes, bytes]]:
    """The fields, in order, without those."""
    return [field for field in message.fields if field[0].lower() not in but | HOP | APART]


# ── requests ──


@pytest.mark.parametrize("server", ["uvicorn", "node"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "PURGE"])
def test_a_request_arrives_as_it_was_sent(url: str, server: str, method: str) -> None:
    if (server, method) == ("node", "PURGE"):
        method = "REPORT"  # one of those that Node knows
    document = {"a": [1, "zwei", None]}
    with httpx.Client(trust_env=False, timeout=PATIENCE) as client:
        answer = client.request(method, f"{url}/{server}/echo/%41?q=%20x&q=2", json=document, headers={"X-Mine": "1"})
    found = answer.json()
    sent = answer.request.content
    assert (found["method"], found["target"]) == (method, "/echo/A?q=%20x&q=2")
    assert (found["length"], found["sha256"]) == (len(sent), hashlib.sha256(sent).hexdigest())
    headers = found["headers"]
    assert (headers["content-type"], headers["x-mine"]) == ("application/json", "1")
    assert (headers["x-forwarded-for"], headers["x-forwarded-proto"]) == ("127.0.0.1", "http")
    assert headers["via"] == "1.1 rawgate"
    assert headers["x-request-id"] == answer.headers["x-request-id"]
    assert "connection" not in headers or headers["connection"] == "keep-alive"


@pytest.mark.parametrize("server", ["uvicorn", "node"])
@pytest.mark.parametrize("framing", ["counted", "chunked"])
def test_a_large_body_goes_up_by_httpx(url: str, server: str, framing: str) -> None:
    content = LARGE if framing == "counted" else (PIECE for _ in range(64))
    with httpx.Client(trust_env=False, timeout=PATIENCE) as client:
        found = client.post(f"{url}/{server}/echo", content=content).json()
    assert (found["length"], found["sha256"]) == (len(LARGE), hashlib.sha256(LARGE).hexdigest())
    assert ("content-length" in found["headers"], "transfer-encoding" in found["headers"]) == (
        framing == "counted",
        framing == "chunked",
    )


@pytest.mark.parametrize("path", ["uvicorn/counted", "uvicorn/chunked", "node/counted", "node/chunked", "node/endless"])
def test_a_large_body_comes_down_by_aiohttp(url: str, path: str) -> None:
    async def fetch() -> list[bytes]:
        async with aiohttp.ClientSession() as session:
            return [await get(session), await get(session)]

    async def get(session: aiohttp.ClientSession) -> bytes:
        async with session.get(f"{url}/{path}/{len(LARGE)}") as answer:
            assert answer.status == 200
            return await answer.read()

    assert asyncio.run(fetch()) == [LARGE, LARGE]


@pytest.mark.parametrize("server", ["uvicorn", "node"])
def test_many_at_once_by_aiohttp(url: str, server: str) -> None:
    """Each answer is the one to its own request."""

    async def fetch() -> list[tuple[str, int]]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=20)) as session:
            return await asyncio.gather(*(post(session, number) for number in range(100)))

    async def post(session: aiohttp.ClientSession, number: int) -> tuple[str, int]:
        async with session.post(f"{url}/{server}/echo?n={number}", data=bytes(number * 100)) as answer:
            found = await answer.json()
            return found["target"], found["length"]

    assert asyncio.run(fetch()) == [(f"/echo?n={number}", number * 100) for number in range(100)]


def test_a_file_is_put_fetched_and_deleted(url: str) -> None:
    path = f"{url}/nginx/store/{url[-5:]}.bin"
    with httpx.Client(trust_env=False, timeout=PATIENCE) as client:
        assert client.put(path, content=LARGE).status_code == 201
        assert client.get(path).content == LARGE
        assert client.delete(path).status_code == 204
        assert client.get(path).status_code == 404


def test_what_is_compressed_stays_so(url: str) -> None:
    for server in ("uvicorn", "node"):
        with (
            httpx.Client(trust_env=False, timeout=PATIENCE) as client,
            client.stream("GET", f"{url}/{server}/gzip") as answer,
        ):
            assert answer.headers["content-encoding"] == "gzip"
            assert gzip.decompress(b"".join(answer.iter_raw())).startswith(b"the same octets")


@pytest.mark.parametrize("server", ["uvicorn", "node"])
def test_an_event_arrives_when_it_is_sent(url: str, server: str) -> None:
    """The server sends the second when the first has been seen."""
    with (
        httpx.Client(trust_env=False, timeout=PATIENCE) as client,
        client.stream("GET", f"{url}/{server}/events") as answer,
    ):
        lines = answer.iter_lines()
        assert next(lines) == "data: one"
        assert client.get(f"{url}/{server}/confirm").status_code == 204
        assert list(lines) == ["", "data: two", ""]


def test_websocket_messages_pass_both_ways(url: str) -> None:
    async def talk() -> list[object]:
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}/uvicorn/ws", max_msg_size=0) as ws:
            heard: list[object] = []
            for message in ("hello", "", "zwölf"):
                await ws.send_str(message)
                heard.append(await ws.receive_str())
            await ws.send_bytes(LARGE)
            heard.append(await ws.receive_bytes())
            await ws.close(code=4000)
            heard.append(ws.close_code)
            return heard

    assert asyncio.run(talk()) == ["hello", "", "zwölf", LARGE, 4000]


# ── curl ──


@pytest.fixture
def curl(program: Program) -> Callable[..., str]:
    def run(*arguments: str) -> str:
        command = (program("curl"), "--silent", "--show-error", "--noproxy", "*", "--max-time", str(PATIENCE))
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    return run


@pytest.mark.parametrize("server", ["uvicorn", "node"])
@pytest.mark.parametrize("framing", ["Content-Length", "Transfer-Encoding: chunked"])
def test_curl_waits_for_100_continue(
    url: str, curl: Callable[..., str], tmp_path: Path, server: str, framing: str
) -> None:
    (tmp_path / "large").write_bytes(LARGE)
    fields = ["-H", "Expect: 100-continue"] + (["-H", framing] if ":" in framing else [])
    # curl waits a second for a 100 unless told to wait longer: so it is the gateway's that it goes on at.
    said = curl("-v", *fields, "--expect100-timeout", "20", "-T", str(tmp_path / "large"), f"{url}/{server}/echo")
    assert "< HTTP/1.1 100 Continue" in said
    assert hashlib.sha256(LARGE).hexdigest() in said


@pytest.mark.parametrize("version", ["--http1.0", "--http1.1"])
@pytest.mark.parametrize("path", ["/node/endless/4194304", "/node/chunked/4194304", "/old/large"])
def test_curl_gets_whole_an_answer_of_unknown_length(
    url: str, curl: Callable[..., str], tmp_path: Path, version: str, path: str
) -> None:
    curl(version, "-o", str(tmp_path / "got"), f"{url}{path}")
    assert (tmp_path / "got").read_bytes() == LARGE


def test_curl_speaks_http_2_to_a_gateway_that_does_not(url: str, curl: Callable[..., str]) -> None:
    """The upgrade to h2c is offered and not taken."""
    assert json.loads(curl("--http2", f"{url}/uvicorn/echo"))["headers"].get("upgrade") is None


@NEEDS_IPV6
def test_it_listens_on_ipv6(gateway: Gateway, curl: Callable[..., str]) -> None:
    port = gateway.addresses[2][1]
    found = json.loads(curl("-g", f"http://[::1]:{port}/uvicorn/echo/by-ipv6"))
    assert found["headers"]["x-forwarded-for"] == "::1"
    assert gateway.line(path="/uvicorn/echo/by-ipv6")["remote"].startswith("[::1]:")


def test_it_listens_on_a_unix_socket(gateway: Gateway, curl: Callable[..., str]) -> None:
    path = Path(f"/proc/{gateway.pid}/cwd").resolve() / str(gateway.addresses[1][1])
    found = json.loads(curl("--unix-socket", str(path), "http://h/uvicorn/echo"))
    assert found["length"] == 0
    assert gateway.line(remote="unix")["status"] == 200


@NEEDS_IPV6
def test_it_reaches_a_server_by_ipv6(url: str, curl: Callable[..., str]) -> None:
    assert curl(f"{url}/six/name") == "six"


# ── connections ──


def test_one_connection_to_the_server_serves_many_clients(url: str) -> None:
    seen = []
    for _ in range(5):
        with httpx.Client(trust_env=False, timeout=PATIENCE) as client:
            seen.append(client.get(f"{url}/nginx/connection").text.split())
    connections = {connection for connection, _ in seen}
    counts = [int(count) for _, count in seen]
    assert len(connections) == 1
    assert counts == list(range(counts[0], counts[0] + 5))


def test_one_connection_of_a_client_serves_many_servers(gateway: Gateway, url: str) -> None:
    paths = [f"/{server}/cookies" for server in ("nginx", "uvicorn", "node")] * 3
    with httpx.Client(trust_env=False, timeout=PATIENCE) as client:
        answers = [client.get(url + path) for path in paths]
    assert [answer.status_code for answer in answers] == [200] * len(paths)
    assert [answer.headers.get_list("set-cookie")[0] for answer in answers] == ["a=1; Path=/"] * len(paths)
    ids = {answer.headers["x-request-id"] for answer in answers}
    gateway.wait(lambda: ids <= {line["requestId"] for line in gateway.log}, "their log lines")
    assert len({line["remote"] for line in gateway.log if line["requestId"] in ids}) == 1


@pytest.mark.parametrize("split", [False, True], ids=["at once", "octet by octet"])
def test_pipelined_requests_are_answered_in_order(gateway: Gateway, split: bool) -> None:
    asked = ((b"node", b"keep-alive"), (b"uvicorn", b"keep-alive"), (b"node", b"close"))
    octets = b"GET /nginx/small.txt HTTP/1.1\r\nHost: h\r\n\r\n" + b"".join(
        b"POST /%b/echo?%d HTTP/1.1\r\nHost: h\r\nConnection: %b\r\nContent-Length: 4\r\n\r\nbody"
        % (server, number, then)
        for number, (server, then) in enumerate(asked)
    )
    with gateway.connect() as sock:
        for at in range(0, len(octets), 1 if split else len(octets)):
            sock.sendall(octets[at : at + (1 if split else len(octets))])
        stream = Stream.of(sock)
        first, *echoes = (read_response(stream) for _ in range(4))
        assert stream.rest() == b""
        assert stream.ended == FIN
    assert first is not None
    assert first.body.startswith(b"small")
    found = [json.loads(answer.body) for answer in echoes if answer is not None]
    assert [one["target"] for one in found] == ["/echo?0", "/echo?1", "/echo?2"]
    assert [one["length"] for one in found] == [4, 4, 4]


def test_targets_take_turns_and_the_dead_one_is_left_out(url: str) -> None:
    with httpx.Client(trust_env=False, timeout=PATIENCE) as client:
        answers = [client.get(f"{url}/several/name") for _ in range(12)]
    assert [answer.status_code for answer in answers] == [200] * 12
    names = [answer.text for answer in answers]
    assert set(names) == {"node", "other"}
    assert 4 <= names.count("node") <= 8


def test_a_server_that_closes_after_each_answer_is_no_trouble(url: str) -> None:
    with httpx.Client(trust_env=False, timeout=PATIENCE) as client:
        assert [client.get(f"{url}/old/{number}").text for number in range(20)] == [f"/{n}" for n in range(20)]
