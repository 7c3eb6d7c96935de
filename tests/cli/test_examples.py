"""The configurations that people copy: all of them load, pass their own tests, and are good to an editor."""

import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from harness.examples import ENVIRON, EXAMPLES, write_keys
from rawgate.cli.main import main
from rawgate.config.load import load
from rawgate.config.schema import config_schema

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the key files that the examples name."""
    folder = tmp_path_factory.mktemp("examples")
    write_keys(folder)
    return folder


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)


def blocks(language: str) -> Iterator[str]:
    """The README's code blocks in a language."""
    yield from re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=[path.name for path in EXAMPLES])
def test_an_example_passes_its_own_tests(surroundings: Path, capfd: pytest.CaptureFixture[str], example: Path) -> None:
    copy = shutil.copy(example, surroundings)
    assert main(["check", str(copy)]) == 0
    assert re.search(r"[3-9] tests passed", capfd.readouterr().out)


@pytest.mark.parametrize("example", EXAMPLES, ids=[path.name for path in EXAMPLES])
def test_the_tests_of_an_example_reach_every_route(
    surroundings: Path, capfd: pytest.CaptureFixture[str], example: Path
) -> None:
    copy = shutil.copy(example, surroundings)
    assert main(["test", str(copy)]) == 0
    assert "no test reaches" not in capfd.readouterr().out


@pytest.mark.parametrize("example", [path for path in EXAMPLES if path.suffix == ".toml"], ids=lambda path: path.name)
def test_an_example_is_good_to_an_editor(example: Path) -> None:
    errors = Draft202012Validator(config_schema()).iter_errors(tomllib.loads(example.read_text("utf-8")))
    assert [error.json_path for error in errors] == []


def test_there_is_one_for_each_usual_need() -> None:
    assert [path.name for path in EXAMPLES] == [
        "access.toml",
        "api_keys.toml",
        "balancing.toml",
        "discovery.toml",
        "edge.toml",
        "fragile_services.toml",
        "functions.py",
        "healthy_targets.toml",
        "https.toml",
        "identity_provider.toml",
        "keys_file.toml",
        "mutual_tls.toml",
        "public_cors.toml",
        "services.toml",
        "several_gateways.toml",
        "uploads.toml",
        "websocket.toml",
    ]


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("catalogue", "in turn: 33% http://10.0.1.10:3001, 67% http://10.0.1.11:3001, 0% http://10.1.1.10:3001"),
        ("reports", "the one of two with fewer requests: 50% http://10.0.3.10:3003, 50% http://10.0.3.11:3003"),
        ("cart", "http://10.0.2.11:3002 while it is up, by the hash of sub:alice"),
    ],
)
def test_explain_tells_which_target_as_far_as_it_is_known(
    surroundings: Path, capfd: pytest.CaptureFixture[str], path: str, told: str
) -> None:
    copy = str(shutil.copy(next(one for one in EXAMPLES if one.name == "balancing.toml"), surroundings))
    assert main(["token", "main", copy, "--sub", "alice", "--ttl", "1h"]) == 0
    token = capfd.readouterr().out.strip()
    arguments = ["-H", f"Authorization: Bearer {token}", "--config", copy]
    assert main(["explain", "GET", f"/api/{path}", *arguments]) == 0
    assert told in " ".join(capfd.readouterr().out.split())


def test_what_the_readme_shows_loads(tmp_path: Path) -> None:
    shown = [block for block in blocks("toml") if "gateway" in block]
    assert shown
    for position, block in enumerate(shown):
        file = tmp_path / f"{position}.toml"
        file.write_text(block, "utf-8")
        draft = load(file, ENVIRON)
        assert draft.report(draft.problems) == []


def test_the_readme_is_good_to_an_editor() -> None:
    for block in blocks("toml"):
        errors = Draft202012Validator(config_schema()).iter_errors(tomllib.loads(block))
        assert [error.json_path for error in errors] == []


def test_check_and_explain_tell_of_sources_and_ask_none(surroundings: Path, capfd: pytest.CaptureFixture[str]) -> None:
    copy = str(shutil.copy(ROOT / "rawgate" / "examples" / "discovery.toml", surroundings))
    assert main(["check", copy]) == 0
    assert (
        "not looked up here: the addresses of users.shop.svc.cluster.local., the SRV records of "
        "_http._tcp.payments.example.internal, Consul's search?dc=eu-1&tag=v2\n" in capfd.readouterr().out
    )
    assert main(["explain", "GET", "http://h/api/search", "--config", copy]) == 0
    said = capfd.readouterr().out
    assert "search: consul+http://search?dc=eu-1&tag=v2" in said
    assert "to one of the instances that are there then, round robin; consul+http://search?dc=eu-1&tag=v2 tells" in said


@pytest.mark.parametrize(
    ("example", "path", "told"),
    [
        (
            "healthy_targets",
            "/orders",
            "each target asked for /up every 5 s; ejected for 10 s after 5 failures in a row (no answer, or 502-504)",
        ),
        ("fragile_services", "/catalog", "circuit open for 5 s when 50% of 20 or more fail in 10 s"),
    ],
)
def test_explain_tells_what_is_done_about_targets_that_fail(
    surroundings: Path, capfd: pytest.CaptureFixture[str], example: str, path: str, told: str
) -> None:
    copy = str(shutil.copy(ROOT / "rawgate" / "examples" / f"{example}.toml", surroundings))
    assert main(["explain", "GET", f"http://h{path}", "--config", copy]) == 0
    assert told in capfd.readouterr().out


def test_without_the_package_what_asks_name_servers_is_refused(
    surroundings: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rawgate.net.nameservers.find_spec", lambda name: None)
    copy = str(shutil.copy(ROOT / "rawgate" / "examples" / "discovery.toml", surroundings))
    assert main(["check", copy]) == 1
    lines = capfd.readouterr().err.splitlines()[:-1]
    asking = ("gateway.resolver", "upstreams.users.targets[0]", "upstreams.payments.targets[0]")
    assert [line.split(": ")[1] for line in lines] == list(asking)
    assert all("pip install 'rawgate[names]'" in line for line in lines)
