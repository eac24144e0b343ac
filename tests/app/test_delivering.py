"""The delivery within the daemon: loops and their switches, wakes, reloads, `/queue`, the operations."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.delivering import FAKED, LOCAL, PROJECT, REPOSITORY, Outer, pushed, until
from tests.hosts.conftest import FakeNotifier

from millpond.app import delivering, numbers
from millpond.app.working import Working
from millpond.delivery.breaker import Ended
from millpond.delivery.model import Done, Failed, JobState, Park
from millpond.delivery.ratebudget import _USE
from millpond.delivery.rates import Use
from millpond.errors import BadRequest, Conflict, NotFound
from millpond.testing.forge import FakeForge
from millpond.testing.tracker import FakeTracker

BLOCKS = {
    "counts", "resilience", "reconcile", "reaper", "post_deploy", "merge_verify", "task_deps", "serial_gate",
    "auto_labels", "disk_monitor", "build_cache_prune",
}  # fmt: skip
SWITCHES = {
    "reconcile": "reconcile", "reaper": "reaper", "resilience": "resilience", "post_deploy": "post_deploy",
    "merge_verify": "merge_verify", "task_deps": "task_deps", "auto_labels": "auto_labels", "worker": "worker",
    "outbox": "outbox", "looks": "looks", "upkeep": "upkeep", "metrics": "metrics",
}  # fmt: skip


def off(*switches: str) -> str:
    return "[delivery]\n" + "".join(f"{name} = false\n" for name in switches)


@pytest.fixture
def outer() -> Outer:
    return Outer()


@pytest.fixture
def only_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks for work by himself while a test lasts."""
    monkeypatch.setattr(delivering, "IDLE_S", 3600.0)


async def ask(app: Any, operation: str, **arguments: Any) -> Any:
    return await app.operations[operation](progress=lambda *_: None, **arguments)


async def active(app: Any) -> list[Any]:
    return await app.delivering.ledger.jobs.active()


@pytest.mark.usefixtures("only_woken")
async def test_a_nudge_becomes_a_job_with_nobody_polling(open_pond: Any, outer: Outer):
    app = (await open_pond(FAKED + off("worker", "reconcile"), counterparts=outer)).app
    await app.started()
    outer.tracker.put(PROJECT, "i1", state="to-analyse")
    await app.delivering.ledger.nudges.add("shop", "i1", urgent=True)
    (job,) = await until(lambda: active(app))
    assert (job.stage, job.state) == ("analysis", JobState.QUEUED)
    await until(lambda: moved(outer, "i1", "analysis"))


async def moved(outer: Outer, issue: str, column: str) -> bool:
    return outer.tracker.issues["shop", issue].state == column


async def test_a_poll_finds_what_nobody_told_after_the_grace_period(open_pond: Any, outer: Outer):
    outer.tracker.put(PROJECT, "i1", state="to-analyse")
    config = FAKED + off("worker") + "poll_interval_s = 0.05\nreconcile_grace_s = 0\n"
    app = (await open_pond(config, counterparts=outer)).app
    await app.started()
    await until(lambda: active(app))
    block = await until(lambda: complete(app))
    assert block["failed"] == {}


async def complete(app: Any) -> Any:
    block = (await ask(app, "queue"))["reconcile"]
    return block if block["last_complete_ts"] is not None else None


async def test_a_tracker_that_is_down_is_no_board_without_issues(open_pond: Any, outer: Outer):
    outer.tracker.down = True
    app = (await open_pond(FAKED + off("worker"), counterparts=outer)).app
    told = await ask(app, "reconcile")
    assert (told["ok"], told["failed"]) == (False, {"shop": "the tracker is down"})
    assert "last_complete_ts" not in told


@pytest.mark.parametrize("switch", ["looks", "reconcile", "outbox"])
async def test_what_is_switched_off_does_nothing(open_pond: Any, outer: Outer, switch: str):
    outer.tracker.put(PROJECT, "i1", state="to-analyse")
    config = FAKED + off("worker", switch) + "poll_interval_s = 0.05\nreconcile_grace_s = 0\n"
    app = (await open_pond(config, counterparts=outer)).app
    await app.started()
    if switch != "reconcile":
        await until(lambda: complete(app))
    if switch == "outbox":
        await until(lambda: active(app))
    await asyncio.sleep(0.2)
    assert (await active(app) != []) == (switch == "outbox")
    assert await moved(outer, "i1", "to-analyse"), "nothing was written to the board"


