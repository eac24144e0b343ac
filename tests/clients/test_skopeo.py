"""skopeo and buildah pull through the pond: cold, warm, stale, offline; with an empty storage and no other way out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests import jail as jails
from tests.clients.programs import Ran, Room
from tests.clients.registries import PASSWORD, USER, Realm, Registry, needed, program
from tests.conftest import MakePond
from tests.images import Image, image

from millpond.testing.pond import PondProcess

pytestmark = pytest.mark.client
TTL_S = 1.0
NAME = "library/demo"
CONFIG = """
[access]
anonymous = "{anonymous}"
allow_open_network = true
[repositories.hub]
package = "docker"
base_url = "{url}"
mirror_of = "docker.io"
mutable_ttl_s = {ttl}
trusted_origins = [{trusted}]
{more}
"""
OLD, NEW = image("old"), image("new")
Mill = Callable[..., PondProcess]


@dataclass
class Skopeo:
    """skopeo in its room; each copy into a folder of its own."""

    room: Room
    pond: PondProcess

    def copy(self, reference: str, *options: str) -> tuple[Ran, Path]:
        target = self.room.folder / f"copy{self.room.runs}"
        source = f"docker://{self.pond.host}:{self.pond.port}/{reference}"
        argv = [program("skopeo") or "", "--insecure-policy", "copy", "--src-tls-verify=false", *options, source]
        return self.room.run([*argv, f"oci:{target}:x"]), target

    def blobs(self, reference: str, *options: str) -> dict[str, bytes]:
        """Copy, and give all that came, by digest."""
        ran, target = self.copy(reference, *options)
        assert ran.ok, ran.output
        return {f"sha256:{path.name}": path.read_bytes() for path in (target / "blobs/sha256").iterdir()}

    def fails(self, reference: str, *options: str) -> str:
        ran, _ = self.copy(reference, *options)
        assert not ran.ok
        return ran.output


def whole(one: Image) -> dict[str, bytes]:
    return {**one.blobs, **one.manifests, one.digest: one.index}


@pytest.fixture(scope="module", autouse=True)
def programs() -> None:
    for reason in needed("docker-registry", "skopeo", "openssl"):
        pytest.skip(reason)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with Registry(tmp_path / "registry") as made:
        made.push(OLD, NAME)
        made.forget()
        yield made


def mill(make_pond: MakePond, jail: jails.Jail, registry: Registry, more: str = "", anonymous: str = "read", **options):
    trusted = f'"{registry.realm.url.removesuffix("/token")}"' if registry.realm else ""
    text = CONFIG.format(url=registry.url, ttl=TTL_S, trusted=trusted, more=more, anonymous=anonymous)
    return make_pond(text, host=jail.address, **options)


@pytest.fixture
def skopeo(make_pond: MakePond, jail: jails.Jail, registry: Registry, room: Room) -> Skopeo:
    return Skopeo(room, mill(make_pond, jail, registry))


def expire() -> None:
    time.sleep(TTL_S + 0.2)


def test_cold_every_platform_is_the_registrys_bytes(skopeo: Skopeo, registry: Registry):
    assert skopeo.blobs(f"hub/{NAME}:latest", "--all") == whole(OLD)
    fetched = [path for method, path in registry.asked() if method == "GET" and "/blobs/" in path]
    assert sorted(fetched) == sorted(f"/v2/{NAME}/blobs/{digest}" for digest in OLD.blobs)


def test_by_digest_and_for_one_platform(skopeo: Skopeo):
    assert skopeo.blobs(f"hub/{NAME}@{OLD.digest}", "--all") == whole(OLD)
    one = OLD.of("arm64")
    rows = json.loads(OLD.manifests[one])
    wanted = {one, rows["config"]["digest"], *(row["digest"] for row in rows["layers"])}
    for reference in (f"hub/{NAME}@{one}", f"hub/{NAME}:latest"):
        assert set(skopeo.blobs(reference, "--override-arch=arm64")) == wanted


def test_on_docker_hub_single_names_are_the_librarys(skopeo: Skopeo):
    assert skopeo.blobs("hub/demo:latest", "--all") == whole(OLD)


def test_warm_nothing_is_asked_upstream(skopeo: Skopeo, registry: Registry, make_pond, jail, room):
    more = "\n[repositories.long]\npackage = 'docker'\nbase_url = '" + registry.url + "'\n"
    lasting = Skopeo(room, mill(make_pond, jail, registry, more))
    cold = lasting.blobs(f"long/{NAME}:latest", "--all")
    registry.forget()
    assert lasting.blobs(f"long/{NAME}:latest", "--all") == cold
    assert registry.asked() == []


def test_stale_and_unchanged_a_head_is_all_that_is_asked(skopeo: Skopeo, registry: Registry):
    skopeo.blobs(f"hub/{NAME}:latest", "--all")
    expire()
    registry.forget()
    assert skopeo.blobs(f"hub/{NAME}:latest", "--all") == whole(OLD)
    assert {method for method, _ in registry.asked()} == {"HEAD"}


def test_stale_and_changed_the_new_one_comes(skopeo: Skopeo, registry: Registry):
    skopeo.blobs(f"hub/{NAME}:latest", "--all")
    registry.push(NEW, NAME)
    expire()
    assert skopeo.blobs(f"hub/{NAME}:latest", "--all") == whole(NEW)
    assert skopeo.blobs(f"hub/{NAME}@{OLD.digest}", "--all") == whole(OLD)


@pytest.mark.parametrize("workers", [1, 2])
def test_offline_what_was_pulled_once_is_pulled_again(make_pond, jail, registry: Registry, room, workers: int):
    skopeo = Skopeo(room, mill(make_pond, jail, registry, workers=workers))
    skopeo.blobs(f"hub/{NAME}:latest", "--all")
    registry.stop()
    expire()
    for reference in (f"hub/{NAME}:latest", f"hub/{NAME}@{OLD.digest}"):
        assert skopeo.blobs(reference, "--all") == whole(OLD)
    assert "manifest unknown" not in skopeo.fails(f"hub/{NAME}:other"), "an outage is no absence"
    registry.start()
    assert "manifest unknown" in skopeo.fails(f"hub/{NAME}:other")


def test_what_is_not_there_and_what_is_refused(make_pond, jail, registry: Registry, room):
    registry.push(OLD, "library/refused")
    skopeo = Skopeo(room, mill(make_pond, jail, registry, 'immutable_patterns = ["^library/demo/"]'))
    assert skopeo.blobs(f"hub/{NAME}:latest", "--all") == whole(OLD)
    assert "manifest unknown" in skopeo.fails(f"hub/{NAME}:unknown")
    assert "denied" in skopeo.fails("hub/library/refused:latest")
    assert "no repository" in skopeo.fails(f"nope/{NAME}:latest")


def test_the_list_of_tags(skopeo: Skopeo, registry: Registry):
    for tag in ("a", "b", "c"):
        registry.push(OLD, NAME, tag)
    pond = skopeo.pond
    seen, path = [], f"/v2/hub/{NAME}/tags/list?n=2"
    while path:
        got = pond.get(path)
        seen += json.loads(got.body)["tags"]
        path = got.headers.get("link", "<>").partition("<")[2].partition(">")[0]
    assert sorted(seen) == ["a", "b", "c", "latest"]
    argv = [program("skopeo") or "", "list-tags", "--tls-verify=false", f"docker://{pond.host}:{pond.port}/hub/{NAME}"]
    ran = skopeo.room.run(argv)
    assert ran.ok, ran.output
    assert '"latest"' in ran.output


def test_where_reading_takes_a_token(make_pond, jail, registry: Registry, room):
    pond = mill(make_pond, jail, registry, anonymous="none")
    skopeo = Skopeo(room, pond)
    assert "unauthorized" in skopeo.fails(f"hub/{NAME}:latest")
    assert "unauthorized" in skopeo.fails(f"hub/{NAME}:latest", "--src-creds", "anybody:wrong")
    right = skopeo.blobs(f"hub/{NAME}:latest", "--all", "--src-creds", f"anybody:{pond.admin_token}")
    assert right == whole(OLD)
    login = [program("skopeo") or "", "login", "--tls-verify=false", "--authfile", str(room.folder / "auth.json")]
    where = f"{pond.host}:{pond.port}"
    assert not room.run([*login, "-u", "anybody", "-p", "wrong", where]).ok
    assert room.run([*login, "-u", "anybody", "-p", pond.admin_token, where]).ok
    assert skopeo.blobs(f"hub/{NAME}:latest", "--all", f"--authfile={room.folder}/auth.json") == whole(OLD)


def test_a_registry_that_wants_tokens(make_pond, jail, tmp_path: Path, room):
    with Realm(tmp_path / "realm") as realm, Registry(tmp_path / "guarded", realm) as registry:
        registry.push(OLD, NAME)
        realm.asked.clear()
        shown = f'username = "{USER}"\npassword = "{PASSWORD}"'
        skopeo = Skopeo(room, mill(make_pond, jail, registry, shown))
        assert skopeo.blobs(f"hub/{NAME}:latest", "--all") == whole(OLD)
        assert len(realm.asked) == 1, "one token for manifests and blobs of one image"
        expire()
        assert skopeo.blobs(f"hub/{NAME}:latest", "--all") == whole(OLD)
        wrong = Skopeo(room, mill(make_pond, jail, registry, f'username = "{USER}"\npassword = "x"'))
        wrong.fails(f"hub/{NAME}:latest")
        assert "username and password" in wrong.pond.get(f"/v2/hub/{NAME}/manifests/latest").body.decode()
        nobody = Skopeo(room, mill(make_pond, jail, registry))
        nobody.fails(f"hub/{NAME}:latest")
        registry.stop()
        assert skopeo.blobs(f"hub/{NAME}:latest", "--all") == whole(OLD)
        for pond in (skopeo.pond, wrong.pond):
            assert PASSWORD not in pond.log.read_text()


def test_buildah_pulls_it_too(skopeo: Skopeo, registry: Registry):
    if program("buildah") is None:
        pytest.skip("buildah is not installed (tests/install-tools.sh installs it where it can)")
    storage = skopeo.room.folder / "containers"
    argv = [program("buildah") or "", "--root", str(storage / "root"), "--runroot", str(storage / "run")]
    argv += ["--storage-driver", "vfs", "pull", "--tls-verify=false"]
    policy = skopeo.room.folder / "policy.json"
    policy.parent.mkdir(parents=True, exist_ok=True)
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    where = f"docker://{skopeo.pond.host}:{skopeo.pond.port}/hub/{NAME}:latest"
    ran = skopeo.room.run([*argv, "--signature-policy", str(policy), where])
    assert ran.ok, ran.output
