"""What is said when the descriptor limit is too low."""

import resource
from pathlib import Path

import pytest
from msgspec.structs import replace

from harness import configs
from rawgate.config.load import load
from rawgate.config.model import Config
from rawgate.net.listener import REFUSED
from rawgate.serve import descriptors

CONFIG = (
    configs.gateway("limits = { connections = 1000 }")
    + configs.upstream("a", "http://127.0.0.1:1", "max_connections = 100")
    + configs.upstream("b", "http://127.0.0.1:2", "max_connections = 200", "max_tunnels = 30")
    + configs.route("/", "a")
)

WANTED = 1330 + REFUSED + descriptors.RESERVE


@pytest.fixture
def config(tmp_path: Path) -> Config:
    path = tmp_path / "rawgate.toml"
    path.write_text(CONFIG)
    found = load(path, {}).config
    assert found is not None
    return found


@pytest.mark.parametrize("limit", [None, WANTED])
def test_enough(config: Config, limit: int | None) -> None:
    assert descriptors.shortage(config, limit) == ""


def test_there_are_no_more_tunnels_than_clients(config: Config) -> None:
    upstreams = {name: replace(spec, max_tunnels=600) for name, spec in config.upstreams.items()}
    assert descriptors.wanted(replace(config, upstreams=upstreams)) == WANTED - 30 + 1000


def test_too_few(config: Config) -> None:
    said = descriptors.shortage(config, WANTED - 1)
    assert f"{WANTED - 1:,} descriptors cannot hold 1,000 clients and 330 upstream connections" in said
    assert f"allow {WANTED:,} " in said


@pytest.mark.parametrize(
    ("soft", "hard", "raised"),
    [(64, 4096, 4096), (4096, 4096, 4096), (64, resource.RLIM_INFINITY, None)],
)
def test_the_limit_is_raised(monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, raised: int | None) -> None:
    limits = [(soft, hard)]
    monkeypatch.setattr(resource, "getrlimit", lambda kind: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda kind, pair: limits.append(pair))
    assert descriptors.raise_limit() == raised


def test_a_limit_that_cannot_be_raised_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(kind: int, pair: tuple[int, int]) -> None:
        raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda kind: (256, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", refuses)
    assert descriptors.raise_limit() == 256
