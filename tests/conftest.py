"""What every test may ask for."""

import os
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import current_thread, main_thread

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no finding: nothing here fails because it took long.
settings.register_profile("rawgate", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
# For a verdict on a commit: the same examples each time. The usual profile draws new ones, which find new faults.
settings.register_profile("repeatable", settings.get_profile("rawgate"), derandomize=True)
settings.load_profile("rawgate")

DESCRIPTORS = 1024
"""As many as Linux allows where nobody says otherwise."""


@pytest.fixture(scope="session", autouse=True)
def _one_thread_makes_the_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """pytest's factory is not made for threads: called at the same time it now and then gives up. A test that starts
    threads makes their folders before, or always fails."""
    make = tmp_path_factory.mktemp

    def mktemp(basename: str, numbered: bool = True) -> Path:
        assert current_thread() is main_thread(), "make the folders of threads before the threads"
        return make(basename, numbered)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tmp_path_factory, "mktemp", mktemp)
        yield


@pytest.fixture(scope="session", autouse=True)
def _descriptors_for_a_crowd() -> None:
    """A shell may allow 256. Not all that it can be: a number over 1,023 is too much for `select.select`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < enough:
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))


@pytest.fixture(scope="session")
def program() -> Callable[[str], str]:
    """`program("nginx")` is the path of an installed program.

    Where there is none the test is skipped, saying which; with RAWGATE_REQUIRE=1 it fails instead, so that a run that
    counts cannot pass by leaving tests out.
    """

    def find(name: str) -> str:
        # Debian keeps servers in /usr/sbin, which an ordinary user's PATH leaves out.
        path = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin")
        if path is not None:
            return path
        if os.environ.get("RAWGATE_REQUIRE") == "1":
            pytest.fail(f"{name} is not installed, and RAWGATE_REQUIRE=1 asks for it")
        pytest.skip(f"{name} is not installed")

    return find
