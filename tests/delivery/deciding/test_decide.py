"""What is decided, rule by rule, and what holds whatever the state of things is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millpond.delivery.board.board import NAMES, Board, board
from millpond.delivery.deciding.actions import (
    Acknowledge,
    Action,
    Alert,
    Arm,
    CancelTask,
    CreateTask,
    Finish,
    Heed,
    ParkTask,
    PassOn,
    Push,
    Release,
    SendBack,
    Show,
    StartJob,
    StopJob,
    Succeed,
    Tell,
    TryAgain,
    UseVerdict,
    Wait,
)
from millpond.delivery.deciding.decide import BASE_S, MAX_RETURNS, decide
from millpond.delivery.deciding.failing import PATIENCE_S
from millpond.delivery.deciding.folding import by_command, confirmed, fold, folded, verdict
from millpond.delivery.deciding.looking import Dependency, World
from millpond.delivery.model import (
    NO_BUDGET,
    Budget,
    Comment,
    Evidence,
    Input,
    Issue,
    Job,
    JobState,
    Key,
    Options,
    Phase,
    Project,
    Spend,
    State,
    Task,
)
from millpond.delivery.pipeline import DEFAULT, GateRule, Pipeline, Stage

T = TypeVar("T")
NOW = 1_000_000.0
SHA = "a" * 40
SHOP = Project("shop", "p1", "team/shop", "SH", app="shop")
FULL = board([State("backlog", "Backlog"), *(State(key.value, name) for key, name in NAMES.items())], NAMES, {})
PLAIN = board([State(name, name) for name in ("Backlog", "In Progress", "Done")], NAMES, {})
WORLD = World(SHOP, FULL, DEFAULT)
TASK = Task(
    *(1, "SH-1", "shop", "i1", "team/shop", "feature/SH-1-x", "development"),
    used=Input.NONE,
    sha=SHA,
    judged=SHA,
    since=NOW,
)


def issue(state: Key | str = "backlog", **more: object) -> Issue:
    values: dict[str, object] = {"updated_at": NOW - 1000, **more}
    return Issue("i1", "shop", 1, "Ship it", str(state), **values)  # type: ignore[arg-type]


def job(state: JobState, **more: object) -> Job:
    values: dict[str, object] = {"state": state, "sha": SHA, **more}
    step = str(values.pop("step", "agent"))
    return Job(7, 1, "shop", "i1", "team/shop", TASK.stage, step, **values)  # type: ignore[arg-type]


def run(
    task: Task | None,
    at: Issue | None = None,
    jobs: tuple[Job, ...] = (),
    evidence: tuple[Evidence, ...] = (),
    world: World = WORLD,
) -> tuple[Action, ...]:
    return decide(at or issue(), task, jobs, evidence, NOW, world)


def reason(actions: tuple[Action, ...]) -> str:
    (only,) = actions
    assert isinstance(only, Wait), only
    return only.reason


def shown(key: Key, **more: object) -> Task:
    return replace(TASK, shown=key.value, **more)  # type: ignore[arg-type]


# beginning


def test_an_issue_at_to_analyse_with_no_open_task_begins_one():
    assert run(None, issue(Key.TO_ANALYSE)) == (CreateTask("analysis", Options(), "to_analyse"),)
    assert "To Analyse" in reason(run(None, issue(Key.IN_PROGRESS)))


def test_through_the_alias_too():
    found = run(None, issue("In Progress"), world=replace(WORLD, board=PLAIN))
    assert found == (CreateTask("analysis", Options(), "In Progress"),)


def test_labels_set_the_options_once():
    labelled = replace(WORLD, pipeline=replace(DEFAULT, stages=DEFAULT.stages[1:]))
    (made,) = run(None, issue(Key.TO_ANALYSE, labels=frozenset({"after:sh-9"})), world=labelled)
    assert made == CreateTask("development", Options(after=("SH-9",)), "to_analyse", "", "after:sh-9: after SH-9")


def test_a_poll_waits_for_the_grace_period_and_a_webhook_does_not():
    fresh = issue(Key.TO_ANALYSE, updated_at=NOW - 30)
    found = run(None, fresh, world=replace(WORLD, urgent=False))
    assert found == (Wait("grace period, 90 s left", NOW + 90),)
    assert isinstance(run(None, fresh)[0], CreateTask)
    assert isinstance(run(None, issue(Key.TO_ANALYSE), world=replace(WORLD, urgent=False))[0], CreateTask)


def test_the_grace_period_begins_anew_with_each_change():
    again = issue(Key.TO_ANALYSE, updated_at=NOW - 31)
    seen = replace(WORLD, urgent=False, seen_at=NOW - 121)
    assert run(None, again, world=seen) == (Wait("grace period, 89 s left", NOW + 89),)


def test_a_tracker_whose_clock_is_ahead_does_not_hold_an_issue_for_ever():
    ahead = issue(Key.TO_ANALYSE, updated_at=NOW + 86400)
    assert "grace" in reason(run(None, ahead, world=replace(WORLD, urgent=False)))
    assert "grace" in reason(run(None, ahead, world=replace(WORLD, urgent=False, seen_at=NOW - 100)))
    assert isinstance(run(None, ahead, world=replace(WORLD, urgent=False, seen_at=NOW - 120))[0], CreateTask)


@pytest.mark.parametrize("phase", [Phase.DONE, Phase.CANCELLED])
def test_a_task_that_has_ended_begins_anew_only_after_the_board_was_seen_elsewhere(phase: Phase):
    ended = shown(Key(phase.value), phase=phase, used=Input.START)
    assert "elsewhere and back" in reason(run(ended, issue(Key.TO_ANALYSE)))
    assert run(ended, issue(Key.DONE)) == (Arm(),)
    assert isinstance(run(replace(ended, used=Input.NONE), issue(Key.TO_ANALYSE))[0], CreateTask)


def test_the_end_of_a_task_is_shown():
    assert run(replace(TASK, phase=Phase.DONE), issue(Key.MONITORING))[0] == Show(
        Key.DONE, "done", "monitoring", frozenset({Input.START, Input.VERDICT})
    )


def test_an_issue_that_is_gone_parks_its_task_and_leaves_its_job_alone():
    assert isinstance(decide(None, TASK, (), (), NOW, WORLD)[0], ParkTask)
    assert "goes on" in reason(decide(None, TASK, (job(JobState.RUNNING),), (), NOW, WORLD))
    assert reason(decide(None, None, (), (), NOW, WORLD))
    assert reason(decide(None, replace(TASK, phase=Phase.PARKED), (), (), NOW, WORLD))


def test_what_stood_at_to_analyse_when_it_was_parked_resumes_nothing_until_it_was_elsewhere():
    at = issue(Key.TO_ANALYSE)
    task = replace(TASK, phase=Phase.WORKING, attempts=1, shown="to_analyse")
    actions = run(task, at, (job(JobState.FAILED, reason="no"),))
    parked = replace(folded(task, actions, NOW), shown="needs_input")
    assert (parked.phase, parked.used, parked.inputs) == (Phase.PARKED, Input.START, task.inputs + 1)
    assert "parked: no" in reason(run(parked, at))
    assert run(parked, issue(Key.NEEDS_INPUT)) == (Arm(),)
    assert run(replace(parked, used=Input.NONE), at) == (Release("to_analyse"),)


# jobs


def test_a_ready_task_starts_a_job_with_what_is_left_of_the_budgets():
    found = run(TASK, world=replace(WORLD, spend=Spend(22.0, 40.0, 3.0)))
    limits = (3.0, 200, 0, Budget())
    assert found == (StartJob("development", "agent", 1, 3600.0, {"prompt": "development"}, *limits),)


def test_a_repository_without_its_base_branch_is_waited_for():
    empty = replace(WORLD, lacks_base="/srv/shop.git")
    reason = "development: /srv/shop.git has no branch main: push main, then SH-1 goes on by itself"
    assert run(shown(Key.IN_PROGRESS), world=empty) == (Wait(reason, NOW + BASE_S, for_base=True),)
    reason = "/srv/shop.git has no branch main: push main, then a task begins by itself"
    assert run(None, issue(Key.TO_ANALYSE), world=empty) == (Wait(reason, NOW + BASE_S, for_base=True),)
    fresh = issue(Key.TO_ANALYSE, updated_at=NOW)
    assert run(None, fresh, world=replace(empty, urgent=False)) == (Wait(reason, NOW + BASE_S, for_base=True),)
    (merges,) = run(replace(shown(Key.IN_PROGRESS), stage="merge"), world=empty)
    assert isinstance(merges, StartJob)  # which needs no worktree, and says for itself what it lacks


def test_what_is_promised_to_other_jobs_is_not_given_twice():
    assert "promised" in reason(run(shown(Key.IN_PROGRESS), world=replace(WORLD, spend=Spend(0.0, 90.0, 10.0))))


def test_what_a_lost_job_of_the_task_may_have_spent_is_not_given_to_its_next_one():
    (start,) = run(shown(Key.IN_PROGRESS), world=replace(WORLD, spend=Spend(10.0, 10.0, 12.0, 12.0)))
    assert isinstance(start, StartJob)
    assert start.usd == 3.0
    assert "just lost" in reason(run(shown(Key.IN_PROGRESS), world=replace(WORLD, spend=Spend(10.0, 10.0, 15.0, 15.0))))


def test_a_spent_budget_parks_and_only_a_person_releases():
    over = replace(WORLD, spend=Spend(25.0, 25.0))
    parked, told = run(TASK, world=over)
    assert isinstance(parked, ParkTask)
    assert parked.shows is Key.NEEDS_INPUT
    assert isinstance(told, Tell)
    how = "To go on, run `millpond task release SH-1 --usd N` with a larger budget for all of it."
    assert told.text.endswith(f"(25.00 of 25.00 USD). {how}")
    after = replace(folded(TASK, (parked,), NOW), shown="needs_input")
    assert "parked: the task's budget" in reason(run(after, world=WORLD))


def test_a_spent_day_comes_back_by_itself():
    told = run(TASK, world=replace(WORLD, spend=Spend(0.0, 100.0)))[1]
    assert isinstance(told, Tell)
    assert "The day's budget comes back at midnight UTC; then run `millpond task release SH-1`." in told.text
    assert "--usd" not in told.text


@pytest.mark.parametrize(("asked", "told"), [
    ("which one?", "SH-1 is parked: which one? Answer in a comment here first; then move it to To Analyse, or run"),
    ("Say which.", "SH-1 is parked: Say which. Answer in a comment"),
    ("red or blue", "SH-1 is parked: red or blue. Answer in a comment"),
    ("the run's budget is spent (turns)", "(turns). To go on, move it to To Analyse, or run"),
])  # fmt: skip
def test_a_question_is_to_be_answered_before_the_task_goes_on(asked: str, told: str):
    comment = working(JobState.ASKED, reason=asked)[1]
    assert isinstance(comment, Tell)
    assert told in comment.text
    assert comment.text.endswith("`millpond task release SH-1`.")


@pytest.mark.parametrize("name", ["testing", "merge", "deploy", "monitoring"])
def test_what_costs_nothing_is_held_up_by_no_budget_and_takes_nothing_of_it(name: str):
    task = replace(shown(Key.IN_PROGRESS), stage=name)
    for spend in (Spend(25.0, 100.0), Spend(0.0, 90.0, 10.0)):
        (start,) = run(task, world=replace(WORLD, spend=spend))
        assert isinstance(start, StartJob)
        assert start.usd is None
    stages = tuple(replace(one, run_usd=1.0) for one in DEFAULT.stages)
    dear = replace(WORLD, spend=Spend(25.0, 100.0), pipeline=replace(DEFAULT, stages=stages))
    assert isinstance(run(task, world=dear)[0], ParkTask)


def test_an_active_job_is_let_alone_whatever_else_is_the_case():
    busy = shown(Key.IN_PROGRESS, phase=Phase.WORKING, attempts=1)
    for state in (JobState.QUEUED, JobState.RUNNING):
        for place in (Key.APPROVED, Key.REJECTED, Key.TO_ANALYSE, "backlog"):
            at = issue(place, comments=(Comment("1", NOW, "/approve"),))
            world = replace(WORLD, head="b" * 40, spend=Spend(99, 999))
            assert "job 7" in reason(run(busy, at, (job(state),), world=world))


def test_a_queued_job_says_what_it_waits_for():
    busy = shown(Key.IN_PROGRESS, phase=Phase.WORKING, attempts=1)
    world = replace(WORLD, line="job 3 of SH-9 runs in team/shop")
    assert reason(run(busy, jobs=(job(JobState.QUEUED),), world=world)).endswith(
        "queued: job 3 of SH-9 runs in team/shop"
    )


def working(state: JobState, **more: object) -> tuple[Action, ...]:
    task = replace(TASK, phase=Phase.WORKING, attempts=int(str(more.pop("attempts", 1))), visit=1)
    return run(task, jobs=(job(state, **more),))


def test_outcomes_are_taken_in():
    assert working(JobState.SUCCEEDED, sha="b")[0] == Succeed(7, "b", (0.0, ""))
    assert working(JobState.SUCCEEDED, sha="")[0] == Succeed(7, SHA, (0.0, ""))
    assert working(JobState.RETRY) == (TryAgain(7, NOW + 10, "job 7 was retry"),)
    assert working(JobState.RETRY, after_s=50.0, reason="429") == (TryAgain(7, NOW + 50, "429"),)
    assert working(JobState.RETRY, after_s=1e12) == (TryAgain(7, NOW + 86400, "job 7 was retry"),)
    assert working(JobState.LOST, attempts=2) == (TryAgain(7, NOW + 20, "job 7 was lost"),)
    assert isinstance(working(JobState.LOST, attempts=3)[0], ParkTask)
    assert working(JobState.FAILED, reason="no")[0] == ParkTask("no", Key.NEEDS_INPUT, 7)
    assert working(JobState.ASKED, reason="which one?")[0] == ParkTask("which one?", Key.NEEDS_INPUT, 7)
    assert isinstance(working(JobState.CANCELLED)[0], ParkTask)


def test_a_program_that_is_not_there_is_no_reason_to_do_another_stage_again():
    tested = replace(TESTING, phase=Phase.WORKING, attempts=1, visit=1)
    assert isinstance(run(tested, jobs=(job(JobState.FAILED, reason="red"),))[0], SendBack)
    gone = "it could not be started: nosuch: No such file or directory"
    assert run(tested, jobs=(job(JobState.FAILED, reason=gone),))[0] == ParkTask(gone, Key.NEEDS_INPUT, 7)


def later(count: int, ago_s: float = 600.0, **more: object) -> tuple[Action, ...]:
    """Decide about a stage whose last job's time had not come, as that of so many before had not."""
    ends: dict[str, object] = {"started_at": NOW - ago_s, "reason": "not ready", "after_s": 10.0, **more}
    looks = (job(JobState.LATER, attempt=number + 1, **ends) for number in range(count + 1))
    jobs = tuple(replace(look, id=number, settled=number < count) for number, look in enumerate(looks))
    return run(replace(TASK, phase=Phase.WORKING, attempts=count + 1), jobs=jobs)


