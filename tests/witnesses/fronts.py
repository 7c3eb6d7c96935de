"""What stands in front of a witness: rawgate, nginx or haproxy with the same rules, or nothing.

The rules, everywhere: the closed sites and /admin are for bearers of the token, /items is so by POST, PUT, PATCH and
DELETE, /partner is for bearers of the key, all else is open. One server is behind all of it and gets the client's Host.

nginx and haproxy are configured as somebody would who knows the lists of fields that applications trust: each is set or
removed, by its plain name.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from harness import configs
from harness.gateway import running
from harness.tokens import SECRET, token
from harness.upstream import free_port
from witnesses.apps.idioms import CHANGING
from witnesses.servers import LOCAL, Server, closed_hosts, find, lacking, nginx_command, process
from witnesses.spellings import OVERRIDES, VOUCHED

FAR = 4_000_000_000
ALICE = token({"sub": "alice", "exp": FAR})
PARTNER = "a-key-of-the-partner-that-is-long-enough"

Address = tuple[str, int]
Start = Callable[[Server, int, Path], AbstractContextManager[Address]]
"""(server, its port, a directory for files) → where to ask."""

TRUSTED = [name for name in (*VOUCHED, *OVERRIDES) if name != "Content-Length"]
"""What nginx and haproxy set or remove; the length of a body is theirs anyway."""

METHODS = ", ".join(f'"{method}"' for method in CHANGING)


def rawgate_config(server: Server, port: int, parser: str) -> str:
    text = (
        configs.gateway(f'parser = "{parser}"', server.settings, listen=f"{LOCAL}:0")
        + configs.jwt()
        + configs.api_keys("partners", "x-api-key", "API_KEYS")
        + configs.upstream("witness", f"http://{LOCAL}:{port}")
    )
    for site, name in closed_hosts():
        text += route(site, "/", f'host = "{name}"', auth="jwt.main")
    text += route("admin", "/admin", auth="jwt.main")
    text += route("change", "/items", f"methods = [{METHODS}]", auth="jwt.main")
    text += route("items", "/items")
    text += route("partner", "/partner", auth="api_keys.partners")
    return text + route("open", "/")


def route(name: str, prefix: str, *lines: str, auth: str = "none") -> str:
    return configs.route(prefix, "witness", f'name = "{name}"', 'upstream_host = "pass"', *lines, auth=auth)


@contextmanager
def rawgate(server: Server, port: int, directory: Path, parser: str = "fast") -> Iterator[Address]:
    env = {"JWT_SECRET": SECRET, "API_KEYS": f"partner:{PARTNER}"}
    with running(directory, rawgate_config(server, port, parser), env) as gateway:
        yield gateway.address


@contextmanager
def nothing(server: Server, port: int, directory: Path) -> Iterator[Address]:
    yield LOCAL, port


NGINX_SETS = {
    "Host": "$host",
    "X-User-Id": "$user",
    "X-Request-Id": "$request_id",
    "X-Real-IP": "$remote_addr",
    "X-Forwarded-For": "$remote_addr",
    "X-Forwarded-Proto": "$scheme",
    "X-Forwarded-Host": "$host",
    "Via": '"1.1 nginx"',
}


def nginx_config(upstream: int, port: int) -> str:
    sets = NGINX_SETS | {name: '""' for name in TRUSTED if name not in NGINX_SETS}
    lines = "".join(f"proxy_set_header {name} {value};\n" for name, value in sets.items())
    to = f"proxy_pass http://{LOCAL}:{upstream};"
    guarded = f'if ($user = "") {{ return 401; }} {to}'
    sites = " ".join(name for _, name in closed_hosts())
    return f"""
map_hash_bucket_size 512;
map $http_authorization $user {{ default ""; "Bearer {ALICE}" alice; }}
map $request_method $changes {{ default 0; {" ".join(f"{method} 1;" for method in CHANGING)} }}
map "$changes $user" $items {{ default 200; "1 " 401; }}
{lines}
server {{
listen {LOCAL}:{port};
server_name {sites};
location / {{ {guarded} }}
}}
server {{
listen {LOCAL}:{port} default_server;
location = /admin {{ {guarded} }}
location /admin/ {{ {guarded} }}
location /items {{ if ($items = 401) {{ return 401; }} {to} }}
location /partner {{
if ($http_x_api_key != "{PARTNER}") {{ return 401; }}
{lines.replace("$user", "partner")}
proxy_set_header X-Api-Key "";
{to}
}}
location / {{ {to} }}
}}
"""


@contextmanager
def nginx(server: Server, upstream: int, directory: Path) -> Iterator[Address]:
    port = free_port()
    with process(nginx_command(directory, nginx_config(upstream, port)), port, directory):
        yield LOCAL, port


def haproxy_config(upstream: int, port: int) -> str:
    removed = "".join(f"http-request del-header {name}\n" for name in TRUSTED)
    sites = " ".join(name for _, name in closed_hosts())
    return f"""
defaults
mode http
timeout connect 3s
timeout client 30s
timeout server 5s

frontend front
bind {LOCAL}:{port}
acl site req.hdr(host),regsub(:[0-9]*$,),lower -m str {sites}
acl admin path /admin
acl admin path_beg /admin/
acl items path /items
acl items path_beg /items/
acl partner path /partner
acl changes method {" ".join(CHANGING)}
acl alice req.hdr(authorization) -m str "Bearer {ALICE}"
acl key req.hdr(x-api-key) -m str {PARTNER}
http-request deny deny_status 401 if site !alice
http-request deny deny_status 401 if admin !alice
http-request deny deny_status 401 if items changes !alice
http-request deny deny_status 401 if partner !key
{removed}
http-request set-header X-User-Id alice if alice
http-request set-header X-User-Id partner if partner
http-request del-header X-Api-Key if partner
http-request set-header X-Request-Id %[uuid()]
http-request set-header X-Real-IP %[src]
http-request set-header X-Forwarded-For %[src]
http-request set-header X-Forwarded-Proto http
http-request set-header X-Forwarded-Host %[req.hdr(host)]
http-request set-header Via "1.1 haproxy"
default_backend back

backend back
server witness {LOCAL}:{upstream}
"""


@contextmanager
def haproxy(server: Server, upstream: int, directory: Path) -> Iterator[Address]:
    port = free_port()
    config = directory / "haproxy.cfg"
    config.write_text(haproxy_config(upstream, port))
    with process([find("haproxy") or "", "-db", "-f", str(config)], port, directory):
        yield LOCAL, port


FRONTS: dict[str, Start] = {"nothing": nothing, "rawgate": rawgate, "nginx": nginx, "haproxy": haproxy}


def front_missing(name: str) -> str:
    """What a front needs and this machine has not."""
    return lacking(name) if name in ("nginx", "haproxy") else ""
