"""Delivery's way to the hosts and to the pond's records, in an open application whose hosts are scripts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.app.test_deployops import Stage, stage  # noqa: F401 - a fixture
from tests.delivery.steps.given import job_of, work_of
from tests.hosts.deploys import reference

from millpond.app import shipping
from millpond.app.jobs import JobPonds
from millpond.app.shipping import AppDeployer, AppWitness
from millpond.delivery.steps.base import Out, StepFailed, Wellness, Work
from millpond.errors import Busy
from millpond.hosts.apps import AppFailed
from millpond.hosts.holding import app_lease
from millpond.hosts.model import HostFailed, Kind
from millpond.hosts.rollout import Pace

SHA, NEXT = "a" * 40, "b" * 40


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shipping, "PACE", Pace(look_every_s=0.001, steady_s=0.0))
    monkeypatch.setattr(shipping, "PATIENCE_S", 0.05)


def work(sha: str = SHA) -> Work:
    return work_of(job_of(step="deploy", stage="deploy", sha=sha))


@pytest.fixture
def deployer(stage: Stage) -> AppDeployer:  # noqa: F811
    return AppDeployer(stage.pond.app)


async def test_a_commit_is_brought_out_once_in_the_name_of_the_task(stage: Stage, deployer: AppDeployer):  # noqa: F811
    done = await deployer.deploy(work(), {"VERSION": "1"})
    assert (done.converged, done.release) == (True, 1)
    again = await deployer.deploy(work(), {"VERSION": "1"})
    assert (again.converged, again.release) == (True, 1)
    assert "already" in again.detail
    rows = await stage.run("release_ls", name="shop")
    assert [(row["number"], row["by"], row["sha"]) for row in rows] == [(1, "SH-1", SHA)]
    assert (await deployer.deploy(work(NEXT), {"VERSION": "2"})).release == 2


@pytest.mark.parametrize("again", [{"attempt": 2}, {"fence": 2}], ids=["another attempt", "taken up"])
async def test_who_comes_after_a_later_deploy_puts_no_older_commit_in_its_place(
    stage: Stage,  # noqa: F811
    deployer: AppDeployer,
    again: dict[str, int],
):
    """The worker was lost once the commit was out, and another task of the repo came before the next attempt."""
    await deployer.deploy(work(), {"VERSION": "1"})
    other = replace(work(NEXT), task=replace(work().task, key="SH-2"))
    await deployer.deploy(other, {"VERSION": "2"})
    later = replace(work(), job=replace(work().job, **again))
    done = await deployer.deploy(later, {"VERSION": "1"})
    assert (done.converged, done.release) == (True, 1)
    assert "release 2 is out since" in done.detail
    assert stage.engines["web1"].running == {"web": reference("2")}
    assert (await deployer.deploy(work(), {"VERSION": "1"})).release == 3, "a person who asks anew gets it"


@pytest.mark.parametrize("again", [{"attempt": 2}, {"fence": 2}], ids=["another attempt", "taken up"])
async def test_who_comes_after_a_person_s_rollback_leaves_it_there(
    stage: Stage,  # noqa: F811
    deployer: AppDeployer,
    again: dict[str, int],
):
    before = replace(work(NEXT), task=replace(work().task, key="SH-2"))
    await deployer.deploy(before, {"VERSION": "1"})
    since = stage.pond.clock.now()
    await deployer.deploy(work(), {"VERSION": "2"})
    stage.pond.clock.advance(5)
    await stage.run("rollback", name="shop", by="ada")
    later = replace(work(), job=replace(work().job, **again), since=since)
    done = await deployer.deploy(later, {"VERSION": "2"})
    assert not done.converged
    assert "by ada" in done.detail
    assert "millpond task release SH-1" in done.detail
    assert stage.engines["web1"].running == {"web": reference("1")}
    assert (await deployer.deploy(work(), {"VERSION": "2"})).converged, "a person who asks anew gets it"


@pytest.mark.parametrize("again", [{}, {"attempt": 2}, {"fence": 2}], ids=["first", "another attempt", "taken up"])
async def test_what_an_earlier_visit_brought_out_is_brought_out_anew(
    stage: Stage,  # noqa: F811
    deployer: AppDeployer,
    again: dict[str, int],
):
    await deployer.deploy(work(), {"VERSION": "1"})
    stage.pond.clock.advance(5)
    await stage.run("deploy", name="shop", sets={"VERSION": "2"}, by="ada")
    stage.pond.clock.advance(5)
    later = replace(work(), job=replace(work().job, **again), since=stage.pond.clock.now() if again else 0.0)
    done = await deployer.deploy(later, {"VERSION": "1"})
    assert (done.converged, done.release) == (True, 3)
    assert stage.engines["web1"].running == {"web": reference("1")}


async def test_what_is_out_has_its_commit(stage: Stage, deployer: AppDeployer):  # noqa: F811
    assert await deployer.out(work()) is None
    await deployer.deploy(work(), {"VERSION": "1"})
    assert await deployer.out(work(NEXT)) == Out(1, SHA)
    await deployer.deploy(work(NEXT), {"VERSION": "2"})
    await stage.run("rollback", name="shop", by="ada")
    assert await deployer.out(work()) == Out(3, SHA), "brought back by whomever"
    await stage.run("deploy", name="shop", sets={"VERSION": "2"}, by="ada", commit=NEXT)
    assert await deployer.out(work()) is None, "a person may bring out other images than those of the commit"


async def test_a_commit_that_was_rolled_back_is_not_well(stage: Stage, deployer: AppDeployer):  # noqa: F811
    await deployer.deploy(work(), {"VERSION": "1"})
    await deployer.deploy(work(NEXT), {"VERSION": "2"})
    assert (await deployer.look(work(NEXT))).state is Wellness.HEALTHY
    assert (await deployer.look(work())).state is Wellness.HEALTHY, "the later one goes on from it"
    await stage.run("rollback", name="shop", by="ada")
    watch = await deployer.look(work(NEXT))
    assert (watch.state, watch.detail) == (
        Wellness.DEGRADED,
        "release 2 of shop was rolled back by ada: release 3 is out",
    )
    assert (await deployer.look(work())).state is Wellness.HEALTHY


async def test_one_that_does_not_converge_says_why(stage: Stage, deployer: AppDeployer):  # noqa: F811
    stage.engines["web1"].breaks[reference("1")] = {"Status": "exited", "ExitCode": 1, "Health": None}
    done = await deployer.deploy(work(), {"VERSION": "1"})
    assert not done.converged
    assert done.detail


async def test_faults_say_whether_they_may_pass(stage: Stage, deployer: AppDeployer):  # noqa: F811
    app = stage.pond.app
    async with app.leases.holding(app_lease("shop"), "somebody", 60):
        with pytest.raises(StepFailed) as failed:
            await deployer.deploy(work(), {})
    assert failed.value.after_s
    assert failed.value.not_yet
    stranger = replace(work(), project=replace(work().project, app="no-such"))
    with pytest.raises(StepFailed, match="no-such") as failed:
        await deployer.deploy(stranger, {})
    assert failed.value.after_s is None


async def test_a_look_tells_how_the_app_is(stage: Stage, deployer: AppDeployer):  # noqa: F811
    assert (await deployer.look(work())).state is Wellness.DEGRADED
    await deployer.deploy(work(), {"VERSION": "1"})
    stage.pond.clock.advance(42)
    well = await deployer.look(work())
    assert (well.state, well.since_s) == (Wellness.HEALTHY, 42)
    stage.engines["web2"].breaks[reference("1")] = {"Status": "exited", "ExitCode": 1, "Health": None}
    bad = await deployer.look(work())
    assert bad.state is Wellness.DEGRADED
    assert "web2" in bad.detail


async def test_rolled_back_to_what_was_there_and_only_from_this_commit(stage: Stage, deployer: AppDeployer):  # noqa: F811
    await deployer.deploy(work(), {"VERSION": "1"})
    with pytest.raises(StepFailed, match="no earlier release"):
        await deployer.roll_back(work())
    await deployer.deploy(work(NEXT), {"VERSION": "2"})
    assert "nothing was rolled back" in await deployer.roll_back(work())
    assert await deployer.roll_back(work(NEXT)) == "rolled back to release 1"
    assert stage.engines["web1"].running == {"web": reference("1")}


async def test_a_witness_of_images_never_says_yes_for_want_of_an_answer(stage: Stage):  # noqa: F811
    witness = AppWitness(stage.pond.app)
    told = await witness.images(work(), SHA)
    assert (told.kind, told.sha, told.facts["pullable"]) == ("images", SHA, False)
    assert told.facts["detail"]


Failing = tuple[Kind | None, Kind | None]


def prepulled(*hosts: Failing) -> dict[str, Any]:
    """Give what a pre-pull tells: of each host which kind of error it had, and its image's failure."""
    told = {}
    for name, (error, kind) in zip("abc", hosts, strict=False):
        failures = [] if kind is None else [{"image": "web:1", "kind": kind, "text": "no such tag"}]
        told[name] = {"error": error and "no answer", "error_kind": error, "failures": failures}
    return {"ok": not any(error or kind for error, kind in hosts), "images": [{}], "hosts": told}


