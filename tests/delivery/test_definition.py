"""Definitions as people write them, and where they are wrong."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millpond.delivery.definition import MAX_BYTES, read
from millpond.delivery.model import Budget, Key
from millpond.delivery.pipeline import Backoff, GateRule, Label, OnFail, Then
from millpond.delivery.steps.presets import PRESETS
from millpond.delivery.steps.prompts import PROMPTS
from millpond.delivery.stepsettings import CHOICES
from millpond.errors import ConfigError

WHOLE = """
on_push = "check"

[budget]
task_usd = 10
day_usd = 0

[[stages]]
name = "build"
step = "command"
settings = { argv = ["make"] }
attempts = 5
backoff = { first_s = 1, factor = 3, most_s = 20 }
timeout_s = 60

[[stages]]
name = "check"
step = "agent"
gates = ["human-verdict", { gate = "file-present", path = "r/{key}.md" }, { gate = "commit-status", contexts = ["ci"] }]
gate_timeout_s = 0
on_fail = { back_to = "build", times = 2 }
needs = ["build"]
shows = "code_review"
queued = "nothing"
waits = "blocked"
run_usd = 1.5
run_turns = 30

[[stages]]
name = "ship"
step = "deploy"
only_with_app = true
on_fail = "block"

[labels.Hotfix]
skip = ["ship"]
priority = 10
task_usd = 50
settings = { model = "large" }
"""


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text)
    return list(caught.value.problems)


def test_a_variable_is_one_of_the_operator_s_where_these_are_known():
    run = RUN + "settings = { argv = ['x'], passes = ['NPM_TOKEN', 'NMP_TOKEN'] }\n"
    label = "[labels.x]\nsettings = { passes = ['KEY'] }\n"
    assert read(run + label).stages[0].settings["passes"] == ["NPM_TOKEN", "NMP_TOKEN"]
    assert read(run + label, variables={"NPM_TOKEN", "NMP_TOKEN", "KEY"})
    with pytest.raises(ConfigError) as caught:
        read(run + label, "p.toml", variables={"NPM_TOKEN"})
    assert list(caught.value.problems) == [
        'p.toml: stages[0].settings.passes[1]: "NMP_TOKEN" is not in [delivery.environment]; did you mean "NPM_TOKEN"?',
        'p.toml: labels.x.settings.passes[0]: "KEY" is not in [delivery.environment]; write one of NPM_TOKEN',
    ]
    with pytest.raises(ConfigError, match=r'write KEY = \{ env = "KEY" \} there'):
        read(RUN + "settings = { argv = ['x'], passes = ['KEY'] }\n", variables=())


def test_braces_that_are_a_program_s_own_are_left_to_it():
    awk = RUN + "settings = { argv = ['awk', '{print}'], message = '{key}: {A} {}' }\n"
    assert read(awk).stages[0].settings["argv"] == ["awk", "{print}"]


def test_everything_that_can_be_written_is_read():
    found = read(WHOLE)
    build, check, ship = found.stages
    assert (found.on_push, found.budget) == ("check", Budget(5.0, 10.0, 0.0, 200))
    assert (build.settings, build.attempts, build.backoff, build.timeout_s) == (
        {"argv": ["make"]},
        5,
        Backoff(1, 3, 20),
        60,
    )
    assert check.gates == (
        GateRule("human-verdict"),
        GateRule("file-present", {"path": "r/{key}.md"}),
        GateRule("commit-status", {"contexts": ["ci"]}),
    )
    assert (check.on_fail, check.needs, check.gate_timeout_s) == (OnFail(Then.BACK, "build", 2), ("build",), 0)
    assert (check.shows, check.queued, check.waits) == (Key.CODE_REVIEW, None, Key.BLOCKED)
    assert (check.run_usd, check.run_turns, ship.only_with_app, ship.on_fail) == (1.5, 30, True, OnFail(Then.BLOCK))
    assert found.labels == {"hotfix": Label(frozenset({"ship"}), 10, 50.0, {"model": "large"})}


STAGE = '[[stages]]\nname = "a"\nstep = "agent"\n'
GATED = 'gates = ["human-verdict"]\n'
RUN = '[[stages]]\nname = "b"\nstep = "command"\n'
LAST = STAGE.replace('"a"', '"b"')
MERGE = '[[stages]]\nname = "m"\nstep = "merge"\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "stages: there is no stage"),
        ("stages = 3", "stages: 3 is no list"),
        ("stages = [1]", "stages[0]: 1 is no table"),
        ("[[stages]]", "stages[0].name: missing"),
        ('[[stages]]\nname = "a"\nstep = "comand"', 'stages[0].step: "comand" is not known; did you mean "command"?'),
        ('[[stages]]\nname = "A B"\nstep = "agent"', "stages[0].name: 'A B' is no name"),
        (STAGE + STAGE, 'stages[1].name: there is a stage "a" already'),
        (STAGE + "retries = 3", 'stages[0].retries: "retries" is not known here'),
        (STAGE + "attempt = 3", 'did you mean "attempts"?'),
        (STAGE + "attempts = 0", "stages[0].attempts: 0 is out of bounds; write 1 to 1000"),
        (STAGE + 'attempts = "3"', "stages[0].attempts: '3' is no number"),
        (STAGE + "timeout_s = inf", "stages[0].timeout_s: inf is no number"),
        (
            STAGE + 'gates = ["human-verdit"]',
            'stages[0].gates[0].gate: "human-verdit" is not known; did you mean "human-verdict"?',
        ),
        (STAGE + 'gates = ["file-present"]', "stages[0].gates[0].path: the gate file-present needs it"),
        (STAGE + 'gates = ["health", "health"]', 'stages[0].gates[1].gate: "health" is there already'),
        (STAGE + 'gates = [{ gate = "health", path = "x" }]', 'stages[0].gates[0].path: "path" is not known here'),
        (STAGE + 'gates = [{ gate = "commit-status", contexts = "ci" }]', "gates[0].contexts: this is a list"),
        (STAGE + "gates = [3]", "stages[0].gates[0]: 3 is no table"),
        (STAGE + 'needs = ["b"]', 'stages[0].needs[0]: there is no stage "b" before this one'),
        (STAGE + 'on_fail = "explode"', 'stages[0].on_fail: "explode" is not known'),
        (STAGE + 'on_fail = { back_to = "z" }', 'stages[0].on_fail.back_to: there is no stage "z" before this one'),
        (STAGE + 'shows = "approved"', 'stages[0].shows: "approved" is not known'),
        (STAGE + "backoff = { first_s = 9, most_s = 3 }", "stages[0].backoff.most_s: 3 is out of bounds"),
        (STAGE + "settings = { since = 2026-01-01 }", "stages[0].settings.since: "),
        (
            RUN + "settings = { args = ['x'] }",
            'stages[0].settings.args: "args" is not known here; did you mean "argv"?',
        ),
        (RUN + "settings = { argv = ['x'], commit = 'no' }", "settings.commit: 'no' is neither true nor false"),
        (RUN + "settings = { argv = ['x'], stall_s = -1 }", "settings.stall_s: -1 is out of bounds"),
        (RUN + "settings = { argv = ['x'], passes = 'KEY' }", "settings.passes: this is a list of words"),
        (RUN + "settings = { argv = ['x'], message = 3 }", "settings.message: this is text"),
        (
            RUN + "settings = { argv = ['x'], message = '{kay}: x' }",
            'stages[0].settings.message: "{kay}" is filled in by nobody; did you mean "{key}"?',
        ),
        (
            STAGE + "gates = [{ gate = 'file-present', path = 'docs/{task}.md' }]",
            'stages[0].gates[0].path: "{task}" is filled in by nobody; write one of {key}',
        ),
        (
            STAGE + "[[stages]]\nname='m'\nstep='monitor'\nsettings = { every_s = 4 }",
            "stages[1].settings.every_s: 4 is out of bounds; write 5 to 86400",
        ),
        (STAGE + "[labels.x]\nsettings = { for_s = 1e9 }", "labels.x.settings.for_s: 1e+09 is out of bounds"),
        (STAGE + "settings = { prices = 3 }", "settings.prices: this is a table"),
        (MERGE + "settings = { into = 'main' }", "stages[0].settings.into: this step takes no settings"),
        (
            "[labels.x]\nsettings = { modle = 'large' }\n" + STAGE,
            'labels.x.settings.modle: "modle" is not known here; did',
        ),
        ('on_push = "b"\n' + STAGE, 'on_push: there is no stage "b"'),
        (STAGE + MERGE + GATED, "stages[1].gates: what is judged here is merged by then; give them to a stage before"),
        ('on_push = "m"\n' + STAGE + MERGE, 'on_push: "m" is not before the merge'),
        ('on_push = "b"\n' + STAGE + GATED + LAST + MERGE, 'no gate lies between "b" and the merge'),
        ("[budget]\ntask_usd = -1\n" + STAGE, "budget.task_usd: -1 is out of bounds"),
        ('[labels.x]\nskip = ["q"]\n' + STAGE, 'labels.x.skip[0]: there is no stage "q"'),
        ("[labels.x]\n[labels.X]\n" + STAGE, "labels.X: this label is there already"),
        ('[[stages]]\nname = "m"\nstep = "monitor"', "a monitor watches what a deploy stage brought out"),
        ('[[stages]]\nname = "c"\nstep = "command"', "stages[0].settings.argv: a command needs a list of words"),
        ("stages = [", "not TOML"),
    ],
)
def test_a_bad_definition_is_refused_with_the_place(text: str, told: str):
    found = problems(text)
    assert any(told in one for one in found), found
    assert not any("labels" in one and "before this one" in one for one in found), found
    assert all(one.startswith(".millpond/pipeline.toml: ") for one in found)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (STAGE + GATED + LAST + MERGE, 'stages[1].gates: "b" commits, and no gate judges that before the merge'),
        (STAGE + GATED + RUN + "settings = { argv = ['x'], commit = true }\n" + MERGE, 'stages[1].gates: "b" commits'),
        (STAGE + GATED + RUN + "settings = { argv = ['x'] }\n" + MERGE, ""),
        (STAGE + GATED + LAST + "settings = { commit = false }\n" + MERGE, ""),
        (STAGE + GATED + LAST + GATED + MERGE, ""),
        (STAGE + LAST + MERGE, ""),
        (STAGE + GATED + MERGE + LAST, ""),
    ],
)
def test_nothing_is_committed_between_the_last_gate_and_the_merge(text: str, told: str):
    if not told:
        assert read(text).stage("m")
        return
    with pytest.raises(ConfigError) as refused:
        read(text)
    assert told in str(refused.value)


LATE = "[[stages]]\nname = 'c'\nstep = 'command'\nsettings = { argv = ['x'] }\n"
PLAN, GATES = STAGE + GATED, STAGE + GATED + LAST + GATED


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (GATES + MERGE + "[labels.Fast]\nskip = ['b']\n", ""),
        (GATES + MERGE + "[labels.Fast]\nskip = ['a', 'b']\n", "labels.Fast.skip: with this label no gate is left"),
        (
            GATES + MERGE + "[labels.x]\nskip = ['a']\n[labels.y]\nskip = ['b']\n",
            "labels.x: with x and y on one issue no gate is left before the merge",
        ),
        (PLAN + LATE + MERGE + "[labels.x]\nsettings = { commit = false }\n", ""),
        (
            PLAN + LATE + MERGE + "[labels.x]\nsettings = { commit = true }\n",
            'labels.x.settings.commit: with this label "c" commits, and no gate judges that before the merge',
        ),
        (
            PLAN + LAST + LATE + GATED + MERGE + "[labels.x]\nskip = ['c']\n",
            'labels.x.skip: with this label "b" commits',
        ),
        (
            PLAN + LAST + LATE + GATED + "only_with_app = true\n" + MERGE,
            'stages[1].gates: in projects without an app: "b" commits',
        ),
        (STAGE + LATE + MERGE + "[labels.x]\nskip = ['a']\nsettings = { commit = true }\n", ""),
    ],
)
def test_labels_let_nothing_by_the_gates(text: str, told: str):
    if not told:
        assert read(text).stage("m")
        return
    assert any(told in one for one in problems(text)), problems(text)


def test_a_label_can_not_skip_what_another_stage_needs():
    text = STAGE + '[[stages]]\nname = "b"\nstep = "agent"\nneeds = ["a"]\n[labels.fast]\nskip = ["a"]\n'
    assert 'labels.fast.skip: b needs a; skip "b" too, or neither' in problems(text)[0]
    assert read(text.replace('skip = ["a"]', 'skip = ["a", "b"]')).labels["fast"].skip == {"a", "b"}


def test_all_mistakes_are_told_at_once():
    assert len(problems(STAGE + 'attempts = 0\ntimeout_s = 0\nshows = "x"')) == 3


def test_sizes_have_limits():
    assert "larger than" in problems("#" * (MAX_BYTES + 1))[0]
    many = "".join(f'[[stages]]\nname = "s{index}"\nstep = "agent"\n' for index in range(51))
    assert "at most 50" in problems(many)[0]
    assert "not TOML" in problems("a = " + "[" * 5000 + "]" * 5000)[0]


@settings(deadline=None)
@given(st.text())
def test_whatever_is_written_is_a_pipeline_or_a_mistake(text: str):
    try:
        found = read(text)
    except ConfigError:
        return
    assert found.stages


AGENT = """
[[stages]]
name = "build"
step = "agent"
settings = {settings}
"""


@pytest.mark.parametrize(("settings", "wrong"), [
    ('{ preset = "comand" }', 'stages[0].settings.preset: "comand" is not known; did you mean "command"?'),
    ('{ preset = "command" }', "stages[0].settings.argv: a command needs a list of words"),
    ('{ preset = "command", argv = [] }', "stages[0].settings.argv: a command needs a list of words"),
    ('{ prompt = "developmnt" }', 'stages[0].settings.prompt: "developmnt" is not known; did you mean "development"?'),
])  # fmt: skip
def test_what_no_agent_could_begin_with_is_refused(settings: str, wrong: str):
    with pytest.raises(ConfigError) as told:
        read(AGENT.replace("{settings}", settings), "p.toml")
    assert len(told.value.problems) == 1
    assert wrong in str(told.value)


def test_a_setting_that_a_gate_has_is_meant_where_one_is_misspelt():
    text = AGENT.replace("{settings}", "{}") + 'gates = [{ gate = "commit-status", context = ["ci"] }]\n'
    with pytest.raises(ConfigError, match='did you mean "contexts"'):
        read(text, "p.toml")


def test_one_word_in_the_place_of_a_list_is_one_mistake():
    with pytest.raises(ConfigError) as told:
        read('[[stages]]\nname = "a"\nstep = "command"\nsettings = { argv = "make test" }\n', "p.toml")
    assert len(told.value.problems) == 1


def test_the_words_of_settings_are_those_that_the_steps_know():
    assert {name: set(words) for name, words in CHOICES.items()} == {"preset": set(PRESETS), "prompt": set(PROMPTS)}
