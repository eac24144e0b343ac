"""The front matter of a file: ``key: value`` lines between two lines of ``---`` at its top. PURE.

Of YAML only what people write there by hand: single values, perhaps in quotes, and comments. Anything else is left
out, so that no file that somebody pushed makes us build more than a small dictionary.
"""

from __future__ import annotations

import re

MAX_KEYS, MAX_VALUE = 50, 500
MAX_LINES = 200
_FENCE = "---"
_LINE = re.compile(r"([A-Za-z][A-Za-z0-9_-]{0,63}):(?:[ \t]+(.*))?")


def fields(text: str) -> dict[str, str] | None:
    """Read a file's front matter; None: it has none. Of a key that is written twice the last value holds."""
    lines = text.removeprefix("\ufeff").splitlines()[: MAX_LINES + 1]
    if not lines or lines[0].rstrip() != _FENCE:
        return None
    end = next((at for at, line in enumerate(lines[1:], 1) if line.rstrip() == _FENCE), None)
    if end is None:
        return None
    found: dict[str, str] = {}
    for line in lines[1:end]:
        match = _LINE.fullmatch(line.rstrip())
        if match is not None and (match[1] in found or len(found) < MAX_KEYS):
            found[match[1]] = _plain(match[2] or "")
    return found


def _plain(value: str) -> str:
    """Take off quotes, or else a comment."""
    value = value.strip()
    if value[:1] in {'"', "'"}:
        close = value.find(value[0], 1)
        return value[1:close][:MAX_VALUE] if close > 0 else value[:MAX_VALUE]
    return value.partition(" #")[0].strip()[:MAX_VALUE]
