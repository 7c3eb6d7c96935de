"""The witnesses: real servers, each with a small application that reports what it sees (`apps/`).

A server is a record: how it is started on a port of the loopback, what it needs, how its report is read. The report is
JSON; nginx has no way to quote, so its own is text that is read here.
"""

import contextlib
import getpass
import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.gateway import PATIENCE
from harness.upstream import free_port
from witnesses.apps.idioms import CHANGING, SITES
from witnesses.spellings import OVERRIDES, VOUCHED

APPS = Path(__file__).parent / "apps"
TESTS = Path(__file__).parents[1]
TOMCAT = Path("/usr/share/tomcat10")
LOCAL = "127.0.0.1"

Report = dict[str, Any]

PACKAGES = {
    "nginx": "apt-get install nginx-light",
    "haproxy": "apt-get install haproxy",
    "lighttpd": "apt-get install lighttpd",
    "apache2": "apt-get install apache2-bin",
    "perl": "apt-get install perl-base",
    "javac": "apt-get install default-jdk-headless",
    "node": "apt-get install nodejs",
}
"""How to get a program."""


@dataclass(frozen=True)
class Server:
    """One witness.

    name     as the table has it
    command  (directory, port) → what to run; it may write its configuration to the directory
    needs    programs, modules of Python, and paths that must be there: "nginx", "python:tornado", "/usr/share/…"
    environ  its application reads fields by their CGI names, HTTP_X_USER_ID
    part     it belongs to the part that runs with every change: it starts within a second or two
    settings lines of the gateway's configuration that this server asks for
    read     octets of an answer → the report
    """

    name: str
    command: Callable[[Path, int], list[str]]
    needs: tuple[str, ...] = ()
    environ: bool = False
    part: bool = True
    settings: str = ""
    read: Callable[[bytes], Report] = field(default=json.loads)

    def __str__(self) -> str:
        return self.name

    def key(self, name: str) -> str:
        """The name by which the application asks for a field."""
        if not self.environ:
            return name.lower()
        plain = name.upper().replace("-", "_")
        return plain if plain in ("CONTENT_LENGTH", "CONTENT_TYPE") else f"HTTP_{plain}"

    def missing(self) -> str:
        """What it needs and this machine has not, with how to get it; "" when it can run."""
        return "; ".join(filter(None, map(lacking, self.needs)))


def find(program: str) -> str | None:
    """Debian keeps servers in /usr/sbin, which an ordinary user's PATH leaves out."""
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin")


def lacking(need: str) -> str:
    kind, _, name = need.rpartition(":")
    if kind == "python":
        return "" if importlib.util.find_spec(name) else f"{name} is not installed (pip install {name})"
    if kind == "npm":
        there = (APPS / "node_modules" / name).is_dir()
        return "" if there else f"{name} is not installed (npm install, in tests/witnesses/apps)"
    if kind == "jar":
        return "" if Path(name).exists() else f"{name} is not there (apt-get install tomcat10)"
    return "" if find(name) else f"{name} is not installed ({PACKAGES[name]})"


@contextmanager
def process(command: list[str], port: int, directory: Path) -> Iterator[None]:
    """Run it while the block lasts, which begins when somebody answers at the port. What it says goes to a file."""
    env = {**os.environ, "PYTHONPATH": str(TESTS), "PYTHONWARNINGS": "ignore"}
    said = directory / "said"
    with said.open("wb") as stderr:
        # In a session of its own: apache ends its whole process group when it is told to end.
        child = subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr, start_new_session=True
        )
    try:
        wait_listening(child, port, said)
        yield
    finally:
        child.terminate()
        try:
            child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def wait_listening(child: "subprocess.Popen[bytes]", port: int, said: Path) -> None:
    """Until it accepts connections. A server that ends first, or takes too long, has failed."""
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends and child.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((LOCAL, port), 1):
            return
        # Who waits for its end learns of a bad start at once.
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(0.02)
    raise AssertionError(f"{child.args!r} does not listen: {said.read_text(errors='replace')[-2000:]}")


@contextmanager
def serving(server: Server, directory: Path) -> Iterator[int]:
    """The port of a running server."""
    port = free_port()
    with process(server.command(directory, port), port, directory):
        yield port