@pytest.mark.parametrize("on", [True, False])
async def test_the_reaper_gives_up_what_a_dead_worker_held(open_pond: Any, outer: Outer, monkeypatch: Any, on: bool):
    monkeypatch.setattr(delivering, "REAP_S", 0.05)
    outer.tracker.put(PROJECT, "i1", state="to-analyse")
    app = (await open_pond(FAKED + off("worker", *([] if on else ["reaper"])), counterparts=outer)).app
    await app.started()
    jobs = app.delivering.ledger.jobs
    await app.delivering.ledger.nudges.add("shop", "i1", urgent=True)
    await until(lambda: active(app))
    (job,) = await jobs.claim("dead", 0.05, most=2)
    if on:
        await until(lambda: lost(jobs, job.id))
    await asyncio.sleep(0.3)
    assert await lost(jobs, job.id) == on


async def lost(jobs: Any, job: int) -> bool:
    return (await jobs.one(job)).state is JobState.LOST


@pytest.mark.parametrize("on", [True, False])
async def test_upkeep_prunes_rows_and_sweeps_folders(open_pond: Any, outer: Outer, monkeypatch: Any, on: bool):
    pruned, swept = asyncio.Event(), asyncio.Event()

    async def prunes(*_: object) -> int:
        pruned.set()
        return 0

    async def sweeps(_: Working) -> dict[str, int]:
        swept.set()
        return {}

    monkeypatch.setattr(delivering, "prune", prunes)
    monkeypatch.setattr(Working, "sweep", sweeps)
    app = (await open_pond(FAKED + off("worker", *([] if on else ["upkeep"])), counterparts=outer)).app
    await app.started()
    if on:
        await asyncio.wait_for(asyncio.gather(pruned.wait(), swept.wait()), 30)
    await asyncio.sleep(0.2)
    assert (pruned.is_set(), swept.is_set()) == (on, on)


@pytest.mark.parametrize("on", [True, False])
async def test_what_waits_is_counted_for_the_metrics(open_pond: Any, outer: Outer, monkeypatch: Any, on: bool):
    monkeypatch.setattr(delivering, "MEASURE_S", 0.05)
    outer.tracker.put(PROJECT, "i1", state="to-analyse")
    app = (await open_pond(FAKED + off("worker", *([] if on else ["metrics"])), counterparts=outer)).app
    await app.started()
    await app.delivering.ledger.nudges.add("shop", "i1", urgent=True)
    await until(lambda: active(app))

    async def counted() -> bool:
        return app.metrics.values().get('millpond_delivery_jobs{state="queued"}') == 1

    if on:
        await until(counted)
    await asyncio.sleep(0.2)
    assert await counted() == on


@pytest.mark.parametrize("on", [True, False])
async def test_a_task_waits_for_those_that_its_labels_name(open_pond: Any, outer: Outer, on: bool):
    outer.tracker.put(PROJECT, "i1", state="to-analyse", labels=("after:SH-77",))
    app = (await open_pond(FAKED + off("worker", *([] if on else ["task_deps"])), counterparts=outer)).app
    await app.started()
    await app.delivering.ledger.nudges.add("shop", "i1", urgent=True)
    if not on:
        await until(lambda: active(app))
    await asyncio.sleep(0.3)
    assert bool(await active(app)) != on


