"""What becomes of a repository's base URL."""

from __future__ import annotations

import pytest

from millpond.adapters.mirrors import MirrorUpstream
from millpond.adapters.upstream import HttpUpstream
from millpond.app.loading import upstream_of
from millpond.app.sourcing import load
from millpond.errors import ConfigError
from millpond.testing.clock import FakeClock

LIST = "metalink+https://mirrors.example/metalink?repo=fedora-40&arch=x86_64"


def config(tmp_path, base_url: str, package: str = "rpm"):
    file = tmp_path / "x.toml"
    file.write_text(f'[repositories.r]\npackage = "{package}"\nbase_url = "{base_url}"\n')
    return load(file, {}, {}, tmp_path)


async def test_a_list_of_mirrors_is_an_upstream_of_its_own(tmp_path):
    made = config(tmp_path, LIST)
    upstream = upstream_of("r", made.repositories["r"], made, FakeClock())
    assert isinstance(upstream, MirrorUpstream)
    assert upstream.base_url == "https://mirrors.example/"
    plain = config(tmp_path, "https://mirror.example/os")
    assert isinstance(upstream_of("r", plain.repositories["r"], plain, FakeClock()), HttpUpstream)


@pytest.mark.parametrize(
    ("base_url", "package", "why"),
    [
        (LIST, "generic", "only an rpm repository"),
        (LIST.replace("https://", "https://user:canary@"), "rpm", "credentials"),
        (LIST + "#x", "rpm", "fragment"),
        (LIST + "&a b", "rpm", "white space"),
        ("metalink+ftp://mirrors.example/x", "rpm", "not an http"),
        ("metalink+", "rpm", "not an http"),
        ("https://mirrors.example/metalink?repo=x", "rpm", "no query"),
    ],
)
def test_a_list_that_can_t_be_one(tmp_path, base_url, package, why):
    with pytest.raises(ConfigError) as caught:
        config(tmp_path, base_url, package)
    assert why in str(caught.value)
    assert "canary" not in str(caught.value)
