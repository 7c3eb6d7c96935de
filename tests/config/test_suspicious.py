"""Warnings: what is told of a configuration that can be served."""

from pathlib import Path

import pytest

from rawgate.config.load import load_content
from rawgate.config.suspicious import find_warnings
from rawgate.errors import Problem

CONFIG = """\
[gateway]
listen = ["127.0.0.1:0"]
{gateway}
[jwt.main]
algorithm = "HS256"
secret = "env:SECRET"
[upstreams]
users = {{ targets = ["http://127.0.0.1:1"] }}
others = {{ targets = ["http://127.0.0.1:2"] }}
[[routes]]
prefix = "/admin"
upstream = "users"
auth = "jwt.main"
{protected}
[[routes]]
prefix = "/"
upstream = "users"
auth = "none"
{rest}
"""


def warned(gateway: str = "", protected: str = "", rest: str = "") -> list[Problem]:
    return told(CONFIG.format(gateway=gateway, protected=protected, rest=rest))


def test_an_open_route_is_a_detour_for_a_service_that_ignores_case() -> None:
    (warning,) = warned()
    assert warning.path == ("routes", 0, "prefix")
    assert '"/ADMIN" comes to "/", which needs no credential' in warning.message
    assert 'case = "ignore"' in warning.message
    assert 'case = "exact"' in warning.message
    (shouting,) = warned(protected='name = "a"\nhost = "x.test"', rest='name = "open"')
    assert 'comes to "open"' in shouting.message


@pytest.mark.parametrize(
    ("gateway", "protected", "rest"),
    [
        ('case = "ignore"', "", ""),
        ("", 'case = "ignore"', ""),
        ("", 'case = "exact"', ""),
        ("", "", 'case = "exact"'),
        ("", "", 'host = "other.test"'),
    ],
)
def test_who_has_said_so_is_not_warned(gateway: str, protected: str, rest: str) -> None:
    assert warned(gateway, protected, rest) == []


@pytest.mark.parametrize(
    ("written", "instead"),
    [
        ('auth = "none"', 'auth = "jwt.main"'),
        ('prefix = "/"\nupstream = "users"', 'prefix = "/"\nupstream = "others"'),
        ('prefix = "/"\n', 'prefix = "/administration"\n'),
        ('prefix = "/admin"', 'prefix = "/2026"'),
    ],
)
def test_no_detour(written: str, instead: str) -> None:
    text = CONFIG.format(gateway="", protected="", rest="").replace(written, instead)
    assert told(text) == []


LISTEN = 'listen = ["127.0.0.1:0"]'
TARGET = 'targets = ["http://127.0.0.1:2"]'
PLACE, OPEN, CLOSED = 'prefix = "/"\n', 'auth = "none"', 'auth = "jwt.main"'
LIMIT = "[limits.l]\nmax = 1\nwindow = '1m'"
KEY = 'secret = "env:SECRET"'
OTHER = """\
[jwt.b]
algorithm = "HS256"
secret = "env:SECRET"
[[routes]]
prefix = "/"
host = "b.test"
upstream = "others"
auth = "jwt.b"
"""
APART = OTHER.replace("[[routes]]", 'issuer = "b"\n[[routes]]')
PARTNERS = '[api_keys.partners]\nheader = "x-api-key"\nkeys = "env:SECRET"\n'
SIBLING = "[[routes]]\nprefix = '/admin'\nupstream = 'others'\nauth = 'none'"


