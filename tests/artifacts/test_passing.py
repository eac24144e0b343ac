"""Indexes that pass by unstored: their members are known for a while, within bounds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from millpond.artifacts import passing
from millpond.artifacts.flights import Arriving
from millpond.artifacts.formats import FORMATS
from millpond.artifacts.model import Target
from millpond.artifacts.passing import PassingIndexes
from millpond.artifacts.soundness import Verifier
from millpond.artifacts.spool import Spool

JSON_TYPE = "application/vnd.pypi.simple.v1+json"
HEAD = Arriving(JSON_TYPE, "", "", "", None, None)
SOURCE = "http://index.test/simple/demo/"


def index(project: str = "demo") -> Target:
    found = FORMATS["pypi"].resolve(f"simple/{project}/", "", JSON_TYPE)
    assert isinstance(found, Target)
    return found


def name(number: int) -> str:
    return f"demo-{number}-py3-none-any.whl"


def page(count: int) -> bytes:
    files = [{"filename": name(n), "url": f"../../files/{name(n)}", "hashes": {}} for n in range(count)]
    return json.dumps({"meta": {"api-version": "1.0"}, "name": "demo", "files": files}).encode()


async def passed(folder: Path, body: bytes, *, whole: bool = True) -> Spool:
    """Make a flight's tape that has no file."""
    tape = Spool(folder, 0, None)
    await tape.write(body, Verifier())
    if whole:
        tape.complete(len(body))
    else:
        tape.abort("broken off")
    return tape


@pytest.fixture
def indexes() -> PassingIndexes:
    return PassingIndexes(FORMATS["pypi"])


async def test_the_members_of_an_index_that_passed_by_are_known(tmp_path: Path, indexes: PassingIndexes):
    tape = await passed(tmp_path, page(3))
    await indexes.read(index(), HEAD, tape, SOURCE)
    member = indexes.member(index(), name(2))
    assert member is not None
    assert member.url.endswith(name(2))
    assert indexes.member(index(), name(3)) is None
    assert indexes.member(index("other"), name(2)) is None
    assert tape.deserted, "it reads like any client, and leaves"
    tape.close()


@pytest.mark.parametrize(("body", "whole"), [(page(3), False), (b'{"files": [', True), (b"no JSON", True)])
async def test_one_that_breaks_off_or_cant_be_read_leaves_nothing(tmp_path: Path, indexes, body, whole):
    tape = await passed(tmp_path, body, whole=whole)
    await indexes.read(index(), HEAD, tape, SOURCE)
    assert indexes.member(index(), name(0)) is None
    tape.close()


async def test_one_that_is_too_large_is_not_held_in_memory(tmp_path: Path, indexes, monkeypatch):
    monkeypatch.setattr(passing, "MAX_INDEX_BYTES", 100)
    tape = await passed(tmp_path, page(10))
    await indexes.read(index(), HEAD, tape, SOURCE)
    assert indexes.member(index(), name(0)) is None
    tape.close()


async def test_the_oldest_are_forgotten_when_there_are_too_many_members(tmp_path: Path, indexes, monkeypatch):
    monkeypatch.setattr(passing, "MAX_MEMBERS", 5)
    for project in ("one", "two"):
        tape = await passed(tmp_path, page(3))
        await indexes.read(index(project), HEAD, tape, SOURCE)
        tape.close()
    assert indexes.member(index("one"), name(0)) is None
    assert indexes.member(index("two"), name(0)) is not None


async def test_a_stored_index_whose_list_cant_be_kept_is_read_too(tmp_path: Path, indexes):
    (tmp_path / "blob").write_bytes(page(2))
    await indexes.read_stored(index(), JSON_TYPE, SOURCE, tmp_path / "blob")
    assert indexes.member(index(), name(1)) is not None
    with pytest.raises(FileNotFoundError):
        await indexes.read_stored(index(), JSON_TYPE, SOURCE, tmp_path / "gone")


async def test_a_format_without_indexes_has_none(tmp_path: Path):
    indexes = PassingIndexes(FORMATS["generic"])
    tape = await passed(tmp_path, page(1))
    await indexes.read(index(), HEAD, tape, SOURCE)
    assert indexes.member(index(), name(0)) is None
    tape.close()
