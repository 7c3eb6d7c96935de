"""The fake loop reads as real ones do: each connection once in a turn, and all before anything is called soon."""

import asyncio

from harness.fake_loop import FakeLoop, FakeTransport


class Receiver(asyncio.Protocol):
    def __init__(self) -> None:
        self.came: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        self.came.append(data)

    def eof_received(self) -> bool:
        self.came.append(b"")
        return True


def test_what_comes_in_one_turn_comes_before_what_is_called_soon() -> None:
    loop = FakeLoop()
    receivers = Receiver(), Receiver()
    first, second = (FakeTransport(loop, receiver) for receiver in receivers)
    with loop.reading():
        first.receives(b"1")
        loop.call_soon(receivers[1].came.append, b"soon")
        loop.run()
        first.receives(b"2")
        first.receives(b"")
        second.receives(b"3")
        second.receives(b"")
    assert [receiver.came for receiver in receivers] == [[b"1"], [b"3", b""]]
    loop.run()
    assert [receiver.came for receiver in receivers] == [[b"1", b"2", b""], [b"3", b"", b"soon"]]
