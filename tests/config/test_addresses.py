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
    ],
)
def test_target(text: str, expected: Target) -> None:
    assert addresses.target(constraints.TargetUrl(), text, CONTEXT) == expected
    assert addresses.target(constraints.TargetUrl(), expected, CONTEXT) == expected


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
