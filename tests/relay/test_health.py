"""What is known of one endpoint: whether it is up, and how much it gets."""

import pytest

from rawgate.relay.health import LEAST_SHARE, UNHEALTHY_FOR, Health


def test_what_has_not_failed_is_up_and_has_its_full_share() -> None:
    health = Health(slow_start=30.0)
    assert health.is_up(0.0)
    assert health.share(0.0) == 1.0


@pytest.mark.parametrize(
    ("since", "share"), [(-1.0, LEAST_SHARE), (0.0, LEAST_SHARE), (3.0, 0.15), (10.0, 0.5), (20.0, 1.0), (99.0, 1.0)]
)
def test_the_share_rises_from_when_it_is_back(since: float, share: float) -> None:
    health = Health(slow_start=20.0)
    health.failed(100.0)
    assert health.share(100.0 + UNHEALTHY_FOR + since) == pytest.approx(share)
    health.reached(102.0)
    assert health.share(102.0 + since) == pytest.approx(share)


def test_without_a_slow_start_it_is_back_at_once() -> None:
    health = Health()
    health.failed(100.0)
    health.reached(102.0)
    assert health.is_up(102.0)
    assert health.share(102.0) == 1.0


def test_what_was_up_all_the_time_does_not_start_anew() -> None:
    health = Health(slow_start=20.0)
    health.reached(100.0)
    health.must_respond = True
    health.responded(100.0)
    assert health.share(100.0) == 1.0
