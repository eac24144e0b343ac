"""Git that hangs, says too much, or is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from millpond.adapters.gitcommand import GitCommand
from millpond.delivery.ports import ForgeFailed


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a place for a `git` of the test's own."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    program = folder / "git"
    program.touch(0o755)
    return program


async def test_one_that_hangs_is_ended(stub: Path, tmp_path: Path):
    stub.write_text("#!/bin/sh\nsleep 600\n")
    with pytest.raises(ForgeFailed, match=r"did not end within 0\.2 s") as caught:
        await GitCommand(tmp_path, 0.2).run("status")
    assert not caught.value.permanent


async def test_output_has_a_limit(stub: Path, tmp_path: Path):
    stub.write_text("#!/bin/sh\nhead -c 5000000 /dev/zero | tr '\\0' x\n")
    ended = await GitCommand(tmp_path).run("status", max_bytes=1000)
    assert ended.truncated
    assert len(ended.out) < 1 << 20


async def test_what_it_says_is_cut_short(stub: Path, tmp_path: Path):
    stub.write_text("#!/bin/sh\nhead -c 5000 /dev/zero | tr '\\0' x >&2\nexit 3\n")
    with pytest.raises(ForgeFailed, match="failed with 3: xxx") as caught:
        await GitCommand(tmp_path).run("status")
    assert len(str(caught.value)) < 500


async def test_one_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ForgeFailed, match="install it") as caught:
        await GitCommand(tmp_path).run("status")
    assert caught.value.permanent