@pytest.mark.parametrize(
    ("written", "instead"),
    [
        ('prefix = "/"\n', 'prefix = "/users/{id}"\n'),
        ('prefix = "/"\n', 'prefix = "/users/:id"\n'),
        ('prefix = "/"\n', 'prefix = "/v(1|2)"\n'),
        ('prefix = "/"\n', 'prefix = "/big/"\n'),
        ('listen = ["127.0.0.1:0"]', 'listen = ["127.0.0.1:443"]'),
        ('listen = ["127.0.0.1:0"]', 'listen = ["127.0.0.1:0"]\ntrusted_proxies = ["::/0"]'),
        ('listen = ["127.0.0.1:0"]', 'listen = ["127.0.0.1:0"]\nclient_ip_header = "x-real-ip"'),
        ('targets = ["http://127.0.0.1:2"]', 'targets = ["http://0.0.0.0:2"]'),
        ('targets = ["http://127.0.0.1:2"]', 'targets = ["http://127.0.0.1:2"], keep_alive = "76s"'),
        (
            'targets = ["http://127.0.0.1:2"]',
            'targets = ["http://127.0.0.1:2"], total_timeout = "1s", connect_timeout = "2s"',
        ),
        ('secret = "env:SECRET"', 'secret = "env:SECRET"\naudience = "${AUDIENCE}"'),
        (KEY, f"{KEY}\n{OTHER}"),
        (KEY, f"{KEY}\n{OTHER.replace('SECRET', 'SPARE').partition('[[routes]]')[0]}"),
        (KEY, f"{KEY}\n{PARTNERS}"),
        ('auth = "none"', 'auth = "none"\nrewrite = "/{id}"'),
        ('auth = "none"', 'auth = "none"\nrewrite = { pattern = "/a", to = "/b" }'),
        ('auth = "none"', 'auth = "none"\nrequest_headers = { set = { A = "{{ x }}" } }'),
        ('auth = "none"', 'auth = "none"\nmethods = ["GET"]\ncors = { origins = ["*"], methods = ["GET", "PUT"] }'),
        ('auth = "jwt.main"', 'auth = "jwt.main"\ncors = { origins = ["*"] }'),
        (LISTEN, 'listen = ["unix:missing/folder/s"]'),
        (LISTEN, 'listen = [{ address = "unix:s", mode = "0000" }]'),
        (LISTEN, 'listen = [{ address = "unix:s", mode = "0444" }]'),
        (LISTEN, f'{LISTEN}\nlimits = {{ target = "17KiB" }}'),
        (LISTEN, f"{LISTEN}\nlimits = {{ per_address = 10001 }}"),
        (TARGET, f"{TARGET}, per_client = 257"),
        (TARGET, 'targets = [{ url = "http://127.0.0.1:2", backup = true }]'),
        (TARGET, 'targets = [{ url = "http://127.0.0.1:2", zone = "a" }]'),
        (LISTEN, f'{LISTEN}\nzone = "a"'),
        (TARGET, f"{TARGET}, max_connections = 3, per_client = 4"),
        (TARGET, f"{TARGET}, max_tunnels = 10001"),
        (TARGET, f'{TARGET}, health = {{ path = "/", interval = "1s" }}'),
        (TARGET, f'{TARGET}, health = {{ path = "/", timeout = "6s" }}'),
        (TARGET, f"{TARGET}, eject = {{}}"),
        (TARGET, f'{TARGET}, slow_start = "1s"'),
        (TARGET, f'{TARGET}, tunnel_idle = "25h"'),
        (TARGET, f'{TARGET}, total_timeout = "1s", queue_timeout = "2s"'),
        (TARGET, f'{TARGET}, total_timeout = "1s", response_timeout = "2s"'),
        (TARGET, f'{TARGET}, total_timeout = "1s", idle_timeout = "2s"'),
        (TARGET, f'{TARGET}, total_timeout = "1s", response_timeout = "1s", retry = {{ on = ["timeout"] }}'),
        ('auth = "none"', 'auth = "none"\nupgrade = ["websocket"]\nmethods = ["POST"]'),
        ('auth = "none"', "auth = \"none\"\nrewrite = { pattern = '/a%20b.*', to = '/b' }"),
        ('auth = "none"', "auth = \"none\"\nrewrite = { pattern = '/%C3%A9.*', to = '/b' }"),
        ('auth = "none"', "auth = \"none\"\nrewrite = { pattern = '/%E4.*', to = '/b' }"),
        ('auth = "none"', "auth = \"none\"\nrewrite = { pattern = '/(a%2Fb|c)', to = '/b' }"),
        (
            'auth = "none"',
            "auth = \"none\"\nencoded_slash = 'keep'\ncase = 'exact'\nrewrite = { pattern = '/%2f.*', to = '/b' }",
        ),
        *((PLACE, f"path = '/{name}'\n") for name in (":id", "<id>", "<int:id>", "[id]", "$id", "a/:user_id/b")),
        (OPEN, f"{OPEN}\nrate_limit = {{ max = {{ by = 'claim:plan', free = 2, other = 1 }}, window = '1m' }}"),
        (OPEN, f"{OPEN}\nrate_limit = ['l', {{ max = 1, window = '1m', key = 'claim:org' }}]\n{LIMIT}"),
        (CLOSED, f"{CLOSED}\nrate_limit = {{ max = {{ by = 'claim:plan', other = 1 }}, window = '1m' }}"),
        (OPEN, f"{OPEN}\n{LIMIT}"),
        (OPEN, f"{OPEN}\nrequest_headers = {{ set = {{ X-Who = 'sub-{{sub}}' }} }}"),
        (OPEN, f"{OPEN}\nresponse_headers = {{ add = {{ X-Who = '{{claim.org}}' }} }}"),
        (CLOSED, f"{CLOSED}\nmethods = ['GET', 'HEAD']\n{SIBLING}"),
        (CLOSED, f"{CLOSED}\nrequest_headers = {{ set = {{ X-Who = '{{{{sub}}}}' }} }}"),
        (CLOSED, f"{CLOSED}\nresponse_headers = {{ add = {{ X-Who = '$remote_addr' }} }}"),
        *((CLOSED, f"{CLOSED}\nrequire = {{ role = '{text}' }}") for text in ("^admin$", "orders:*", "(a|b)", "a.*")),
        (OPEN, f"{OPEN}\nmatch = {{ headers = {{ X-Version = '^2' }} }}"),
        (OPEN, f"{OPEN}\nmatch = {{ query = {{ v = '2*' }} }}"),
    ],
)
def test_what_rarely_means_what_it_says(written: str, instead: str) -> None:
    (warning,) = warnings_of(instead, written)
    assert "(expected " in warning.message


