"""Client connections that check each change of their state against the table; clocks of `net` that a test moves."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from rawgate.net import client, dialing, replies, timer, upstream
from rawgate.net.client import ClientConnection
from rawgate.net.listener import ClientConnections
from rawgate.net.states import TABLE, State


class IllegalMoveError(AssertionError):
    """A state was followed by one that the table does not let follow."""


class CheckedState:
    """In place of the attribute `_state`."""

    def __init__(self, attribute: Any) -> None:
        self._attribute = attribute

    def __get__(self, connection: "CheckedConnection", owner: object) -> State:
        state: State = self._attribute.__get__(connection)
        return state

    def __set__(self, connection: "CheckedConnection", after: State) -> None:
        path = connection.path
        if not path or after is not path[-1]:
            if path and after not in TABLE[path[-1]]:
                raise IllegalMoveError(f"{after} after {path[-1]}")
            path.append(after)
        self._attribute.__set__(connection, after)


class CheckedConnection(ClientConnection):
    """A connection as the gateway has them, whose state cannot change in a way that is not in the table.

    path  the states that it has had, in order
    """

    _state = CheckedState(vars(ClientConnection)["_state"])

    def __init__(self, connections: ClientConnections) -> None:
        self.path: list[State] = []
        super().__init__(connections)


@contextmanager
def clocked_by(clock: Callable[[], float], wall: Callable[[], float] | None = None) -> Iterator[None]:
    """Let `net` read its time from `clock`. `wall`: the time of day, if it is another function."""
    with ExitStack() as stack:
        for module in (client, dialing, replies, timer, upstream):
            stack.enter_context(mock.patch.object(module, "monotonic", clock))
        for module in (client, replies):
            stack.enter_context(mock.patch.object(module, "time", wall or clock))
        yield
