"""apt: the addresses in the machine's package lists, each replaced by the pond's for the same archive.

Only addresses change, where they stand: suites, components, options and Signed-By stay, since what the pond serves is
signed by whom it always was. An archive that the pond does not draw from is left as it is. The lists are the machine's,
so that writing needs root.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from millpond.adopt import sourceslist
from millpond.adopt.apt import SUFFIX
from millpond.adopt.atomic import replace_file
from millpond.adopt.machine import Machine, shown, unfit, without_credentials
from millpond.connect import saved
from millpond.connect.lines import revert
from millpond.connect.saved import Record
from millpond.errors import BadRequest, Conflict, NotFound

NAME = "apt"
_READABLE = 0o644


@dataclass(frozen=True, slots=True)
class Change:
    """One list as it is, and as it will be; `url` is an address of the pond that it will have."""

    file: Path
    before: str
    after: str
    url: str


def plan(machine: Machine, pond_url: str, archives: Mapping[str, str]) -> tuple[list[Change], list[str]]:
    """Say what to change, and what will still lead past the pond. `archives`: repositories' names by their upstreams.

    Raises `BadRequest` for an address that is none, `ConfigError` for a list that can't be read.
    """
    if unfit(pond_url) is not None or without_credentials(pond_url) != pond_url:
        raise BadRequest(f"{shown(pond_url)!r} is not the pond's address; write it as http://127.0.0.1:8080")
    names = {_bare(url): name for url, name in archives.items()}
    changes: list[Change] = []
    notes: list[str] = []
    for file in sourceslist.files(machine):
        text = sourceslist.read(file)
        if text is None:
            continue
        places: dict[tuple[int, int], str] = {}
        for source in sourceslist.parse(file, text):
            name = names.get(_bare(source.uri))
            if name is not None:
                places[source.start, source.end] = f"{pond_url.rstrip('/')}/{name}/"
            elif source.enabled and not machine.pond.owns(source.uri, SUFFIX):
                notes.append(
                    f"{file}: {shown(source.uri)} is still asked without the pond, which does not draw from it"
                )
        if places:
            changes.append(Change(file, text, sourceslist.replaced(text, places), next(iter(places.values()))))
    return changes, notes


def write(machine: Machine, pond_url: str, archives: Mapping[str, str], records: Path) -> tuple[list[Path], list[str]]:
    """Change the lists; gives those that were changed, and what still leads past the pond.

    What was there is kept in `records` before anything changes. Raises as `plan`, `Conflict` for a list that was
    connected before and changed since, `OSError`.
    """
    changes, notes = plan(machine, pond_url, archives)
    for change in changes:
        record = saved.load(records, _record(change.file))
        if record is not None:
            raise Conflict(f"{change.file} was changed since it was connected: take that back first (--undo)")
    for change in changes:
        before, after = change.before.encode(), change.after.encode()
        saved.save(records, Record(_record(change.file), change.file, change.url, before, after))
        replace_file(change.file.resolve(), after, change.file.stat().st_mode & 0o777)
    return [change.file for change in changes], notes


def undo(records: Path) -> list[Path]:
    """Take back what `write` did; gives the lists. Raises `NotFound` when it did nothing, `Conflict`, `OSError`."""
    found = list(recorded(records))
    if not found:
        raise NotFound("apt has not been connected by `millpond connect apt --write`; there is nothing to undo")
    texts = {record.file: _without_ours(record) for record in found}
    for record in found:
        text = texts[record.file]
        if text is not None:
            mode = record.file.stat().st_mode & 0o777 if record.file.exists() else _READABLE
            replace_file(record.file.resolve(), text.encode(), mode)
        saved.forget(records, record.tool)
    return [record.file for record in found]


def recorded(records: Path) -> Iterator[Record]:
    """Give what was kept of each list that is connected. Raises `ConfigError`."""
    for path in sorted(records.glob(f"{NAME}-*.json")):
        record = saved.load(records, path.stem)
        if record is not None:
            yield record


def written(record: Record) -> frozenset[str]:
    """Give the addresses that were put into a list."""
    before, after = ((text or b"").decode(errors="replace") for text in (record.before, record.after))
    known = {source.uri for source in sourceslist.parse(record.file, before)}
    return frozenset(source.uri for source in sourceslist.parse(record.file, after) if source.uri not in known)


def _record(file: Path) -> str:
    return f"{NAME}-{file.name}"


def _without_ours(record: Record) -> str | None:
    """Give a list as it is without our addresses; None: it is gone, and nothing is to be done."""
    now = sourceslist.read(record.file)
    if now is None:
        return None
    text = revert((record.before or b"").decode(), record.after.decode(), now)
    if text is None:
        raise Conflict(f"{record.file}: the lines with {record.url} have been changed since; take them out by hand")
    return text


def _bare(url: str) -> str:
    return without_credentials(url).rstrip("/")
