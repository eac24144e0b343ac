"""No set of labels has a commit merged that no gate judged: refused where it is written, held where it came about."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millpond.delivery.judging import Unjudged, by_labels, gated, unjudged
from millpond.delivery.model import Json
from millpond.delivery.pipeline import DEFAULT, GateRule, Label, Pipeline, Stage

GATE = (GateRule("human-verdict"),)
DEVELOP, CHECK, MERGE = Stage("develop", "agent"), Stage("check", "command", gates=GATE), Stage("merge", "merge")


def test_the_default_pipeline_judges_what_it_merges():
    assert unjudged(DEFAULT.stages, (), {}) is None
    assert unjudged(DEFAULT.stages, {"testing"}, {}) is None  # the review's gate is left, and behind it nothing commits
    assert unjudged(DEFAULT.stages, {"testing"}, {"commit": True}) is None
    assert unjudged(DEFAULT.stages, {"analysis", "development", "review", "testing"}, {}) == Unjudged("")


def test_what_a_label_takes_away_or_has_commit_is_found():
    tidy = Stage("tidy", "command")
    stages = (DEVELOP, CHECK, tidy, MERGE)
    assert unjudged(stages, (), {}) is None
    assert unjudged(stages, {"check"}, {}) == Unjudged("")
    assert unjudged(stages, (), {"commit": True}) == Unjudged("tidy")
    assert unjudged(stages, {"tidy"}, {"commit": True}) is None
    assert unjudged(stages, {"check", "merge"}, {}) is None
    assert unjudged((Stage("plan", "agent", gates=GATE), *stages), {"check"}, {}) == Unjudged("develop")
    assert unjudged((DEVELOP, MERGE), (), {"commit": True}) is None  # there are no gates at all


def test_a_second_merge_has_its_own_last_gate():
    late = Stage("late", "agent")
    stages = (DEVELOP, CHECK, MERGE, late, Stage("again", "merge"))
    assert unjudged(stages, (), {}) == Unjudged("late")
    assert unjudged(stages, {"late"}, {}) is None
    assert unjudged(stages, {"again", "merge"}, {}) is None


def test_labels_that_are_harmless_alone_are_found_together_and_no_more_are_named_than_it_takes():
    stages = (Stage("plan", "agent", gates=GATE), DEVELOP, CHECK, Stage("proof", "command", gates=GATE), MERGE)
    labels = {
        "big": Label(priority=3),
        "quick": Label(frozenset({"check"})),
        "trusted": Label(frozenset({"proof"})),
        "docs": Label(frozenset({"develop"})),
    }
    assert by_labels(stages, {name: labels[name] for name in ("big", "quick", "docs")}) is None
    assert by_labels(stages, labels) == (("quick", "trusted"), Unjudged("develop"))
    quiet = {**labels, "quiet": Label(settings={"commit": False})}  # spares what it is on, not what it is not on
    assert by_labels(stages, quiet) == (("quick", "trusted"), Unjudged("develop"))


NAMES = ("a", "b", "c", "d", "e")
COMMIT: st.SearchStrategy[dict[str, Json]] = st.sampled_from([{}, {}, {"commit": True}, {"commit": False}])
STAGES = st.lists(
    st.tuples(st.sampled_from(["agent", "agent", "command", "merge", "deploy"]), st.booleans(), COMMIT),
    min_size=2,
    max_size=5,
).map(
    lambda drawn: tuple(
        Stage(name, step, commit, GATE if gated and step != "merge" else ())
        for name, (step, gated, commit) in zip(NAMES, drawn, strict=False)
    )
)
LABELS = st.dictionaries(
    st.sampled_from(["u", "v", "w", "x"]),
    st.builds(Label, skip=st.frozensets(st.sampled_from(NAMES), max_size=2), settings=COMMIT),
    max_size=4,
)


@pytest.mark.heavy
@settings(max_examples=1500, deadline=None, derandomize=True, database=None)
@given(STAGES, LABELS)
def test_what_is_not_refused_lets_nothing_by_whatever_labels_an_issue_has(
    stages: tuple[Stage, ...], labels: dict[str, Label]
):
    pipeline = Pipeline(stages, labels=labels)
    if unjudged(stages, (), {}) is not None:
        return
    found = by_labels(stages, labels)
    worst = [
        names
        for size in range(len(labels) + 1)
        for names in itertools.permutations(labels, size)
        for options in [pipeline.options(names)]
        if unjudged(stages, options.skip, options.settings) is not None
    ]
    if found is None:
        assert worst == []
    else:
        assert set(found[0]) <= set(labels)
        contradict = len({label.settings.get("commit") for label in labels.values()} - {None}) > 1
        assert worst or contradict  # of labels that contradict the names' order decides, which case can turn round


def test_gates_count_that_stand_before_a_merge():
    build, merge = Stage("build", "command"), Stage("merge", "merge")
    look = Stage("look", "command", gates=(GateRule("human-verdict"),))
    assert gated((look, build, merge), "merge")
    assert not gated((build, merge, look), "merge")
    assert not gated((look,), "merge")
