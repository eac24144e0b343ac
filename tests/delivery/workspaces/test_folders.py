from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millpond.delivery.workspaces.folders import delete, folder_name, size_of


@settings(deadline=None)
@given(st.text(max_size=200), st.text(max_size=200))
def test_any_name_makes_a_folder_s_name_of_its_own(one: str, other: str):
    name = folder_name(one)
    assert 0 < len(name) < 80
    assert not set(name) & set("/\\\0 ")
    assert not name.startswith((".", "-"))
    assert one == other or folder_name(other) != name


def test_sizes_are_added_up_until_there_is_more_than_enough(tmp_path: Path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").write_bytes(bytes(1000))
    (tmp_path / "d").write_bytes(bytes(500))
    (tmp_path / "link").symlink_to("/usr")
    assert 1500 <= size_of(tmp_path, 1 << 30) < 1600
    assert size_of(tmp_path, 100) > 100


@pytest.mark.parametrize("kind", ["folder", "file", "link", "nothing"])
def test_whatever_is_there_is_removed_and_links_are_not_followed(tmp_path: Path, kind: str):
    outside, place = tmp_path / "outside", tmp_path / "place"
    outside.mkdir()
    (outside / "kept").touch()
    if kind == "folder":
        (place / "in").mkdir(parents=True)
        (place / "in" / "link").symlink_to(outside)
        (place / "in").chmod(0)
    elif kind == "file":
        place.touch()
    elif kind == "link":
        place.symlink_to(outside)
    delete(place)
    assert not place.exists()
    assert not place.is_symlink()
    assert (outside / "kept").exists()
