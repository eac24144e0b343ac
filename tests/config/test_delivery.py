"""Board, forge, projects and pipelines in the configuration."""

from __future__ import annotations

import pytest

from millpond.config import init_text, load
from millpond.config.delivery import DeliveryConfig

PLANE = '[tracker]\nkind = "plane"\nurl = "https://plane.example/"\nworkspace = "team"\ntoken = { env = "T" }\n'
SHOP = '[projects.shop]\nprefix = "SH"\n'


def test_without_tables_board_and_forge_are_the_embedded_ones(loaded):
    config = loaded()
    assert (config.tracker.kind, config.forge.kind, dict(config.projects)) == ("local", "local", {})
    assert (config.delivery.enabled, config.delivery.reconcile_grace_s) == (True, 120)


def test_a_plane_a_gitea_and_a_project(loaded, tmp_path):
    (tmp_path / "secret").write_text("canary-file\n")
    config = loaded(
        PLANE + 'webhook_secret = { file = "secret" }\n[tracker.states]\nneeds_input = "Waiting"\n'
        '[forge]\nkind = "gitea"\nurl = "https://git.example"\ntoken = "canary-plain"\n'
        '[projects.shop]\nprefix = "SH"\ntracker_project = "558f"\nrepo = "team/shop"\n',
        {"T": "canary-env"},
    )
    assert config.tracker.url == "https://plane.example"
    assert config.tracker.webhook_secret.get_secret_value() == "canary-file"
    assert config.projects["shop"].repo == "team/shop"
    assert "canary" not in str(config.masked())


def test_what_runs_may_be_passed_is_secret(loaded):
    config = loaded('[delivery.environment]\nAGENT_KEY = { env = "K" }\n', {"K": "canary-key"})
    assert config.delivery.environment["AGENT_KEY"].get_secret_value() == "canary-key"
    assert "canary" not in str(config.masked())
    assert "canary" not in init_text(config, ())


def test_variables_reach_projects(loaded):
    config = loaded(SHOP, {"MILLPOND_PROJECTS__SHOP__BRANCH": "trunk", "MILLPOND_DELIVERY__MAX_CONCURRENCY": "7"})
    assert (config.projects["shop"].branch, config.delivery.max_concurrency) == ("trunk", 7)


STAGE = '[[{}stages]]\nname = "build"\nstep = "command"\nsettings = {{ argv = ["make"] }}\n'


def test_a_pipeline_is_checked_with_its_place(loaded, problems):
    good = loaded(SHOP + STAGE.format("projects.shop.pipeline.") + STAGE.format("pipeline."))
    assert good.pipeline["stages"][0]["name"] == "build"
    lines = problems(
        SHOP
        + STAGE.format("pipeline.").replace("command", "comand")
        + STAGE.format("projects.shop.pipeline.")
        + 'gates = ["human-verdit"]\n'
    )
    assert 'did you mean "command"?' in lines[0]
    assert "[pipeline] stages[0].step" in lines[0]
    assert "[projects.shop] pipeline.stages[0].gates[0].gate" in lines[1]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[projects.a]\n", "[projects.a] prefix: missing; every project needs it"),
        ('[projects.a]\nprefix = "S-H"\n', "[projects.a] prefix: 'S-H' is no prefix"),
        ('[projects."a/b"]\nprefix = "SH"\n', "a name has letters"),
        (SHOP + '[projects.b]\nprefix = "sh"\n', '[projects.b] prefix: "SH" is that of the project shop, too'),
        (
            SHOP + '[projects.b]\nprefix = "B"\ntracker_project = "shop"\n',
            '[projects.b] tracker_project: "shop" is that of the project shop, too',
        ),
        (SHOP + 'app = "shop"\n', '[projects.shop] app: "shop" is no app; there is no [apps.NAME] at all'),
        (SHOP + "own = true\n", "[projects.shop] own: there is no app"),
        (SHOP + 'repo = "../shop"\n', "[projects.shop] repo: not a repository"),
        (SHOP + 'branch = "--upload-pack"\n', "[projects.shop] branch: not a branch"),
        (SHOP + 'brnch = "x"\n', 'brnch: unknown key; did you mean "branch"?'),
        ('[tracker]\nkind = "plain"\n', '[tracker] kind: "plain" is not one of its values; did you mean "plane"?'),
        ('[tracker]\nkind = "plane"\n', '[tracker] url: missing; kind = "plane" needs it'),
        ('[tracker]\nurl = "https://a.example"\n', "[tracker] url: the embedded one has none; leave the key out"),
        ('[forge]\nkind = "gitea"\nurl = "https://a.example"\n', '[forge] token: missing; kind = "gitea" needs it'),
        ('[tracker.states]\ndonne = "x"\n', '[tracker] states.donne: unknown state; did you mean "done"?'),
        ('[tracker.states]\napproved = "Done"\n', "[tracker] states: approved and done are both"),
        ('[tracker.default_states]\ndone = ""\n', "[tracker] default_states.done: must be text, and not empty"),
        ("[delivery]\ncircuit_open_s = 4000\n", "[delivery] circuit_open_s: circuit_open_s (4000) must not exceed"),
        ('[delivery.environment]\n"A B" = "x"\n', '[delivery] environment."A B": no name of a variable'),
        (
            SHOP + STAGE.format("projects.shop.pipeline.").replace("}", ", passes = ['A_KEY'] }"),
            '[projects.shop] pipeline.stages[0].settings.passes[0]: "A_KEY" is not in [delivery.environment]',
        ),
        ("[delivery]\nworkers = 3\n", "workers"),
        ('[traker]\nkind = "plane"\n', 'unknown table; did you mean "tracker"?'),
    ],
)
def test_mistakes_name_the_place_and_what_was_meant(problems, text, line):
    assert any(line in one for one in problems(text)), problems(text)


def test_init_writes_what_loads_back(loaded, tmp_path, kinds):
    config = loaded(SHOP + STAGE.format("pipeline.") + "[delivery]\nreaper = false\n")
    (tmp_path / "again.toml").write_text(init_text(config, ()))
    again = load(tmp_path / "again.toml", environ={}, overrides={}, cwd=tmp_path, kinds=kinds)
    assert again.projects == config.projects
    assert again.pipeline == config.pipeline
    assert not again.delivery.reaper


def test_every_background_part_has_a_switch_that_is_on():
    switches = {name for name, one in DeliveryConfig.model_fields.items() if one.annotation is bool}
    assert {"reconcile", "worker", "reaper", "outbox", "merge_verify", "post_deploy", "auto_labels"} <= switches
    assert all(getattr(DeliveryConfig(), name) for name in switches)
