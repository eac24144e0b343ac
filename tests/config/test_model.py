"""docs/configuration.md knows every key and its default."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from millpond.config import (
    AppConfig,
    BuildCacheConfig,
    Config,
    DiskConfig,
    HealthConfig,
    HostConfig,
    ProjectConfig,
    RepositoryConfig,
)
from millpond.config.hosts import OwnBuildCacheConfig, OwnDiskConfig
from millpond.config.model import UPSTREAM_KEYS

PAGE = (Path(__file__).parents[2] / "docs/configuration.md").read_text()
NAMED = {"repositories": RepositoryConfig, "hosts": HostConfig, "apps": AppConfig, "projects": ProjectConfig}
TABLES = {
    name: field.annotation for name, field in Config.model_fields.items() if name not in {*NAMED, "upkeep", "pipeline"}
}
TABLES |= {f"{name}.NAME": table for name, table in NAMED.items()}
TABLES |= {"upkeep.build_cache": BuildCacheConfig, "upkeep.disk": DiskConfig, "apps.NAME.health": HealthConfig}
NEEDED = {
    "repositories.NAME": {"package": "x"},
    "hosts.NAME": {"ssh": "local"},
    "apps.NAME": {"path": "/app", "hosts": ["web1"]},
    "projects.NAME": {"prefix": "X"},
}
BELOW = {"build_cache", "disk"}
"""The tables of a host that have their own sections, under `[upkeep]`."""
SIZES = {"keep_free", "max_upload"}


def documented(table):
    """The rows of a table's section: key -> default as it is written."""
    section = PAGE.split(f"\n## [{table}]\n")[1].split("\n## ")[0]
    return dict(re.findall(r"^\| `(\w+)` \| (.*?) \| ", section, re.MULTILINE))


@pytest.mark.parametrize("table", TABLES)
def test_every_key_is_documented_and_no_other(table):
    keys = set(TABLES[table].model_fields)
    apart = {"repositories.NAME": set(UPSTREAM_KEYS), "hosts.NAME": BELOW, "apps.NAME": {"health"}}
    assert set(documented(table)) == keys - apart.get(table, set())


@pytest.mark.parametrize("table", TABLES)
def test_the_documented_default_is_the_real_one(table):
    for key, written in documented(table).items():
        field = TABLES[table].model_fields[key]
        if field.is_required():
            assert written == "none"
            continue
        default = field.get_default(call_default_factory=True)
        if written == "unset":
            assert default is None, key
            continue
        value = tomllib.loads(f"{key} = {written.strip('`')}")[key]
        parsed = getattr(TABLES[table](**NEEDED.get(table, {}) | {key: value}), key)
        assert parsed == default, key


def test_the_repositorys_upstream_keys_are_those_of_the_common_table():
    assert set(UPSTREAM_KEYS) == set(TABLES["upstream"].model_fields)
    assert set(UPSTREAM_KEYS) <= set(RepositoryConfig.model_fields)


def test_a_host_s_own_keys_are_those_of_the_common_tables():
    assert set(OwnBuildCacheConfig.model_fields) == set(BuildCacheConfig.model_fields)
    assert set(OwnDiskConfig.model_fields) == set(DiskConfig.model_fields) - {"pond"}
