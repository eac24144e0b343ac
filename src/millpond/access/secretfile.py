"""Secrets that the pond makes for itself and keeps in its data directory: whole, and for its owner's eyes only."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path


def write_once(path: Path, secret: str) -> bool:
    """Make the file, complete from its first moment; False: another process was first."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "w") as file:
            file.write(secret + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(partial, path)
    except FileExistsError:
        return False
    finally:
        partial.unlink()
    return True


def read(path: Path) -> str:
    """Read it; what others could read is made private again."""
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        path.chmod(0o600)
    return path.read_text(encoding="utf-8", errors="replace").strip()
