"""npm and pnpm install through the pond: cold, warm, stale, offline; with an empty cache and no other way each time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests import jail as jails
from tests.clients.node import Manager, Npm, Pnpm, make_project
from tests.clients.programs import Ran, Room, tree
from tests.conftest import MakePond
from tests.registries import NPM_ACCEPT, Package, Registry, config

from millpond.testing.behaviours import Hang, status
from millpond.testing.pond import PondProcess

pytestmark = pytest.mark.client
TTL_S, LONG_TTL_S = 1.0, 3600.0
THING = Package("@scope/thing", "2.1.0", payload=bytes(range(256)) * 40)
PAD = Package("left-pad", "1.0.0", requires=(("@scope/thing", "^2.0.0"),), payload=b"pad" * 1000)
NEWER = Package("left-pad", "1.1.0", requires=(("@scope/thing", "^2.0.0"),), payload=b"new" * 1000)
WANTED = {"left-pad": "^1.0.0"}


@dataclass(slots=True)
class Mill:
    """A pond, and the registry behind it."""

    pond: PondProcess
    registry: Registry

    @property
    def url(self) -> str:
        """What clients are given."""
        return f"{self.pond.url}/npm/"

    def outlive_ttl(self) -> None:
        time.sleep(TTL_S + 0.05)

    def cut(self) -> None:
        self.registry.server.cut_now()
        if self.registry.files is not self.registry.server:
            self.registry.files.cut_now()


MakeMill = Callable[..., Mill]


@pytest.fixture
def mill(jail: jails.Jail, make_pond: MakePond, registry: Registry) -> MakeMill:
    def make(*, ttl_s: float = TTL_S, more: str = "") -> Mill:
        registry.add(THING, PAD)
        return Mill(make_pond(config(registry, ttl_s=ttl_s, more=more), host=jail.address), registry)

    return make


def installed(ran: Ran, project: Path) -> dict[str, bytes]:
    """Give the packages' own files as they were installed; a failed run fails the test with what it said."""
    assert ran.ok, ran.output
    modules = project / "node_modules"
    found = {"left-pad": modules / "left-pad", "@scope/thing": modules / "@scope/thing"}
    if (modules / ".pnpm").exists():
        (found["@scope/thing"],) = (modules / ".pnpm").glob("@scope+thing@*/node_modules/@scope/thing")
        found["left-pad"] = found["left-pad"].resolve()
    return {f"{name}/{file}": body for name, folder in found.items() for file, body in tree(folder).items()}


def test_cold_what_is_installed_is_what_a_direct_install_gives(
    manager: Manager, mill: MakeMill, room: Room, outside: Room, tmp_path: Path
):
    made = mill()
    here, there = make_project(tmp_path / "through", WANTED), make_project(tmp_path / "direct", WANTED)
    through = installed(manager.install(room, made.url, here), here)
    assert through["left-pad/payload.bin"] == PAD.payload
    assert [made.registry.downloads(package) for package in (PAD, THING)] == [1, 1]
    assert len(made.registry.asked("left-pad")) == 1
    assert installed(manager.install(outside, made.registry.url, there), there) == through


def test_warm_nothing_is_asked_upstream(manager: Manager, mill: MakeMill, room: Room, tmp_path: Path):
    made = mill(ttl_s=LONG_TTL_S)
    first, again = (make_project(tmp_path / name, WANTED) for name in ("first", "again"))
    cold = installed(manager.install(room, made.url, first), first)
    asked = [request for request in made.registry.server.requests if request.method == "GET"]
    assert installed(manager.install(room, made.url, again), again) == cold
    assert [request for request in made.registry.server.requests if request.method == "GET"] == asked


def test_stale_and_unchanged_a_304_and_no_download(manager: Manager, mill: MakeMill, room: Room, tmp_path: Path):
    made = mill()
    first, again = (make_project(tmp_path / name, WANTED) for name in ("first", "again"))
    cold = installed(manager.install(room, made.url, first), first)
    asked = len(made.registry.asked("left-pad"))
    made.outlive_ttl()
    assert installed(manager.install(room, made.url, again), again) == cold
    later = made.registry.asked("left-pad")[asked:]
    assert later
    assert all("if-none-match" in request.headers for request in later)
    assert [made.registry.downloads(package) for package in (PAD, THING)] == [1, 1]