async def test_an_alert_of_its_own_deployment_reaches_the_operators(open_pond: Any, outer: Outer):
    notifier = FakeNotifier()
    stages = "".join(
        f'[[projects.shop.pipeline.stages]]\nname = "{step}"\nstep = "{step}"\n' for step in ("deploy", "monitor")
    )
    app = (await open_pond(FAKED + stages + off("worker"), counterparts=outer, notifier=notifier)).app
    of = app.delivering
    of.projects["shop"] = replace(of.projects["shop"], app="millpond", own=True)
    await app.started()
    outer.tracker.put(PROJECT, "i1", state="to-analyse")
    await of.ledger.nudges.add("shop", "i1", urgent=True)
    for outcome in (Done("1a2b3c4".ljust(40, "0")), Failed("web: exited")):
        (job,) = await until(lambda: of.ledger.jobs.claim("w", 60, most=1))
        await of.ledger.jobs.finish(job, outcome)

    async def told() -> Any:
        return [
            text for title, text in notifier.sent if title == "Millpond delivery"
        ]  # else of a disk that is full here

    (text,) = await until(told)
    assert text.startswith("SH-1: web: exited. This Millpond was deployed by itself")


@pytest.mark.parametrize("on", [True, False])
async def test_the_breaker_pauses(open_pond: Any, outer: Outer, monkeypatch: Any, on: bool):
    app = (await open_pond(FAKED + off("worker", *([] if on else ["resilience"])), counterparts=outer)).app
    of = app.delivering
    now = await of.ledger.now()

    async def failed(*_: object, **__: object) -> list[Ended]:
        return [Ended(number, now - number, passing=True, reason="no room") for number in range(20)]

    monkeypatch.setattr(of.showing, "ended", failed)
    until_ts, reason = await of.breaker.paused()
    assert (until_ts > now, "no room" in reason) == (on, on)


async def test_the_queue_has_every_block_and_one_that_is_off_keeps_its_keys(open_pond: Any, outer: Outer):
    on = await ask((await open_pond(FAKED, counterparts=outer)).app, "queue")
    assert set(on) >= {*BLOCKS, "max_concurrency", "poll_interval", "recent"}
    assert (on["max_concurrency"], on["poll_interval"], on["recent"]) == (2, 60, [])
    assert all(on[name]["enabled"] is True for name in SWITCHES)
    quiet = await ask((await open_pond(FAKED + off(*SWITCHES.values()), folder="off", counterparts=outer)).app, "queue")
    for name in SWITCHES:
        assert quiet[name]["enabled"] is False
        assert set(quiet[name]) == set(on[name]), name
    nothing = await ask((await open_pond(REPOSITORY, folder="none")).app, "queue")
    assert {name: set(block) for name, block in nothing.items() if name in SWITCHES} == {
        name: set(on[name]) for name in SWITCHES
    }
    assert nothing["reconcile"]["enabled"] is False, "there is no project"


async def test_a_part_that_fails_does_not_break_the_page(open_pond: Any, outer: Outer, monkeypatch: Any):
    app = (await open_pond(FAKED, counterparts=outer)).app

    async def broken(*_: object, **__: object) -> None:
        raise OSError("the moon")

    monkeypatch.setattr(app.delivering.showing, "recent", broken)
    monkeypatch.setattr(app.delivering.breaker, "circuit", broken)
    page = await ask(app, "queue")
    assert page["recent"] == []
    assert "the moon" in page["resilience"]["last_error"]
    assert page["reaper"]["enabled"] is True


@pytest.mark.usefixtures("only_woken")
async def test_a_reload_reads_the_projects_again_and_forgets_the_columns(open_pond: Any, outer: Outer, tmp_path: Path):
    app = (await open_pond(FAKED + off("worker", "reconcile"), counterparts=outer)).app
    await app.started()
    board = await app.delivering.states.board(PROJECT)
    assert "qa" not in board.groups
    outer.tracker.columns["shop"].append(type(outer.tracker.columns["shop"][0])("qa", "QA", "started"))
    before = app.delivering
    await app.reload_everywhere()
    assert app.delivering is before
    assert "qa" in (await app.delivering.states.board(PROJECT)).groups
    more = '[projects.till]\nprefix = "TI"\n'
    (tmp_path / "0.toml").write_text(FAKED + off("worker", "reconcile") + more)
    await app.reload_everywhere()
    assert list(app.delivering.projects) == ["shop", "till"]
    outer.tracker.put(PROJECT, "i1", state="to-analyse")
    await app.delivering.ledger.nudges.add("shop", "i1", urgent=True)
    await until(lambda: active(app))


