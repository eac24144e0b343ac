"""``prepull`` in an application: its own repositories, its hosts' leases, its metrics."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.composing import put_compose
from tests.hosts.fleet import Simulated
from tests.images import image

from millpond.app.prepulling import told
from millpond.errors import Busy, MillpondError, NotFound
from millpond.hosts.apps import AppFailed, AppOptions, HostPull, Prepulled, PullFailure, PullFrom, Resolved, Wanted
from millpond.hosts.model import Completed, HostOptions, Kind
from millpond.leases import host_lease
from millpond.testing.hosts import Crowd, FakeHost

CONFIG = """
[server]
public_url = "http://pond.lan:8080"
[repositories.hub]
package = "docker"
base_url = "URL"
mirror_of = "docker.io"
[hosts.web1]
ssh = "web1.lan"
labels = ["web"]
[hosts.web2]
ssh = "web2.lan"
labels = ["web"]
[upkeep.build_cache]
enabled = false
[upkeep.disk]
enabled = false
[apps.shop]
path = "PATH"
hosts = ["web"]
"""
ONE = image("one")
PINNED = f"pond.lan:8080/hub/library/demo@{ONE.digest}"


class Fleet:
    """Makes simulated hosts, and keeps them."""

    def __init__(self) -> None:
        self.hosts: dict[str, Simulated] = {}

    def __call__(self, options: HostOptions) -> FakeHost:
        self.hosts[options.name] = Simulated(options.name, Crowd())
        return self.hosts[options.name].fake


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


@pytest.fixture
async def pond(open_pond, origin, fleet: Fleet, tmp_path: Path, monkeypatch):
    put_compose(tmp_path / "bin", monkeypatch)
    ONE.offer(origin, "library/demo", "1")
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "compose.yml").write_text("services: {web: {image: 'demo:${V}', environment: {PW: '${PW}'}}}")
    (folder / ".env").write_text("V=1\nPW=canary-secret\n")
    made = await open_pond(CONFIG.replace("URL", origin.url).replace("PATH", str(folder)), connect=fleet)
    await made.app.started()
    return made


def quiet(*_: object) -> None:
    """Take no note of progress."""


async def prepull(pond, **options):
    return await pond.app.operations["prepull"](progress=quiet, name="shop", **options)


async def test_hosts_get_the_images_and_the_upstream_gives_each_object_once(pond, fleet: Fleet, origin, capsys):
    planned = await prepull(pond, dry_run=True)
    assert (planned["ok"], planned["hosts"]["web1"]["succeeded"]) == (True, 0)
    assert fleet.hosts["web1"].pulls == []
    found = await prepull(pond)
    assert found["ok"], found
    assert found["images"] == [
        {"image": "demo:1", "platform": "", "later": False, "pinned": PINNED, "digest": ONE.digest}
    ]
    assert found["hosts"]["web2"] == {
        "desired": 1, "active": 0, "succeeded": 1, "failed": 0, "failures": [], "error": None, "error_kind": None,
    }  # fmt: skip
    blobs = [one.path for one in origin.requests if "/blobs/" in one.path]
    assert len(blobs) == len(set(blobs)) == 3
    text = pond.app.metrics.text().decode()
    assert 'millpond_host_pulls_total{host="web1",outcome="pulled"} 1.0' in text
    assert 'millpond_host_pulled_bytes_total{host="web2"} 6' in text
    again = await prepull(pond)
    assert again["images"] == found["images"]
    assert [len(host.pulls) for host in fleet.hosts.values()] == [1, 1]
    captured = capsys.readouterr()
    assert "canary" not in str(found) + text + captured.out + captured.err


@pytest.mark.parametrize(
    ("pull", "host", "later"),
    [
        (PullFrom.DIRECT, HostPull(1), True),
        (PullFrom.POND, HostPull(1), False),
        (PullFrom.DIRECT, HostPull(1, error="timeout"), False),
        (PullFrom.DIRECT, HostPull(1, failures=(PullFailure("unknown.example/x:1", Kind.PERMANENT, "no"),)), False),
    ],
)
def test_a_dry_run_names_what_only_a_pull_can_pin(pull: PullFrom, host: HostPull, later: bool):
    wanted = Wanted("unknown.example/x:1")
    shop = AppOptions("shop", "/srv", ("web1",), pull=pull)
    planned = told(shop, Resolved({}, (wanted,)), Prepulled({}, {"web1": host}), dry_run=True)
    bare = {"image": "unknown.example/x:1", "platform": "", "pinned": None, "digest": None, "later": later}
    assert planned["images"] == [bare]
    assert (
        told(shop, Resolved({}, (wanted,)), Prepulled({}, {"web1": host}), dry_run=False)["images"][0]["later"] is False
    )


async def test_the_hosts_are_leased_meanwhile(pond, fleet: Fleet):
    seen = []

    async def look(asked):
        seen.extend([await pond.app.leases.current(host_lease(name)) for name in ("web1", "web2")])
        return await fleet.hosts["web1"]._pull(asked)

    await prepull(pond, dry_run=True)
    fleet.hosts["web1"].fake.on("docker", "image", "pull", answer=look)
    assert (await prepull(pond))["ok"]
    assert all(lease is not None for lease in seen)
    assert await pond.app.leases.current(host_lease("web1")) is None


async def test_another_deploy_of_the_app_is_told_of(pond):
    await pond.app.leases.acquire("app:shop", "elsewhere/1/deploy of shop/x", 60)
    with pytest.raises(Busy, match=r"app:shop is held by deploy of shop.*`millpond call-off shop` breaks it off"):
        await prepull(pond)


async def test_a_bad_tag_and_a_bad_file_change_nothing(pond, fleet: Fleet, tmp_path: Path):
    (tmp_path / "shop/.env").write_text("V=nope\nPW=x\n")
    found = await prepull(pond)
    (failure,) = found["hosts"]["web1"]["failures"]
    assert (found["ok"], failure["image"], failure["kind"]) == (False, "demo:nope", "permanent")
    assert "manifest unknown" in failure["text"]
    (tmp_path / "shop/.env").write_text("PW=x\n")
    with pytest.raises(AppFailed, match="not set: V"):
        await prepull(pond)
    assert not any(host.pulls for host in fleet.hosts.values())


async def test_an_unknown_app_and_a_pond_that_does_not_serve_are_told(pond):
    with pytest.raises(NotFound, match="there is no app 'nope'"):
        await pond.app.operations["prepull"](progress=quiet, name="nope")
    pond.app._started = False
    with pytest.raises(MillpondError, match="no daemon runs"):
        await prepull(pond)
    pond.app._started = True
    assert (await prepull(pond))["ok"]
    pond.app._started = False
    assert (await prepull(pond))["ok"], "what is there needs no daemon"


async def test_room_is_made_by_the_watchdog_s_ladder_where_it_is_on(pond, fleet: Fleet, tmp_path: Path):
    await prepull(pond, dry_run=True)
    fleet.hosts["web1"].fails = ["no space left on device"]
    found = await prepull(pond)
    assert [one["kind"] for one in found["hosts"]["web1"]["failures"]] == ["disk"], "it is switched off here"
    assert found["hosts"]["web2"]["succeeded"] == 1


async def test_a_reload_amid_a_pre_pull_takes_neither_its_hosts_nor_what_it_keeps_there(
    pond, fleet: Fleet, tmp_path: Path
):
    await prepull(pond, dry_run=True)
    old = fleet.hosts["web1"]
    kept = []

    async def reload(asked):
        file = tmp_path / "0.toml"
        text = file.read_text()
        file.write_text(text[: text.index("[hosts.web2]")] + text[text.index("[upkeep.build_cache]") :])
        await pond.app.reload_everywhere()
        watchdog = pond.app.hosting.watchdog("web1")
        kept.append((await watchdog._place._roots.protected("web1"), "web2" in pond.app.hosting.options))
        return Completed(1, "", "no space left on device")

    old.fake.on("docker", "image", "pull", answer=reload, times=1)
    fleet.hosts["web2"].fails = ["no space left on device"]
    found = await prepull(pond)
    ((roots, there),) = kept
    assert PINNED in roots, "a watchdog of the new configuration leaves it alone too"
    assert not there
    assert [one["kind"] for one in found["hosts"]["web2"]["failures"]] == ["disk"], "told, and no KeyError"
    assert old.fake.closed
