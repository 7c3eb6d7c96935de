"""The gateways that are compared, each with one configuration for all storms: what a careful operator would write who
knows its manual, with the same numbers where two have the same thing.

    least requests
    5 failures eject a target for 10 s
    a health check each second; two failed ones take a target out, two good ones bring it back
    1 s to connect, 2 s for a response
    one more attempt, at another target, never for a POST
    5 s of slow start

What one does not have is left out. nginx has no checks, no slow start, no breaker and no budget of retries; HAProxy has
no breaker and no budget. rawgate's breaker is an entry of its own, since it is no gain in every storm. Where the storm
is about zones, the other zones' targets are `backup` in nginx and HAProxy, which is their nearest.
"""

import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

from msgspec import Struct

from harness.gateway import command, running
from harness.upstream import free_port
from tools.storming.storms import HERE, ZONES

PATIENCE = 20.0

RAWGATE = """
[gateway]
listen = ["127.0.0.1:0"]
workers = {workers}
{zone}

[upstreams.app]
targets = [
{targets}
]
connect_timeout = "1s"
response_timeout = "2s"
balance = "least_requests"
health = {{ path = "/health", interval = "1s", timeout = "1s", rise = 2, fall = 2 }}
eject = {{ failures = 5, for = "10s", at_most = "50%" }}
slow_start = "5s"
retry = {{ attempts = 2, on = ["connect", "reset", "timeout", 502, 503, 504], budget = "20%" }}
{breaker}
[[routes]]
prefix = "/"
upstream = "app"
auth = "none"
"""

NGINX = """
worker_processes {workers};
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log error;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    keepalive_requests 1000000000;
    upstream app {{
        zone app 256k;
        least_conn;
{targets}
        keepalive 64;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_connect_timeout 1s;
            proxy_read_timeout 2s;
            proxy_next_upstream error timeout http_502 http_503 http_504;
            proxy_next_upstream_tries 2;
        }}
    }}
}}
"""

BREAKER = """breaker = { errors = "50%", of = 20, within = "10s", for = "5s" }
"""

HAPROXY = """
global
    nbthread {workers}
    maxconn 4096
defaults
    mode http
    option http-keep-alive
    timeout connect 1s
    timeout client 60s
    timeout server 2s
    timeout queue 1s
    timeout check 1s
    retries 1
    option redispatch 1
    retry-on conn-failure empty-response response-timeout 502 503 504
frontend clients
    bind 127.0.0.1:{port} backlog 4096
    default_backend app
backend app
    balance leastconn
    http-request disable-l7-retry if METH_POST
    option allbackups
    option httpchk GET /health
    http-check expect status 200
    default-server check inter 1s fall 2 rise 2 observe layer7 error-limit 5 on-error mark-down slowstart 5s
{targets}
"""


class Contender(Struct, frozen=True):
    """version: a line; start: serves these ports with so many workers, with zones or without, and yields its own."""

    name: str
    version: Callable[[], str]
    start: Callable[[Sequence[int], int, bool], AbstractContextManager[int]]


def _said(*words: str) -> str:
    """The first line that a command writes."""
    done = subprocess.run(words, capture_output=True, text=True, check=True)  # noqa: S603
    return (done.stdout + done.stderr).splitlines()[0]


# ── rawgate ──


def _rawgate_version() -> str:
    return " ".join(_said(*command(), "version").split())


@contextmanager
def _rawgate(ports: Sequence[int], workers: int, zoned: bool, breaker: str = "") -> Iterator[int]:
    entry = '    {{ url = "http://127.0.0.1:{}", zone = "{}" }},' if zoned else '    "http://127.0.0.1:{}",'
    targets = "\n".join(entry.format(port, zone) for port, zone in zip(ports, ZONES, strict=True))
    zone = f'zone = "{HERE}"' if zoned else ""
    text = RAWGATE.format(workers=workers, zone=zone, targets=targets, breaker=breaker)
    with tempfile.TemporaryDirectory() as folder, running(Path(folder), text) as gateway:
        yield gateway.address[1]


# ── nginx and HAProxy ──


@contextmanager
def _process(words: Sequence[str], port: int) -> Iterator[None]:
    """Run a server until it listens, and after that."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)  # noqa: S603
    try:
        ends = time.monotonic() + PATIENCE
        listening = re.compile(rf":{port:04X} 00000000:0000 0A")
        while not listening.search(Path("/proc/net/tcp").read_text()):
            if process.poll() is not None or time.monotonic() > ends:
                raise SystemExit(f"{words[0]} does not start")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait()


def _backup(zoned: bool) -> Iterator[str]:
    """What a target's line ends with."""
    return (" backup" if zoned and zone != HERE else "" for zone in ZONES)


@contextmanager
def _nginx(ports: Sequence[int], workers: int, zoned: bool) -> Iterator[int]:
    port = free_port()
    entry = "        server 127.0.0.1:{} max_fails=5 fail_timeout=10s{};"
    targets = "\n".join(map(entry.format, ports, _backup(zoned)))
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "nginx.conf")
        config.write_text(NGINX.format(workers=workers, folder=folder, port=port, targets=targets))
        with _process(["/usr/sbin/nginx", "-e", f"{folder}/nginx.log", "-c", str(config)], port):
            yield port


@contextmanager
def _haproxy(ports: Sequence[int], workers: int, zoned: bool) -> Iterator[int]:
    port = free_port()
    targets = "\n".join(map("    server t{0} 127.0.0.1:{0}{1}".format, ports, _backup(zoned)))
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "haproxy.cfg")
        config.write_text(HAPROXY.format(workers=workers, port=port, targets=targets))
        with _process(["/usr/sbin/haproxy", "-db", "-q", "-f", str(config)], port):
            yield port


CONTENDERS = (
    Contender("rawgate", _rawgate_version, _rawgate),
    Contender("rawgate, breaker", _rawgate_version, partial(_rawgate, breaker=BREAKER)),
    Contender("nginx", lambda: _said("/usr/sbin/nginx", "-v"), _nginx),
    Contender("HAProxy", lambda: _said("/usr/sbin/haproxy", "-v"), _haproxy),
)
