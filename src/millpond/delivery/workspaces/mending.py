"""What a git that was killed leaves in a repository's copy, and that would stop every other one: it is removed.

A git that is told to end removes it itself (`gitrun`); one that is killed, or whose machine is, does not. To be called
by who has the copy to itself.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import structlog

LEFT_S = 60.0
"""How old a lock has to be: a git of a daemon that was killed may still be at work, and has one for moments only."""
_HEAD = re.compile(r"ref: refs/\S+|(?!0+$)[0-9a-f]{40,64}")
log = structlog.get_logger(__name__)


def mend(bare: Path) -> None:
    """Remove worktrees that were left half made, and locks that nobody has any more."""
    for admin in _entries(bare / "worktrees"):
        if not _is_whole(admin):
            shutil.rmtree(admin, ignore_errors=True)
            log.warning("a worktree was left half made; it is removed", worktree=admin.name)
    for lock in [*_locks(bare / "refs"), bare / "packed-refs.lock"]:
        if _is_old(lock):
            lock.unlink(missing_ok=True)
            log.warning("a lock was left behind; it is removed", lock=str(lock.relative_to(bare)))


def _entries(folder: Path) -> list[Path]:
    return [*folder.iterdir()] if folder.is_dir() else []


def _locks(folder: Path) -> Iterator[Path]:
    return folder.rglob("*.lock")


def _is_whole(admin: Path) -> bool:
    """Whether git could make out where a worktree is: one without a commit stops each fetch of the repository."""
    try:
        return _HEAD.fullmatch((admin / "HEAD").read_text().strip()) is not None and (admin / "gitdir").exists()
    except (OSError, ValueError):
        return False


def _is_old(lock: Path) -> bool:
    try:
        return time.time() - lock.lstat().st_mtime > LEFT_S
    except OSError:
        return False
