"""What an upstream's answer to `millpond check` means."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from millpond.app.setup import judged, try_everything
from millpond.app.sourcing import Source


@pytest.mark.parametrize(
    ("package", "url", "ok", "told"),
    [
        ("pypi", "http://a.example/", False, "ends in /simple"),
        ("pypi", "http://a.example/pypi/", False, "ends in /simple"),
        ("pypi", "http://a.example/simple/", False, "no index there"),
        ("debian", "http://a.example/debian/dists/stable/", False, "leave out /dists: http://a.example/debian"),
        ("debian", "http://a.example/debian/dists/", False, "leave out /dists: http://a.example/debian"),
        ("debian", "http://a.example/debain/", False, "no archive there"),
        ("docker", "http://a.example/", False, "no registry there"),
        ("generic", "http://a.example/", True, "may be right"),
        ("npm", "http://a.example/", True, "may be right"),
        ("alpine", "http://a.example/", True, "may be right"),
        ("rpm", "http://a.example/", True, "may be right"),
    ],
)
def test_nothing_at_the_base_url(package, url, ok, told):
    good, meant = judged(package, url, 404)
    assert good is ok
    assert told in meant


def test_a_hint_is_given_only_where_it_applies():
    assert "/simple" not in judged("pypi", "http://a.example/simple/", 404)[1]
    assert "/dists" not in judged("debian", "http://a.example/debian/", 404)[1]


@pytest.mark.parametrize(
    ("status", "ok", "told"),
    [
        (200, True, ""),
        (301, True, ""),
        (405, True, ""),
        (401, False, "username"),
        (403, False, "username"),
        (502, False, ""),
    ],
)
def test_other_answers(status, ok, told):
    for package in ("pypi", "debian", "generic"):
        good, meant = judged(package, "http://a.example/", status)
        assert (good, told in meant) == (ok, True)


async def test_which_file_was_read_is_told_or_where_one_was_looked_for(tmp_path: Path, monkeypatch: Any):
    if Path("/etc/millpond/millpond.toml").exists():
        pytest.skip("Millpond is installed here, with a configuration of its own")
    for name in [name for name in os.environ if name.startswith("MILLPOND_")]:
        monkeypatch.delenv(name)
    local = {"repositories.local.package": "generic", "repositories.local.type": "local"}
    source = Source(None, {"server.data": str(tmp_path / "data"), **local}, tmp_path)
    told = (await try_everything(source))[0]
    places = f"neither {tmp_path}/millpond.toml nor /etc/millpond/millpond.toml is there"
    assert (told.what, told.ok) == ("configuration", True)
    assert told.told == f"valid without a file: {places} (`millpond init` writes one)"
    (tmp_path / "millpond.toml").write_text("")
    assert (await try_everything(source))[0].told == f"{tmp_path}/millpond.toml is valid"
    (tmp_path / "other.toml").write_text("")
    named = Source(Path("other.toml"), source.overrides, tmp_path)
    assert (await try_everything(named))[0].told == f"{tmp_path}/other.toml is valid"
