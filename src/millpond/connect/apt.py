"""apt: the addresses in the machine's package lists, each replaced by the pond's for the same archive.

Only addresses change, where they stand: suites, components, options and Signed-By stay, since what the pond serves is
signed by whom it always was. An archive that the pond does not draw from is left as it is. The lists are the machine's,
so that writing needs root.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from millpond.adopt import sourceslist
from millpond.adopt.apt import SUFFIX, asks_itself, proxies
from millpond.adopt.machine import Machine, shown, unfit, without_credentials
from millpond.connect import lists
from millpond.connect.lists import Change
from millpond.connect.proxies import of_environment
from millpond.connect.saved import Record
from millpond.errors import BadRequest

NAME = "apt"


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
            changes.append(Change(file, text, lists.replaced(text, places), next(iter(places.values()))))
    return changes, [*notes, *_proxied(machine, pond_url)]


def _proxied(machine: Machine, pond_url: str) -> Iterator[str]:
    """Say that apt would ask a proxy for the pond, and what to tell it."""
    parts = urlsplit(pond_url)
    host = parts.hostname or ""
    url = next(iter([*proxies(machine), *of_environment(machine.environ, pond_url)]), "")
    if url and not asks_itself(machine, host):
        yield (
            f"apt is set to the proxy {shown(url)}, which would be asked for the pond: write "
            f'Acquire::{parts.scheme}::Proxy::{host} "DIRECT"; into a file in /etc/apt/apt.conf.d'
        )


def write(machine: Machine, pond_url: str, archives: Mapping[str, str], records: Path) -> tuple[list[Path], list[str]]:
    """Change the lists; gives those that were changed, and what still leads past the pond.

    What was there is kept in `records` before anything changes. Raises as `plan`, `Conflict` for a list that was
    connected before and changed since, `OSError`.
    """
    changes, notes = plan(machine, pond_url, archives)
    return lists.write(NAME, changes, records), notes


def undo(records: Path) -> list[Path]:
    """Take back what `write` did; gives the lists. Raises `NotFound` when it did nothing, `Conflict`, `OSError`."""
    return lists.undo(NAME, records)


def recorded(records: Path) -> Iterator[Record]:
    """Give what was kept of each list that is connected. Raises `ConfigError`."""
    return lists.recorded(NAME, records)


def written(record: Record) -> frozenset[str]:
    """Give the addresses that were put into a list."""
    before, after = ((text or b"").decode(errors="replace") for text in (record.before, record.after))
    known = {source.uri for source in sourceslist.parse(record.file, before)}
    return frozenset(source.uri for source in sourceslist.parse(record.file, after) if source.uri not in known)


def _bare(url: str) -> str:
    return without_credentials(url).rstrip("/")
