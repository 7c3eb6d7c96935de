"""The quota of one process, and where a process gets its own ones from."""

from rawgate.relay.quota import Quota, Quotas


def test_there_are_so_many_slots() -> None:
    quota = Quota(2)
    assert [quota.take(), quota.take_or_wait(), quota.take(), quota.take_or_wait()] == [True, True, False, False]
    quota.give()
    assert quota.take()
    assert repr(quota) == "<Quota 2 of 2>"


def test_after_a_lower_limit_slots_are_given_back() -> None:
    quota = Quota(3)
    for _ in range(3):
        quota.take()
    assert not quota.give_if_due()
    quota.resize(2)
    assert [quota.give_if_due(), quota.give_if_due(), quota.take()] == [True, False, False]
    assert quota.taken == 2


def test_quotas_of_one_process_are_its_own() -> None:
    quotas = Quotas()
    one, other = (quotas.named("q", 1) for _ in range(2))
    assert [one.take(), other.take()] == [True, True]
    assert not one.is_shared
    assert quotas.addresses(None).limit is None
