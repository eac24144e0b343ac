"""The hosts of an application: loops, status, reload, many hosts at once."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from tests.hosts.conftest import INFO, FakeNotifier, df

from millpond.hosts.model import HostFailed, HostOptions, Kind
from millpond.leases import host_lease
from millpond.testing.hosts import FakeHost

CONFIG = """
[repositories.local]
package = "generic"
type = "local"
[hosts.web1]
ssh = "deploy@web1.lan"
labels = ["web"]
[hosts.web2]
ssh = "local"
"""
QUEUE = ("disk_monitor", "build_cache_prune")
EIGHT = ["enabled", "interval_s", "until", "all", "last_run_ts", "last_reclaimed", "last_reclaimed_bytes", "last_error"]


class Fleet:
    """Makes fake hosts, and keeps them."""

    def __init__(self) -> None:
        self.hosts: dict[str, FakeHost] = {}
        self.made = 0

    def __call__(self, options: HostOptions) -> FakeHost:
        host = FakeHost(options.name)
        host.on("docker", "info", answer=INFO)
        host.on("docker", "system", "df", answer="[]")
        host.on("df", answer=df(50))
        host.on("docker", "builder", "prune", answer="Total:\t1.5GB\n")
        self.hosts[options.name] = host
        self.made += 1
        return host


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


async def until(condition) -> None:
    async with asyncio.timeout(60):
        while not await condition():
            await asyncio.sleep(0.01)


def pruned(pond, *names: str):
    async def all_ran() -> bool:
        hosts = (await pond.get("/queue")).json()["build_cache_prune"]["hosts"]
        return all(hosts[name]["last_run_ts"] is not None or hosts[name]["skipped"] for name in names)

    return all_ran


async def test_the_queue_has_both_blocks_before_anything_ran(open_pond, fleet):
    pond = await open_pond(CONFIG, connect=fleet)
    got = await pond.get("/queue")
    assert got.status == 200
    page = got.json()
    assert set(page) >= set(QUEUE)
    block = page["build_cache_prune"]
    assert [*block] == [*EIGHT, "hosts"]
    assert [block[key] for key in EIGHT] == [True, 21600, "24h", False, None, None, None, None]
    assert [*block["hosts"]] == ["web1", "web2"]
    assert [*block["hosts"]["web1"]][:8] == EIGHT
    assert set(page["disk_monitor"]["hosts"]) == {"web1", "web2"}
    assert page["disk_monitor"]["pond"]["enabled"] is True
    assert fleet.made == 0, "a page asks no host"


async def test_without_hosts_the_page_says_so(open_pond):
    pond = await open_pond('[repositories.local]\npackage = "generic"\ntype = "local"\n')
    block = (await pond.get("/queue")).json()["build_cache_prune"]
    assert "no ssh host" in block["last_error"]
    assert block["hosts"] == {}


async def test_the_page_is_for_readers(open_pond):
    pond = await open_pond("[access]\nanonymous = 'none'\n" + CONFIG)
    for path in ("/queue", "/api/v1/hosts"):
        assert (await pond.get(path)).status == 401
        assert (await pond.get(path, **pond.admin)).status == 200


async def test_a_part_that_can_t_tell_does_not_break_the_page(open_pond, monkeypatch):
    pond = await open_pond(CONFIG)

    async def broken() -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(pond.app.hosting, "disk_monitor", broken)
    got = await pond.get("/queue")
    assert got.status == 200
    assert "no" in got.json()["disk_monitor"]["last_error"]
    assert got.json()["build_cache_prune"]["enabled"] is True


async def test_the_loops_prune_and_watch_every_host_and_stop(open_pond, fleet):
    pond = await open_pond(CONFIG, connect=fleet)
    await pond.app.started()
    await until(pruned(pond, "web1", "web2"))
    block = (await pond.get("/queue")).json()["build_cache_prune"]
    assert (block["last_reclaimed_bytes"], block["last_reclaimed"]) == (3_000_000_000, "3GB")

    async def watched() -> bool:
        disk = (await pond.get("/queue")).json()["disk_monitor"]
        shares = [one["bytes_percent"] for one in (*disk["hosts"].values(), disk["pond"])]
        return None not in shares

    await until(watched)
    before = {name: len(host.argvs) for name, host in fleet.hosts.items()}
    await pond.app.hosting.close()
    await asyncio.sleep(0.05)
    assert {name: len(host.argvs) for name, host in fleet.hosts.items()} == before
    assert all(host.closed for host in fleet.hosts.values())


async def test_a_second_worker_runs_no_loops_but_tells_the_same(open_pond, fleet, monkeypatch):
    pond, other = await open_pond(CONFIG, connect=fleet), await open_pond(CONFIG, connect=fleet)
    monkeypatch.setattr(other.app, "role", type(other.app.role)(1, 2))
    await other.app.started()
    assert not other.app.hosting.loops._tasks
    await pond.app.started()
    await until(pruned(pond, "web1", "web2"))
    first, second = await pond.get("/queue"), await other.get("/queue")
    assert first.json()["build_cache_prune"] == second.json()["build_cache_prune"]


async def test_one_that_hangs_and_one_that_refuses_hold_up_nobody(open_pond, fleet):
    names = [f"h{n}" for n in range(20)]
    text = "".join(f'[hosts.{name}]\nssh = "{name}"\n' for name in names)
    refused = HostFailed("h1", "Connection refused", kind=Kind.TRANSIENT, reason="refused", rc=255)

    def connect(options: HostOptions) -> FakeHost:
        host = fleet(options)
        if options.name == "h0":
            host.on("docker", answer="", delay_s=3600)
        if options.name == "h1":
            host.on("docker", answer=refused)
        return host

    pond = await open_pond(CONFIG + text, connect=connect)
    await pond.app.started()
    await until(pruned(pond, *names[1:]))
    block = (await pond.get("/queue")).json()["build_cache_prune"]
    assert block["last_error"] == "h1: rc=255: Connection refused"
    assert block["hosts"]["h0"]["last_run_ts"] is None


async def test_switched_off_nothing_is_asked(open_pond, fleet):
    off = "[upkeep.build_cache]\nenabled = false\n[upkeep.disk]\nenabled = false\n"
    pond = await open_pond(CONFIG + off, connect=fleet)
    await pond.app.started()
    page = (await pond.get("/queue")).json()
    assert (page["build_cache_prune"]["enabled"], page["disk_monitor"]["enabled"]) == (False, False)
    assert [*page["build_cache_prune"]][:8] == EIGHT
    assert fleet.hosts == {}
    assert not pond.app.hosting.loops._tasks


async def test_a_reload_takes_new_hosts_and_leaves_the_old_ones(open_pond, fleet, tmp_path: Path):
    pond = await open_pond(CONFIG, connect=fleet)
    await pond.app.started()
    await until(pruned(pond, "web1", "web2"))
    old = fleet.hosts["web2"]
    file = tmp_path / "0.toml"
    hosting = pond.app.hosting
    await pond.app.reload_everywhere()
    assert pond.app.hosting is hosting, "nothing of it changed"
    file.write_text(CONFIG.replace("web2", "web3") + "[upkeep.build_cache]\nuntil = '7d'\n")
    await pond.app.reload_everywhere()
    assert old.closed
    await until(pruned(pond, "web1", "web3"))
    argvs = fleet.hosts["web3"].argvs
    assert ("docker", "builder", "prune", "-f", "--filter", "until=168h") in argvs
    assert [one["name"] for one in (await pond.get("/api/v1/hosts")).json()] == ["web1", "web3"]


async def test_hosts_are_listed_with_what_was_last_seen(open_pond, fleet):
    pond = await open_pond(CONFIG, connect=fleet)
    operate = pond.app.operations
    done = await operate["host_disk"](progress=lambda *_: None)
    assert done["ok"]
    assert {row["name"] for row in done["places"]} == {"web1", "web2", "pond"}
    listed = (await pond.get("/api/v1/hosts")).json()
    assert [(one["name"], one["ssh"], one["labels"], one["bytes_percent"]) for one in listed] == [
        ("web1", "deploy@web1.lan", ["web"], 50.0), ("web2", "local", [], 50.0),
    ]  # fmt: skip


async def test_by_hand_one_host_or_all_and_a_plan(open_pond, fleet):
    pond = await open_pond(CONFIG, connect=fleet)
    operate = pond.app.operations["host_prune"]
    planned = await operate(progress=lambda *_: None, dry_run=True)
    assert [row["argv"][-1] for row in planned["hosts"]] == ["until=24h"] * 2
    assert not [argv for host in fleet.hosts.values() for argv in host.argvs if "prune" in argv]
    done = await operate(progress=lambda *_: None, name="web2")
    assert [(row["host"], row["reclaimed"]) for row in done["hosts"]] == [("web2", "1.5GB")]
    fleet.hosts["web1"].on("docker", answer=HostFailed("web1", "no", kind=Kind.TRANSIENT, reason="lost", rc=255))
    for dry_run in (True, False):
        done = await operate(progress=lambda *_: None, dry_run=dry_run)
        assert (done["ok"], [row["error"] for row in done["hosts"]]) == (False, ["rc=255: no", None])


async def test_what_a_deploy_holds_is_left_alone_by_hand_too(open_pond, fleet):
    pond = await open_pond(CONFIG, connect=fleet)
    await pond.app.leases.acquire(host_lease("web1"), "a deploy", 600)
    done = await pond.app.operations["host_prune"](progress=lambda *_: None, name="web1")
    assert "holds the host" in done["hosts"][0]["skipped"]
    assert not [argv for argv in fleet.hosts["web1"].argvs if "prune" in argv]


async def test_the_pond_s_own_disk_is_collected(open_pond, fleet):
    notifier = FakeNotifier()
    text = CONFIG + "[upkeep.disk]\nhigh_percent = 0.002\nlow_percent = 0.001\nhigh_inodes_percent = 100\n"
    pond = await open_pond(text, connect=fleet, notifier=notifier)
    done = await pond.app.operations["host_disk"](progress=lambda *_: None, name="pond")
    (row,) = done["places"]
    assert row["steps"][0]["rung"] == "pond"
    assert "pond" in notifier.sent[0][0]


async def test_urls_of_services_are_nowhere_to_be_seen(open_pond, fleet):
    pond = await open_pond(CONFIG + '[notify]\nurls = ["json://canary-token@x.example"]\n', connect=fleet)
    for path in ("/config", "/queue", "/api/v1/hosts"):
        assert b"canary" not in (await pond.get(path, **pond.admin)).body
    assert json.loads((await pond.get("/config", **pond.admin)).body)["notify"]["urls"] == ["********"]
