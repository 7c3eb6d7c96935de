"""What a reload says that it keeps, changes and closes."""

from pathlib import Path

import pytest

from harness import configs
from rawgate.config.load import load
from rawgate.config.model import Config
from rawgate.serve.changes import Changes, compare, from_environment

BASE = (
    configs.gateway(listen=["127.0.0.1:1", "unix:a.sock"])
    + configs.upstream("u", "http://a")
    + configs.route("/a", "u")
)


def read(folder: Path, text: str) -> Config:
    path = folder / "rawgate.toml"
    path.write_text(text)
    config = load(path, {"ONE": "a:0123456789abcdef", "TWO": "b:0123456789abcdef"}).config
    assert config is not None
    return config


@pytest.mark.parametrize(
    ("old", "new", "kind", "names"),
    [
        ('"http://a"', '"http://b"', "changed", ("upstreams.u",)),
        ('prefix = "/a"', 'prefix = "/b"', "added", ("routes./b",)),
        ('prefix = "/a"', 'prefix = "/b"', "removed", ("routes./a",)),
        ('"127.0.0.1:1"', '"127.0.0.1:2"', "added", ("listen 127.0.0.1:2",)),
        ('"unix:a.sock"', '{ address = "unix:a.sock", mode = "0600" }', "changed", ("listen unix:a.sock",)),
        ("[gateway]\n", '[gateway]\ntimeouts = { head = "1s" }\n', "changed", ("gateway.timeouts",)),
        ("[gateway]\n", "[gateway]\nlimits = { headers = 5 }\n", "changed", ("gateway.limits.headers",)),
        ("[gateway]\n", "[gateway]\nlimits = { limiter_keys = 5 }\n", "restart", ("gateway.limits.limiter_keys",)),
    ],
)
def test_what_differs_has_its_name(tmp_path: Path, old: str, new: str, kind: str, names: tuple[str, ...]) -> None:
    before = read(tmp_path, BASE)
    changes = compare(before, read(tmp_path, BASE.replace(old, new)), before)
    found = {field: getattr(changes, field) for field in ("changed", "added", "removed", "restart")}
    assert [name.replace(f"{tmp_path}/", "") for name in found[kind]] == list(names)
    assert sum(map(len, found.values())) - len(found[kind]) == (kind in ("added", "removed"))


def test_nothing_differs(tmp_path: Path) -> None:
    config = read(tmp_path, BASE)
    changes = compare(config, read(tmp_path, BASE), config)
    assert changes == Changes(kept=changes.kept)
    assert changes.lines() == ["kept: 4 tables and addresses as they were"]


def test_the_environment_s_part_is_named(tmp_path: Path) -> None:
    keys = configs.api_keys("a", "x-a", "TWO") + configs.api_keys("b", "x-b", "ONE")
    assert from_environment(read(tmp_path, BASE + keys)) == ("ONE", "TWO")
    assert from_environment(read(tmp_path, BASE)) == ()


def test_the_order_of_routes_matters_and_no_other(tmp_path: Path) -> None:
    more = configs.upstream("a", "http://b") + configs.route("/b", "a")
    config = read(tmp_path, BASE + more)
    turned = configs.gateway(listen=["unix:a.sock", "127.0.0.1:1"]) + configs.upstream("a", "http://b")
    turned += configs.upstream("u", "http://a") + configs.route("/a", "u") + configs.route("/b", "a")
    assert compare(config, read(tmp_path, turned), config).changed == ()
    turned = turned.replace('"/a"', '"/c"').replace('"/b"', '"/a"').replace('"/c"', '"/b"')
    assert "the order of routes" in compare(config, read(tmp_path, turned), config).changed


def test_what_needs_a_restart_is_told_as_long_as_it_does(tmp_path: Path) -> None:
    started = read(tmp_path, BASE)
    other = read(tmp_path, BASE.replace("[gateway]\n", "[gateway]\nlimits = { limiter_keys = 5 }\n"))
    assert compare(other, other, started).restart == ("gateway.limits.limiter_keys",)
    assert compare(other, started, started).restart == ()


LIMITED = BASE.replace('auth = "none"', 'auth = "none"\nmethods = ["GET"]\nrate_limit = { max = 1, window = "1h" }')
SIBLING = configs.route("/a", "u", 'methods = ["POST"]')


def test_a_limited_route_whose_made_up_name_changes_is_told(tmp_path: Path) -> None:
    before, after = read(tmp_path, LIMITED), read(tmp_path, LIMITED + SIBLING)
    there, back = compare(before, after, before), compare(after, before, after)
    assert there.renamed == (("routes./a", "routes.GET /a"),)
    assert back.renamed == (("routes.GET /a", "routes./a"),)
    told = 'the name of /a is GET /a now, so its limits count anew (expected name = "…" to keep them)'
    assert told in there.lines()


@pytest.mark.parametrize("change", ["named", "unlimited", "another"])
def test_no_other_is(tmp_path: Path, change: str) -> None:
    old = BASE if change == "unlimited" else LIMITED
    old = old.replace('prefix = "/a"', 'prefix = "/a"\nname = "a"') if change == "named" else old
    new = old.replace("max = 1", "max = 2") if change == "another" else old
    before = read(tmp_path, old)
    assert compare(before, read(tmp_path, new + SIBLING), before).renamed == ()
