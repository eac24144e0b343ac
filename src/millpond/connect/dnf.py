"""dnf: the addresses in the machine's repository files, each replaced by the pond's for the same repository.

Only addresses change, where they stand. A list of mirrors stays one, the pond's (a metalink promises what repomd.xml
is, and goes on doing so); what would lead dnf past it is commented out: further addresses of the same section and its
proxy. So are the credentials of the section, which are its upstream's and not for the pond to see.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from millpond.adopt import repofiles
from millpond.adopt.machine import Machine, shown, unfit, without_credentials
from millpond.adopt.repofiles import BASEURL, METALINK, MIRRORLIST, Origin, Section, Variables
from millpond.adopt.rpm import is_pond
from millpond.connect import lists
from millpond.connect.lists import Change
from millpond.connect.saved import Record
from millpond.errors import BadRequest

NAME = "dnf"
NO_PROXY = "_none_"
"""The value of `proxy` that says: none, whatever holds for all repositories (dnf.conf(5))."""
_UPSTREAMS_OWN = ("username", "password", "proxy")


def plan(machine: Machine, pond_url: str, repositories: Mapping[str, str]) -> tuple[list[Change], list[str]]:
    """Say what to change, and what will still lead past the pond. `repositories`: their names by their upstreams.

    Raises `BadRequest` for an address that is none, `ConfigError` for a file that can't be read.
    """
    if unfit(pond_url) is not None or without_credentials(pond_url) != pond_url:
        raise BadRequest(f"{shown(pond_url)!r} is not the pond's address; write it as http://127.0.0.1:8080")
    names = {_bare(url): name for url, name in repositories.items()}
    variables = Variables(machine)
    changes: list[Change] = []
    notes: list[str] = []
    for file in repofiles.files(machine):
        text = repofiles.read(file) or ""
        places: dict[tuple[int, int], str] = {}
        url = ""
        for section in repofiles.parse(file, text):
            found = repofiles.origin(section, variables) if section.name != "main" else None
            if found is None:
                continue
            name = names.get(_bare(found.url))
            if name is not None:
                url = f"{pond_url.rstrip('/')}/{name}/"
                places |= dict(_places(section, found, url))
            elif section.enabled and not is_pond(machine, found.url):
                notes.append(f"{file}: {shown(found.url)} is still asked without the pond, which does not draw from it")
        if places:
            changes.append(Change(file, text, lists.replaced(text, places), url))
    return changes, notes


def _places(section: Section, found: Origin, url: str) -> Iterator[tuple[tuple[int, int], str]]:
    """Give what to put where."""
    if found.option == BASEURL:
        yield (found.word.start, section.words(BASEURL)[-1].end), url
    else:
        kind = METALINK if found.url.startswith(METALINK) else MIRRORLIST
        yield (found.word.start, found.word.end), f"{url}{kind}"
    for option in (METALINK, MIRRORLIST, *_UPSTREAMS_OWN):
        if option != found.option and option in section.at and section.value(option) != NO_PROXY:
            first, *others = section.lines[option]
            del first
            for at in (section.at[option], *(at for _, at in others)):
                yield (at, at), "#"


def write(
    machine: Machine, pond_url: str, repositories: Mapping[str, str], records: Path
) -> tuple[list[Path], list[str]]:
    """Change the files; gives those that were changed, and what still leads past the pond. Raises as `plan` and `put`.

    What was there is kept in `records` before anything changes.
    """
    changes, notes = plan(machine, pond_url, repositories)
    return lists.write(NAME, changes, records), notes


def undo(records: Path) -> list[Path]:
    """Take back what `write` did; gives the files. Raises as `lists.undo`."""
    return lists.undo(NAME, records)


def recorded(records: Path) -> Iterator[Record]:
    """Give what was kept of each file that is connected. Raises `ConfigError`."""
    return lists.recorded(NAME, records)


def written(record: Record) -> frozenset[str]:
    """Give the addresses of the pond that were put into a file."""
    before, after = ((text or b"").decode(errors="replace") for text in (record.before, record.after))
    known = _addresses(record.file, before)
    return frozenset(url for url in _addresses(record.file, after) if url not in known)


def _addresses(file: Path, text: str) -> set[str]:
    return {word.text for section in repofiles.parse(file, text) for word in section.words(BASEURL)}


def _bare(url: str) -> str:
    return without_credentials(url).rstrip("/")
