"""Fixtures for the tests of `net`: its client's side, whose clocks a test moves."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness.checked import clocked_by
from harness.client_side import HEAD_TIMEOUT, KEEP_ALIVE, ClientSide
from rawgate.net.generation import ListenerOptions


@pytest.fixture
def make() -> Iterator[Callable[..., ClientSide]]:
    sides: list[ClientSide] = []

    def clock() -> float:
        """That of the newest, whoever asks."""
        return [side.loop.clock() for side in sides][-1]

    def make(options: ListenerOptions | None = None, **upstream: Any) -> ClientSide:
        sides.append(ClientSide(options or ListenerOptions(HEAD_TIMEOUT, KEEP_ALIVE), **upstream))
        return sides[-1]

    with clocked_by(clock):
        yield make


@pytest.fixture
def side(make: Callable[..., ClientSide]) -> ClientSide:
    return make()
