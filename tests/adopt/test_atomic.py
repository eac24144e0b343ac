"""A file is replaced whole or not at all."""

from __future__ import annotations

import os

import pytest

from millpond.adopt.atomic import replace_file


def test_a_new_file_is_private_and_its_folders_are_made(tmp_path):
    replace_file(tmp_path / "a/b/c", b"x")
    assert (tmp_path / "a/b/c").read_bytes() == b"x"
    assert (tmp_path / "a/b/c").stat().st_mode & 0o777 == 0o600


def test_the_mode_is_the_one_asked_for(tmp_path):
    replace_file(tmp_path / "c", b"x", 0o640)
    assert (tmp_path / "c").stat().st_mode & 0o777 == 0o640


def test_a_failure_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch):
    (tmp_path / "c").write_bytes(b"old")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        replace_file(tmp_path / "c", b"new")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"c": b"old"}
