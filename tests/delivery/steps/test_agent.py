from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.delivery.steps.given import Given, git, job_of, standin

from millpond.delivery.model import Done, Failed, Job, Outcome, Park, Retry, Spent
from millpond.delivery.runs import procfs
from millpond.delivery.runs.runs import Limits
from millpond.delivery.steps import agent
from millpond.delivery.steps.agent import AgentStep
from millpond.delivery.steps.presets import AgentOptions
from millpond.delivery.steps.prompts import PROMPTS
from millpond.delivery.steps.transcripts import Prices

pytestmark = pytest.mark.process


@pytest.fixture
def given(tmp_path: Path) -> Given:
    return Given.at(tmp_path)


def agent_job(mode: str, preset: str = "claude", **more: Any) -> Job:
    settings = {"prompt": "development", "preset": preset, "argv": list(standin(mode)), **more.pop("settings", {})}
    return job_of(step="agent", settings=settings, **{"usd": 5.0, "turns": 20, **more})


async def run(given: Given, job: Job, options: AgentOptions | None = None) -> Outcome:
    async with asyncio.timeout(100):
        return await AgentStep(given.tools, options).run(job)


async def test_what_it_leaves_is_committed_and_pushed_and_its_cost_is_told(given: Given):
    outcome = await run(given, agent_job("good"))
    assert isinstance(outcome, Done)
    assert outcome.spent == Spent(0.25, 3)
    assert outcome.sha == given.head()
    assert git("log", "-1", "--format=%s", outcome.sha, cwd=given.forge) == "SH-1: a thing (development)"
    assert given.desk.noted == ["job-1"]
    assert (given.ponds.opened, given.ponds.open_) == (1, 0)


async def test_budgets_are_passed_on_and_the_session_is_chosen_before_the_start(given: Given):
    job = agent_job("good", usd=1.5, turns=7)
    await run(given, job)
    words = json.loads(given.file("argv"))
    assert words[:4] == ["-p", "--output-format", "stream-json", "--verbose"]
    assert words[words.index("--max-turns") + 1] == "7"
    assert words[words.index("--max-budget-usd") + 1] == "1.50"
    assert words[words.index("--session-id") + 1] == given.run(job).notes()["session"]


async def test_the_issue_is_in_the_prompt_and_none_of_it_in_an_argument(given: Given):
    await run(given, agent_job("good"))
    prompt = given.file("prompt")
    assert "SH-1: a thing" in prompt
    assert "Make {key} shine." in prompt  # a value is not a template
    assert "ann wrote: please soon" in prompt
    assert "our own words" not in prompt
    assert "shine" not in given.file("argv")


async def test_every_field_of_the_templates_is_filled_in(given: Given, monkeypatch: pytest.MonkeyPatch):
    known: list[str] = []

    def fill(_: str, values: dict[str, str]) -> str:
        known.extend(values)
        return "x"

    monkeypatch.setattr(agent, "fill", fill)
    await run(given, agent_job("good"))
    fields = {field for template in PROMPTS.values() for field in re.findall(r"\{(.*?)\}", template)}
    assert fields - set(known) == set()


