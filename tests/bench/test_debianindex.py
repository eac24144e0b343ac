"""The large Debian index is one that the pond reads."""

from __future__ import annotations

from bench import debianindex
from millpond.artifacts.formats.debian import Debian
from millpond.artifacts.model import Target


def test_it_is_an_index(tmp_path):
    debianindex.write(tmp_path, 50_000)
    body = (tmp_path / debianindex.FILE).read_bytes()
    assert 50_000 <= len(body) < 60_000
    target = Debian().resolve("dists/bench7/main/binary-amd64/Packages", "", "")
    assert isinstance(target, Target)
    members = list(Debian().members(target, "", "http://origin.example/x", [body]))
    assert len(members) == body.count(b"Package: ")
    assert members[0].name == "pool/main/b/bench-0/bench-0_0.0-1_amd64.deb"
