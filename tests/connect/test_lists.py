"""Lists of the machine: whatever happens between a record and its file, or by hand, leaves a way on and a way back."""

from __future__ import annotations

import errno

import pytest

from millpond.connect import lists, saved
from millpond.connect.lists import Change
from millpond.connect.saved import Record
from millpond.errors import Conflict, NotFound

BEFORE, OURS, OTHER = "first\nhttp://a.example/x\n", "http://pond.example:8080/x/", "http://pond.example:8080/y/"
AFTER = BEFORE.replace("http://a.example/x", OURS)


@pytest.fixture
def records(tmp_path):
    return tmp_path / "records"


@pytest.fixture
def file(tmp_path):
    made = tmp_path / "one" / "a.repo"
    made.parent.mkdir()
    made.write_text(BEFORE)
    return made


def change(file, url=OURS):
    return Change(file, file.read_text(), file.read_text().replace("http://a.example/x", url), url)


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def interrupted(file, records, monkeypatch):
    """Leave a record whose file was never changed."""
    with monkeypatch.context() as patched:
        patched.setattr(lists, "replace_file", full)
        with pytest.raises(OSError, match="space"):
            lists.write("dnf", [change(file)], records)
    assert file.read_text() == BEFORE
    return file


def test_a_full_disk_after_the_record_leaves_the_way_back(interrupted, records):
    assert lists.undo("dnf", records) == [interrupted]
    assert interrupted.read_text() == BEFORE
    with pytest.raises(NotFound):
        lists.undo("dnf", records)


def test_a_full_disk_after_the_record_leaves_the_way_on(interrupted, records):
    lists.write("dnf", [change(interrupted)], records)
    assert interrupted.read_text() == AFTER
    lists.undo("dnf", records)
    assert interrupted.read_text() == BEFORE


def test_death_between_a_file_taken_back_and_its_record_is_mended_by_the_next_undo(file, records, monkeypatch):
    lists.write("dnf", [change(file)], records)
    with monkeypatch.context() as patched:
        patched.setattr(saved, "forget", full)
        with pytest.raises(OSError, match="space"):
            lists.undo("dnf", records)
    assert file.read_text() == BEFORE
    lists.undo("dnf", records)
    assert (file.read_text(), list(records.iterdir())) == (BEFORE, [])


@pytest.mark.parametrize("by_hand", [BEFORE, "# new\n" + BEFORE, BEFORE.replace("a.example", "b.example")])
def test_a_list_put_back_by_hand_is_left_so_and_can_be_connected_again(file, records, by_hand):
    lists.write("dnf", [change(file)], records)
    file.write_text(by_hand)
    lists.undo("dnf", records)
    assert file.read_text() == by_hand
    file.write_text(BEFORE)
    lists.write("dnf", [change(file)], records)
    file.write_text(by_hand)
    lists.write("dnf", [change(file, OTHER)], records)
    lists.undo("dnf", records)
    assert file.read_text() == by_hand


def test_a_list_that_still_has_ours_is_not_written_over(file, records):
    lists.write("dnf", [change(file)], records)
    file.write_text(AFTER + "http://a.example/x\n")
    with pytest.raises(Conflict, match="--undo"):
        lists.write("dnf", [change(file)], records)


def test_two_lists_of_one_name_each_have_their_record(file, records, tmp_path):
    other = tmp_path / "two" / "a.repo"
    other.parent.mkdir()
    other.write_text("second\nhttp://a.example/x\n")
    lists.write("dnf", [change(file), change(other)], records)
    assert len(list(records.iterdir())) == 2
    assert sorted(lists.undo("dnf", records)) == sorted([file, other])
    assert (file.read_text(), other.read_text()) == (BEFORE, "second\nhttp://a.example/x\n")


def test_a_record_by_an_earlier_name_is_still_read_and_stays_the_only_one(file, records):
    saved.save(records, Record("dnf-a.repo", file, OURS, BEFORE.encode(), AFTER.encode()))
    lists.write("dnf", [change(file)], records)
    assert [record.tool for record in lists.recorded("dnf", records)] == ["dnf-a.repo"]
    lists.undo("dnf", records)
    assert (file.read_text(), list(records.iterdir())) == (BEFORE, [])


def test_a_list_with_a_long_name_has_a_record(records, tmp_path):
    long = tmp_path / ("x" * 230 + ".repo")
    long.write_text(BEFORE)
    lists.write("dnf", [change(long)], records)
    lists.undo("dnf", records)
    assert long.read_text() == BEFORE
