"""Where reading takes a token (`anonymous = "none"`): each client with docs/repositories.md's settings, and without."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests import archives, repodata
from tests import jail as jails
from tests.clients import indexes
from tests.clients.apt import Apt
from tests.clients.dnf import Dnf
from tests.clients.indexes import Index
from tests.clients.node import Manager, make_project
from tests.clients.programs import Client, Room
from tests.clients.test_apt import HELLO, key  # noqa: F401 - a fixture
from tests.clients.test_dnf import Rpms, rpms  # noqa: F401 - a fixture
from tests.clients.test_install import ALPHA, BETA
from tests.conftest import MakePond
from tests.registries import Package, Registry
from tests.registries import config as npm_config

from millpond.testing.pond import PondProcess
from millpond.testing.upstream import ThreadedUpstream

pytestmark = [pytest.mark.client, pytest.mark.timeout(300)]


@pytest.fixture
def closed(make_pond: MakePond, jail: jails.Jail):
    """Make a pond that nobody reads without a token; gives it with a token for one of its repositories."""

    def make(config: str, repository: str) -> tuple[PondProcess, str]:
        text = config.replace("allow_open_network = true", 'anonymous = "none"')
        assert 'anonymous = "none"' in text
        pond = make_pond(text, host=jail.address)
        made = pond.command("token", "create", "ci", "--scope", f"read:{repository}", "--json")
        return pond, json.loads(made.stdout)["token"]

    return make


def test_pip_and_uv_with_the_token_in_the_url(client: Client, closed, index: Index, room: Room, tmp_path: Path):
    index.add(ALPHA, BETA)
    pond, token = closed(indexes.config(index, ttl_s=60.0), "pypi")
    host = urlsplit(pond.url).netloc
    assert not client.install(room, f"http://{host}/pypi/simple/", tmp_path / "without", "alpha").ok
    assert not client.install(room, f"http://token:wrong@{host}/pypi/simple/", tmp_path / "wrong", "alpha").ok
    ran = client.install(room, f"http://token:{token}@{host}/pypi/simple/", tmp_path / "with", "alpha")
    assert ran.files(tmp_path / "with")["alpha/payload.bin"] == ALPHA.payload


def test_npm_and_pnpm_with_an_auth_token(manager: Manager, closed, registry: Registry, room: Room, tmp_path: Path):
    registry.add(Package("left-pad", "1.3.0", payload=b"padding" * 1000))
    pond, token = closed(npm_config(registry, ttl_s=60.0), "npm")
    for name, lines in (("without", ""), ("with", f"//{urlsplit(pond.url).netloc}/npm/:_authToken={token}\n")):
        project = make_project(tmp_path / name, {"left-pad": "1.3.0"})
        (project / ".npmrc").write_text(lines)
        ran = manager.install(room, f"{pond.url}/npm/", project)
        assert ran.ok == (name == "with"), ran.output
        assert (project / "node_modules/left-pad/package.json").exists() == (name == "with")


def test_apt_with_a_machine_line(closed, upstream: ThreadedUpstream, key, room: Room, tmp_path: Path):  # noqa: F811
    archive = archives.Archive(upstream, sign=key)
    archive.publish(HELLO)
    pond, token = closed(archives.config(archive, ttl_s=60.0), "debian")
    apt = Apt(room, tmp_path / "machine")
    apt.sources(f"deb [arch=amd64 signed-by={key.public}] {pond.url}/debian stable main\n")
    assert not apt.update().ok
    folder = apt.root / "etc/auth.conf.d"
    folder.mkdir()
    (folder / "millpond.conf").write_text(f"machine {pond.url}/debian login token password {token}\n")
    ran = apt.update()
    assert ran.ok, ran.output
    assert apt.download("hello").ok
    assert apt.downloaded() == {HELLO.filename: HELLO.body}


def test_dnf_with_user_name_and_password(closed, upstream: ThreadedUpstream, rpms: Rpms, room: Room, tmp_path: Path):  # noqa: F811
    repo = repodata.Repository(upstream)
    repo.publish(rpms.hello)
    pond, token = closed(repodata.config(repo, ttl_s=60.0), "rpm")
    for name, lines in (("without", ""), ("with", f"\nusername=token\npassword={token}")):
        dnf = Dnf(room, tmp_path / name)
        dnf.repository(f"baseurl={pond.url}/rpm/{lines}")
        ran = dnf.download("hello")
        assert ran.ok == (name == "with"), ran.output
    assert dnf.downloaded() == {rpms.hello.filename: rpms.hello.body}
