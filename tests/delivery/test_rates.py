"""The rate budget as a decision: never above the limit, a reserve for what somebody waits for, refusals believed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millpond.delivery.rates import Bucket, Rate, Use, draw, filled, full, refused, told

SIXTY = Rate(60.0)


def drained(use: Use, bucket: Bucket, now: float = 0.0) -> tuple[int, Bucket]:
    count = 0
    while True:
        bucket, wait_s = draw(bucket, SIXTY, use, now)
        if wait_s:
            return count, bucket
        count += 1


def test_listing_leaves_half_and_reads_a_quarter_to_the_others():
    listed, bucket = drained(Use.LISTING, full(SIXTY, 0.0))
    read, bucket = drained(Use.READ, bucket)
    urgent, bucket = drained(Use.URGENT, bucket)
    assert (listed, read, urgent) == (10, 5, 5)
    assert drained(Use.WRITE, bucket)[0] == 0


def test_the_wait_is_how_long_it_takes():
    _, bucket = drained(Use.WRITE, full(SIXTY, 0.0))
    _, wait_s = draw(bucket, SIXTY, Use.WRITE, 0.0)
    assert wait_s == pytest.approx(1.5)
    assert draw(bucket, SIXTY, Use.WRITE, 1.5)[1] == 0.0
    assert draw(bucket, SIXTY, Use.LISTING, 0.0)[1] == pytest.approx(16.5)


@given(
    st.floats(0.5, 600),
    st.lists(st.tuples(st.sampled_from(list(Use)), st.floats(0, 30)), max_size=300),
)
@settings(deadline=None)
def test_no_minute_ever_has_more_than_the_limit(per_minute: float, asked: list[tuple[Use, float]]):
    rate, now, sent = Rate(per_minute), 0.0, list[float]()
    bucket = full(rate, now)
    for use, pause_s in asked:
        now += pause_s
        bucket, wait_s = draw(bucket, rate, use, now)
        if not wait_s:
            sent.append(now)
    for start in sent:
        assert sum(start <= at < start + 60 for at in sent) <= max(per_minute, 1.0) + 1


@given(st.floats(0.5, 600), st.sampled_from(list(Use)))
@settings(deadline=None)
def test_who_waits_as_long_as_was_said_gets_a_turn(per_minute: float, use: Use):
    rate = Rate(per_minute)
    bucket, now = refused(full(rate, 0.0), 7.0, 0.0), 0.0
    bucket, first_s = draw(bucket, rate, use, now)
    _, second_s = draw(bucket, rate, use, now + first_s)
    assert first_s > 7.0
    assert second_s < 1e-6


def test_a_refusal_closes_it_for_everybody():
    bucket = refused(full(SIXTY, 0.0), 21.0, 0.0)
    assert draw(bucket, SIXTY, Use.WRITE, 20.0)[1] == pytest.approx(2.5)
    assert draw(bucket, SIXTY, Use.WRITE, 22.6)[1] == 0.0
    assert refused(bucket, 1.0, 1.0).closed_until == 21.0
    assert refused(bucket, None, 0.0).closed_until == 60.0
    assert refused(bucket, 1e9, 0.0).closed_until == 3600.0
    assert refused(full(SIXTY, 5.0), -3.0, 5.0).closed_until == 5.0


def test_what_the_counterpart_says_is_believed_when_it_is_less():
    assert told(full(SIXTY, 0.0), 3).level == 3
    assert told(Bucket(2.0, 0.0), 46).level == 2.0
    assert told(Bucket(2.0, 0.0), -1).level == 0.0


def test_a_clock_that_is_set_back_fills_nothing():
    assert filled(Bucket(1.0, 100.0), SIXTY, 50.0) == Bucket(1.0, 100.0)


@pytest.mark.parametrize("per_minute", [0.0, -1.0, float("inf"), float("nan")])
def test_a_rate_lets_something_through(per_minute: float):
    with pytest.raises(ValueError, match="requests a minute"):
        Rate(per_minute)