async def test_after_a_reload_a_new_project_can_be_pushed_to(open_pond: Any, tmp_path: Path):
    app = (await open_pond(LOCAL)).app
    await app.started()
    (tmp_path / "0.toml").write_text(LOCAL + '[projects.till]\nprefix = "TI"\n')
    await app.reload_everywhere()
    assert (app.data / "git" / "till.git" / "HEAD").exists()


@pytest.mark.usefixtures("only_woken")
async def test_the_embedded_board_from_an_issue_to_its_task(open_pond: Any):
    app = (await open_pond(LOCAL + off("worker"))).app
    await pushed(app)
    await app.started()
    made = await ask(app, "board_new", title="Sell left shoes", labels=["x"], column="to analyse", by="ada")
    assert (made["key"], made["column"], made["author"]) == ("SH-1", "To Analyse", "ada")
    await until(lambda: active(app))
    assert [one["key"] for one in await ask(app, "board_ls", project="sh")] == ["SH-1"]
    await ask(app, "board_comment", key="SH-1", text="hello", by="ada")
    shown = await ask(app, "board_show", key="1")
    assert [one["text"] for one in shown["comments"]] == ["hello"]
    (row,) = await ask(app, "task_ls")
    assert (row["key"], row["phase"]) == ("SH-1", "working")

    async def queued() -> Any:
        told = await ask(app, "why", ref="SH-1")
        return told if "is queued" in told["verdict"] else None

    why = await until(queued)
    assert why["facts"]["stage"] == "analysis"
    later = await ask(app, "board_new", title="Another", by="ada")
    assert "does not stand at To Analyse" in (await ask(app, "why", ref=later["key"]))["verdict"]
    with pytest.raises(NotFound, match="has no issue 9"):
        await ask(app, "why", ref="SH-9")


async def test_a_pipeline_that_is_refused_is_told_though_no_issue_asks_for_it(open_pond: Any):
    app = (await open_pond(LOCAL + off("worker"))).app
    await pushed(app, '[[stages]]\nname = "a"\nstep = "comand"\n')
    assert (await ask(app, "queue"))["reconcile"]["pipelines_refused"] == {}
    await app.started()

    async def refused() -> Any:
        return (await ask(app, "queue"))["reconcile"]["pipelines_refused"]

    assert 'stages[0].step: "comand" is not known; did you mean "command"?' in (await until(refused))["shop"]
    await ask(app, "board_new", title="x", column="To Analyse")
    why = await ask(app, "why", ref="SH-1")
    assert "the pipeline of shop is refused" in why["verdict"]
    assert why["next"].startswith("mend .millpond/pipeline.toml on main of shop, push it")
    with pytest.raises(NotFound, match=r"no project has the prefix ZZ; there are: SH \(shop\)"):
        await ask(app, "why", ref="ZZ-1")


async def test_usage_of_a_task_that_is_unknown_is_refused(open_pond: Any):
    app = (await open_pond(LOCAL)).app
    with pytest.raises(NotFound, match="there is no task 'SH-99'"):
        await ask(app, "usage", task="SH-99")


async def test_orders_about_tasks_and_their_refusals(open_pond: Any):
    app = (await open_pond(LOCAL + off("worker"))).app
    await pushed(app)
    await app.started()
    await ask(app, "board_new", title="x", column="To Analyse")
    await until(lambda: active(app))
    with pytest.raises(Conflict, match="not parked"):
        await ask(app, "task_release", task="SH-1")
    with pytest.raises(Conflict, match="waits at no gate"):
        await ask(app, "task_verdict", task="sh-1", approved=True)
    with pytest.raises(NotFound, match="millpond task ls"):
        await ask(app, "task_show", task="SH-77")
    await ask(app, "task_cancel", task="SH-1", by="ada")

    async def ended() -> bool:
        return (await ask(app, "task_show", task="SH-1"))["phase"] == "cancelled"

    await until(ended)
    whats = [one["what"] for one in await ask(app, "task_events", task="1")]
    assert "cancel-ordered" in whats
    assert await ask(app, "task_ls") == []
    assert [one["key"] for one in await ask(app, "task_ls", all_=True)] == ["SH-1"]