async def test_secrets_are_for_the_run_alone_and_in_no_log(given: Given, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FORGE_TOKEN", "forge-canary")
    monkeypatch.setenv("PLANE_TOKEN", "plane-canary")
    job = agent_job("tells", settings={"passes": ["AGENT_KEY"]})
    assert isinstance(await run(given, job), Done)
    log = given.log(job)
    assert "canary" not in log
    assert log.count("********") == 3
    assert "PIP_INDEX_URL" in log
    assert "FORGE_TOKEN" not in log
    for file in given.run(job).folder.rglob("*"):
        assert not file.is_file() or b"canary" not in file.read_bytes()


@pytest.mark.parametrize("job", [agent_job("hangs"), agent_job("codex-hangs", "codex")], ids=["claude", "codex"])
async def test_done_is_done_though_it_hangs_ignores_term_and_leaves_a_server(
    given: Given, monkeypatch: pytest.MonkeyPatch, job: Job
):
    monkeypatch.setattr(agent, "Limits", partial(Limits, grace_s=0.5, final_grace_s=0.5))
    outcome = await run(given, job)
    assert isinstance(outcome, Done)
    server = procfs.look(int(given.file("server")))
    assert server is None or server.state == "Z"


@pytest.mark.parametrize(
    ("mode", "kind", "text", "usd"),
    [
        ("silent", Failed, "without a word", 0.0),
        ("mumbles", Failed, "without a result (rc=0): no result", 5.0),
        ("crashes", Failed, "without a result (rc=1)", 5.0),
        ("turns", Park, "budget is spent (turns)", 0.25),
        ("asks", Park, "which colour?", 0.25),
        ("overloaded", Retry, "529 overloaded", 0.25),
        ("breaks", Failed, "it can't be", 0.25),
        ("wanders", Park, "budget is spent (20 turns)", 5.0),
    ],
)
async def test_what_else_may_come_of_it(given: Given, mode: str, kind: type, text: str, usd: float):
    outcome = await run(given, agent_job(mode))
    assert isinstance(outcome, kind)
    told = outcome.question if isinstance(outcome, Park) else outcome.reason  # type: ignore[union-attr]
    assert text in told
    assert outcome.spent.usd == usd
    assert given.head() == ""


async def test_one_that_repeats_a_command_is_stopped(given: Given):
    outcome = await run(given, agent_job("repeats", turns=None), AgentOptions(repeats=20))
    assert isinstance(outcome, Failed)
    assert "one command was repeated" in outcome.reason
    assert "make test" in outcome.reason


async def test_one_that_stalls_is_tried_again(given: Given):
    outcome = await run(given, agent_job("stalls", settings={"stall_s": 1}))
    assert isinstance(outcome, Retry)
    assert "said nothing for 1 s" in outcome.reason
    assert outcome.spent.usd == 5.0  # not known: all that it might have


async def test_codex_by_its_own_lines_priced_by_the_operator(given: Given):
    options = AgentOptions(prices=Prices(2.0, 0.5, 10.0))
    outcome = await run(given, agent_job("codex", "codex"), options)
    assert isinstance(outcome, Done)
    assert outcome.spent == Spent(1.0 + 0.25 + 1.0, 2)
    assert json.loads(given.file("argv"))[:2] == ["exec", "--json"]


async def test_a_stage_may_say_the_prices(given: Given):
    prices = {"input": 1, "output": 0}
    outcome = await run(given, agent_job("codex", "codex", settings={"prices": prices}))
    assert outcome.spent.usd == 1.0


async def test_codex_without_prices_counts_as_all_that_it_might_have(given: Given):
    outcome = await run(given, agent_job("codex", "codex"))
    assert outcome.spent.usd == 5.0


@pytest.mark.parametrize(
    ("mode", "text", "usd"), [("silent", "without a word", 0.0), ("codex-crashes", "without a result (rc=1)", 5.0)]
)
async def test_codex_that_ends_without_a_result(given: Given, mode: str, text: str, usd: float):
    outcome = await run(given, agent_job(mode, "codex"))
    assert isinstance(outcome, Failed)
    assert text in outcome.reason
    assert outcome.spent.usd == usd
    assert given.head() == ""


@pytest.mark.parametrize("mode", ["codex-fails", "codex-gives-up"])
async def test_codex_that_lost_its_connection_is_tried_again(given: Given, mode: str):
    outcome = await run(given, agent_job(mode, "codex"))
    assert isinstance(outcome, Retry)
    assert "stream disconnected" in outcome.reason


async def test_codex_that_found_its_connection_again_is_done(given: Given):
    outcome = await run(given, agent_job("codex-reconnects", "codex"))
    assert isinstance(outcome, Done)
    assert outcome.sha == given.head()


async def test_any_command_may_be_one(given: Given):
    outcome = await run(given, agent_job("plain", "command"))
    assert isinstance(outcome, Done)
    assert outcome.spent == Spent()


async def test_a_plain_question_in_the_last_lines_parks(given: Given):
    outcome = await run(given, agent_job("plain-asks", "command"))
    assert outcome == Park("which colour, red or blue?", Spent())
    assert given.head() == ""


async def test_a_plain_question_beside_a_result_that_says_nothing_is_one_too(given: Given):
    outcome = await run(given, agent_job("plain-tells", "command"))
    assert outcome == Park("which colour?", Spent(0.9))


async def test_a_program_that_prints_its_prompt_asks_nothing_and_one_that_fails_fails(given: Given):
    assert isinstance(await run(given, agent_job("plain-echoes", "command")), Done)
    outcome = await run(given, agent_job("plain-breaks", "command", number=2))
    assert isinstance(outcome, Failed)
    assert "rc=1" in outcome.reason


async def test_what_the_other_agents_print_beside_their_events_is_no_question(given: Given):
    assert isinstance(await run(given, agent_job("plain-asks")), Failed)


@pytest.mark.parametrize(("preset", "mode", "costs", "usd"), [
    ("command", "plain", None, 0.0),
    ("command", "plain", True, 5.0),
    ("command", "plain-tells", True, 0.9),
    ("command", "plain-tells", None, 0.9),
    ("claude", "mumbles", False, 0.0),
    ("claude", "good", False, 0.25),
])  # fmt: skip
async def test_whether_a_run_that_tells_no_cost_has_one_is_the_stage_s_to_say(
    given: Given, preset: str, mode: str, costs: bool | None, usd: float
):
    job = agent_job(mode, preset, settings={} if costs is None else {"costs": costs})
    assert (await run(given, job)).spent.usd == usd
    assert given.run(job).notes()["usd_at_worst"] == (5.0 if (costs is None and preset == "claude") or costs else None)


async def test_taken_up_by_the_next_process_it_is_not_begun_again(given: Given):
    job = agent_job("waits")
    first = asyncio.create_task(AgentStep(given.tools).run(job))
    async with asyncio.timeout(60):
        while not given.desk.noted:
            await asyncio.sleep(0.02)
    given.tools.runs.leave()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert given.run(job).alive()
    (given.run(job).folder / "go").touch()
    async with asyncio.timeout(60):
        outcome = await AgentStep(given.again()).run(job)
    assert isinstance(outcome, Done)
    assert outcome.spent == Spent(0.25, 3)
    assert given.head() == outcome.sha
    assert given.ponds.opened == 1


async def test_cancelled_its_run_and_its_token_are_ended(given: Given):
    job = agent_job("waits")
    first = asyncio.create_task(AgentStep(given.tools).run(job))
    async with asyncio.timeout(60):
        while not given.desk.noted:
            await asyncio.sleep(0.02)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert not given.run(job).alive()
    assert given.ponds.open_ == 0
    assert not given.run(job).home.exists()


async def test_a_killed_wrapper_is_tried_again_and_costs_what_it_might_have(given: Given):
    job = agent_job("waits")
    first = asyncio.create_task(AgentStep(given.tools).run(job))
    async with asyncio.timeout(60):
        while not given.desk.noted:
            await asyncio.sleep(0.02)
    async with asyncio.timeout(60):
        while (who := given.run(job).who()) is None:
            await asyncio.sleep(0.02)
    os.kill(who.pid, signal.SIGKILL)
    outcome = await first
    assert isinstance(outcome, Retry)
    assert outcome.spent.usd == 5.0


async def test_settings_that_name_nothing_known_fail_with_what_is_known(given: Given):
    for settings, text in (({"preset": "gpt"}, "known: claude, codex, command"), ({"prompt": "x"}, "known: analysis")):
        outcome = await run(given, agent_job("good", settings=settings))
        assert isinstance(outcome, Failed)
        assert text in outcome.reason
