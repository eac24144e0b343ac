"""A small file replaced whole or not at all (rename(2)), and synced, so that a crash leaves the old or the new one."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

PRIVATE = 0o600


def replace_file(file: Path, content: bytes, mode: int = PRIVATE) -> None:
    """Write a file's new content beside it and rename it over; folders are made. Raises `OSError`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f".{file.name}.{secrets.token_hex(6)}")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE)
    try:
        with open(handle, "wb") as stream:  # noqa: PTH123 - an open descriptor, made private from its first moment
            stream.write(content)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        beside.replace(file)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise
    sync_folder(file.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename or removal in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
