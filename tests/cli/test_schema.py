"""`rawgate schema` through the console script."""

import json
import subprocess

import pytest

from harness.gateway import command
from rawgate.config.schema import config_schema

pytestmark = pytest.mark.process


def test_it_prints_the_schema_and_nothing_else() -> None:
    done = subprocess.run([*command(), "schema"], capture_output=True, check=True, timeout=60)
    assert json.loads(done.stdout) == config_schema()
    assert done.stderr == b""


def test_its_help_says_how_an_editor_finds_it() -> None:
    done = subprocess.run([*command(), "schema", "--help"], capture_output=True, check=True, timeout=60, text=True)
    assert "#:schema ./rawgate.schema.json" in done.stdout