def test_what_is_not_yet_to_be_done_uses_up_no_attempt():
    assert later(0) == (TryAgain(0, NOW + 30, "not ready"),)
    assert later(50) == (TryAgain(50, NOW + 30, "not ready"),)
    assert later(0, ago_s=0.0) == (TryAgain(0, NOW + 10, "not ready"),)
    looks = tuple(replace(job(JobState.LATER, attempt=number + 1), id=number, settled=True) for number in (0, 8))
    failed = replace(job(JobState.RETRY, reason="429", attempt=10), id=9)
    again = run(replace(TASK, phase=Phase.WORKING, attempts=10), jobs=(*looks, failed))
    assert again == (TryAgain(9, NOW + 10, "429"),)
    waiting = replace(shown(Key.IN_PROGRESS, not_before=NOW + 40, reason="429"), attempts=10)
    assert "1 of 3 attempts" in reason(run(waiting, jobs=(*looks, replace(failed, settled=True))))
    gone = run(replace(TASK, phase=Phase.WORKING, attempts=12), jobs=looks)  # the last three are nowhere to be found
    assert isinstance(gone[0], ParkTask)


def test_what_is_not_yet_to_be_done_is_waited_for_for_a_day_at_most():
    (parked, _) = later(3, ago_s=PATIENCE_S)
    assert parked == ParkTask("not ready (24 h long)", Key.NEEDS_INPUT, 3)
    assert isinstance(later(3, ago_s=PATIENCE_S - 1)[0], TryAgain)