def test_stale_and_changed_the_new_version_comes_and_the_old_one_stays(
    manager: Manager, mill: MakeMill, room: Room, tmp_path: Path
):
    made = mill()
    first, newer, pinned = (make_project(tmp_path / name, WANTED) for name in ("first", "newer", "pinned"))
    cold = installed(manager.install(room, made.url, first), first)
    made.registry.add(NEWER)
    made.outlive_ttl()
    assert installed(manager.install(room, made.url, newer), newer)["left-pad/payload.bin"] == NEWER.payload
    (pinned / "package.json").write_text(json.dumps({"name": "p", "dependencies": {"left-pad": "1.0.0"}}))
    assert installed(manager.install(room, made.url, pinned), pinned) == cold
    assert [made.registry.downloads(package) for package in (PAD, NEWER, THING)] == [1, 1, 1]


def test_offline_it_installs_and_the_audit_is_quiet(manager: Manager, mill: MakeMill, room: Room, tmp_path: Path):
    made = mill()
    first, offline = (make_project(tmp_path / name, WANTED) for name in ("first", "offline"))
    cold = installed(manager.install(room, made.url, first), first)
    made.cut()
    made.outlive_ttl()
    ran = manager.install(room, made.url, offline)
    assert installed(ran, offline) == cold
    assert "WARN" not in ran.output.upper().replace("NPM WARN CONFIG", "")
    stale = made.pond.get("/npm/left-pad", {"accept": NPM_ACCEPT})
    assert "ttl=-" in stale.headers["cache-status"]
    assert stale.headers["x-artifact-source"] == "cache"


def test_offline_what_was_never_fetched_is_refused_and_not_called_absent(
    manager: Manager, mill: MakeMill, room: Room, tmp_path: Path
):
    made = mill()
    thing, pad = make_project(tmp_path / "a", {"@scope/thing": "2.1.0"}), make_project(tmp_path / "b", WANTED)
    assert manager.install(room, made.url, thing).ok
    made.cut()
    ran = manager.install(room, made.url, pad)
    assert not ran.ok
    assert "E404" not in ran.output.replace("_FETCH_404", "E404"), ran.output
    assert not (pad / "node_modules/left-pad").exists()


@pytest.mark.parametrize("made_by", ["pond", "upstream"])
def test_a_lock_file_installs_offline_wherever_it_was_made(
    manager: Manager, mill: MakeMill, room: Room, outside: Room, tmp_path: Path, registry: Registry, made_by: str
):
    """Lock files leave the registry out (pnpm) or have their host replaced by the registry's, the path stays (npm)."""
    made = mill()
    first, offline = (make_project(tmp_path / name, WANTED) for name in ("first", "offline"))
    where, url = (room, made.url) if made_by == "pond" else (outside, made.registry.url)
    cold = installed(manager.install(where, url, first), first)
    (offline / manager.lock).write_bytes((first / manager.lock).read_bytes())
    if made_by == "upstream" and not registry.native:
        pytest.skip("such a lock file names another server, wherever it is: its client goes there")
    if manager.name == "npm":
        replaced(offline / manager.lock, made.registry.url, made.url)
    assert installed(manager.frozen(room, made.url, offline), offline) == cold
    made.cut()
    made.outlive_ttl()
    again = make_project(tmp_path / "again", WANTED)
    (again / manager.lock).write_bytes((offline / manager.lock).read_bytes())
    assert installed(manager.frozen(room, made.url, again), again) == cold
    assert "127.0.0.1" not in (first / "pnpm-lock.yaml").read_text() if manager.name == "pnpm" else True


def replaced(lock: Path, old: str, new: str) -> None:
    """Put the pond in the place of the upstream, as ``replace-registry-host`` does for npm's own registry."""
    lock.write_text(lock.read_text().replace(old, new))


def test_a_lock_made_against_another_host_installs_with_replace_registry_host(
    npm: Npm, mill: MakeMill, room: Room, outside: Room, tmp_path: Path
):
    made = mill()
    first, later = (make_project(tmp_path / name, WANTED) for name in ("first", "later"))
    assert npm.install(outside, made.url, first).ok
    lock = (first / npm.lock).read_text()
    assert f"{made.url}left-pad/-/left-pad-1.0.0.tgz" in lock
    assert f"{made.url}@scope/thing/-/thing-2.1.0.tgz" in lock
    (later / npm.lock).write_text(lock.replace(made.url, "https://gone.example/"))
    ran = npm.run(room, made.url, later, "ci", "--replace-registry-host=always")
    assert installed(ran, later)["left-pad/payload.bin"] == PAD.payload


