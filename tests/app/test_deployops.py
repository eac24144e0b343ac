"""`deploy`, `rollback` and `release ...` as commands and the control API run them; hosts by script."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import replace

import pytest
from tests.hosts.deploys import FAILURE, FakeEngine, FakePrepares, reference

import millpond.app.deployops as operations
from millpond.errors import BadRequest, MillpondError, NotFound
from millpond.hosts.apps import HostPull, Prepulled
from millpond.hosts.holding import app_lease
from millpond.hosts.model import HostOptions
from millpond.hosts.places import HostPlace
from millpond.hosts.rollout import Pace, Place
from millpond.testing.hosts import FakeHost

CANARY = "canary-pw"
CONFIG = """
[repositories.local]
package = "generic"
type = "local"
[hosts.web1]
ssh = "deploy@web1.lan"
[hosts.web2]
ssh = "deploy@web2.lan"
[apps.shop]
path = "/srv/shop"
hosts = ["web1", "web2"]
pull = "direct"
keep = 3
"""


class Stage:
    """An open application whose hosts are scripts."""

    def __init__(self) -> None:
        self.engines = {name: FakeEngine(name) for name in ("web1", "web2")}
        self.prepares = FakePrepares(self.engines)

    def connect(self, options: HostOptions) -> FakeHost:
        host = self.engines[options.name].host()
        self.prepares.places[options.name] = Place(host, options)
        return host

    async def run(self, operation: str, **arguments: object):
        return await self.pond.app.operations[operation](progress=lambda *_: None, **arguments)


@pytest.fixture
async def stage(open_pond, monkeypatch) -> Stage:
    made = Stage()
    made.pond = await open_pond(CONFIG, connect=made.connect)
    plain = operations.deploying
    pace = Pace(look_every_s=0.001, steady_s=0.0)
    monkeypatch.setattr(operations, "deploying", lambda *of: replace(plain(*of), prepares=made.prepares, pace=pace))
    return made


async def test_a_deploy_tells_its_release_and_what_a_rollback_would_bring_back(stage: Stage):
    done = await stage.run("deploy", name="shop", sets={"VERSION": "1", "DB_PASSWORD": CANARY}, by="ann")
    assert (done["ok"], done["rollback"], done["left_on"]) == (True, None, [])
    row = done["release"]
    assert (row["number"], row["state"], row["by"], row["sha"]) == (1, "active", "ann", "c0ffee")
    assert row["sets"] == {"VERSION": "1", "DB_PASSWORD": "********"}
    assert json.loads(json.dumps(done)) == done, "it goes through the control socket"
    second = await stage.run("deploy", name="shop", sets={"VERSION": "2"})
    assert second["rollback"] == 1
    back = await stage.run("rollback", name="shop", by="bob")
    assert (back["release"]["restores"], back["release"]["by"]) == (1, "bob")
    assert stage.engines["web2"].running == {"web": reference("1")}


async def test_readers_of_the_list_see_the_names_of_what_was_set_only(stage: Stage):
    await stage.run("deploy", name="shop", sets={"VERSION": "1", "PIN": "4711"})
    (row,) = (await stage.pond.get("/api/v1/releases")).json()
    assert row["sets"] == {"VERSION": "********", "PIN": "********"}
    assert (await stage.run("release_show", name="shop"))["sets"]["PIN"] == "4711"


async def test_a_failed_one_is_told_and_recorded_for_readers_without_secrets(stage: Stage):
    stage.engines["web1"].breaks[reference("1")] = {"Status": "exited", "ExitCode": 3}
    done = await stage.run("deploy", name="shop")
    assert not done["ok"]
    assert done["details"] == ["web1: web| starting", "web1: web| boom: pw is ********"]
    got = await stage.pond.get("/api/v1/releases?app=shop&limit=1")
    (row,) = got.json()
    assert (row["state"], row["error"]) == ("failed", "web1: web: exited with code 3; not begun: web2")
    assert "document" not in row
    shown = await stage.run("release_show", name="shop")
    assert shown["document"]["services"]["web"]["environment"] == {"DB_PASSWORD": "********", "V": "1"}
    assert CANARY not in json.dumps([done, shown, row])


async def test_the_list_of_releases_is_for_readers(open_pond, stage: Stage):
    pond = await open_pond("[access]\nanonymous = 'none'\n" + CONFIG, connect=stage.connect, folder="other")
    assert (await pond.get("/api/v1/releases")).status == 401
    got = await pond.get("/api/v1/releases", **pond.admin)
    assert (got.status, got.json()) == (200, [])
    assert (await pond.get("/api/v1/releases?app=nope", **pond.admin)).status == 404
    assert (await pond.get("/api/v1/releases?limit=0", **pond.admin)).status == 422


async def test_a_plan_changes_records_and_holds_nothing(stage: Stage):
    planned = await stage.run("deploy", name="shop", dry_run=True)
    assert planned["changes"] == [f"web: new, {reference('1')}"]
    assert planned["running"] is None
    await stage.run("deploy", name="shop")
    planned = await stage.run("deploy", name="shop", sets={"VERSION": "2"}, dry_run=True)
    assert planned["changes"] == [f"web: image {reference('1')} -> {reference('2')}; environment (V)"]
    await stage.run("deploy", name="shop", sets={"VERSION": "2"})
    back = await stage.run("rollback", name="shop", dry_run=True)
    assert (back["restores"], back["running"]) == (1, 2)
    assert len(await stage.run("release_ls")) == 2
    assert all(len(engine.documents) == 2 for engine in stage.engines.values())


async def test_a_plan_names_what_only_a_pull_can_pin(stage: Stage):
    async def nothing_pinned(app, resolved, told, **_: object) -> Prepulled:
        return Prepulled({}, {name: HostPull(1) for name in app.hosts})

    stage.prepares.prepull = nothing_pinned
    planned = await stage.run("deploy", name="shop", dry_run=True)
    assert planned["changes"] == ["web: new, app:1 (is pinned when it is pulled)"]
    with pytest.raises(MillpondError, match="clear pull error BEFORE deploy"):
        await stage.run("deploy", name="shop")


async def test_a_plan_s_documents_are_compared_off_the_event_loop(stage: Stage, monkeypatch):
    threads = []
    monkeypatch.setattr(operations, "changes", lambda *_: threads.append(threading.current_thread()) or [])
    await stage.run("deploy", name="shop", dry_run=True)
    assert threads
    assert threading.main_thread() not in threads


async def test_a_release_whose_process_died_is_shown_as_interrupted(stage: Stage):
    await stage.run("deploy", name="shop")
    releases = stage.pond.app.hosting.releases
    (one,) = await releases.of("shop")
    left = await releases.deploying(await releases.begin(one, await releases.document(one)))
    assert [row["state"] for row in await stage.run("release_ls", name="shop")] == ["interrupted", "active"]
    await stage.pond.app.leases.acquire(app_lease("shop"), "elsewhere/1/deploy of shop", 60)
    assert (await stage.run("release_show", name="shop", number=left.number))["state"] == "deploying"


async def test_what_is_not_there_or_not_right_is_said(stage: Stage):
    for operation in ("deploy", "rollback", "release_ls"):
        with pytest.raises(NotFound, match="shop"):
            await stage.run(operation, name="nope")
    with pytest.raises(NotFound, match="there is no release of shop"):
        await stage.run("release_show", name="shop")
    with pytest.raises(NotFound, match="no earlier release"):
        await stage.run("rollback", name="shop")
    for arguments in ({"sets": {"A": "x" * 40_000}}, {"by": "a\nb"}, {"commit": "x" * 300}, {"sets": {"A": 1}}):
        with pytest.raises(BadRequest):
            await stage.run("deploy", name="shop", **arguments)
    stage.prepares.failure = FAILURE
    with pytest.raises(MillpondError, match="clear pull error BEFORE deploy"):
        await stage.run("deploy", name="shop")
    assert await stage.run("release_ls") == []


async def test_a_host_that_is_the_app_s_no_more_is_named(stage: Stage, monkeypatch):
    await stage.run("deploy", name="shop")
    config = stage.pond.app.config
    apps = {"shop": config.apps["shop"].model_copy(update={"hosts": ("web1",)})}
    stage.pond.app.config = config.model_copy(update={"apps": apps})
    assert (await stage.run("deploy", name="shop", dry_run=True))["left_on"] == ["web2"]
    assert (await stage.run("deploy", name="shop"))["left_on"] == ["web2"]


async def test_deploys_are_counted_and_the_disk_watchdog_keeps_their_images(stage: Stage):
    await stage.run("deploy", name="shop")
    values = (await stage.pond.get("/metrics?format=json")).json()
    assert values['millpond_deploys_total{app="shop",outcome="active"}'] == 1
    assert values['millpond_deploy_seconds_count{app="shop"}'] == 1
    place = stage.pond.app.hosting.watchdog("web1")._place
    assert isinstance(place, HostPlace)
    assert reference("1") in await place._roots.protected("web1")


async def test_a_reload_amid_a_deploy_leaves_it_its_hosts_until_it_has_ended(stage: Stage, tmp_path):
    """Whatever the new configuration says: web2 is gone from it."""
    app = stage.pond.app
    old = app.hosting
    taken = []

    async def reload(asked):
        (tmp_path / "0.toml").write_text(
            CONFIG.replace('[hosts.web2]\nssh = "deploy@web2.lan"\n', "").replace(', "web2"', "")
        )
        await app.reload_everywhere()
        hosts = [old.watched(name).host for name in ("web1", "web2")]
        taken.append((app.hosting is not old, "web2" in app.hosting.options, [host.closed for host in hosts]))
        return stage.engines["web1"]._up(asked)

    old.watched("web1").host.on("docker", "compose", "--ansi", answer=reload)
    done = await stage.run("deploy", name="shop", sets={"VERSION": "1"})
    assert done["ok"], done
    assert taken == [(True, False, [False, False])]
    assert stage.engines["web2"].running == {"web": reference("1")}, "the walk has the hosts that it began with"
    assert [old.watched(name).host.closed for name in ("web1", "web2")] == [True, True], "then they are let go"


async def test_what_is_under_way_can_be_called_off(stage: Stage):
    began = asyncio.Event()

    async def up(asked):
        began.set()
        await asyncio.sleep(60)
        raise AssertionError

    host = stage.pond.app.hosting.watched("web1").host
    host.on("docker", "compose", "--ansi", answer=up, times=1)
    under_way = asyncio.create_task(stage.run("deploy", name="shop"))
    async with asyncio.timeout(30):
        await began.wait()
    assert await stage.run("call_off", name="shop") == {"app": "shop", "called_off": 1}
    with pytest.raises(MillpondError, match="shop: it was called off"):
        await under_way
    assert [row["state"] for row in await stage.run("release_ls", name="shop")] == ["interrupted"]
    assert await stage.pond.app.leases.current(app_lease("shop")) is None
    with pytest.raises(NotFound, match="nothing is under way for 'shop'"):
        await stage.run("call_off", name="shop")
    assert (await stage.run("deploy", name="shop"))["ok"]
