"""apk: the addresses in the machine's package lists, each replaced by the pond's for the same mirror.

Only addresses change, where they stand: branches, tags and components stay, and so do the keys, since what the pond
serves is signed by whom it always was. A mirror that the pond does not draw from is left as it is. The lists are the
machine's, so that writing needs root.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from millpond.adopt import apkrepositories
from millpond.adopt.apk import ours
from millpond.adopt.apkrepositories import Source
from millpond.adopt.machine import Machine, shown, unfit, without_credentials
from millpond.connect import lists
from millpond.connect.lists import Change
from millpond.connect.proxies import of_environment
from millpond.connect.saved import Record
from millpond.errors import BadRequest

NAME = "apk"


def plan(machine: Machine, pond_url: str, mirrors: Mapping[str, str]) -> tuple[list[Change], list[str]]:
    """Say what to change, and what will still lead past the pond. `mirrors`: repositories' names by their upstreams.

    Raises `BadRequest` for an address that is none, `ConfigError` for a list that can't be read.
    """
    if unfit(pond_url) is not None or without_credentials(pond_url) != pond_url:
        raise BadRequest(f"{shown(pond_url)!r} is not the pond's address; write it as http://127.0.0.1:8080")
    changes: list[Change] = []
    notes: list[str] = []
    variables: dict[str, str] = {}
    for file in apkrepositories.files(machine):
        text = apkrepositories.read(file) or ""
        places: dict[tuple[int, int], str] = {}
        for source in apkrepositories.parse(file, text, variables):
            place = None if ours(machine, source.url) else _place(source, mirrors)
            if place is not None and apkrepositories.is_machines_own(machine, file):
                places[source.start, source.end] = pond_url.rstrip("/") + place
            elif not ours(machine, source.url) and unfit(source.url) is None:
                notes.append(f"{file}: {shown(source.url)} is still asked without the pond, {_why(place)}")
        if places:
            changes.append(Change(file, text, lists.replaced(text, places), next(iter(places.values()))))
    notes += [
        f"the environment names the proxy {shown(url)}, which apk would ask for the pond: put "
        f"{urlsplit(pond_url).hostname} into no_proxy"
        for url in of_environment(machine.environ, pond_url)
    ]
    return changes, notes


def write(machine: Machine, pond_url: str, mirrors: Mapping[str, str], records: Path) -> tuple[list[Path], list[str]]:
    """Change the lists; gives those that were changed, and what still leads past the pond.

    What was there is kept in `records` before anything changes. Raises as `plan`, `Conflict` for a list that was
    connected before and changed since, `OSError`.
    """
    changes, notes = plan(machine, pond_url, mirrors)
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
    known = {source.url for source in apkrepositories.parse(record.file, before)}
    return frozenset(one.url for one in apkrepositories.parse(record.file, after) if one.url not in known)


def _place(source: Source, mirrors: Mapping[str, str]) -> str | None:
    """Give the path of the same place in the pond, by the repository that is nearest to it; None: it has none."""
    url = _bare(source.url)
    fitting = [base for base in mirrors if f"{url}/".startswith(f"{_bare(base)}/")]
    if not fitting:
        return None
    base = max(fitting, key=len)
    return f"/{mirrors[base]}{url.removeprefix(_bare(base))}"


def _why(place: str | None) -> str:
    if place is None:
        return "which does not draw from it"
    return f"since that list is the distribution's: one of the same name in {apkrepositories.OWN} would win over it"


def _bare(url: str) -> str:
    return without_credentials(url).rstrip("/")
