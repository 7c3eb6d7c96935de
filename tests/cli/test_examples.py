"""The configurations that people copy: all of them load, pass their own tests, and are good to an editor."""

import json
import re
import shutil
import tomllib
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from jsonschema import Draft202012Validator

from rawgate.cli.main import main
from rawgate.config.load import load
from rawgate.config.schema import config_schema

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "rawgate" / "examples").glob("*.*"))
README = (ROOT / "README.md").read_text("utf-8")

KEY = "k" * 24

ENVIRON = {
    "API_KEYS": f"acme:{KEY}",
    "INTERNAL_KEYS": f"ops:{KEY}",
    "JWT_SECRET": "correct horse battery staple, twice over",
    "JWT_SECRET_OLD": "battery correct staple horse, twice over",
    "PARTNER_KEYS": f"acme:{KEY},globex:sha256:{'0' * 64}",
}


def key_set() -> str:
    """What an identity provider publishes."""
    numbers = generate_private_key(65537, 2048).public_key().public_numbers()
    modulus = urlsafe_b64encode(numbers.n.to_bytes(256, "big")).rstrip(b"=").decode()
    return json.dumps({"keys": [{"kty": "RSA", "kid": "1", "use": "sig", "alg": "RS256", "n": modulus, "e": "AQAB"}]})


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the key files that the examples name."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "keys").mkdir()
    (folder / "keys/provider.json").write_text(key_set())
    (folder / "keys/jwt.secret").write_text(f"{ENVIRON['JWT_SECRET']}\n")
    return folder


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)


def blocks(language: str) -> Iterator[str]:
    """The README's code blocks in a language."""
    yield from re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=[path.name for path in EXAMPLES])
def test_an_example_passes_its_own_tests(surroundings: Path, capsys: pytest.CaptureFixture[str], example: Path) -> None:
    copy = shutil.copy(example, surroundings)
    assert main(["check", str(copy)]) == 0
    assert re.search(r"[3-9] tests passed", capsys.readouterr().out)


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
        "api_keys.toml",
        "functions.py",
        "identity_provider.toml",
        "public_cors.toml",
        "services.toml",
        "uploads.toml",
        "websocket.toml",
    ]


@pytest.mark.parametrize(
    ("language", "suffix"), [("toml", ".toml"), ("python", ".py")], ids=["README's TOML", "README's Python"]
)
def test_what_the_readme_shows_loads(tmp_path: Path, language: str, suffix: str) -> None:
    shown = [block for block in blocks(language) if "gateway" in block]
    assert shown
    for position, block in enumerate(shown):
        file = tmp_path / f"{position}{suffix}"
        file.write_text(block, "utf-8")
        draft = load(file, ENVIRON)
        assert draft.report(draft.problems) == []


def test_the_readme_is_good_to_an_editor() -> None:
    for block in blocks("toml"):
        errors = Draft202012Validator(config_schema()).iter_errors(tomllib.loads(block))
        assert [error.json_path for error in errors] == []
