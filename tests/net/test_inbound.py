"""Octets of a client that wait: in order, read on up to a limit, and FIN in its place behind them."""

from hypothesis import given
from hypothesis import strategies as st

from harness.fake_loop import FakeLoop, FakeTransport
from rawgate.net.inbound import Inbound

LIMIT = 10


class Nobody:
    """The protocol of a transport that nothing happens on."""

    def __getattr__(self, name: str) -> object:
        return lambda *_: None


def inbound() -> tuple[Inbound, FakeTransport]:
    transport = FakeTransport(FakeLoop(), Nobody())  # type: ignore[arg-type]
    return Inbound(transport, LIMIT), transport


def test_reading_stops_behind_the_limit_and_goes_on_when_it_is_taken() -> None:
    held, transport = inbound()
    held.hold(bytes(LIMIT))
    assert transport.is_reading()
    held.hold(b"!")
    assert not transport.is_reading()
    held.read_on()
    assert not transport.is_reading()
    assert held.take() == bytes(LIMIT) + b"!"
    held.read_on()
    assert transport.is_reading()


def test_reading_that_was_stopped_for_another_reason_goes_on_too() -> None:
    held, transport = inbound()
    held.stop_reading()
    held.stop_reading()
    assert not transport.is_reading()
    held.read_on()
    assert transport.is_reading()


def test_reading_goes_on_with_as_much_held_as_the_limit_allows() -> None:
    held, transport = inbound()
    held.hold(bytes(LIMIT))
    held.stop_reading()
    held.read_on()
    assert transport.is_reading()


def test_fin_comes_behind_what_is_held_and_waits_while_paused() -> None:
    held, _ = inbound()
    held.hold(b"a")
    assert not held.is_at_end()
    held.ended = held.paused = True
    assert not held.is_at_end()
    held.take()
    assert not held.is_at_end()
    held.paused = False
    assert held.is_at_end()


@given(st.lists(st.one_of(st.binary(min_size=1, max_size=8), st.none()), max_size=20))
def test_nothing_is_lost_or_out_of_order(steps: list[bytes | None]) -> None:
    """None: take all that is held, and read on."""
    held, transport = inbound()
    taken = b""
    for step in steps:
        if step is None:
            taken += held.take()
            held.read_on()
        else:
            held.hold(step)
        assert transport.is_reading() is (len(held.held) <= LIMIT)
    assert taken + held.take() == b"".join(step for step in steps if step is not None)
