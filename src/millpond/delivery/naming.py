"""Names that are made of what people wrote: task keys and branches. PURE.

A branch's name must be one for git (git-check-ref-format(1)) and harmless on a command line, whatever the title is.
"""

from __future__ import annotations

import re
import unicodedata

MAX_SLUG = 40
MAX_KEY = 40
_PREFIX = re.compile(r"[A-Za-z][A-Za-z0-9]{0,11}")
_KEY = re.compile(r"([A-Za-z][A-Za-z0-9]{0,11})-([1-9][0-9]{0,8})")


def check_prefix(prefix: str) -> str:
    """Give a project's prefix back. Raises `ValueError` in words for the operator."""
    if not _PREFIX.fullmatch(prefix):
        raise ValueError(f'{prefix!r} is no prefix; write 1 to 12 letters and digits, a letter first, such as "SH"')
    return prefix


def task_key(prefix: str, number: int) -> str:
    """Write a task's key, such as ``SH-12``."""
    return f"{prefix}-{number}"


def parse_key(text: str) -> tuple[str, int] | None:
    """Read a task's key; None: it is none."""
    found = _KEY.fullmatch(text)
    return (found[1], int(found[2])) if found else None


def branch_name(key: str, title: str) -> str:
    """Write a task's branch: ``feature/SH-12-what-it-is-about``; of a title without a usable letter nothing is left."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    words = re.findall(r"[a-z0-9]+", plain[: 4 * MAX_SLUG])
    slug = "-".join(words)[:MAX_SLUG].strip("-")
    return f"feature/{key}-{slug}" if slug else f"feature/{key}"
