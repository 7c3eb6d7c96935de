"""Client connections whose every change of state is checked against the table; clocks of `net` that a test moves."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

from harness.fake_loop import FakeLoop
from rawgate.net import client, dialing, replies, timer, turn, upstream
from rawgate.net.client import ClientConnection
from rawgate.net.states import TABLE, State


class IllegalMoveError(AssertionError):
    """A state was followed by one that the table does not let follow."""


def check_states(connection: ClientConnection, loop: FakeLoop) -> list[State]:
    """From now on a move of this connection that is not in the table raises. Returns the states that it has had, in
    order; the list grows as the connection lives on this loop.

    A state that is followed by another one before the connection asks for the time, writes or does anything else would
    not be seen. There is no such state: `tests/net/test_states.py` sees every move of the table.
    """
    path: list[State] = []

    def look() -> None:
        state = connection._state  # noqa: SLF001 - what it does says less
        if not path or state is not path[-1]:
            if path and state not in TABLE[path[-1]]:
                raise IllegalMoveError(f"{state} after {path[-1]}")
            path.append(state)

    loop.watch(look)
    look()
    return path


@contextmanager
def clocked_by(clock: Callable[[], float], wall: Callable[[], float] | None = None) -> Iterator[None]:
    """Let `net` read its time from `clock`. `wall`: the time of day, if it is another function."""
    with ExitStack() as stack:
        for module in (client, dialing, replies, timer, turn, upstream):
            stack.enter_context(mock.patch.object(module, "monotonic", clock))
        for module in (client, replies, turn):
            stack.enter_context(mock.patch.object(module, "time", wall or clock))
        yield
