"""Addresses that are accepted, and what they become. Those that are refused: `config_reports.toml`."""

import socket
from ipaddress import ip_network
from pathlib import Path

import pytest
from msgspec import structs

from rawgate.config import addresses, constraints
from rawgate.config.context import Context
from rawgate.config.files import Files
from rawgate.config.invalid import InvalidError
from rawgate.config.model import Listen, Target

CONTEXT = Context(folder=Path("conf"), environ={}, files=Files(), plain_numbers=False, merge_slashes=True, names={})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8080", Listen("127.0.0.1", 8080)),
        ("0.0.0.0:0", Listen("0.0.0.0", 0)),  # noqa: S104 (nothing is bound)
        ("[::]:65535", Listen("::", 65535)),
        ("[2001:DB8:0::1]:80", Listen("2001:db8::1", 80)),
        ("unix:run/g.sock", Listen(path="conf/run/g.sock")),
        ("unix:/run/g.sock", Listen(path="/run/g.sock")),
    ],
)
def test_listen(text: str, expected: Listen) -> None:
    assert addresses.listen(constraints.ListenAddress(), text, CONTEXT) == expected
    absolute = not expected.path or expected.path.startswith("/")
    assert not absolute or addresses.listen(constraints.ListenAddress(), expected, CONTEXT) == expected


def test_a_path_that_does_not_fit_in_a_socket_address() -> None:
    with pytest.raises(InvalidError, match="too long for a Unix socket"):
        addresses.listen(constraints.ListenAddress(), f"unix:/{'s' * 107}", CONTEXT)
    assert addresses.listen(constraints.ListenAddress(), f"unix:/{'s' * 106}", CONTEXT).path == "/" + "s" * 106


def test_what_stands_where_a_socket_is_to_be(tmp_path: Path) -> None:
    context = structs.replace(CONTEXT, folder=tmp_path)

    def said(name: str) -> str:
        try:
            addresses.listen(constraints.ListenAddress(), f"unix:{name}", context)
        except InvalidError as invalid:
            return str(invalid).replace(str(tmp_path), "FOLDER")
        return ""

    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "to-folder").symlink_to("folder")
    (tmp_path / "to-nowhere").symlink_to("nowhere")
    free = " (expected a name that is free, or a socket's)"
    assert said("folder") == f'"unix:folder" is a folder{free}'
    assert said("to-folder/") == f'"unix:to-folder/" is a folder{free}'
    assert said("file") == f'"unix:file" is a file{free}'
    assert said("to-nowhere") == f'"unix:to-nowhere" is a link that leads nowhere{free}'
    assert said("file/a/b") == f'"unix:file/a/b" cannot be made: "FOLDER/file" is not a folder{free}'
    assert said("folder/new") == said("missing/new") == said("./@new") == ""
    with socket.socket(socket.AF_UNIX) as leftover:
        leftover.bind(str(tmp_path / "leftover"))
    (tmp_path / "to-leftover").symlink_to("leftover")
    assert said("leftover") == said("to-leftover") == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://127.0.0.1:3001", Target("127.0.0.1", 3001, "127.0.0.1:3001")),
        ("http://users", Target("users", 80, "users")),
        ("HTTP://Users_1.Internal:80/", Target("users_1.internal", 80, "users_1.internal")),
        ("http://[0:0::1]", Target("::1", 80, "[::1]")),
        ("http://[::1]:8080/", Target("::1", 8080, "[::1]:8080")),
        # The dot of the root is for the look-up alone: services do not know themselves by it.
        ("http://Users.ns.svc.:8080", Target("users.ns.svc.", 8080, "users.ns.svc:8080")),
        ("http://users.ns.svc./", Target("users.ns.svc.", 80, "users.ns.svc")),
        ("dns+http://Users:8080", Target("users", 8080, "users:8080", source="dns")),
        ("DNS+HTTPS://users.ns.svc./", Target("users.ns.svc.", 443, "users.ns.svc", "https", source="dns")),
        ("srv+http://_HTTP._tcp.Users.test", Target("_http._tcp.users.test", 0, "users.test", source="srv")),
        ("srv+https://_http._tcp.users.", Target("_http._tcp.users.", 0, "users", "https", source="srv")),
        # Consul's DNS has SRV records at the plain name, too.
        ("srv+http://web.service.consul", Target("web.service.consul", 0, "web.service.consul", source="srv")),
        # The name of a service is sent as it is written.
        ("consul+http://Web_1", Target("Web_1", 0, "web_1.service.consul", source="consul")),
        (
            "consul+https://web/?tag=v2&dc=EU-1&tag=a",
            Target(
                "web",
                0,
                "web.service.eu-1.consul",
                "https",
                source="consul",
                query=(("dc", "EU-1"), ("tag", "a"), ("tag", "v2")),
            ),
        ),
    ],
)
def test_target(text: str, expected: Target) -> None:
    assert addresses.target(constraints.TargetUrl(), text, CONTEXT) == expected
    assert addresses.target(constraints.TargetUrl(), expected, CONTEXT) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dns+http://", '"" is not a name and a port (expected "dns+http://NAME:PORT")'),
        ("dns+http://10.0.0.1:80", (
         '"10.0.0.1" is an address, which needs no look-up (expected "dns+http://NAME:PORT"; '
         'did you mean "http://10.0.0.1:80"?)')),
        ("dns+http://a/b", '"a/b" is not a name and a port (expected "dns+http://NAME:PORT")'),
        ("dns+http://a:99999", '"a:99999" is not a name and a port (expected "dns+http://NAME:PORT")'),
        ("srv+http://_http._tcp.a:80", ('"_http._tcp.a:80" has a port, which SRV records tell (expected '
         '"srv+http://_http._tcp.NAME"; did you mean "_http._tcp.a"?)')),
        ("srv+http://_http.a", '"_http.a" is not the name of SRV records (expected "srv+http://_http._tcp.NAME")'),
        ("consul+http://a:80", ('"a:80" is not the name of a service (expected "consul+http://SERVICE", and behind "?" '
         '"dc", "tag", "ns" or "partition")')),
        ("consul+http://a?tags=b", ('"tags" is nothing that Consul is asked (expected "consul+http://SERVICE", and '
         'behind "?" "dc", "tag", "ns" or "partition"; did you mean "tag"?)')),
        ("consul+http://a?dc=", '"" is not the value of dc (expected letters, digits, . _ ~ - : /)'),
        ("consul+http://a?dc=a&dc=b", '"dc" is there twice (expected it once)'),
        ("nomad+http://a", ('"nomad+http" is not a scheme for targets (expected "http://HOST:PORT", "https://HOST" or '
         '"unix:PATH")')),
    ],
)  # fmt: skip
def test_not_a_source_of_targets(text: str, said: str) -> None:
    with pytest.raises(InvalidError) as raised:
        addresses.target(constraints.TargetUrl(), text, CONTEXT)
    assert str(raised.value) == said


