"""How much may still be stored."""

from __future__ import annotations

from pathlib import Path

from millpond.app import room
from millpond.app.room import Room, free_bytes


def test_room_is_the_free_space_less_what_is_kept_free(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(room, "free_bytes", {tmp_path: 1000, tmp_path / "b": 700}.__getitem__)
    assert Room(tmp_path, tmp_path / "b", 100).bytes() == 600, "the fuller of the two disks counts"
    assert Room(tmp_path, tmp_path / "b", 5000).bytes() == 0


def test_it_is_measured_once_a_second_at_most(tmp_path: Path, monkeypatch):
    measured, now = [], [100.0]
    monkeypatch.setattr(room, "free_bytes", lambda place: measured.append(place) or 500)
    monkeypatch.setattr(room.time, "monotonic", lambda: now[0])
    space = Room(tmp_path, tmp_path, 0)
    assert [space.bytes() for _ in range(100)] == [500] * 100
    assert len(measured) == 2
    now[0] += 1.0
    space.bytes()
    assert len(measured) == 4


def test_the_disk_is_asked(tmp_path: Path):
    assert free_bytes(tmp_path) > 0
