"""Folders that hold what somebody else left: named safely, measured in bounds, removed whatever rights they have."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import stat
from pathlib import Path

_PLAIN = re.compile(r"[^A-Za-z0-9._-]+")


def folder_name(name: str) -> str:
    """Make a folder's name of any name, another one of each."""
    plain = _PLAIN.sub("-", name).strip(".-")[:60]
    return f"{plain or 'x'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def size_of(path: Path, enough: int) -> int:
    """Add up the sizes of files, until there is more than enough."""
    total, ahead = 0, [str(path)]
    while ahead and total <= enough:
        with contextlib.suppress(OSError), os.scandir(ahead.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    ahead.append(entry.path)
                else:
                    total += entry.stat(follow_symlinks=False).st_size
    return total


def delete(path: Path) -> None:
    """Remove a folder, whatever rights were left on what is in it; links are not followed."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    if not path.is_dir():
        return
    path.chmod(stat.S_IRWXU)
    for folder, inner, _ in os.walk(path):
        for one in inner:  # before it is gone into
            if not Path(folder, one).is_symlink():
                Path(folder, one).chmod(stat.S_IRWXU)
    shutil.rmtree(path)
