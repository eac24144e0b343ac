"""The large packument is one that the pond reads."""

from __future__ import annotations

import json

from bench import packuments
from millpond.artifacts.formats.npm import Npm
from millpond.artifacts.model import Target


def test_it_is_a_packument_of_any_package(tmp_path):
    packuments.write(tmp_path, 100_000)
    body = (tmp_path / packuments.FILE).read_bytes()
    assert 100_000 <= len(body) < 110_000
    target = Npm().resolve("bench7", "", "")
    assert isinstance(target, Target)
    members = list(Npm().members(target, "application/json", "http://origin.example/registry/bench7", [body]))
    assert sum(one.name.startswith("bench7-") for one in members) == len(json.loads(body)["versions"])
    assert members[0].name == "bench7-0.0.1.tgz"
    assert [one.algorithm for one in members[0].checksums] == ["sha512", "sha1"]