def test_a_monitor_looks_as_often_and_for_as_long_as_it_is_told_to():
    two_days: dict[str, object] = {"step": "monitor", "settings": {"for_s": 172800}}
    assert later(3, ago_s=PATIENCE_S * 2, **two_days) == (TryAgain(3, NOW + 10, "not ready"),)
    assert isinstance(later(3, ago_s=PATIENCE_S * 3, **two_days)[0], ParkTask)
    assert later(3, **two_days, after_s=0.0) == (TryAgain(3, NOW + 1, "not ready"),)


def test_an_outcome_counts_once_and_a_job_that_is_gone_is_tried_again():
    assert working(JobState.SUCCEEDED, settled=True) == (TryAgain(None, NOW + 10, "its job is gone"),)
    assert working(JobState.SUCCEEDED, visit=9)[0] == TryAgain(None, NOW + 10, "its job is gone")


def test_back_off_is_waited_for():
    later = shown(Key.IN_PROGRESS, not_before=NOW + 40, attempts=2, reason="429")
    assert run(later) == (Wait("development: tried again in 40 s (2 of 3 attempts made): 429", NOW + 40),)


def test_the_circuit_breaker_holds():
    held = run(shown(Key.IN_PROGRESS), world=replace(WORLD, paused_until=NOW + 60, paused="too many failures"))
    assert held == (Wait("development: too many failures", NOW + 60),)


@pytest.mark.parametrize(
    ("after", "told"),
    [
        (Dependency("SH-2"), "waits for SH-2"),
        (Dependency("SH-2", why="not begun"), "waits for SH-2 (not begun)"),
    ],
)
def test_dependencies_are_waited_for(after: Dependency, told: str):
    assert told in reason(run(shown(Key.IN_PROGRESS), world=replace(WORLD, after=(after,))))


def test_a_dependency_without_hope_asks_a_person_and_one_that_is_done_does_not_hold():
    hopeless = replace(WORLD, after=(Dependency("SH-2", hopeless=True, why="was cancelled"),))
    parked = run(TASK, world=hopeless)[0]
    assert isinstance(parked, ParkTask)
    assert isinstance(run(replace(TASK, visit=2), world=hopeless)[0], StartJob)  # released by a person
    assert isinstance(run(TASK, world=replace(WORLD, after=(Dependency("SH-2", done=True),)))[0], StartJob)


def test_a_stage_that_the_pipeline_lost_asks_a_person():
    found = run(replace(TASK, stage="gone"))[0]
    assert isinstance(found, ParkTask)
    assert "no stage gone" in found.reason


# gates and verdicts

TESTING = replace(TASK, stage="testing", phase=Phase.GATED, shown="code_review")
TESTED = (
    Evidence("tests", {"passed": 1, "failed": 0}, SHA, NOW, 1),
    Evidence("mergeable", {"mergeable": True}, SHA, NOW),
)


def test_a_gate_waits_for_a_person_and_says_so():
    assert reason(run(TESTING, evidence=TESTED)) == "testing: waits for a person's verdict on aaaaaaaaaaaa"


def test_a_verdict_by_column_passes_or_fails_the_gate():
    for key, approved in ((Key.APPROVED, True), (Key.REJECTED, False)):
        (used,) = run(TESTING, issue(key), evidence=TESTED)
        assert used == UseVerdict(approved, "the board", (0.0, ""), key.value)
        after = folded(TESTING, (used,), NOW)
        assert (after.used, after.shown) == (Input.VERDICT, key.value)
        judged = run(after, issue(key), evidence=(*TESTED, verdict(TESTING, used, NOW)))
        assert isinstance(judged[0], PassOn if approved else SendBack)


def test_a_verdict_counts_once_until_the_board_was_elsewhere_or_our_write_was_confirmed():
    used = replace(TESTING, used=Input.VERDICT)
    assert "waits for a person" in reason(run(used, issue(Key.APPROVED), evidence=TESTED))
    assert "waits for a person" in reason(run(used, issue(Key.REJECTED), evidence=TESTED))
    assert run(used, issue(Key.CODE_REVIEW), evidence=TESTED) == (Arm(),)
    armed = confirmed(used, used.inputs, {Input.VERDICT})
    assert isinstance(run(armed, issue(Key.APPROVED), evidence=TESTED)[0], UseVerdict)


def test_a_late_confirmation_of_a_write_from_before_the_verdict_arms_nothing():
    used = replace(TESTING, used=Input.VERDICT, inputs=2)
    assert confirmed(used, 1, {Input.VERDICT}) == replace(used, version=used.version + 1)
    assert confirmed(used, 2, {Input.START}) == replace(used, version=used.version + 1)


