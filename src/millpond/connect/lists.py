"""Lists of the machine, of which addresses are replaced where they stand: written, and taken back.

For tools whose settings are several files: a record for each, named by the tool and the file. Invariants as for
`writing`: what was there is saved before anything changes, and taking back is all of it or nothing. A record does not
say that its file was changed: death, a full disk or the file's owner may have left it, or made it again, as it was.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from millpond.adopt.atomic import replace_file
from millpond.adopt.machine import Machine
from millpond.connect import saved
from millpond.connect.lines import revert
from millpond.connect.saved import Record
from millpond.errors import ConfigError, Conflict, NotFound

_NAME_CHARACTERS, _HASH_DIGITS = 48, 12


@dataclass(frozen=True, slots=True)
class Change:
    """One list as it is, and as it will be; `url` is an address of the pond that it will have."""

    file: Path
    before: str
    after: str
    url: str


class Kit(Protocol):
    """A tool with such lists: the module of it. `upstreams`: repositories' names by what they draw from."""

    def plan(self, machine: Machine, pond_url: str, upstreams: Mapping[str, str], /) -> tuple[list[Change], list[str]]:
        """Say what to change, and what will still lead past the pond."""

    def write(
        self, machine: Machine, pond_url: str, upstreams: Mapping[str, str], records: Path, /
    ) -> tuple[list[Path], list[str]]:
        """Change the lists; gives those that were changed, and what still leads past the pond."""

    def undo(self, records: Path, /) -> list[Path]:
        """Take back what `write` did; gives the lists."""

    def recorded(self, records: Path, /) -> Iterator[Record]:
        """Give what was kept of each list that is connected."""

    def written(self, record: Record, /) -> frozenset[str]:
        """Give the addresses that were put into a list."""


def replaced(text: str, changes: dict[tuple[int, int], str]) -> str:
    """Put other addresses into a list, by the places of those that are there; all else stays as it is."""
    for (start, end), url in sorted(changes.items(), reverse=True):
        text = text[:start] + url + text[end:]
    return text


def write(tool: str, changes: Sequence[Change], records: Path) -> list[Path]:
    """Change the lists; gives those that were changed.

    Raises `Conflict` for a list that was connected before and changed since, `OSError`.
    """
    known = {record.file: record for record in recorded(tool, records)}
    for change in changes:
        record = known.get(change.file)
        if record is not None and not _is_as_before(record, change.before):
            raise Conflict(f"{change.file} was changed since it was connected: take that back first (--undo)")
    for change in changes:
        name = known[change.file].tool if change.file in known else _record(tool, change.file)
        before, after = change.before.encode(), change.after.encode()
        saved.save(records, Record(name, change.file, change.url, before, after))
        replace_file(change.file.resolve(), after, change.file.stat().st_mode & 0o777)
    return [change.file for change in changes]


def undo(tool: str, records: Path) -> list[Path]:
    """Take back what `write` did; gives the lists. Raises `NotFound` when it did nothing, `Conflict`, `OSError`."""
    found = list(recorded(tool, records))
    if not found:
        raise NotFound(f"{tool} has not been connected by `millpond connect {tool} --write`; there is nothing to undo")
    texts = {record.file: _without_ours(record) for record in found}
    for record in found:
        text = texts[record.file]
        if text is not None:
            replace_file(record.file.resolve(), text.encode(), record.file.stat().st_mode & 0o777)
        saved.forget(records, record.tool)
    return [record.file for record in found]


def recorded(tool: str, records: Path) -> Iterator[Record]:
    """Give what was kept of each list that is connected. Raises `ConfigError`."""
    for path in sorted(records.glob(f"{tool}-*.json")):
        record = saved.load(records, path.stem)
        if record is not None:
            yield record


def _record(tool: str, file: Path) -> str:
    """Name a file's record: two files may have the same last part."""
    whole = hashlib.sha256(os.fsencode(file)).hexdigest()[:_HASH_DIGITS]
    return f"{tool}-{file.name[:_NAME_CHARACTERS]}-{whole}"


def _is_as_before(record: Record, now: str) -> bool:
    """Whether nothing of ours is in a file: it is what it was, or has no address of that pond (any more)."""
    parts = urlsplit(record.url)
    return now.encode() == record.before or f"{parts.scheme}://{parts.netloc}" not in now


def _without_ours(record: Record) -> str | None:
    """Give a list as it is without our addresses; None: there are none in it, or it is gone: nothing is to be done."""
    try:
        now = record.file.read_bytes().decode()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{record.file}: cannot be read: {error}") from None
    if _is_as_before(record, now):
        return None
    text = revert((record.before or b"").decode(), record.after.decode(), now)
    if text is None:
        raise Conflict(f"{record.file}: the lines with {record.url} have been changed since; take them out by hand")
    return text
