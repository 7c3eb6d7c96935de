"""How many client connections each address has, in one process."""

from rawgate.relay.addresses import Addresses


def test_an_address_has_so_many() -> None:
    addresses = Addresses(2)
    assert [addresses.enter("192.0.2.1") for _ in range(3)] == [True, True, False]
    assert addresses.enter("192.0.2.2")
    addresses.leave("192.0.2.1")
    assert addresses.counts == {"192.0.2.1": 1, "192.0.2.2": 1}
    addresses.leave("192.0.2.2")
    assert addresses.counts == {"192.0.2.1": 1}


def test_a_limit_may_come_and_go() -> None:
    addresses = Addresses(None)
    assert [addresses.enter("192.0.2.1") for _ in range(3)] == [True] * 3
    addresses.resize(3)
    assert not addresses.enter("192.0.2.1")
    addresses.leave("192.0.2.1")
    assert addresses.enter("192.0.2.1")
    addresses.resize(None)
    assert addresses.enter("192.0.2.1")
