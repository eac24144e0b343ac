"""What a client's file held before we changed it, kept so that the change can be taken back.

One private file (0600: an index's URL may hold credentials) per tool, under the user's state folder (XDG Base
Directory Specification). It is written before the client's file is, so that nothing is ever changed without a way back.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from millpond.adopt.atomic import replace_file, sync_folder
from millpond.errors import ConfigError

VERSION = 1


@dataclass(frozen=True, slots=True)
class Record:
    """One change. `before` is None where there was no file; `url` is what the tool was pointed at."""

    tool: str
    file: Path
    url: str
    before: bytes | None = field(repr=False)
    after: bytes = field(repr=False)


def folder(environ: Mapping[str, str], home: Path) -> Path:
    """Give the folder of the records."""
    named = environ.get("XDG_STATE_HOME", "")
    return (Path(named) if named.startswith("/") else home / ".local/state") / "millpond/connect"


def load(records: Path, tool: str) -> Record | None:
    """Read a tool's record; None: it is not connected. Raises `ConfigError` for one that can't be read."""
    file = records / f"{tool}.json"
    try:
        return _record(tool, json.loads(file.read_bytes()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"{file}: is damaged; remove it, and mend {tool}'s own settings by hand") from None


def _record(tool: str, content: Mapping[str, Any]) -> Record:
    if content["version"] != VERSION:
        raise ValueError("another version")
    before = content["before"]
    return Record(
        tool,
        Path(content["file"]),
        str(content["url"]),
        None if before is None else base64.b64decode(before, validate=True),
        base64.b64decode(content["after"], validate=True),
    )


def save(records: Path, record: Record) -> None:
    """Write a tool's record, durably. Raises `OSError`."""
    content = {
        "version": VERSION,
        "file": str(record.file),
        "url": record.url,
        "before": None if record.before is None else base64.b64encode(record.before).decode(),
        "after": base64.b64encode(record.after).decode(),
    }
    replace_file(records / f"{record.tool}.json", json.dumps(content, indent=2).encode() + b"\n")


def forget(records: Path, tool: str) -> None:
    """Remove a tool's record."""
    (records / f"{tool}.json").unlink(missing_ok=True)
    sync_folder(records)