def test_pnpms_lock_names_no_registry(pnpm: Pnpm, mill: MakeMill, room: Room, tmp_path: Path):
    """It leaves a tarball's URL out where it is the native one: such a lock is good with and without the pond."""
    made = mill()
    here = make_project(tmp_path / "here", WANTED)
    assert pnpm.install(room, made.url, here).ok
    lock = (here / pnpm.lock).read_text()
    assert PAD.integrity in lock
    assert "tarball" not in lock
    assert "http" not in lock


def test_wrong_bytes_are_never_installed_and_never_stored(
    manager: Manager, mill: MakeMill, room: Room, tmp_path: Path, registry: Registry
):
    made = mill()
    here = make_project(tmp_path / "here", WANTED)
    wrong = PAD.body[:-9] + bytes(9)
    registry.files.put(registry.tarball_place(PAD), wrong)
    ran = manager.install(room, made.url, here)
    assert not ran.ok
    assert not (here / "node_modules/left-pad").exists()
    registry.add(PAD)
    assert installed(manager.install(room, made.url, here), here)["left-pad/payload.bin"] == PAD.payload


@pytest.mark.parametrize("registry", ["native"], indirect=True)
@pytest.mark.parametrize("failure", [Hang(), status(500)], ids=["hang", "500"])
def test_an_audit_that_fails_upstream_fails_no_install_and_an_audit_is_told(
    npm: Npm, mill: MakeMill, room: Room, tmp_path: Path, registry: Registry, failure
):
    made = mill(more="patience_s = 1.0\n")
    for name in ("advisories/bulk", "audits/quick", "audits"):
        registry.server.always(f"/registry/-/npm/v1/security/{name}", failure)
    here = make_project(tmp_path / "here", WANTED)
    ran = npm.install(room, made.url, here)
    assert installed(ran, here)
    assert "found 0 vulnerabilities" in ran.output
    audit = npm.run(room, made.url, here, "audit")
    assert not audit.ok
    assert "audit endpoint returned an error" in audit.output


@pytest.mark.parametrize("registry", ["native"], indirect=True)
def test_an_audit_is_passed_on(npm: Npm, mill: MakeMill, room: Room, tmp_path: Path, registry: Registry):
    made = mill()
    advisory = {"id": 1, "url": "https://a.example/1", "title": "it pads left", "severity": "high",
                "vulnerable_versions": "<2", "cwe": [], "cvss": {"score": 1, "vectorString": None}}  # fmt: skip
    kind, body = {"content-type": "application/json"}, json.dumps({"left-pad": [advisory]}).encode()
    place = "/registry/-/npm/v1/security/advisories/bulk"
    registry.server.always(place, status(200, headers=kind, body=body))
    here = make_project(tmp_path / "here", WANTED)
    assert "1 high severity vulnerability" in npm.install(room, made.url, here).output
    (asked, *_) = [one for one in registry.server.requests if one.path == place]
    assert asked.headers["content-encoding"] == "gzip"


def test_what_npm_says_of_an_absent_package_and_of_publishing(npm: Npm, mill: MakeMill, room: Room, tmp_path: Path):
    made = mill()
    here = make_project(tmp_path / "here", {})
    absent = npm.install(room, made.url, here, "no-such-thing")
    assert not absent.ok
    assert "404" in absent.output
    assert "the upstream has no such object" in absent.output
    host = made.url.removeprefix("http:")
    token = (made.pond.data / "admin-token").read_text().strip()
    (here / ".npmrc").write_text(f"{host}:_authToken={token}\n")
    document = json.loads((here / "package.json").read_text())
    (here / "package.json").write_text(json.dumps({**document, "private": False, "name": "mine"}))
    publish = npm.run(room, made.url, here, "publish", str(here), f"--{host}:_authToken={token}")
    assert not publish.ok
    assert "cache of another registry" in publish.output, publish.output


def test_npm_sees_tags_versions_and_a_ping(npm: Npm, mill: MakeMill, room: Room, tmp_path: Path):
    made = mill()
    here = make_project(tmp_path / "here", {})
    assert "latest: 1.0.0" in npm.run(room, made.url, here, "dist-tag", "ls", "left-pad").output
    assert "2.1.0" in npm.run(room, made.url, here, "view", "@scope/thing", "version").output
    assert "PONG" in npm.run(room, made.url, here, "ping").output