@pytest.mark.parametrize(
    ("written", "instead"),
    [
        ('prefix = "/"\n', 'prefix = "/users/%7Bid%7D"\n'),
        ('prefix = "/"\n', 'prefix = "/users/%3Aid"\n'),
        ('prefix = "/"\n', 'prefix = "/odata/Users(1)"\n'),
        ('prefix = "/"\n', 'prefix = "/big"\n'),
        (
            'prefix = "/"\n',
            'prefix = "/big/"\nupstream = "users"\nauth = "none"\n[[routes]]\nprefix = "/big"\n',
        ),
        ('targets = ["http://127.0.0.1:2"]', 'targets = ["http://127.0.0.1:2"], keep_alive = "75s"'),
        (KEY, f"{KEY}\nissuer = 'a'\n{APART}"),
        ('auth = "none"', 'auth = "none"\nrewrite = { pattern = "/a$", to = "/b" }'),
        ('auth = "none"', 'auth = "none"\nrequest_headers = { set = { NEL = "{\\"a\\":1}" } }'),
        ('auth = "none"', 'auth = "none"\nmethods = ["GET"]\ncors = { origins = ["*"], methods = ["GET", "HEAD"] }'),
        ('auth = "jwt.main"', 'auth = "jwt.main"\ncors = { origins = ["*"], headers = ["Authorization"] }'),
        (LISTEN, 'listen = [{ address = "unix:s", mode = "0600" }]'),
        (LISTEN, f'{LISTEN}\nlimits = {{ target = "16KiB", per_address = 10000 }}'),
        (LISTEN, f'{LISTEN}\nlimits = {{ head = "4KiB", connections = 10 }}'),  # the others are the defaults
        (TARGET, f"{TARGET}, max_connections = 3, per_client = 3, max_tunnels = 10000"),
        (TARGET, f'{TARGET}, health = {{ path = "/", timeout = "4999ms" }}, slow_start = "0s"'),
        (TARGET, 'targets = ["http://127.0.0.1:2", "http://127.0.0.1:3"], eject = {}, slow_start = "1s"'),
        (TARGET, f'{TARGET}, total_timeout = "1s", tunnel_max_age = "1m"'),
        (TARGET, 'targets = ["http://127.0.0.1:2", { url = "http://127.0.0.1:3", backup = true }]'),
        ('auth = "none"', 'auth = "none"\nmethods = ["POST"]'),
        ('auth = "none"', 'auth = "none"\nupgrade = []\nmethods = ["POST"]'),
        ('auth = "none"', 'auth = "none"\nupgrade = ["spdy"]\nmethods = ["POST"]'),
        ('auth = "none"', 'auth = "none"\nupgrade = ["WebSocket"]\nmethods = ["GET"]'),
        ('auth = "none"', "auth = \"none\"\nrewrite = { pattern = '/[%20]x|/100%25', to = '/b' }"),
        (
            'auth = "none"',
            "auth = \"none\"\nencoded_slash = 'keep'\nrewrite = { pattern = '/%2f.*|/a%5C', to = '/b' }",
        ),
        *((PLACE, f"path = '/{name}'\n") for name in ("%3Aid", "a:id", "{id}", "@id", "a$b", "$", "[a]b")),
        (CLOSED, f"{CLOSED}\nrate_limit = {{ max = {{ by = 'claim:plan', free = 2, other = 1 }}, window = '1m' }}"),
        (CLOSED, f"{CLOSED}\nrate_limit = ['l', {{ max = 1, window = '1m', key = 'claim:org' }}]\n{LIMIT}"),
        (CLOSED, f"{CLOSED}\nrequest_headers = {{ set = {{ X-Who = '{{sub}} of {{claim.org}}' }} }}"),
        (OPEN, f"{OPEN}\nrequest_headers = {{ set = {{ X-Ip = '{{client_ip}}' }}, remove = ['X-Who'] }}"),
        (CLOSED, f"{CLOSED}\nmethods = ['GET']\n{SIBLING}\nmethods = ['POST']"),
        (CLOSED, f"{CLOSED}\nrequire = {{ role = ['a.b', 'x/y:z', 'C*C', '$a', 'a(b)'], ok = true }}"),
        (OPEN, f"{OPEN}\nmatch = {{ headers = {{ X-Version = '*' }}, query = {{ v = '1.2', w = '*' }} }}"),
        (CLOSED, f"{CLOSED}\nmethods = ['GET']\n{SIBLING}\nallow = ['10.0.0.0/8']"),
        (CLOSED, f"{CLOSED}\nmethods = ['GET']\n{SIBLING}\nhost = 'h.test'"),
        (CLOSED, f"{CLOSED}\nmethods = ['GET']\n{SIBLING.replace('none', 'jwt.main')}"),
        (CLOSED, f"{CLOSED.replace('jwt.main', 'none')}\nmethods = ['GET']\n{SIBLING.replace('none', 'jwt.main')}"),
    ],
)
def test_how_to_say_that_it_is_meant(written: str, instead: str) -> None:
    assert warnings_of(instead, written) == []


