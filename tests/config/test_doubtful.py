"""Warnings: what is told of a configuration that can be served."""

from pathlib import Path

import pytest

from rawgate.config.doubtful import doubts
from rawgate.config.load import load_content
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
    text = CONFIG.format(gateway=gateway, protected=protected, rest=rest)
    draft = load_content(Path("c.toml"), text.encode(), {"SECRET": "s" * 40})
    assert draft.problems == []
    assert draft.config is not None
    return doubts(draft.config)


def test_an_open_route_is_a_detour_for_a_service_that_ignores_case() -> None:
    (doubt,) = warned()
    assert doubt.path == ("routes", 0, "prefix")
    assert '"/ADMIN" comes to "/", which needs no credential' in doubt.message
    assert 'case = "ignore"' in doubt.message
    assert 'case = "exact"' in doubt.message
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
    draft = load_content(Path("c.toml"), text.encode(), {"SECRET": "s" * 40})
    assert draft.problems == []
    assert draft.config is not None
    assert doubts(draft.config) == []
