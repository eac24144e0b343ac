"""Each gate by values: what passes, what fails, what it waits for; and that a push voids it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millpond.delivery.deciding.gates import GATES, HUMAN, REQUIRED, SETTINGS, Word, awaits_person, judge, overspent
from millpond.delivery.model import Budget, Evidence, Json, Options, Spend, Task
from millpond.delivery.pipeline import GateRule, Stage

SHA, OTHER = "a" * 40, "b" * 40
TASK = Task(1, "SH-12", "shop", "i1", "team/shop", "feature/SH-12-x", "testing", sha=SHA, visit=3)
PATH = {"path": "docs/{key}.md"}
SET: dict[str, dict[str, Json]] = {"file-present": dict(PATH), "review-verdict": dict(PATH)}

PASSES: dict[str, tuple[str, dict[str, Json]]] = {
    "human-verdict": ("human-verdict", {"approved": True, "by": "ada"}),
    "file-present": ("file", {"path": "docs/SH-12.md", "present": True}),
    "branch-pushed": ("head", {}),
    "commit-status": ("statuses", {"statuses": {"ci": "success", "lint": "skipped", "docs": "warning"}}),
    "review-verdict": ("front-matter", {"path": "docs/SH-12.md", "fields": {"verdict": " Approved "}}),
    "tests-passed": ("tests", {"passed": 3, "failed": 0}),
    "no-conflict": ("mergeable", {"mergeable": True}),
    "base-unmoved": ("base", {"contained": True}),
    "images-pullable": ("images", {"pullable": True}),
    "artifacts-present": ("artifacts", {"present": True}),
    "deploy-converged": ("deploy", {"converged": True}),
    "health": ("health", {"state": "HEALTHY"}),
}
FAILS: dict[str, dict[str, Json]] = {
    "human-verdict": {"approved": False},
    "file-present": {"path": "docs/SH-12.md", "present": False},
    "commit-status": {"statuses": {"ci": "success", "lint": "error"}},
    "review-verdict": {"path": "docs/SH-12.md", "fields": {"verdict": "rejected"}},
    "tests-passed": {"passed": 3, "failed": 1},
    "no-conflict": {"mergeable": False},
    "base-unmoved": {"contained": False},
    "images-pullable": {"pullable": False, "detail": "web: manifest unknown"},
    "artifacts-present": {"present": False},
    "deploy-converged": {"converged": False},
    "health": {"state": "DEGRADED", "detail": "5xx"},
}


def fact(name: str, facts: dict[str, Json], **more: object) -> Evidence:
    values: dict[str, object] = {"sha": SHA, "at": 10.0, "visit": 3, **more}
    return Evidence(PASSES[name][0], facts, **values)  # type: ignore[arg-type]


def word(name: str, *evidence: Evidence, task: Task = TASK, settings: dict[str, Json] | None = None) -> Word:
    stage = Stage("testing", "command", gates=(GateRule(name, SET.get(name, {}) if settings is None else settings),))
    ((_rule, ruling),) = judge(task, stage, evidence, Budget(), Spend())
    assert ruling.reason
    return ruling.word


def test_all_thirteen_are_there_and_all_of_them_are_tested():
    assert len(GATES) == 13
    assert set(PASSES) | {"budget-left"} == set(GATES)
    assert set(FAILS) | {"budget-left", "branch-pushed"} == set(GATES)
    assert set(REQUIRED) <= set(SETTINGS) <= set(GATES)


@pytest.mark.parametrize("name", PASSES)
def test_a_gate_passes_on_its_evidence(name: str):
    assert word(name, fact(name, PASSES[name][1])) is Word.PASSED
    assert word(name, fact(name, PASSES[name][1], visit=0)) is Word.PASSED  # observed just now


@pytest.mark.parametrize("name", FAILS)
def test_a_gate_fails_on_the_contrary(name: str):
    assert word(name, fact(name, FAILS[name])) is Word.FAILED


@pytest.mark.parametrize("name", PASSES)
def test_no_evidence_is_never_green(name: str):
    assert word(name) is Word.WAITING
    assert word(name, fact(name, {})) is not Word.PASSED or name == "branch-pushed"


@pytest.mark.parametrize("name", PASSES)
def test_a_new_push_voids_what_was_shown_before(name: str):
    shown = fact(name, PASSES[name][1])
    assert word(name, shown, task=replace(TASK, sha=OTHER)) is Word.WAITING
    assert word(name, replace(shown, sha="")) is Word.WAITING


@pytest.mark.parametrize("name", PASSES)
def test_what_an_earlier_visit_brought_counts_no_more(name: str):
    assert word(name, fact(name, PASSES[name][1], visit=2)) is Word.WAITING


@pytest.mark.parametrize("name", FAILS)
def test_of_two_facts_the_later_holds_in_whatever_order_they_come(name: str):
    good, bad = fact(name, PASSES[name][1], at=10.0), fact(name, FAILS[name], at=20.0)
    assert word(name, good, bad) is word(name, bad, good) is Word.FAILED
    good = replace(good, at=30.0)
    assert word(name, good, bad) is word(name, bad, good) is Word.PASSED


@pytest.mark.parametrize("name", sorted(set(PASSES) - {"human-verdict"}))
def test_without_a_commit_nothing_about_one_passes(name: str):
    evidence = fact(name, PASSES[name][1], sha="")
    assert word(name, evidence, task=replace(TASK, sha="")) is Word.WAITING


def test_a_person_may_judge_what_has_no_commit_yet():
    task = replace(TASK, sha="")
    assert word("human-verdict", fact("human-verdict", {"approved": True}, sha=""), task=task) is Word.PASSED


def statuses(**states: str) -> Evidence:
    return fact("commit-status", {"statuses": dict(states)})


def test_statuses_none_is_not_green_and_the_named_ones_must_be_there():
    assert word("commit-status", statuses()) is Word.WAITING
    assert word("commit-status", statuses(ci="pending")) is Word.WAITING
    assert word("commit-status", statuses(ci="unheard-of")) is Word.WAITING
    assert word("commit-status", statuses(ci="success"), settings={"contexts": ["ci", "e2e"]}) is Word.WAITING
    assert word("commit-status", statuses(ci="success", e2e="success"), settings={"contexts": ["e2e"]}) is Word.PASSED
    assert word("commit-status", statuses(ci="pending", e2e="failure")) is Word.FAILED


def test_a_review_without_a_clear_verdict_is_waited_for():
    for fields in ({}, {"verdict": ""}, {"verdict": "maybe"}, {"verdict": None}, "approved", None):
        evidence = fact("review-verdict", {"path": "docs/SH-12.md", "fields": fields})  # type: ignore[dict-item]
        assert word("review-verdict", evidence) is Word.WAITING


def test_another_file_is_no_evidence():
    assert word("file-present", fact("file-present", {"path": "docs/SH-1.md", "present": True})) is Word.WAITING


def test_no_test_at_all_is_no_pass_and_unclear_counts_are_none():
    assert word("tests-passed", fact("tests-passed", {"passed": 0, "failed": 0})) is Word.FAILED
    for facts in ({"passed": 1}, {"failed": 0}, {"passed": "1", "failed": 0}, {"passed": True, "failed": False}):
        assert word("tests-passed", fact("tests-passed", facts)) is Word.WAITING  # type: ignore[arg-type]


def test_a_gate_that_nobody_knows_never_passes():
    assert word("no-such-gate", fact("health", {"state": "HEALTHY"})) is Word.WAITING


def test_budgets_of_the_task_its_label_and_the_day():
    budget = Budget(task_usd=10.0, day_usd=100.0)
    assert not overspent(TASK, budget, Spend(9.99, 99.0))
    assert "task's budget" in overspent(TASK, budget, Spend(10.0, 10.0))
    assert "today" in overspent(TASK, budget, Spend(1.0, 100.0))
    raised = replace(TASK, options=Options(task_usd=20.0))
    assert not overspent(raised, budget, Spend(15.0, 15.0))
    assert not overspent(TASK, Budget(task_usd=None, day_usd=None), Spend(1e9, 1e9))
    assert overspent(replace(TASK, options=Options(task_usd=0.0)), budget, Spend())


@pytest.mark.parametrize(
    ("said", "awaited"),
    [
        ([("tests-passed", "failed"), (HUMAN, "waiting")], True),
        ([(HUMAN, "passed"), ("commit-status", "waiting")], False),
        ([(HUMAN, "failed")], False),
    ],
)
def test_a_person_is_awaited_by_the_gate_of_that_name_while_it_waits(said: list[tuple[str, str]], awaited: bool):
    assert [awaits_person(said, unseen=unseen) for unseen in (True, False)] == [awaited, awaited]


@pytest.mark.parametrize("unseen", [True, False])
def test_before_any_gate_was_looked_at_whoever_asks_says_what_is_taken_for_true(unseen: bool):
    assert awaits_person([], unseen=unseen) is unseen


@settings(deadline=None)
@given(
    st.sampled_from(sorted(GATES)),
    st.dictionaries(
        st.sampled_from(
            ["approved", "present", "path", "statuses", "fields", "passed", "failed", "state", "mergeable"]
        ),
        st.none()
        | st.booleans()
        | st.integers()
        | st.text()
        | st.lists(st.text())
        | st.dictionaries(st.text(), st.text()),
    ),
)
def test_whatever_the_facts_are_a_gate_rules(name: str, facts: dict[str, Json]):
    evidence = [Evidence(kind, facts, SHA, 1.0, 3) for kind, _ in PASSES.values()]
    settings: dict[str, Json] = {"path": facts.get("path"), "contexts": facts.get("fields")}
    stage = Stage("testing", "command", gates=(GateRule(name, settings),))
    ((_rule, ruling),) = judge(TASK, stage, evidence, Budget(), Spend())
    assert ruling.word in Word