@pytest.mark.parametrize("written", ["Shop-1", "shop-1", "SHOP-1"])
async def test_a_task_is_found_whatever_the_case_of_its_key(open_pond: Any, written: str):
    app = (await open_pond(LOCAL.replace('prefix = "SH"', 'prefix = "Shop"') + off("worker"))).app
    await pushed(app)
    await app.started()
    await ask(app, "board_new", title="x", column="To Analyse")
    await until(lambda: active(app))
    assert (await ask(app, "task_show", task=written))["key"] == "Shop-1"


async def test_a_board_elsewhere_is_not_written_to_from_here(open_pond: Any, outer: Outer):
    app = (await open_pond(FAKED, counterparts=outer)).app
    with pytest.raises(Conflict, match="the board is in plane"):
        await ask(app, "board_new", title="x")
    local = (await open_pond(LOCAL + '[projects.till]\nprefix = "TI"\n', folder="local")).app
    with pytest.raises(BadRequest, match="which project"):
        await ask(local, "board_new", title="x")
    with pytest.raises(NotFound, match="no project has the prefix XX"):
        await ask(local, "board_show", key="XX-1")
    with pytest.raises(BadRequest, match="is no issue"):
        await ask(local, "board_show", key="what?")


async def test_reconcile_tells_without_a_trace_what_it_would_do(open_pond: Any, outer: Outer):
    outer.tracker.put(PROJECT, "i1", state="to-analyse")
    app = (await open_pond(FAKED + off("worker"), counterparts=outer)).app
    told = await ask(app, "reconcile", dry_run=True)
    assert (told["ok"], told["found"]) == (True, 1)
    assert "grace period" in told["would"][0]["told"] or "a task will begin at" in told["would"][0]["told"]
    assert await app.delivering.ledger.nudges.all() == []
    assert (await ask(app, "reconcile"))["found"] == 1
    assert [one.issue for one in await app.delivering.ledger.nudges.all()] == ["i1"]


async def test_drift_names_what_differs_and_mends_it_on_request(open_pond: Any, outer: Outer):
    app = (await open_pond(FAKED + off("worker", "reconcile", "outbox"), counterparts=outer)).app
    assert await ask(app, "drift") == {"ok": True, "mended": False, "failed": {}, "drift": []}
    outer.tracker.put(PROJECT, "i1", state="to-analyse")  # the webhook was lost, and nothing has polled
    found = await ask(app, "drift")
    assert (found["ok"], [row["between"] for row in found["drift"]]) == (False, ["board"])
    assert "a task will begin at" in found["drift"][0]["told"]
    assert await app.delivering.ledger.nudges.all() == []
    await ask(app, "drift", mend=True)
    await app.started()
    await until(lambda: active(app))
    del outer.tracker.issues["shop", "i1"]
    found = await ask(app, "drift")
    assert "no such issue any more" in found["drift"][0]["told"]
    outer.tracker.down = True
    assert (await ask(app, "drift"))["failed"] == {"shop": "the tracker is down"}


async def test_one_drift_at_a_time_bounded_in_time_and_told_again_while_it_is_fresh(
    open_pond: Any, outer: Outer, monkeypatch: pytest.MonkeyPatch
):
    app = (await open_pond(FAKED + off("worker", "reconcile", "outbox"), counterparts=outer)).app
    outer.tracker.put(PROJECT, "i1", state="to-analyse")
    listing, asked = FakeTracker.changed, 0

    async def slow(*about: Any) -> Any:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.1 if asked == 1 else 60)
        return await listing(*about)

    monkeypatch.setattr(FakeTracker, "changed", slow)
    at_once = [ask(app, "drift", within_s=30.0, fresh_s=30.0) for _ in range(5)]
    first, *others = await asyncio.gather(*at_once)
    assert (asked, len(first["drift"])) == (1, 1)
    assert others == [first] * 4
    late = await ask(app, "drift", within_s=0.05)
    assert (asked, late["ok"], late["drift"]) == (2, False, [])
    assert "within 0.05 s" in late["failed"]["shop"]


