from __future__ import annotations

import pytest

from bench import stats


def test_the_median_of_an_even_number_is_between_the_middle_two():
    assert stats.median([4, 1, 3, 2]) == 2.5


def test_no_values_have_no_median():
    with pytest.raises(ValueError, match="no value"):
        stats.median([])


def test_the_spread_is_what_lies_between_the_extremes_by_the_median():
    assert stats.spread([90, 100, 120]) == pytest.approx(0.3)
    assert stats.spread([7]) == 0
    assert stats.spread([0, 0]) == 0


def test_a_percentile_is_a_value_that_was_measured():
    values = list(range(1, 201))
    assert stats.percentile(values, 0.99) == 198
    assert stats.percentile(values[:150], 0.99) == 149
    assert stats.percentile(values, 1) == 200
    assert stats.percentile(values, 0) == 1
    assert stats.percentile([5], 0.99) == 5


@pytest.mark.parametrize(("values", "share"), [([], 0.5), ([1], 1.1), ([1], -0.1)])
def test_a_percentile_that_makes_no_sense_is_refused(values, share):
    with pytest.raises(ValueError, match="percentile"):
        stats.percentile(values, share)


def test_ratios_are_taken_round_by_round():
    assert stats.ratios([90, 50], [100, 100]) == [0.9, 0.5]


def test_where_a_round_is_missing_the_medians_are_set_against_each_other():
    assert stats.ratios([90, 80, 100], [100, 100]) == [0.9]


@pytest.mark.parametrize("base", [[], [100, 0]])
def test_without_a_base_there_is_no_ratio(base):
    assert stats.ratios([1, 2], base) == []