# ── in Python ──


def module(name: str, *arguments: str) -> Callable[[Path, int], list[str]]:
    """`python -m name`; {port} in the arguments becomes the port."""
    return lambda _, port: [sys.executable, "-m", name, *(word.format(port=port) for word in arguments)]


def uvicorn(parser: str) -> Callable[[Path, int], list[str]]:
    words = ("--http", parser, "--port", "{port}", "--log-level", "error", "--no-access-log")
    return module("uvicorn", *words, "witnesses.apps.asgi_app:app")


# ── programs with a configuration ──


def closed_hosts() -> Iterator[tuple[str, str]]:
    """The closed sites, and how each stands in a Host field."""
    for site in SITES:
        yield site, f"[{site}]" if ":" in site else site


def is_root() -> bool:
    return os.geteuid() == 0


def cgi_folder(directory: Path) -> Path:
    """A copy of the CGI program where a server that has given up its rights may run it."""
    folder = directory / "cgi"
    folder.mkdir()
    shutil.copy(APPS / "cgi_app.pl", folder)
    for path in (directory, folder, folder / "cgi_app.pl"):
        path.chmod(0o755)
    return folder


def lighttpd(directory: Path, port: int) -> list[str]:
    folder = cgi_folder(directory)
    config = f"""
server.modules = ( "mod_alias", "mod_setenv", "mod_cgi" )
server.bind = "{LOCAL}"
server.port = {port}
server.document-root = "{folder}"
server.upload-dirs = ( "{directory}" )
server.errorlog = "{directory}/error.log"
alias.url = ( "/" => "{folder}/cgi_app.pl/" )
cgi.assign = ( ".pl" => "" )
$HTTP["url"] =~ "^/admin(/|$)" {{ setenv.add-environment += ( "HANDLER" => "admin" ) }}
$HTTP["url"] =~ "^/items(/|$)" {{ setenv.add-environment += ( "HANDLER" => "items" ) }}
"""
    for site, name in closed_hosts():
        pattern = f"^{re.escape(name)}(:|$)"
        config += f'$HTTP["host"] =~ "{pattern}" {{ setenv.add-environment += ( "SITE" => "{site}" ) }}\n'
    (directory / "lighttpd.conf").write_text(config)
    return [find("lighttpd") or "", "-D", "-f", str(directory / "lighttpd.conf")]


def apache(directory: Path, port: int) -> list[str]:
    folder = cgi_folder(directory)
    modules = "/usr/lib/apache2/modules"
    names = ("mpm_prefork", "authz_core", "alias", "env", "cgi")
    config = "\n".join(f"LoadModule {name}_module {modules}/mod_{name}.so" for name in names)
    config += f"""
ServerRoot {directory}
PidFile {directory}/apache.pid
ErrorLog {directory}/error.log
Listen {LOCAL}:{port}
{"User www-data" if is_root() else ""}
{"Group www-data" if is_root() else ""}
ServerName open.test
ScriptAlias / {folder}/cgi_app.pl/
<Directory {folder}>
Require all granted
</Directory>
<Location /admin>
SetEnv HANDLER admin
</Location>
<Location /items>
SetEnv HANDLER items
</Location>
<VirtualHost *:{port}>
ServerName open.test
</VirtualHost>
"""
    # Its ServerName is never an IPv6 address.
    for site, name in (pair for pair in closed_hosts() if ":" not in pair[0]):
        config += f"<VirtualHost *:{port}>\nServerName {name}\nSetEnv SITE {site}\n</VirtualHost>\n"
    (directory / "apache.conf").write_text(config)
    return [find("apache2") or "", "-DFOREGROUND", "-f", str(directory / "apache.conf")]


BETWEEN = "\x1e"
"""What separates the lines of nginx's report: no octet of a field or a path that it would take."""


def nginx_frame(directory: Path, body: str) -> str:
    """The parts of an nginx configuration that have nothing to do with what it serves."""
    paths = "".join(f"{kind}_temp_path {directory}/{kind};\n" for kind in ("proxy", "fastcgi", "uwsgi", "scgi"))
    user = f"user {getpass.getuser()};" if is_root() else ""
    return f"""
{user}
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr crit;
events {{}}
http {{
access_log off;
client_body_temp_path {directory}/body;
{paths}
{body}
}}
"""


