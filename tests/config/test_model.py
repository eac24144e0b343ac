"""docs/configuration.md knows every key and its default."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from millpond.config import Config, RepositoryConfig
from millpond.config.model import UPSTREAM_KEYS

PAGE = (Path(__file__).parents[2] / "docs/configuration.md").read_text()
TABLES = {name: field.annotation for name, field in Config.model_fields.items() if name != "repositories"}
TABLES["repositories.NAME"] = RepositoryConfig
SIZES = {"keep_free", "max_upload"}


def documented(table):
    """The rows of a table's section: key -> default as it is written."""
    section = PAGE.split(f"\n## [{table}]\n")[1].split("\n## ")[0]
    return dict(re.findall(r"^\| `(\w+)` \| (.*?) \| ", section, re.MULTILINE))


@pytest.mark.parametrize("table", TABLES)
def test_every_key_is_documented_and_no_other(table):
    keys = set(TABLES[table].model_fields)
    assert set(documented(table)) == (keys - set(UPSTREAM_KEYS) if table == "repositories.NAME" else keys)


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
        parsed = getattr(TABLES[table](**({"package": "x"} if "." in table else {}) | {key: value}), key)
        assert parsed == default, key


def test_the_repositorys_upstream_keys_are_those_of_the_common_table():
    assert set(UPSTREAM_KEYS) == set(TABLES["upstream"].model_fields)
    assert set(UPSTREAM_KEYS) <= set(RepositoryConfig.model_fields)
