"""Fixtures for the tests of `net`: its client's side, whose clocks a test moves."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from harness.checked import clocked_by
from harness.client_side import HEAD_TIMEOUT, KEEP_ALIVE, ClientSide
from rawgate.net.generation import ListenerOptions


@pytest.fixture
def make() -> Iterator[Callable[..., ClientSide]]:
    with ExitStack() as stack:

        def make(options: ListenerOptions | None = None, **upstream: Any) -> ClientSide:
            side = ClientSide(options or ListenerOptions(HEAD_TIMEOUT, KEEP_ALIVE), **upstream)
            stack.enter_context(clocked_by(side.loop.clock))
            return side

        yield make


@pytest.fixture
def side(make: Callable[..., ClientSide]) -> ClientSide:
    return make()