HTTPS = "redirect = { to = 'https://{host}{path}' }"


@pytest.mark.parametrize(
    ("gateway", "written", "loops"),
    [
        ("", HTTPS, False),
        ("trusted_proxies = ['10.0.0.0/8']", HTTPS, True),
        ("trusted_proxies = ['10.0.0.0/8']", f"{HTTPS}\nmatch = {{ scheme = 'http' }}", False),
        ("trusted_proxies = ['10.0.0.0/8']", f"{HTTPS}\nmatch = {{ headers = {{ X-A = '1' }} }}", True),
        ("trusted_proxies = ['10.0.0.0/8']", HTTPS.replace("{path}", "/new{path}"), False),
        ("trusted_proxies = ['10.0.0.0/8']", f"{HTTPS.replace('{host}', 'h.test')}\nhost = 'h.test'", True),
        ("trusted_proxies = ['10.0.0.0/8']", HTTPS.replace("{host}", "h.test"), False),
    ],
)
def test_a_redirect_that_leads_back_to_itself(gateway: str, written: str, *, loops: bool) -> None:
    text = CONFIG.format(gateway=f"case = 'ignore'\n{gateway}", protected="", rest="")
    text += f"[[routes]]\nprefix = '/old'\nauth = 'none'\n{written}\n"
    text = text.replace('prefix = "/"\n', 'prefix = "/all"\n')
    found = [warning.path for warning in told(text)]
    assert found == [("routes", 2, "redirect", "to")] * loops