def test_a_column_whose_meaning_is_not_known_arms_nothing():
    used = replace(TESTING, used=Input.VERDICT)
    for columns in (Board(), Board(defaults={Key.APPROVED: "approved"})):
        found = run(used, issue(Key.APPROVED), evidence=TESTED, world=replace(WORLD, board=columns))
        assert isinstance(found[0], Wait)
    assert isinstance(run(used, issue("brand-new-column"), evidence=TESTED)[0], Wait)


def test_a_verdict_by_comment_counts_at_once_and_once():
    at = issue(Key.CODE_REVIEW, comments=(Comment("5", NOW, "/approve", "ada"),), updated_at=NOW)
    (used,) = run(TESTING, at, evidence=TESTED, world=replace(WORLD, urgent=False))
    assert used == UseVerdict(True, "ada", (NOW, "5"))
    after = replace(folded(TESTING, (used,), NOW), phase=Phase.GATED)
    assert isinstance(run(after, at, evidence=TESTED)[0], Wait)


def test_a_verdict_has_the_reason_that_stands_behind_it():
    at = issue(comments=(Comment("5", NOW, "/reject the colours are wrong", "ada"),))
    (used,) = run(TESTING, at, evidence=TESTED)
    assert used == UseVerdict(False, "ada", (NOW, "5"), reason="the colours are wrong")
    kept = verdict(TESTING, used, NOW)
    back = run(folded(TESTING, (used,), NOW), at, evidence=(*TESTED, kept))[0]
    assert back == SendBack("development", "sent back from testing (1 of 3): rejected by ada: the colours are wrong")
    at = issue(comments=(Comment("5", NOW, f"/approve {SHA[:7]} looks fine", "ada"),))
    assert run(TESTING, at, evidence=TESTED) == (UseVerdict(True, "ada", (NOW, "5"), reason="looks fine"),)
    at = issue(Key.REJECTED, comments=at.comments)
    assert run(TESTING, at, evidence=TESTED) == (UseVerdict(False, "ada", (NOW, "5"), "rejected"),), "not that reason"


@pytest.mark.parametrize("before", ["", "/approve"])
def test_an_approval_with_words_that_names_no_commit_counts_for_nothing_and_is_answered_once(before: str):
    said = (Comment("4", NOW - 1, before, "ada"), Comment("5", NOW, "/approve not yet", "ada"))
    at = issue(Key.CODE_REVIEW, comments=said)
    heed, answer = run(TESTING, at, evidence=TESTED)
    assert heed == Heed(True, "ada", (NOW, "5"))
    assert isinstance(answer, Tell)
    assert "since the words around it may say yes or no: to approve, write /approve alone" in answer.text
    after = folded(TESTING, (heed, answer), NOW)
    assert "waits for a person" in reason(run(replace(after, shown="code_review"), at, evidence=TESTED))
    moved = replace(at, state="approved")
    assert run(after, moved, evidence=TESTED) == (UseVerdict(True, "the board", (NOW, "5"), "approved"),)


def test_comments_from_before_the_gate_do_not_count():
    at = issue(comments=(Comment("5", NOW - 9, "/approve", "ada"),))
    busy = replace(TASK, stage="testing", phase=Phase.WORKING)
    heed, told = run(busy, at, (job(JobState.SUCCEEDED),))
    assert heed == Heed(True, "ada", (NOW - 9, "5"))
    assert told == Tell(
        "SH-1: the /approve of ada counts for nothing, since nothing waits for a verdict at testing now; "
        "it will be asked for where one is needed.",
        "1:5:unheard",
    )
    busy = folded(busy, (heed,), NOW)
    (done, *_) = run(busy, at, (job(JobState.SUCCEEDED),))
    assert done == Succeed(7, SHA, (NOW - 9, "5"))
    gated = replace(folded(busy, (done,), NOW), shown="code_review")
    assert "waits for a person" in reason(run(gated, at, evidence=TESTED))


@pytest.mark.parametrize(
    ("task", "told"),
    [
        (shown(Key.IN_PROGRESS, not_before=NOW + 9), "nothing waits for a verdict at development now"),
        (shown(Key.IN_PROGRESS, phase=Phase.GATED), "nothing waits for a verdict at development now"),
        (shown(Key.BLOCKED, phase=Phase.PARKED, parked_as=Key.BLOCKED), "since it is parked (`millpond why SH-1`"),
        (shown(Key.DONE, phase=Phase.DONE), "since it is done."),
        (shown(Key.CANCELLED, phase=Phase.CANCELLED), "since it was cancelled."),
    ],
)
def test_a_verdict_that_nothing_waits_for_is_answered_once(task: Task, told: str):
    said = (Comment("5", NOW, "/reject", "ada"), Comment("6", NOW + 1, "/approve", ours=True))
    at = issue(task.shown, comments=said)
    heed, answer = run(task, at)
    assert isinstance(answer, Tell)
    assert "the /reject of ada counts for nothing" in answer.text
    assert told in answer.text
    after = folded(task, (heed, answer), NOW)
    assert after == replace(task, mark=(NOW, "5"), version=task.version + 1)
    assert not any(isinstance(one, Heed | Tell) for one in run(after, at))
    other = issue(task.shown, comments=(Comment("5", NOW, "I would /approve that", "ada"),))
    assert not any(isinstance(one, Heed | Tell) for one in run(task, other))


def test_while_a_job_is_active_or_a_verdict_is_awaited_none_is_answered():
    at = issue(Key.IN_PROGRESS, comments=(Comment("5", NOW, "/approve", "ada"),))
    busy = shown(Key.IN_PROGRESS, phase=Phase.WORKING, attempts=1)
    assert "runs" in reason(run(busy, at, (job(JobState.RUNNING),)))
    (used,) = run(shown(Key.CODE_REVIEW, stage="testing", phase=Phase.GATED), at, evidence=TESTED)
    assert isinstance(used, UseVerdict)


def test_where_column_and_comment_contradict_it_is_no():
    at = issue(Key.APPROVED, comments=(Comment("5", NOW, "/reject", "ada"),))
    assert run(TESTING, at, evidence=TESTED) == (UseVerdict(False, "ada", (NOW, "5"), "approved"),)


def test_a_verdict_by_column_waits_for_the_grace_period():
    fresh = issue(Key.APPROVED, updated_at=NOW)
    assert "grace" in reason(run(TESTING, fresh, evidence=TESTED, world=replace(WORLD, urgent=False)))


def test_what_fails_leads_back_a_limited_number_of_times():
    red = (Evidence("tests", {"passed": 1, "failed": 2}, SHA, NOW, 1),)
    reason = "sent back from testing (1 of 3): 2 of 3 tests failed at aaaaaaaaaaaa"
    back, told = run(TESTING, evidence=red)
    assert back == SendBack("development", reason)
    assert told == Tell(f"SH-1 is {reason}. development is done again.", "1:1:back")
    assert folded(TESTING, (back,), NOW).reason == reason
    parked = run(replace(TESTING, returns=3), evidence=red)[0]
    assert isinstance(parked, ParkTask)
    assert "sent back 3 times" in parked.reason


