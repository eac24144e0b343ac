"""The table of transitions, the default pipeline, and what labels set."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from millpond.delivery.deciding.gates import GATES
from millpond.delivery.model import OPEN, Key, Options, Phase, Project
from millpond.delivery.pipeline import DEFAULT, TRANSITIONS, Backoff, Event, GateRule, Label, Pipeline, Stage, follow

SHOP = Project("shop", "p1", "team/shop", "SH", app="shop")
LIBRARY = Project("lib", "p2", "team/lib", "LI")


def test_what_is_not_in_the_table_is_refused():
    for phase, event in itertools.product(Phase, Event):
        if (phase, event) in TRANSITIONS:
            assert follow(phase, event) is TRANSITIONS[phase, event]
        else:
            with pytest.raises(ValueError, match="cannot be"):
                follow(phase, event)


def test_what_has_ended_stays_so_and_what_is_parked_is_only_released_or_cancelled():
    assert not [place for place in TRANSITIONS if place[0] in {Phase.DONE, Phase.CANCELLED}]
    assert {event for phase, event in TRANSITIONS if phase is Phase.PARKED} == {Event.RELEASED, Event.CANCELLED}
    assert all((phase, Event.CANCELLED) in TRANSITIONS for phase in OPEN)


def test_a_job_is_started_only_where_none_is():
    assert [phase for phase, event in TRANSITIONS if event is Event.STARTED] == [Phase.READY]


def test_the_default_pipeline_has_the_contracts_stages_and_only_known_gates():
    assert [stage.name for stage in DEFAULT.stages] == [
        *["analysis", "development", "review", "testing", "merge", "deploy", "monitoring"]
    ]
    assert {rule.name for stage in DEFAULT.stages for rule in stage.gates} <= set(GATES)
    deploy, monitoring = DEFAULT.stages[-2:]
    assert (deploy.queued, deploy.shows, monitoring.shows) == (Key.AWAITING_DEPLOY, Key.DEPLOYING, Key.MONITORING)


def test_a_project_without_an_app_ends_with_the_merge():
    assert DEFAULT.next("merge", SHOP, Options()) == "deploy"
    assert DEFAULT.next("merge", LIBRARY, Options()) == ""
    assert DEFAULT.next("monitoring", SHOP, Options()) == ""
    assert DEFAULT.first(SHOP, Options(skip=frozenset({"analysis"}))) == "development"
    assert DEFAULT.first(SHOP, Options(skip=frozenset(stage.name for stage in DEFAULT.stages))) == ""


def again(pipeline: Pipeline, *skip: str) -> list[str]:
    """Say for each stage where a commit of somebody else leads back to."""
    return [pipeline.looks_again(one.name, SHOP, Options(skip=frozenset(skip))) for one in pipeline.stages]


def test_a_push_leads_back_only_from_the_review_on_and_not_after_the_merge():
    assert again(DEFAULT) == ["", "", "review", "review", "review", "", ""]
    assert [DEFAULT.judges(stage.name) for stage in DEFAULT.stages] == [True] * 5 + [False] * 2
    assert DEFAULT.looks_again("gone", SHOP, Options()) == ""


GATE = (GateRule("human-verdict"),)
BUILD, TEST, MERGE = Stage("build", "agent"), Stage("test", "command", gates=GATE), Stage("merge", "merge")


def test_a_pipeline_that_does_not_say_where_a_push_leads_has_its_first_gated_stage_look_again():
    assert again(Pipeline((BUILD, TEST, MERGE))) == ["", "test", "test"]
    assert again(Pipeline((replace(BUILD, gates=GATE), TEST, MERGE))) == ["build", "build", "build"]
    assert again(Pipeline((BUILD, MERGE))) == ["build", "build"]
    assert again(Pipeline((BUILD, MERGE, replace(TEST, name="watch")))) == ["build", "build", ""]
    assert again(Pipeline((MERGE,))) == [""]


def test_a_push_never_leads_to_a_stage_that_the_task_skips():
    assert again(DEFAULT, "review")[3:5] == ["testing", "testing"]
    assert again(DEFAULT, "review", "testing")[4] == "development"
    assert again(Pipeline((replace(BUILD, gates=GATE), TEST, MERGE)), "build")[1:] == ["test", "test"]
    assert DEFAULT.looks_again("merge", LIBRARY, Options(skip=frozenset({"analysis", "development"}))) == "review"


def test_waits_grow_to_a_limit():
    assert [Backoff(10, 2, 60).after(attempts) for attempts in (1, 2, 3, 4, 10**9)] == [10, 20, 40, 60, 60]
    assert Backoff(30, 1, 30).after(10) == 30
    assert Backoff(0, 2, 60).after(1) == 0


def test_labels_set_options_whatever_their_order_and_case():
    labels = {
        "hotfix": Label(frozenset({"analysis"}), 10, None, {"model": "large"}),
        "big": Label(priority=1, task_usd=50.0),
        "small": Label(task_usd=1.0),
    }
    found = Pipeline(DEFAULT.stages, labels=labels).options(
        ["BIG", "small", "Hotfix", "after:sh-3", "After: SH-4", "after:", "x"]
    )
    assert found == Options(frozenset({"analysis"}), 10, 50.0, ("SH-4", "SH-3"), {"model": "large"})
    assert DEFAULT.options([f"after:SH-{n}" for n in range(1000)]).after[:2] == ("SH-0", "SH-1")
    assert len(DEFAULT.options([f"after:SH-{n}" for n in range(1000)]).after) == 50
