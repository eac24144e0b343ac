"""Files that hold a secret of the pond's own."""

from __future__ import annotations

from pathlib import Path

from millpond.access import secretfile


def test_the_first_one_wins_and_nothing_else_is_left(tmp_path: Path):
    path = tmp_path / "secret"
    assert secretfile.write_once(path, "first")
    assert not secretfile.write_once(path, "second")
    assert secretfile.read(path) == "first"
    assert [one.name for one in tmp_path.iterdir()] == ["secret"]


def test_what_others_could_read_is_made_private_again(tmp_path: Path):
    path = tmp_path / "secret"
    secretfile.write_once(path, "x")
    path.chmod(0o644)
    secretfile.read(path)
    assert path.stat().st_mode & 0o777 == 0o600