def test_what_fails_never_leads_back_to_a_stage_that_the_task_skips():
    red = (Evidence("tests", {"passed": 1, "failed": 2}, SHA, NOW, 1),)
    for skip, back_to in (({"development"}, "review"), ({"development", "review"}, "testing"), (set(), "development")):
        task = replace(TESTING, options=Options(skip=frozenset(skip)))
        back = run(task, evidence=red)[0]
        assert isinstance(back, SendBack)
        assert back.stage == back_to


def test_gates_that_wait_for_no_person_have_a_limit():
    gated = replace(TASK, phase=Phase.GATED, shown="in_progress")
    assert run(gated) == (Wait("development: aaaaaaaaaaaa was not seen there", NOW + 86400),)
    late = run(replace(gated, since=NOW - 86400))[0]
    assert isinstance(late, ParkTask)
    assert isinstance(run(replace(TESTING, since=NOW - 1e9), evidence=TESTED)[0], Wait)  # a person may take a year


def test_the_last_stage_finishes():
    healthy = (Evidence("health", {"state": "HEALTHY"}, SHA, NOW, 1),)
    assert isinstance(run(replace(TASK, stage="monitoring", phase=Phase.GATED), evidence=healthy)[0], Finish)


SICK = (Evidence("health", {"state": "DEGRADED", "detail": "5xx"}, SHA, NOW, 1),)


def test_a_degraded_app_blocks():
    parked, told = run(replace(TASK, stage="monitoring", phase=Phase.GATED), evidence=SICK)
    assert parked == ParkTask("DEGRADED: 5xx", Key.BLOCKED)
    assert isinstance(told, Tell)


def test_of_a_deployment_of_itself_it_alerts_only_and_touches_nothing():
    own = replace(WORLD, project=replace(SHOP, own=True))
    task = replace(TASK, stage="monitoring", phase=Phase.GATED)
    parked, alert = run(task, evidence=SICK, world=own)
    assert parked == ParkTask("DEGRADED: 5xx", None)
    assert isinstance(alert, Alert)
    after = folded(task, (parked, alert), NOW)
    assert "parked" in reason(run(after, issue(Key.MONITORING), world=own))  # nothing of the board is touched


# commits of others


def test_a_commit_of_somebody_else_voids_what_was_judged():
    world = replace(WORLD, head="b" * 40)
    push, told = run(TESTING, evidence=TESTED, world=world)
    assert push == Push("b" * 40, "review")
    text = f"SH-1: somebody pushed {'b' * 12} to {TESTING.branch}; review is done again for it."
    assert told == Tell(text, f"{TESTING.id}:{TESTING.visit}:{'b' * 40}:push")
    after = folded(TESTING, (Push("b" * 40, "review"),), NOW)
    assert (after.phase, after.stage, after.sha, after.visit) == (Phase.READY, "review", "b" * 40, 2)
    assert run(replace(TASK, phase=Phase.GATED), world=world) == (Push("b" * 40),)  # before the review: only noted
    assert run(replace(TESTING, returns=MAX_RETURNS), world=world)[0].__class__ is ParkTask


PLAINLY = Pipeline(
    (
        Stage("development", "agent", gates=(GateRule("commit-status"), GateRule("human-verdict"))),
        Stage("testing", "command", gates=(GateRule("tests-passed"),)),
        Stage("merge", "merge"),
    )
)


@pytest.mark.parametrize("sha", [SHA, ""])
def test_past_a_gate_no_commit_is_taken_in_that_did_not_pass_it(sha: str):
    world = replace(WORLD, pipeline=PLAINLY, head="b" * 40)
    for task in (
        replace(TASK, stage="testing", sha=sha),
        replace(TASK, stage="testing", sha=sha, phase=Phase.GATED),
        replace(TASK, stage="merge", sha=sha),
        replace(TASK, stage="merge", sha=sha, attempts=1),
    ):
        assert run(task, world=world)[0] == Push("b" * 40, "development")


def test_where_nothing_was_judged_a_commit_is_only_noted():
    world = replace(WORLD, pipeline=PLAINLY, head="b" * 40)
    for task in (TASK, replace(TASK, attempts=1)):
        assert run(task, world=world) == (Push("b" * 40),)
    noted, asks = run(replace(TASK, phase=Phase.GATED), world=world)
    assert (noted, asks.__class__) == (Push("b" * 40), Tell)


def test_a_gate_that_takes_the_word_of_a_job_has_that_job_run_again():
    world = replace(WORLD, pipeline=Pipeline(PLAINLY.stages[1:]), head="b" * 40)
    assert run(replace(TESTING, shown=""), world=world)[0] == Push("b" * 40, "testing")


def test_what_is_pushed_once_it_is_merged_changes_nothing():
    merged = replace(TASK, stage="merge", phase=Phase.GATED)
    assert isinstance(run(merged, world=replace(WORLD, head="b" * 40))[0], PassOn)


def test_after_the_merge_the_branch_does_not_matter():
    merged = replace(TASK, stage="deploy")
    assert isinstance(run(merged, world=replace(WORLD, head="b" * 40))[0], StartJob)


# the board


def test_the_board_shows_what_goes_on_and_only_when_it_changes():
    deploying = replace(TASK, stage="deploy", phase=Phase.WORKING, attempts=1, shown="in_progress")
    queued, running = job(JobState.QUEUED), job(JobState.RUNNING)
    assert run(deploying, jobs=(queued,))[0] == Show(
        Key.AWAITING_DEPLOY, "awaiting_deploy", "backlog", frozenset({Input.START, Input.VERDICT})
    )
    (waits,) = run(replace(deploying, shown="awaiting_deploy"), jobs=(queued,))
    assert isinstance(waits, Wait)
    assert waits.until, "its claim is to be shown, and brings that look forward"
    (waits,) = run(replace(deploying, stage="testing", shown="code_review"), jobs=(queued,))
    assert waits == Wait(waits.reason, None), "here nothing changes when it runs"
    assert run(replace(deploying, shown="awaiting_deploy"), jobs=(running,))[0].__class__ is Show
    there = run(deploying, issue(Key.DEPLOYING), (running,))
    assert there == (Acknowledge("deploying"),)


def test_nothing_is_written_to_a_column_that_the_board_lacks():
    parked = replace(TASK, phase=Phase.PARKED, parked_as=Key.BLOCKED, reason="x")
    assert reason(run(parked, issue("In Progress"), world=replace(WORLD, board=PLAIN))) == "parked: x"


def test_our_own_write_of_the_alias_is_no_other_column_than_the_start():
    task = replace(TASK, phase=Phase.WORKING, attempts=1)
    (show,) = run(task, issue("Backlog"), (job(JobState.RUNNING),), world=replace(WORLD, board=PLAIN))
    assert show == Show(Key.IN_PROGRESS, "In Progress", "Backlog", frozenset({Input.VERDICT}))


def test_a_person_who_moves_the_issue_is_not_fought():
    assert isinstance(run(TESTING, issue("backlog"), evidence=TESTED)[0], Wait)


# parked, resumed, cancelled