@pytest.mark.parametrize(("zone", "count"), [("a", 0), ("b", 0), ("c", 1)])
def test_a_zone_that_no_target_is_in(zone: str, count: int) -> None:
    near = 'targets = [{ url = "http://127.0.0.1:2", zone = "a" }, { url = "http://127.0.0.1:3", zone = "b" }]'
    text = CONFIG.format(gateway=f'zone = "{zone}"\ncase = "ignore"', protected="", rest="").replace(TARGET, near)
    found = [warning.path for warning in told(text)]
    assert found == [("upstreams", "others", "targets", 0)] * count


def test_a_route_waits_for_a_response_no_longer_than_its_upstream_for_all() -> None:
    text = CONFIG.format(gateway='case = "ignore"', protected='response_timeout = "2s"', rest="")
    for total, count in (("1s", 1), ("2s", 0)):
        limited = text.replace('1:1"] }', f'1:1"], total_timeout = "{total}" }}')
        found = [warning.path for warning in told(limited)]
        assert found == [("routes", 0, "response_timeout")] * count


@pytest.mark.parametrize("protocol", ["ws", "WSS", "websockets", "web-socket", "websoket"])
def test_what_is_meant_by_another_name_of_websockets(protocol: str) -> None:
    (warning,) = warnings_of(f'auth = "none"\nupgrade = ["{protocol}"]', 'auth = "none"')
    assert warning.path == ("routes", 1, "upgrade")
    assert warning.message.endswith('(did you mean "websocket"?)')


@pytest.mark.parametrize(
    ("encoded", "decoded"), [("a%20b", '" "'), ("%C3%A9", '"é"'), ("%2e", r'"\\."'), ("%2fx", '"%2F"'), ("%FF", "what")]
)
def test_what_a_pattern_has_in_place_of_an_encoded_octet(encoded: str, decoded: str) -> None:
    rewrite = f"encoded_slash = 'keep'\ncase = 'exact'\nrewrite = {{ pattern = '/{encoded}.*', to = '/b' }}"
    (warning,) = warnings_of(f'auth = "none"\n{rewrite}', 'auth = "none"')
    assert f"(expected {decoded}" in warning.message


def warnings_of(instead: str, written: str) -> list[Problem]:
    """The warnings of a configuration that has none, with one part of it changed."""
    text = CONFIG.format(gateway='case = "ignore"', protected="", rest="")
    assert written in text
    return told(text.replace(written, instead))


def told(text: str) -> list[Problem]:
    draft = load_content(Path("c.toml"), text.encode(), {"SECRET": "s" * 40, "SPARE": "t" * 40})
    assert draft.problems == []
    assert draft.config is not None
    return find_warnings(draft.config, draft.lines)


TLS = f'[tls.public]\ncertificates = [{{ chain = "file:{__file__}", key = "file:{__file__}" }}]\n'
SPOKEN = 'listen = ["127.0.0.1:0", { address = "127.0.0.1:0", tls = "public" }]'


def test_tls_that_no_address_speaks() -> None:
    (warning,) = warnings_of(f"{OPEN}\n{TLS}", OPEN)
    assert warning.path == ("tls", "public")
    assert "all that comes is in the clear" in warning.message
    spoken = CONFIG.format(gateway="", protected='case = "exact"', rest=TLS).replace(LISTEN, SPOKEN)
    assert told(spoken) == []
    (other,) = told(spoken + TLS.replace("public", "other"))
    assert other.path == ("tls", "other")
    assert "in the clear" not in other.message


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ('["authorization"]', []),
        ('["X-Api-Key"]', []),
        ("[]", ['pages cannot send "authorization" or "x-api-key", and the route asks for it']),
    ],
)
def test_a_page_needs_one_of_several_credentials(headers: str, said: list[str]) -> None:
    auth = 'auth = ["jwt.main", "api_keys.partners"]'
    cors = f'cors = {{ origins = ["https://app.test"], headers = {headers} }}'
    text = CONFIG.format(gateway="", protected='case = "exact"', rest=PARTNERS).replace(CLOSED, f"{auth}\n{cors}")
    assert [warning.message.partition(" (")[0] for warning in told(text)] == said
