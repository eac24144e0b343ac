"""dnf through the pond: cold, warm, stale, offline; names by digest and plain, signed, by lists of mirrors."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests import jail as jails
from tests.archives import Key
from tests.clients.dnf import Dnf, built, mismatched
from tests.clients.programs import Room
from tests.conftest import MakePond
from tests.repodata import Repository, Rpm, config, repository

from millpond.testing.behaviours import status
from millpond.testing.pond import PondProcess
from millpond.testing.upstream import ThreadedUpstream

pytestmark = [pytest.mark.client, pytest.mark.timeout(300)]
TTL_S, LONG_TTL_S = 1.0, 3600.0
FORMS = {"hashed": {}, "plain": {"hashed": False}, "xz, sha512": {"suffix": ".xz", "algorithm": "sha512"}}


@dataclass(frozen=True, slots=True)
class Rpms:
    """Real packages: two, and what takes the place of the first."""

    hello: Rpm
    other: Rpm
    newer: Rpm
    rebuilt: Rpm


@pytest.fixture(scope="session")
def rpms(tmp_path_factory: pytest.TempPathFactory) -> Rpms:
    for tool in ("dnf", "rpmbuild"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed (Debian: dnf, rpm)")
    folder = tmp_path_factory.mktemp("rpms")
    wanted = (
        Rpm(payload=b"old" * 5000), Rpm("other", payload=bytes(range(256)) * 400),
        Rpm(version="2.0", payload=b"new" * 6000), Rpm(payload=b"rebuilt" * 5001),
    )  # fmt: skip
    return Rpms(*(built(one, folder / str(number)) for number, one in enumerate(wanted)))


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Key]:
    if shutil.which("gpg") is None or shutil.which("gpgconf") is None:
        pytest.skip("gpg is not installed (Debian: gnupg)")
    made = Key.make(tmp_path_factory.mktemp("k") / "g")
    made.public.write_bytes(made._gpg("--armor", "--export"))
    yield made
    made.close()


@dataclass(slots=True)
class Mill:
    """A pond, and the repository behind it."""

    pond: PondProcess
    repo: Repository

    def outlive_ttl(self) -> None:
        time.sleep(TTL_S + 0.05)


MakeMill = Callable[..., Mill]


@pytest.fixture(params=FORMS.values(), ids=FORMS.keys())
def mill(request, jail: jails.Jail, make_pond: MakePond, upstream: ThreadedUpstream, rpms: Rpms) -> MakeMill:
    return maker(jail, make_pond, upstream, rpms, request.param)


@pytest.fixture
def plain_mill(jail: jails.Jail, make_pond: MakePond, upstream: ThreadedUpstream, rpms: Rpms) -> MakeMill:
    """One form is enough where others make no difference."""
    return maker(jail, make_pond, upstream, rpms, {})


def maker(jail, make_pond, upstream, rpms, form) -> MakeMill:
    def make(*, ttl_s: float = TTL_S, workers: int = 1, **more) -> Mill:
        repo = Repository(upstream, **form, **more)
        repo.publish(rpms.hello, rpms.other)
        return Mill(make_pond(config(repo, ttl_s=ttl_s), host=jail.address, workers=workers), repo)

    return make


@pytest.fixture
def machine(tmp_path: Path, room: Room) -> Callable[..., Dnf]:
    made: list[Dnf] = []

    def make(mill: Mill, lines: str = "", **more: object) -> Dnf:
        made.append(Dnf(room, tmp_path / f"machine{len(made)}", **more))
        made[-1].repository(lines or f"baseurl={mill.pond.url}/rpm/")
        return made[-1]

    return make


def got(dnf: Dnf, *names: str) -> dict[str, bytes]:
    """Make the cache and download; a failed run fails the test with what it said."""
    for ran in (dnf.makecache(), dnf.download(*names)):
        assert ran.ok, ran.output
        assert not mismatched(ran), ran.output
    return dnf.downloaded()


def bodies(*rpms: Rpm) -> dict[str, bytes]:
    return {one.filename: one.body for one in rpms}


def test_cold_what_is_installed_is_what_the_repository_has(mill: MakeMill, machine, rpms: Rpms):
    made = mill()
    dnf = machine(made)
    assert got(dnf, "hello", "other") == bodies(rpms.hello, rpms.other)
    assert [made.repo.asked(made.repo.pool(one)) for one in (rpms.hello, rpms.other)] == [1, 1]
    ran = dnf.run("install", "hello", "other")
    assert ran.ok, ran.output
    assert dnf.installed() == {"hello/payload": rpms.hello.payload, "other/payload": rpms.other.payload}
    for one in (rpms.hello, rpms.other):
        seen = made.pond.get(f"/rpm/{made.repo.pool(one)}")
        assert "warning" not in seen.headers, "an index vouches for it"


def test_warm_nothing_is_asked_upstream(mill: MakeMill, machine, rpms: Rpms):
    made = mill(ttl_s=LONG_TTL_S)
    cold = got(machine(made), "hello")
    asked = len(made.repo.server.requests)
    assert got(machine(made), "hello") == cold
    assert len(made.repo.server.requests) == asked


def test_stale_and_unchanged_a_304_and_no_download(mill: MakeMill, machine):
    made = mill()
    dnf = machine(made)
    cold = got(dnf, "hello")
    asked = len(made.repo.server.requests)
    made.outlive_ttl()
    assert got(dnf, "hello") == cold
    assert got(machine(made), "hello") == cold
    later = made.repo.server.requests[asked:]
    assert later
    assert all("repomd.xml" in one.path for one in later), [one.path for one in later]
    assert any("if-none-match" in one.headers for one in later)


@pytest.mark.parametrize("changed", ["newer", "rebuilt"])
def test_stale_and_changed_the_new_one_comes(mill: MakeMill, machine, rpms: Rpms, changed: str):
    made, new = mill(), getattr(rpms, changed)
    dnf = machine(made)
    got(dnf, "hello", "other")
    made.repo.publish(new, rpms.other)
    made.outlive_ttl()
    assert got(dnf, "hello") == bodies(new)
    assert got(machine(made), "hello", "other") == bodies(new, rpms.other)
    assert made.repo.asked(made.repo.pool(rpms.other)) == 1


def test_offline_it_goes_on(mill: MakeMill, machine, rpms: Rpms):
    made = mill()
    cold = got(machine(made), "hello", "other")
    made.repo.server.cut_now()
    made.outlive_ttl()
    fresh = machine(made)
    assert got(fresh, "hello", "other") == cold
    ran = fresh.run("install", "hello")
    assert ran.ok, ran.output
    assert fresh.installed() == {"hello/payload": rpms.hello.payload}
    assert "ttl=-" in made.pond.get("/rpm/repodata/repomd.xml").headers["cache-status"]


def test_offline_what_was_never_fetched_is_refused_and_not_called_absent(plain_mill: MakeMill, machine):
    made = plain_mill()
    dnf = machine(made)
    got(dnf, "hello")
    made.repo.server.cut_now()
    ran = dnf.download("other")
    assert not ran.ok
    assert "502" in ran.output
    assert not re.search(r"\b404\b", ran.output)


def test_a_portal_s_page_and_errors_are_no_metadata(plain_mill: MakeMill, machine, rpms: Rpms):
    made = plain_mill()
    dnf = machine(made)
    cold = got(dnf, "hello")
    made.repo.server.always("*", status(503))
    made.outlive_ttl()
    assert got(dnf, "hello") == cold
    assert got(machine(made), "hello") == cold


def test_with_several_workers(plain_mill: MakeMill, machine, rpms: Rpms):
    made = plain_mill(workers=2)
    assert got(machine(made), "hello") == bodies(rpms.hello)
    made.repo.publish(rpms.rebuilt, rpms.other)
    made.outlive_ttl()
    for _ in range(4):
        assert got(machine(made), "hello") == bodies(rpms.rebuilt)


def test_a_signed_repository_is_believed_and_a_changed_one_too(plain_mill: MakeMill, machine, rpms: Rpms, key: Key):
    made = plain_mill(sign=lambda text: key(text, False))
    lines = f"baseurl={made.pond.url}/rpm/\nrepo_gpgcheck=1\ngpgkey=file://{key.public}"
    dnf = machine(made, lines)
    assert got(dnf, "hello") == bodies(rpms.hello)
    made.repo.publish(rpms.newer, rpms.other)
    made.outlive_ttl()
    assert got(dnf, "hello") == bodies(rpms.newer)
    made.repo.server.cut_now()
    made.outlive_ttl()
    assert got(machine(made, lines), "hello") == bodies(rpms.newer)


def test_a_signature_of_others_is_refused_by_dnf_itself(plain_mill: MakeMill, machine, key: Key):
    made = plain_mill(sign=lambda text: key(text + b" ", False))
    ran = machine(made, f"baseurl={made.pond.url}/rpm/\nrepo_gpgcheck=1\ngpgkey=file://{key.public}").makecache()
    assert not ran.ok
    assert "signature" in ran.output.lower() or "gpg" in ran.output.lower(), ran.output


@pytest.mark.parametrize("kind", ["metalink", "mirrorlist"])
def test_by_a_list_of_mirrors_that_names_the_pond(plain_mill: MakeMill, machine, rpms: Rpms, kind: str):
    made = plain_mill(metalink=True)
    lines = f"{kind}={made.pond.url}/rpm/{kind}?repo=test&arch=noarch"
    assert got(machine(made, lines), "hello") == bodies(rpms.hello)
    made.repo.publish(rpms.newer, rpms.other)
    made.outlive_ttl()
    assert got(machine(made, lines), "hello") == bodies(rpms.newer)
    made.repo.server.cut_now()
    made.outlive_ttl()
    assert got(machine(made, lines), "hello") == bodies(rpms.newer)


@pytest.mark.parametrize("kind", ["metalink", "mirrorlist"])
def test_an_upstream_that_is_a_list_of_mirrors(
    jail, make_pond: MakePond, upstream: ThreadedUpstream, files_host: ThreadedUpstream, machine, rpms: Rpms, kind: str
):
    """The pond chooses one, stays with it, and takes another when it fails; clients see no difference."""
    mirrors = [Repository(server, place="mirror/os") for server in (files_host, upstream)]
    for one in mirrors:
        one.publish(rpms.hello, rpms.other)
    lists = Repository(upstream, place="lists")
    lists.entry = mirrors[0].entry
    lists.lists([one.url for one in mirrors])
    text = repository("rpm", lists, ttl_s=TTL_S, base_url=f"{kind}+{lists.url}{kind}?repo=test")
    trusted = f'trusted_origins = ["{files_host.url}"]\n'
    pond = make_pond(f"[access]\nallow_open_network = true\n{text}{trusted}", host=jail.address)
    made = Mill(pond, mirrors[0])
    listed = f"{kind}={pond.url}/rpm/{kind}"
    assert got(machine(made), "hello") == got(machine(made, listed), "hello") == bodies(rpms.hello)
    assert not any("/mirror/" in one.path for one in upstream.requests), "it stays with the first"
    files_host.cut_now()
    made.outlive_ttl()
    assert got(machine(made, listed), "other") == bodies(rpms.other)
    assert mirrors[1].asked(mirrors[1].pool(rpms.other)) == 1


OPTIONS = {"as it is": [], "plain names": ["--simple-md-filenames"], "xz, no databases": ["--no-database", "--xz"]}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_what_createrepo_makes(
    jail, make_pond: MakePond, upstream: ThreadedUpstream, machine, rpms: Rpms, tmp_path: Path, options: list[str]
):
    if shutil.which("createrepo_c") is None:
        pytest.skip("createrepo_c is not installed (Debian: createrepo-c)")
    tree = tmp_path / "tree"
    (tree / "Packages").mkdir(parents=True)
    for one in (rpms.hello, rpms.other):
        (tree / "Packages" / one.filename).write_bytes(one.body)
    argv = ["createrepo_c", "--quiet", "--database", *options, str(tree)]
    subprocess.run([one for one in argv if one], check=True, capture_output=True, timeout=60)
    repo = Repository(upstream)
    for file in tree.rglob("*"):
        if file.is_file():
            repo.put(str(file.relative_to(tree)), file.read_bytes())
    made = Mill(make_pond(config(repo, ttl_s=LONG_TTL_S), host=jail.address), repo)
    dnf = machine(made)
    assert got(dnf, "hello", "other") == bodies(rpms.hello, rpms.other)
    ran = dnf.run("install", "hello")
    assert ran.ok, ran.output
    for one in (rpms.hello, rpms.other):
        assert "warning" not in made.pond.get(f"/rpm/{repo.pool(one)}").headers
