"""The private folder of ssh's control sockets: nobody else may reach what is as good as a login."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from pathlib import Path

from millpond.adapters.ssh import MAX_SOCKET_PATH

NAME_CHARS = 13
"""A slash and the socket's name."""


def socket_folder(data: Path, number: int) -> Path:
    """Make the folder of one process of a data directory, empty: ``DATA/ssh/N``, or a short one where that is too long.

    What an earlier run left there is removed; its connections close themselves when they are idle.
    """
    folder = (data / "ssh" / str(number)).absolute()
    if len(os.fsencode(folder)) + NAME_CHARS > MAX_SOCKET_PATH:
        folder = _short(folder)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    for path in folder.iterdir():
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()
    return folder


def _short(folder: Path) -> Path:
    """Give a folder with a short path for a long one, the same each time, so that a killed daemon leaves but one.

    Its name can be guessed, so one that is not ours alone is not used: then it is a new one.
    """
    name = f"millpond-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]}"
    short = Path(tempfile.gettempdir()) / name
    with contextlib.suppress(FileExistsError):
        short.mkdir(mode=0o700)
    found = short.lstat()
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077
    return short if ours else Path(tempfile.mkdtemp(prefix="millpond-"))