def test_a_parked_task_is_resumed_by_to_analyse_of_its_own_and_not_through_the_alias():
    parked = replace(TASK, phase=Phase.PARKED, reason="x", returns=3, attempts=3)
    assert run(parked, issue(Key.TO_ANALYSE)) == (Release("to_analyse"),)
    after = folded(parked, (Release("to_analyse"),), NOW)
    assert (after.phase, after.visit, after.attempts, after.returns, after.used) == (Phase.READY, 2, 0, 0, Input.START)
    assert isinstance(run(parked, issue("In Progress"), world=replace(WORLD, board=PLAIN))[0], Wait)
    fresh = issue(Key.TO_ANALYSE, updated_at=NOW)
    assert "grace" in reason(run(parked, fresh, world=replace(WORLD, urgent=False)))


def test_a_task_that_was_parked_before_its_issue_left_to_analyse_is_not_resumed_by_that():
    parked = replace(TASK, phase=Phase.PARKED, reason="x", used=Input.START)
    assert isinstance(run(parked, issue(Key.TO_ANALYSE))[0], Wait)


def test_cancelled_stops_the_job_first_and_asks_it_once():
    at, busy = issue(Key.CANCELLED), replace(TASK, phase=Phase.WORKING, attempts=1)
    assert run(busy, at, (job(JobState.RUNNING),)) == (StopJob(7, "the issue was moved to Cancelled"),)
    assert "asked to stop" in reason(run(busy, at, (job(JobState.RUNNING, stop=True),)))
    assert isinstance(run(busy, at, (job(JobState.CANCELLED, stop=True),))[0], CancelTask)
    for phase in (Phase.READY, Phase.GATED, Phase.PARKED):
        (gone,) = run(replace(TASK, phase=phase), at)
        assert gone == CancelTask("the issue was moved to Cancelled", "cancelled")
        assert folded(replace(TASK, phase=phase), (gone,), NOW).shown == "cancelled"
    assert "grace" in reason(run(busy, replace(at, updated_at=NOW), world=replace(WORLD, urgent=False)))


def test_a_command_cancels_too_and_then_the_board_shows_it():
    asked = replace(TASK, phase=Phase.WORKING, attempts=1, cancelling="ada")
    assert run(asked, jobs=(job(JobState.RUNNING),)) == (StopJob(7, "cancelled by ada"),)
    gone, told = run(asked, jobs=(job(JobState.CANCELLED),), world=replace(WORLD, urgent=False))
    assert gone == CancelTask("cancelled by ada", by="ada")
    assert told == Tell("SH-1 was cancelled by ada.", "1:end")
    after = folded(asked, (gone,), NOW)
    assert isinstance(run(replace(after, used=Input.NONE))[0], Show)
    assert isinstance(run(replace(after, used=Input.NONE), issue(Key.CANCELLED))[0], Wait)


@pytest.mark.parametrize("phase", [Phase.READY, Phase.WORKING, Phase.GATED, Phase.PARKED])
def test_a_command_cancels_a_task_whose_issue_is_gone(phase: Phase):
    asked = replace(TASK, phase=phase, cancelling="ada")
    assert decide(None, asked, (job(JobState.RUNNING),), (), NOW, WORLD) == (StopJob(7, "cancelled by ada"),)
    assert "asked to stop" in reason(decide(None, asked, (job(JobState.RUNNING, stop=True),), (), NOW, WORLD))
    (gone,) = decide(None, asked, (job(JobState.CANCELLED),), (), NOW, WORLD)
    assert gone == CancelTask("cancelled by ada", by="ada")
    assert folded(asked, (gone,), NOW).phase is Phase.CANCELLED


# whatever the state of things is


def parts(**choices: Iterable[object]) -> st.SearchStrategy[dict[str, Any]]:
    """Draw one of all combinations at once: choosing each value by itself takes ten times as long."""
    return st.sampled_from([dict(zip(choices, one, strict=True)) for one in product(*choices.values())])