async def test_looking_at_a_task_only_peeks(open_pond: Any, outer: Outer):
    app = (await open_pond(LOCAL + off("worker", "outbox"))).app
    await pushed(app)
    await app.started()
    await ask(app, "board_new", title="x", column="To Analyse")
    (job,) = await until(lambda: active(app))
    (claimed,) = await app.delivering.ledger.jobs.claim("w", 60, most=4)
    await app.delivering.ledger.jobs.finish(claimed, Park("what now?"))
    peeks, uses = list[bool](), list[Any]()

    class Watching(FakeForge):
        async def observe(self, *about: Any, peek: bool = False) -> Any:
            peeks.append(peek)
            uses.append(_USE.get())
            return await super().observe(*about, peek=peek)

    async def parked() -> bool:
        return bool((await app.delivering.ledger.task(job.task)).phase == "parked")

    await until(parked)
    await app.delivering.close()
    app.delivering.engine._around = replace(app.delivering.engine._around, forge=Watching())
    await ask(app, "task_show", task="SH-1")
    await ask(app, "drift")
    await ask(app, "reconcile", dry_run=True)
    await ask(app, "why", ref="SH-1")
    assert peeks
    assert all(peeks)
    assert (uses[0], uses[-1]) == (Use.READ, Use.URGENT)
    assert set(uses[1:-1]) <= {Use.LISTING}


async def test_a_reload_that_cannot_make_the_new_delivery_leaves_the_old_one_at_work(
    open_pond: Any, outer: Outer, tmp_path: Path
):
    few = [True]

    def counterparts(app: Any, config: Any) -> Any:
        if "till" in config.projects and few:
            raise OSError("no more files")
        return outer(app, config)

    app = (await open_pond(FAKED + off("worker", "reconcile"), counterparts=counterparts)).app
    await app.started()
    before, more = app.delivering, '[projects.till]\nprefix = "TI"\n'
    (tmp_path / "0.toml").write_text(FAKED + off("worker", "reconcile") + more)
    with pytest.raises(OSError, match="no more files"):
        await app.reload_everywhere()
    assert app.delivering is before
    outer.tracker.put(PROJECT, "i1", state="to-analyse")
    await app.delivering.ledger.nudges.add("shop", "i1", urgent=True)
    await until(lambda: active(app))
    few.clear()
    await app.reload_everywhere()
    assert sorted(app.delivering.projects) == ["shop", "till"]


async def test_jobs_of_the_dead_are_reaped_though_our_own_cannot_be_taken_up(
    open_pond: Any, outer: Outer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(delivering, "TAKE_UP_S", 0.05)
    monkeypatch.setattr(delivering, "REAP_S", 0.05)
    app = (await open_pond(FAKED + off("reconcile"), counterparts=outer)).app

    async def broken(*_: object) -> None:
        raise OSError("the folder of runs is gone")

    monkeypatch.setattr(app.delivering.working.worker, "take_up", broken)
    outer.tracker.put(PROJECT, "i1", state="to-analyse")
    await app.delivering.ledger.nudges.add("shop", "i1", urgent=True)
    while await app.delivering.engine.look(10):
        pass
    assert await app.delivering.ledger.jobs.claim("dead", -1, most=4)
    await app.started()

    async def reaped() -> Any:
        return (await ask(app, "queue"))["reaper"]["reaped"]

    assert await until(reaped) == 1


async def test_a_board_that_takes_too_long_to_list_is_not_waited_for(
    open_pond: Any, outer: Outer, monkeypatch: pytest.MonkeyPatch
):
    app = (await open_pond(FAKED, counterparts=outer)).app

    async def endless(*_: object) -> None:
        await asyncio.sleep(1000)

    monkeypatch.setattr(numbers, "FIND_S", 0.05)
    monkeypatch.setattr(FakeTracker, "changed", endless)
    with pytest.raises(NotFound, match="took more than"):
        await ask(app, "why", ref="SH-9")


async def test_a_data_directory_without_projects_runs_no_loops(open_pond: Any):
    app = (await open_pond(REPOSITORY)).app
    await app.started()
    assert app.delivering._tasks == []
