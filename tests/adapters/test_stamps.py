"""Stamps: what one process touches, all others see."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from millpond.adapters.stamps import STAMPS, MappedStamps


@pytest.fixture
def stamps(tmp_path: Path):
    opened = MappedStamps(tmp_path / "stamps")
    yield opened
    opened.close()


def test_a_touch_changes_the_keys_stamp_and_hardly_any_other(stamps: MappedStamps):
    keys = [f"pypi/{number}" for number in range(200)]
    before = {key: stamps.stamp(key) for key in keys}
    stamps.touch("pypi/7")
    changed = [key for key in keys if stamps.stamp(key) != before[key]]
    assert "pypi/7" in changed
    assert len(changed) < 5


def test_a_stamp_never_comes_back(stamps: MappedStamps):
    seen = set()
    for _ in range(1000):
        stamps.touch("a")
        seen.add(stamps.stamp("a"))
    assert len(seen) == 1000


def test_touching_all_changes_all(stamps: MappedStamps):
    before = list(stamps.stamps)
    stamps.touch_all()
    assert all(new != old for new, old in zip(stamps.stamps, before, strict=True))
    assert len(before) == STAMPS


def test_another_process_is_seen(stamps: MappedStamps, tmp_path: Path):
    before = stamps.stamp("files/é")
    code = (
        "import sys; from pathlib import Path; from millpond.adapters.stamps import MappedStamps;"
        "stamps = MappedStamps(Path(sys.argv[1])); stamps.touch('files/é'); print(stamps.stamp('files/é'))"
    )
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", code, str(tmp_path / "stamps")], check=True, capture_output=True, text=True
    )
    assert stamps.stamp("files/é") == int(done.stdout) != before


def test_any_text_is_a_key(stamps: MappedStamps):
    stamps.touch("files/\udcff")
    assert stamps.stamp("files/\udcff") != 0


def test_the_file_has_its_blocks(stamps: MappedStamps, tmp_path: Path):
    assert (tmp_path / "stamps").stat().st_blocks * 512 >= STAMPS * 8
