"""What the tests of `net` ask for: the client's side of the shell, with the clocks of `net` in its hand."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from harness.checked import clocked_by
from harness.client_side import HEAD_TIMEOUT, KEEP_ALIVE, World
from rawgate.net.generation import ListenerOptions


@pytest.fixture
def make() -> Iterator[Callable[..., World]]:
    with ExitStack() as stack:

        def make(options: ListenerOptions | None = None, **upstream: Any) -> World:
            world = World(options or ListenerOptions(HEAD_TIMEOUT, KEEP_ALIVE), **upstream)
            stack.enter_context(clocked_by(world.loop.clock))
            return world

        yield make


@pytest.fixture
def world(make: Callable[..., World]) -> World:
    return make()
