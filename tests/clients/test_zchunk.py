"""zckdl through the pond: the tool of zchunk itself, which asks for several ranges at once.

Debian's dnf is built without zchunk, so that this is the real client to be had; its `zchunk=1` is tried beside it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.clients.dnf import Dnf
from tests.clients.programs import Ran, Room
from tests.clients.test_dnf import Rpms, rpms  # noqa: F401 - a fixture
from tests.conftest import MakePond
from tests.repodata import Repository, Rpm, config

from millpond.testing.upstream import ThreadedUpstream

pytestmark = [pytest.mark.client, pytest.mark.timeout(300)]
PACKAGES = [Rpm(f"p{n}", payload=b"%d" % n * 100) for n in range(300)]


@pytest.fixture
def zck(tmp_path: Path):
    for tool in ("zck", "zckdl"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed (Debian: zchunk)")

    def pack(body: bytes) -> bytes:
        (tmp_path / "in.xml").write_bytes(body)
        argv = ["zck", "-s", "<package ", "-o", "out.zck", "in.xml"]
        subprocess.run(argv, cwd=tmp_path, check=True, capture_output=True, timeout=60)
        return (tmp_path / "out.zck").read_bytes()

    return pack


def downloaded(room: Room, url: str, folder: Path, *more: str) -> Ran:
    folder.mkdir(exist_ok=True)
    return room.run(["sh", "-c", 'cd "$0" && exec zckdl "$@"', str(folder), "-v", *more, url])


def test_the_whole_and_then_what_has_changed(
    jail, make_pond: MakePond, upstream: ThreadedUpstream, room: Room, tmp_path: Path, zck
):
    repo = Repository(upstream, suffix=".zck", pack=zck)
    repo.publish(*PACKAGES)
    old = tmp_path / "old.zck"
    old.write_bytes(repo.members[repo.path()])
    changed = [Rpm("p7", "2.0"), *(one for one in PACKAGES if one.name not in {"p7", "p120"}), Rpm("q")]
    repo.publish(*changed)
    pond = make_pond(config(repo, ttl_s=3600.0), host=jail.address)
    body, name = repo.members[repo.path()], repo.path().rpartition("/")[2]
    assert pond.get("/rpm/repodata/repomd.xml").status == 200
    for number, more in enumerate(([], ["-s", str(old)], ["-s", str(old)])):
        folder = tmp_path / f"got{number}"
        ran = downloaded(room, f"{pond.url}/rpm/{repo.path()}", folder, *more)
        assert ran.ok, ran.output
        assert (folder / name).read_bytes() == body
    assert repo.asked(repo.path()) == 1, "a range of a cold object fetches the whole"


def test_packages_of_a_zchunk_index_are_vouched_for(make_pond: MakePond, upstream: ThreadedUpstream, zck):
    repo = Repository(upstream, suffix=".zck", pack=zck)
    repo.publish(*PACKAGES[:3])
    pond = make_pond(config(repo, ttl_s=3600.0))
    for path in ("repodata/repomd.xml", repo.path()):
        assert pond.get(f"/rpm/{path}").status == 200
    got = pond.get(f"/rpm/{repo.pool(PACKAGES[0])}")
    assert (got.status, got.body) == (200, PACKAGES[0].body)
    assert "warning" not in got.headers


def test_dnf_that_is_told_to_use_zchunk(
    jail,
    make_pond: MakePond,
    upstream: ThreadedUpstream,
    room: Room,
    rpms: Rpms,  # noqa: F811
    tmp_path: Path,
    zck,
):
    """Beside the gzip'd members, as repositories have them."""
    repo = Repository(upstream)
    repo.publish(rpms.hello, rpms.other)
    more = Repository(upstream, suffix=".zck", pack=zck, place="zck")
    more.publish(rpms.hello, rpms.other)
    for path, body in more.members.items():
        repo.put(path, body)
    data = re.sub(rb'<data type="(\w+)">', rb'<data type="\1_zck">', more.entry.partition(b"</revision>\n")[2])
    repo.put("repodata/repomd.xml", repo.entry.replace(b"</repomd>", data))
    pond = make_pond(config(repo, ttl_s=3600.0), host=jail.address)
    dnf = Dnf(room, tmp_path / "machine", more="zchunk=1")
    dnf.repository(f"baseurl={pond.url}/rpm/")
    for ran in (dnf.makecache(), dnf.download("hello")):
        assert ran.ok, ran.output
    assert dnf.downloaded() == {rpms.hello.filename: rpms.hello.body}