def made(make: Callable[..., T], *drawn: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[T]:
    return st.tuples(*drawn).map(lambda found: make(**{name: value for one in found for name, value in one.items()}))


KEYS = [*(key.value for key in Key), "backlog", "unknown", ""]
TIMES = [0.0, NOW - 1e6, NOW - 130, NOW - 1, NOW, NOW + 50, NOW + 1e6]
STAGES = [*(stage.name for stage in DEFAULT.stages), "gone"]
SHAS = ["", SHA, "b" * 40]
USD = [0.0, 4.0, 24.9, 25.0, 100.0]
BOTH = (False, True)
WORDS = [
    "/approve",
    "/reject",
    "/approve not yet",
    "/reject this",
    "hm",
    *(f"/{word} {sha[:7]}" for word in ("approve", "reject") for sha in SHAS[1:]),
]
COMMENTS = made(Comment, parts(id="123", at=TIMES, text=WORDS, author=["ada"], ours=BOTH))
MENTIONED = [frozenset(some) for some in ((), ("after:SH-2",), ("x",), ("after:SH-2", "x"))]
ISSUES = st.builds(
    lambda issue, comments: replace(issue, comments=tuple(comments)),
    made(partial(Issue, "i1", "shop", 1, "x"), parts(state=KEYS, updated_at=TIMES, labels=MENTIONED)),
    st.lists(COMMENTS, max_size=3),
)
JOBS = made(
    partial(Job, task=1, project="shop", issue="i1", repo="team/shop", step="agent"),
    parts(id=range(1, 10), stage=STAGES, visit=range(1, 4), attempt=range(1, 4)),
    parts(state=JobState, sha=SHAS, settled=BOTH, stop=BOTH, after_s=[0.0, 60.0]),
)
TASKS = st.builds(
    lambda task, options: replace(task, options=options),
    made(
        partial(Task, 1, "SH-1", "shop", "i1", "team/shop", "b"),
        parts(stage=STAGES, phase=Phase, sha=SHAS, judged=SHAS, cancelling=["", "", "ada"]),
        parts(visit=range(1, 4), attempts=range(5), returns=[0, 1, 3, MAX_RETURNS]),
        parts(not_before=TIMES, since=TIMES, parked_as=[None, None, Key.NEEDS_INPUT, Key.BLOCKED]),
        parts(used=Input, mark=list(product(TIMES, ["", "2"])), shown=KEYS),
    ),
    st.builds(Options, skip=st.frozensets(st.sampled_from(STAGES), max_size=3), task_usd=st.sampled_from([None, *USD])),
)
FACTS: dict[str, dict[str, list[Any]]] = {
    "human-verdict": {"approved": [False, True]},
    "file": {"path": ["docs/tasks/SH-1.md", "docs/reviews/SH-1.md"], "present": [False, True]},
    "head": {},
    "statuses": {"passed": [0]},
    "front-matter": {
        "path": ["docs/tasks/SH-1.md", "docs/reviews/SH-1.md"],
        "fields": [{"verdict": "approved"}, {"verdict": "rejected"}],
    },
    "tests": {"failed": [0, 1], "passed": [0, 1]},
    "mergeable": {"mergeable": [False, True]},
    "deploy": {"converged": [False, True]},
    "health": {"state": ["HEALTHY", "DEGRADED"]},
}
EVIDENCE = st.one_of(
    *(
        made(
            partial(Evidence, kind),
            parts(facts=[dict(zip(of, one, strict=True)) for one in product(*of.values())], sha=SHAS, at=TIMES),
            parts(visit=range(4)),
        )
        for kind, of in FACTS.items()
    )
)
WORLDS = made(
    World,
    parts(
        project=[SHOP, replace(SHOP, own=True), replace(SHOP, app="")],
        board=[FULL, PLAIN, Board(), Board(defaults={Key.IN_PROGRESS: "in_progress"})],
        pipeline=[DEFAULT, Pipeline((Stage("development", "agent"),)), replace(DEFAULT, budget=NO_BUDGET)],
        urgent=BOTH,
        lacks_base=["", "", "/srv/shop.git"],
    ),
    parts(spend=[Spend(*one) for one in product(USD, USD, USD)], head=SHAS),
    parts(
        after=[(), (), *((Dependency("SH-2", *one),) for one in product(BOTH, BOTH))],
        seen_at=TIMES,
        paused_until=TIMES,
    ),
)
WHILE_ACTIVE = (Arm, Show, Acknowledge, StopJob, Wait)


def named(at: Issue, task: Task, head: str) -> bool | None:
    """Say what the last comment does that gives a verdict on one commit by its name."""
    counted = sorted((one.at, one.id, one.text) for one in at.comments if not one.ours and (one.at, one.id) > task.mark)
    found = [text for _, _, text in counted if text.endswith(f" {head[:7]}")]
    return found[-1].startswith("/approve") if found else None


def checked(
    task: Task, at: Issue, jobs: list[Job], evidence: list[Evidence], world: World, actions: tuple[Action, ...]
) -> None:
    assert actions
    assert all(action.reason for action in actions if isinstance(action, Wait))
    assert len(actions) == 1 or not any(isinstance(action, Wait) for action in actions)
    if any(job.active for job in jobs):
        allowed = WHILE_ACTIVE if task.open else (*WHILE_ACTIVE, Heed, Tell)
        assert all(isinstance(action, allowed) for action in actions)
        stops = [action for action in actions if isinstance(action, StopJob)]
        assert not stops or world.board.cancels(at.state) or task.cancelling
    for action in actions:
        match action:
            case StartJob():
                assert task.phase is Phase.READY
                assert task.not_before <= NOW
                assert action.usd is None or action.usd > 0
                limit = task.options.task_usd or world.pipeline.budget.task_usd
                assert limit is None or action.usd is None or world.spend.task_usd + action.usd <= limit
                day = world.pipeline.budget.day_usd
                spent = world.spend.day_usd + world.spend.promised_usd
                assert day is None or action.usd is None or spent + action.usd <= day
                if action.step == "merge" and any(stage.gates for stage in world.pipeline.stages):
                    assert task.judged == task.sha
            case Show(state=state) | Acknowledge(state=state):
                assert state in world.board.own.values()
                assert state != task.shown
            case UseVerdict():
                assert not (action.column and task.used is Input.VERDICT)
                assert action.column or action.mark > task.mark
                if any(isinstance(one, Push) for one in actions):
                    assert action.approved is named(at, task, world.head)
            case PassOn() | Finish():
                assert task.phase is Phase.GATED
        if isinstance(action, PassOn | SendBack | Push) and task.stage not in task.options.skip:
            assert action.stage not in task.options.skip
    folded(task, actions, NOW)  # whatever is ordered may happen


@pytest.mark.heavy
@settings(max_examples=1000, deadline=None, derandomize=True, database=None)
@given(
    ISSUES,
    TASKS,
    st.lists(JOBS, max_size=3, unique_by=lambda job: job.id),
    st.lists(EVIDENCE, max_size=8),
    WORLDS,
    st.booleans(),
)
def test_always_progress_or_a_reason_and_never_an_action_on_an_active_job(
    at: Issue, task: Task, jobs: list[Job], evidence: list[Evidence], world: World, ordered: bool
):
    """`ordered`: a person has just given a verdict by command, whatever the board and comments say."""
    ordered = ordered and task.phase is Phase.GATED
    if ordered:
        evidence, task = [*evidence, verdict(task, UseVerdict(True, "ada", task.mark), NOW)], by_command(task)
    pushed = False
    for _ in range(60):
        actions = decide(at, task, jobs, evidence, NOW, world)
        if any(isinstance(action, CreateTask) for action in actions):
            assert not task.open
            assert task.used is not Input.START
            return
        checked(task, at, jobs, evidence, world, actions)
        if isinstance(actions[0], Wait):
            return
        for used in (one for one in actions if isinstance(one, UseVerdict)):
            assert not pushed  # the board is as it was: whatever it says was said of another commit
            assert not (ordered and used.column)
        pushed = pushed or any(isinstance(one, Push) for one in actions)
        after = task
        for one in actions:
            evidence = [*evidence, verdict(after, one, NOW)] if isinstance(one, UseVerdict) else evidence
            after = fold(after, one, NOW)
        after = folded(task, actions, NOW)
        jobs = carried(task, jobs, actions)
        assert after != task or jobs or any(isinstance(one, StopJob) for one in actions)
        task = after
    raise AssertionError("there is no end to it")


def carried(task: Task, jobs: list[Job], actions: tuple[Action, ...]) -> list[Job]:
    """Do to the jobs what the ledger would."""
    for action in actions:
        match action:
            case StartJob():
                jobs = [
                    *jobs,
                    Job(
                        max((job.id for job in jobs), default=0) + 1,
                        1,
                        "shop",
                        "i1",
                        "r",
                        action.stage,
                        action.step,
                        task.visit,
                    ),
                ]
            case StopJob(job=stopped):
                jobs = [replace(job, stop=True) if job.id == stopped else job for job in jobs]
            case Succeed(job=done) | TryAgain(job=done) | SendBack(job=done) | ParkTask(job=done):
                jobs = [replace(job, settled=True) if job.id == done else job for job in jobs]
    return jobs


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(ISSUES, st.none() | TASKS, WORLDS)
def test_with_no_open_task_one_is_begun_only_from_a_column_that_says_so(at: Issue, task: Task | None, world: World):
    if task is not None and task.open:
        task = replace(task, phase=Phase.DONE)
    actions = decide(at, task, (), (), NOW, world)
    if any(isinstance(action, CreateTask) for action in actions):
        assert world.board.starts(at.state)
        assert task is None or task.used is not Input.START


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(st.none() | ISSUES, TASKS, st.lists(JOBS, max_size=3, unique_by=lambda job: job.id), WORLDS)
def test_what_was_taken_back_ends_once_its_jobs_have_stopped_even_if_its_issue_is_gone(
    at: Issue | None, task: Task, jobs: list[Job], world: World
):
    task = replace(task, cancelling="ada")
    for _ in range(2):
        for _ in range(10):
            actions = decide(at, task, jobs, (), NOW, world)
            if not task.open or isinstance(actions[0], Wait):
                break
            task, jobs = folded(task, actions, NOW), carried(task, jobs, actions)
        jobs = [replace(job, state=JobState.CANCELLED) if job.active else job for job in jobs]
    assert not task.open


NEXT = "b1" * 20


@pytest.mark.parametrize(("said", "approved", "by"), [
    ((("/reject", "eve"), (f"/approve {NEXT[:7]}", "ada")), True, "ada"),
    ((("/approve", "eve"), (f"/reject {NEXT[:12]}", "ada"), ("/approve", "ben")), False, "ada"),
    (((f"/approve {NEXT[:7]}", "eve"), (f"/reject {NEXT}", "ada"), (f"/approve {SHA}", "ben")), False, "ada"),
])  # fmt: skip
def test_behind_an_unseen_push_only_verdicts_that_name_the_commit_count(
    said: tuple[tuple[str, str], ...], approved: bool, by: str
):
    analysis = replace(TESTING, stage="analysis", shown="needs_input")
    comments = tuple(Comment(str(n), NOW + n, text, who) for n, (text, who) in enumerate(said))
    at, world, last = issue(Key.NEEDS_INPUT, comments=comments), replace(WORLD, head=NEXT), comments[-1]
    actions = run(analysis, at, world=world)
    assert actions == (
        Push(NEXT, "", (last.at, last.id), ""),
        UseVerdict(approved, by, (last.at, last.id)),
    )
    after = folded(analysis, actions, NOW)
    assert (after.sha, after.mark) == (NEXT, (last.at, last.id))
    kept = verdict(folded(analysis, actions[:1], NOW), actions[1], NOW)  # type: ignore[arg-type]
    assert kept.sha == NEXT
    ended = run(after, at, evidence=(kept,), world=world)
    assert not any(isinstance(one, UseVerdict) for one in ended)


def test_a_verdict_is_answered_where_a_commit_leads_back():
    comments = (Comment("4", NOW, f"/approve {NEXT[:7]}", "ada"),)
    at, world = issue(Key.CODE_REVIEW, comments=comments), replace(WORLD, head=NEXT)
    push, _ = run(TESTING, at, evidence=TESTED, world=world)
    assert push == Push(NEXT, "review")
    heed, told = run(folded(TESTING, (push,), NOW), at, world=world)
    assert heed == Heed(True, "ada", (NOW, "4"))
    assert isinstance(told, Tell)
    assert "nothing waits for a verdict at review now" in told.text


def test_a_verdict_that_names_another_commit_is_answered_and_one_before_it_counts():
    named = Comment("5", NOW, f"/approve {NEXT[:9]}", "ada")
    heed, answer = run(TESTING, issue(Key.CODE_REVIEW, comments=(named,)), evidence=TESTED)
    assert heed == Heed(True, "ada", (NOW, "5"))
    assert isinstance(answer, Tell)
    assert f"since it names {NEXT[:9]}, and SH-1 is at {SHA[:12]}" in answer.text
    plain = Comment("4", NOW - 1, "/approve", "ben")
    (used,) = run(TESTING, issue(Key.CODE_REVIEW, comments=(plain, named)), evidence=TESTED)
    assert used == UseVerdict(True, "ben", (NOW, "5"))


@pytest.mark.parametrize("head", ["", NEXT])
@pytest.mark.parametrize("word", ["/approve", "/reject"])
def test_a_verdict_that_names_a_commit_where_none_is_judged_is_answered(word: str, head: str):
    """At a stage that left none; and behind the merge, where a push to the branch is no matter any more."""
    look = Stage("look", "command", gates=(GateRule("human-verdict"),))
    pipeline = Pipeline((look,)) if not head else Pipeline((Stage("merge", "merge"), replace(look, name="deploy")))
    task = replace(TASK, stage=pipeline.stages[-1].name, phase=Phase.GATED, sha=SHA if head else "")
    comments = (Comment("5", NOW, f"{word} {NEXT[:9]} so", "ada"),)
    at, world = issue(Key.CODE_REVIEW, comments=comments), replace(WORLD, pipeline=pipeline, head=head)
    heed, answered = run(task, at, world=world)
    assert heed == Heed(word == "/approve", "ada", (NOW, "5"))
    assert isinstance(answered, Tell)
    assert f"since it names {NEXT[:9]}, and SH-1 is at {SHA[:12] if head else 'no commit yet'}" in answered.text


def test_a_merge_of_what_no_gate_saw_is_held_even_if_the_pipeline_was_another_one_when_the_labels_were_read():
    ready = replace(TASK, stage="merge", phase=Phase.READY, options=Options(frozenset({"review", "testing"})))
    assert isinstance(run(ready)[0], StartJob)  # development has a gate of its own
    bare = tuple(replace(stage, gates=()) if stage.name == "development" else stage for stage in DEFAULT.stages)
    world = replace(WORLD, pipeline=replace(DEFAULT, stages=bare))
    parked, told = run(ready, world=world)
    assert isinstance(parked, ParkTask)
    assert 'by what its labels set "development" commits, and no gate judges that before the merge' in parked.reason
    assert isinstance(told, Tell)
    assert isinstance(run(replace(ready, options=Options()), world=world)[0], StartJob)


def test_what_gates_passed_is_written_down_and_nothing_else_is_merged():
    gates = (GateRule("human-verdict"),)
    build, look, merge = Stage("build", "command"), Stage("look", "command", gates=gates), Stage("merge", "merge")
    world = replace(WORLD, pipeline=Pipeline((build, look, merge)))
    came = replace(TASK, stage="build", judged="", phase=Phase.GATED)
    (on,) = run(came, world=world)
    assert on == PassOn("look", "")
    looked = replace(folded(came, (on,), NOW), phase=Phase.GATED)
    assert looked.judged == ""
    yes = verdict(looked, UseVerdict(True, "ada", (NOW, "5")), NOW)
    (passed,) = run(looked, evidence=(yes,), world=world)
    assert passed == PassOn("merge", "approved by ada", judged=True)
    ready = folded(looked, (passed,), NOW)
    assert ready.judged == SHA
    assert isinstance(run(ready, world=world)[0], StartJob)
    turned = replace(world, pipeline=Pipeline((replace(build, gates=gates), replace(look, gates=()), merge)))
    (by,) = run(looked, world=turned)
    assert by == PassOn("merge", "")  # by a pipeline whose gate it went by before that was there
    for unseen in (folded(looked, (by,), NOW), replace(ready, judged="b" * 40)):
        parked = run(unseen, world=turned)[0]
        assert isinstance(parked, ParkTask)
        assert f"no gate passed {SHA[:12]}, since the pipeline was changed under it: push a commit" in parked.reason
    ungated = replace(world, pipeline=Pipeline((build, merge)))
    assert isinstance(run(replace(ready, judged=""), world=ungated)[0], StartJob)


def test_a_verdict_that_stands_there_when_a_commit_comes_is_void_and_asked_for_again():
    analysis = replace(TESTING, stage="analysis", shown="needs_input")
    at = issue(Key.APPROVED, comments=(Comment("5", NOW, "/approve", "ada"),))
    push, ask = run(analysis, at, world=replace(WORLD, head="b" * 40))
    assert push == Push("b" * 40, "", (NOW, "5"), "approved")
    assert isinstance(ask, Tell)
    after = folded(analysis, (push,), NOW)
    assert (after.phase, after.sha, after.used, after.shown) == (Phase.GATED, "b" * 40, Input.VERDICT, "approved")
    shown = run(after, at, world=replace(WORLD, head="b" * 40))[0]
    assert isinstance(shown, Show)
    assert shown.key is Key.NEEDS_INPUT
