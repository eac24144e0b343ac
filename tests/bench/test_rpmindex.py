"""The large primary.xml is one that the pond reads."""

from __future__ import annotations

from bench import rpmindex
from millpond.artifacts.formats.rpm import Rpm
from millpond.artifacts.model import Target


def test_it_is_an_index(tmp_path):
    rpmindex.write(tmp_path, 50_000)
    body = (tmp_path / rpmindex.FILE).read_bytes()
    assert 50_000 <= len(body) < 60_000
    target = Rpm().resolve("bench7/repodata/primary.xml", "", "")
    assert isinstance(target, Target)
    members = list(Rpm().members(target, "", "http://origin.example/x", [body]))
    assert len(members) == body.count(b"<name>")
    assert members[0].name == "bench7/Packages/b/bench-0-1.x86_64.rpm"