@pytest.mark.parametrize("text", ["dns+http://a", "unix:a", "/a"])
def test_where_an_address_is_asked_for_there_is_no_source(text: str) -> None:
    with pytest.raises(InvalidError):
        addresses.target(constraints.TargetUrl(plain=True), text, CONTEXT)
    target = addresses.target(constraints.TargetUrl(), "unix:a", CONTEXT)
    with pytest.raises(InvalidError):
        addresses.target(constraints.TargetUrl(plain=True), target, CONTEXT)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.2", "10.0.0.2:53"),
        ("127.0.0.1:8600", "127.0.0.1:8600"),
        ("0::1", "[::1]:53"),
        ("[0::1]:8600", "[::1]:8600"),
    ],
)
def test_nameserver(text: str, expected: str) -> None:
    assert addresses.nameserver(constraints.Nameserver(), text, CONTEXT) == expected
    assert addresses.nameserver(constraints.Nameserver(), expected, CONTEXT) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ns.test", '"ns.test" is not the address of a name server'),
        ("localhost:8600", 'did you mean "127.0.0.1:8600"?'),
        ("udp://10.0.0.2", 'did you mean "10.0.0.2"?'),
        ("10.0.0.2:0", "0 is not a port"),
        ("fe80::1%eth0", "is not the address of a name server"),
        (53, "53 is not text"),
    ],
)
def test_not_a_nameserver(text: object, said: str) -> None:
    with pytest.raises(InvalidError) as raised:
        addresses.nameserver(constraints.Nameserver(), text, CONTEXT)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("10.0.0.0/8", "10.0.0.0/8"), ("127.0.0.1", "127.0.0.1/32"), ("::1", "::1/128"), ("FD00::/8", "fd00::/8")],
)
def test_network(text: str, expected: str) -> None:
    assert addresses.network(constraints.AddressRange(), text, CONTEXT) == ip_network(expected)


def test_a_network_has_no_zone() -> None:
    with pytest.raises(InvalidError, match="has a zone"):
        addresses.network(constraints.AddressRange(), "fe80::1%eth0", CONTEXT)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("API.example.com", "api.example.com"), ("localhost", "localhost"), ("10.0.0.7", "10.0.0.7"), ("[::1]", "[::1]")],
)
def test_host(text: str, expected: str) -> None:
    assert addresses.host(constraints.Host(), text, CONTEXT) == expected


@pytest.mark.parametrize(
    "text",
    ["*", "https://app.example.com", "http://localhost:5173", "https://[::1]:8443", "capacitor://localhost"],
)
def test_origin(text: str) -> None:
    assert addresses.origin(constraints.Origin(), text, CONTEXT) == text