@pytest.mark.parametrize(
    ("told", "pullable"),
    [
        (prepulled((None, None), (None, None)), True),
        (prepulled((None, Kind.PERMANENT)), False),
        (prepulled((Kind.TRANSIENT, None), (None, Kind.PERMANENT)), False),
        (prepulled((Kind.TRANSIENT, None), (None, None)), None),
        (prepulled((Kind.PERMANENT, None), (None, None)), False),
        (prepulled((Kind.CREDENTIALS, None), (Kind.TRANSIENT, None)), False),
        (prepulled((None, Kind.TRANSIENT), (None, None)), None),
        (prepulled((None, Kind.WAIT)), None),
        (AppFailed("shop", "its compose file is none"), False),
        (Busy("another one deploys"), None),
        (HostFailed("web1", "no", kind=Kind.TRANSIENT, reason="lost"), None),
        (HostFailed("web1", "no", kind=Kind.PERMANENT, reason="denied"), False),
    ],
)
async def test_an_outage_of_the_moment_says_nothing_of_the_images(
    stage: Stage,  # noqa: F811
    told: dict[str, Any] | Exception,
    pullable: bool | None,
):
    async def prepull(*_: object, **__: object) -> dict[str, Any]:
        if isinstance(told, Exception):
            raise told
        return told

    stage.pond.app.operations["prepull"] = prepull
    at = replace(work(), project=replace(work().project, app="shop"))
    witness = AppWitness(stage.pond.app)
    if pullable is None:
        with pytest.raises(StepFailed):
            await witness.images(at, SHA)
    else:
        assert (await witness.images(at, SHA)).facts["pullable"] is pullable


async def test_a_witness_of_artifacts_looks_for_each_that_was_drawn(open_pond, tmp_path: Path):
    pond = await open_pond('[repositories.things]\npackage = "generic"\ntype = "local"\n')
    witness = AppWitness(pond.app)
    assert (await witness.artifacts(work(), SHA)).facts["present"] is False
    await pond.client.put("/api/v1/remote/things/a", b"a", **pond.admin)
    secret, _ = (await JobPonds(pond.app).open(work(), tmp_path)).secrets
    await pond.get("/things/a", authorization=f"Bearer {secret}")
    told = await witness.artifacts(work(), SHA)
    assert (told.facts["present"], told.facts["count"], told.sha) == (True, 1, SHA)
    record = (await pond.app.usage.records())[0]
    pond.app.store.delete(record.digest)
    told = await witness.artifacts(work(), SHA)
    assert told.facts["present"] is False
    assert "things/a" in str(told.facts["detail"])
