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
    health.failed("timed out", 100.0)
    assert health.share(100.0 + UNHEALTHY_FOR + since) == pytest.approx(share)
    health.reached(102.0)
    assert health.share(102.0 + since) == pytest.approx(share)


def test_without_a_slow_start_it_is_back_at_once() -> None:
    health = Health()
    health.failed("timed out", 100.0)
    health.reached(102.0)
    assert health.is_up(102.0)
    assert health.share(102.0) == 1.0


def test_what_was_up_all_the_time_does_not_start_anew() -> None:
    health = Health(slow_start=20.0)
    health.reached(100.0)
    health.must_respond = True
    health.responded(100.0)
    assert health.share(100.0) == 1.0


# ── checks and ejections ──


def test_it_is_up_when_nothing_leaves_it_out() -> None:
    """Of a failure, a check and an ejection, each leaves it out alone."""
    health = Health()
    health.failed("timed out", 100.0)
    health.eject("5 failures in a row", 120.0, 100.0)
    health.checked("status 503", 100.0)
    assert health.why(100.0) == "health check: status 503"
    assert not health.is_up(10_000.0), "a check that has failed waits for one that passes"
    health.checked("", 110.0)
    assert health.why(110.0) == "ejected: 5 failures in a row"
    assert not health.is_up(119.9), "a check that passes does not end an ejection"
    assert health.is_up(120.0)
    assert health.why(120.0) == ""


def test_checks_that_pass_again_end_a_failure() -> None:
    """They have reached it since. It would be left out for seconds longer, and all that time others would have to do
    its part, which is most where all were down."""
    health = Health()
    health.must_respond = True
    assert health.failed("connection refused", 100.0)
    health.checked("connection refused", 101.0)
    health.checked("", 102.0)
    assert health.is_up(102.0)
    assert health.is_reachable(102.0)
    assert health.why(102.0) == health.unproved(102.0) == ""
    assert not health.must_respond
    assert not health.reached(103.0), "the operator knows"


def test_a_failure_does_not_end_because_nobody_checks_any_more() -> None:
    health = Health()
    health.failed("connection refused", 100.0)
    health.checked("connection refused", 101.0)
    health.unchecked(102.0)
    assert health.why(102.0) == "connection refused"
    assert health.is_up(100.0 + UNHEALTHY_FOR)


def test_a_failure_counts_for_a_while_after_an_ejection() -> None:
    health = Health()
    health.eject("5 failures in a row", 120.0, 100.0)
    assert not health.failed("timed out", 119.0), "the ejection was reported already"
    assert health.why(121.0) == "timed out"
    assert not health.is_up(121.0)
    assert health.is_up(119.0 + UNHEALTHY_FOR)


def test_an_ejection_can_be_taken_back() -> None:
    health = Health()
    health.failures = 5
    health.eject("5 failures in a row", 120.0, 100.0)
    assert health.failures == 0
    health.eject("", 105.0, 105.0)
    assert health.is_up(105.0)


@pytest.mark.parametrize("way", ["check", "ejection"])
def test_a_slow_start_begins_when_it_is_back(way: str) -> None:
    health = Health(slow_start=20.0)
    if way == "check":
        health.checked("status 503", 50.0)
        health.checked("", 100.0)
    else:
        health.eject("5 failures in a row", 100.0, 50.0)
    assert health.share(101.0) == LEAST_SHARE
    assert health.share(110.0) == pytest.approx(0.5)


def test_a_check_that_goes_on_passing_starts_nothing_anew() -> None:
    health = Health(slow_start=20.0)
    health.checked("", 100.0)
    assert health.share(100.0) == 1.0
