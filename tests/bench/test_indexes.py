from __future__ import annotations

import json

from bench import indexes
from millpond.artifacts.formats.pypi.names import is_file


def test_a_page_is_as_large_as_it_should_be_and_readable():
    page = indexes.page("six", 50_000)
    told = json.loads(page)
    assert 50_000 <= len(page) < 51_000
    assert told["name"] == "six"
    assert all(is_file(file["filename"]) for file in told["files"])
    assert len({file["hashes"]["sha256"] for file in told["files"]}) == len(told["files"])


def test_each_project_has_a_page_with_its_own_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(indexes, "_pattern", lambda: indexes.page("any-project", 5000))
    for project in ("one", "two"):
        indexes.write(tmp_path, project)
    one, two = (json.loads((tmp_path / "simple" / p / "index.json").read_bytes()) for p in ("one", "two"))
    assert (one["name"], two["name"]) == ("one", "two")
    assert one["files"][0]["filename"].startswith("one-")
