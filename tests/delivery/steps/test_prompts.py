from __future__ import annotations

from millpond.delivery.pipeline import DEFAULT
from millpond.delivery.steps.prompts import MAX_PROMPT, PROMPTS, fill


def test_values_are_not_read_for_names_again_and_unknown_names_stay():
    values = {"title": "{key} {description}", "key": "SH-1"}
    assert fill("{key}: {title} {other} {not a name}", values) == "SH-1: {key} {description} {other} {not a name}"


def test_a_prompt_has_a_limit():
    assert len(fill("{x}", {"x": "x" * (MAX_PROMPT + 5)})) == MAX_PROMPT


def test_each_agent_of_the_default_pipeline_has_its_template():
    wanted = {stage.settings["prompt"] for stage in DEFAULT.stages if stage.step == "agent"}
    assert wanted == set(PROMPTS)


def test_a_review_s_template_asks_for_what_its_gate_reads():
    stage = DEFAULT.stage("review")
    assert stage
    assert str(stage.gates[0].settings["path"]) in PROMPTS["review"]
    assert "---\nverdict: approved\n---" in PROMPTS["review"]
