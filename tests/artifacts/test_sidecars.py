"""Records of uploads: whole at every moment, and the moment between record and commit can be told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from millpond.artifacts.sidecars import Record, Sidecars

RECORD = Record("local", "a/b.txt", "", "sha256:" + "0" * 64, 3, "text/plain", 1.5, "somebody")


@pytest.fixture
def sidecars(tmp_path: Path):
    return Sidecars(tmp_path)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_prepared_record_counts_only_when_it_is_settled(sidecars: Sidecars, tmp_path: Path):
    sidecars.prepare(RECORD)
    assert sidecars.read("local", "a/b.txt", "") is None
    assert [(found.record, found.pending) for found in sidecars.walk()] == [(RECORD, True)]
    sidecars.settle("local", "a/b.txt", "")
    assert sidecars.read("local", "a/b.txt", "") == RECORD
    assert [(found.record, found.pending) for found in sidecars.walk()] == [(RECORD, False)]
    assert len(files(tmp_path)) == 1


def test_preparing_leaves_the_committed_record_alone(sidecars: Sidecars):
    sidecars.write(RECORD)
    newer = Record(
        **(json.loads(json.dumps(RECORD, default=lambda r: {f: getattr(r, f) for f in r.__slots__})) | {"size": 9})
    )
    sidecars.prepare(newer)
    assert sidecars.read("local", "a/b.txt", "") == RECORD
    assert [found.pending for found in sidecars.walk()] == [True, False]
    sidecars.settle("local", "a/b.txt", "")
    assert sidecars.read("local", "a/b.txt", "") == newer


def test_removing_takes_both(sidecars: Sidecars, tmp_path: Path):
    sidecars.write(RECORD)
    sidecars.prepare(RECORD)
    sidecars.remove("local", "a/b.txt", "")
    sidecars.remove("local", "never there", "")
    assert files(tmp_path) == []


def test_names_never_become_paths(sidecars: Sidecars, tmp_path: Path):
    for number, path in enumerate(("../../etc/passwd", "a" * 5000, "\0", "a\nb", "\udcff", "")):
        sidecars.write(Record("../..", path, str(number), RECORD.digest, 1, "", 0.0, ""))
    names = files(tmp_path)
    assert len(names) == 6
    assert all(len(name) == 64 + len(".json") for name in names)
    assert len(list(sidecars.walk())) == 6
    assert sidecars.read("../..", "\udcff", "4") is not None


def test_variants_have_records_of_their_own(sidecars: Sidecars):
    for variant in ("", "json", "html"):
        sidecars.write(Record("local", "p", variant, RECORD.digest, 1, "", 0.0, ""))
    assert {found.record.variant for found in sidecars.walk() if found.record} == {"", "json", "html"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b"\xff",
        b'{"repository": 1}',
        json.dumps(dict.fromkeys(RECORD.__slots__, 1)).encode(),
    ],
)
def test_what_is_no_record_is_found_but_not_believed(sidecars: Sidecars, content: bytes):
    sidecars.write(RECORD)
    next(iter(sidecars.walk())).file.write_bytes(content)
    assert [found.record for found in sidecars.walk()] == [None]
    assert sidecars.read("local", "a/b.txt", "") is None


def test_a_storage_says_whose_it_is(sidecars: Sidecars):
    assert sidecars.owner() is None
    sidecars.claim("abc")
    sidecars.claim("def")
    assert sidecars.owner() == "def"


def test_a_record_that_can_not_be_written_leaves_nothing_half(sidecars: Sidecars, tmp_path: Path, monkeypatch):
    sidecars.write(RECORD)
    before = files(tmp_path)

    def full(_: int) -> None:
        raise OSError(28, "no space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        sidecars.prepare(RECORD)
    assert files(tmp_path) == before
