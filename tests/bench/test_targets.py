from __future__ import annotations

import pytest
from tests.bench.figures import row, table

from bench import targets
from bench.targets import Measure, Target, Verdict

BASE = row("nginx", 100, 100, 100)
OURS = row("millpond-1", 95, 70, 96)


def target(measure: Measure, limit: float = 0.9, **more) -> Target:
    return Target("t", "hits", "millpond-1", "rate", measure, limit, at_least=True, **more)


@pytest.mark.parametrize(
    ("measure", "figure"),
    [(Measure.RATIO, 0.95), (Measure.WORST_RATIO, 0.7), (Measure.MEDIAN, 95), (Measure.WORST, 70)],
)
def test_what_is_judged_is_the_median_or_the_worst_round(measure, figure):
    assert target(measure).figure(OURS, table(BASE, OURS)) == pytest.approx(figure)


def test_the_worst_of_what_should_be_little_is_the_most():
    most = Target("t", "memory", "millpond-1", "memory", Measure.WORST, 100)
    assert most.figure(row("millpond-1", 5, 9, 7, group="memory", metric="memory"), {}) == 9


def test_a_figure_can_be_set_against_another_server():
    rows = table(OURS, row("squid", 50))
    assert target(Measure.AGAINST, other="squid").figure(OURS, rows) == pytest.approx(1.9)
    assert target(Measure.BEYOND, other="squid").figure(OURS, rows) == pytest.approx(45)
    assert target(Measure.AGAINST, other="varnish").figure(OURS, rows) is None


@pytest.mark.parametrize(
    ("limit", "at_least", "word"), [(5, True, "met"), (5.1, True, "missed"), (5, False, "met"), (4.9, False, "missed")]
)
def test_the_limit_itself_is_met(limit, at_least, word):
    assert Verdict(Target("t", "g", "s", "m", Measure.MEDIAN, limit, at_least=at_least), "c", 5).word == word


def test_every_load_of_a_target_gets_a_verdict():
    rows = table(BASE, OURS, row("nginx", 10, case="b"), row("millpond-1", 5, case="b"))
    found = [one for one in targets.judge(rows) if one.target.text == "hits: aim .9 of nginx"]
    assert [(one.case, one.word) for one in found] == [("a: 2 KiB", "met"), ("b", "missed")]


def test_what_was_not_measured_is_said_and_not_passed_over():
    found = list(targets.judge({}))
    assert len(found) == len(targets.TARGETS)
    assert {one.word for one in found} == {"not measured"}


def test_a_target_for_one_load_says_nothing_of_another():
    only = target(Measure.MEDIAN, cases=("c:",))
    assert not only.about(OURS)
    assert only.about(row("millpond-1", 1, case="c: 100 MiB"))