def nginx_command(directory: Path, body: str) -> list[str]:
    config = directory / "nginx.conf"
    config.write_text(nginx_frame(directory, body))
    return [find("nginx") or "", "-p", str(directory), "-c", str(config), "-e", "stderr"]


def nginx(directory: Path, port: int) -> list[str]:
    names = [*VOUCHED, *OVERRIDES, "Authorization", "X-Api-Key"]
    fields = BETWEEN.join(f"+{name.lower()}=$http_{name.lower().replace('-', '_')}" for name in names)
    said = ("method=$request_method", "path=$uri", "raw=$request_uri", "host=$host", "remote=$remote_addr")
    report = BETWEEN.join((*said, fields))
    body = "map $request_method $items { default items; " + " ".join(f"{name} change;" for name in CHANGING) + " }\n"
    for site, name in [("", "_"), *closed_hosts()]:
        body += f"server {{\nlisten {LOCAL}:{port}{'' if site else ' default_server'};\nserver_name {name};\n"
        for where, handler in (("~ ^/admin(/|$)", "admin"), ("~ ^/items(/|$)", "$items"), ("/", "open")):
            body += f'location {where} {{ return 200 "handler={handler}{BETWEEN}site={site}{BETWEEN}{report}"; }}\n'
        body += "}\n"
    return nginx_command(directory, body)


def read_nginx(octets: bytes) -> Report:
    lines = [line.partition("=")[::2] for line in octets.decode("latin-1").split(BETWEEN)]
    report: Report = {name: value for name, value in lines if not name.startswith("+")}
    report["fields"] = [[name[1:], value] for name, value in lines if name.startswith("+") and value]
    return report


def tomcat(directory: Path, port: int) -> list[str]:
    jars = f"{TOMCAT}/lib/*:{TOMCAT}/bin/*"
    # The compiler for one-file programs is part of a JDK.
    return [find("java") or "", "-cp", jars, str(APPS / "Tomcat.java"), str(port), str(directory)]


def node(app: str) -> Callable[[Path, int], list[str]]:
    return lambda _, port: [find("node") or "", str(APPS / app), str(port)]


SERVERS = (
    Server("uvicorn h11", uvicorn("h11"), ("python:uvicorn", "python:h11")),
    Server("uvicorn httptools", uvicorn("httptools"), ("python:uvicorn", "python:httptools")),
    Server(
        "gunicorn",
        module("gunicorn", "--bind", f"{LOCAL}:{{port}}", "--log-level", "critical", "witnesses.apps.wsgi_app:app"),
        ("python:gunicorn",),
        environ=True,
    ),
    Server(
        "waitress",
        module("waitress", f"--listen={LOCAL}:{{port}}", "witnesses.apps.wsgi_app:app"),
        ("python:waitress",),
        environ=True,
    ),
    Server(
        "hypercorn",
        module("hypercorn", "--bind", f"{LOCAL}:{{port}}", "witnesses.apps.asgi_app:app"),
        ("python:hypercorn",),
    ),
    Server("aiohttp", module("witnesses.apps.aiohttp_app", "{port}"), ("python:aiohttp",)),
    Server("tornado", module("witnesses.apps.tornado_app", "{port}"), ("python:tornado",)),
    Server("Werkzeug", module("witnesses.apps.werkzeug_app", "{port}"), ("python:werkzeug",), environ=True),
    Server("http.server", module("witnesses.apps.http_server_app", "{port}")),
    Server("node", node("node_app.mjs"), ("node",)),
    Server("Express", node("express_app.mjs"), ("node", "npm:express"), settings='case = "ignore"'),
    Server("nginx", nginx, ("nginx",), read=read_nginx),
    Server("lighttpd CGI", lighttpd, ("lighttpd", "perl"), environ=True),
    Server("apache CGI", apache, ("apache2", "perl"), environ=True, part=False),
    Server("Tomcat", tomcat, ("javac", f"jar:{TOMCAT}/lib/catalina.jar"), part=False),
)
