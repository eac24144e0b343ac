"""Where this machine's apk has its packages from: one repository for each mirror in its package lists.

The branches and repositories of a mirror (``v3.20/main``, ``edge/testing``) are folders of one; tagged lines count like
any other. Folders of this machine have no upstream that needs a cache.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from millpond.adopt import apkrepositories
from millpond.adopt.apkrepositories import Source
from millpond.adopt.machine import Adopted, Found, Machine, Skipped, shown, split_credentials, unfit
from millpond.errors import ConfigError

PACKAGE = REPOSITORY = "alpine"
SUFFIX = ""
MAX_NAME = 64


def adopt_apk(machine: Machine) -> tuple[Found, ...]:
    """Find the mirrors that this machine's apk uses."""
    notes: list[str] = []
    places: dict[str, list[Source]] = {}
    try:
        for source in apkrepositories.sources(machine):
            for base in _upstream(machine, source, notes):
                places.setdefault(base, []).append(source)
    except ConfigError as error:
        return (Skipped(PACKAGE, f'{error}, or write a repository with package = "{PACKAGE}" and its base_url'),)
    if not places:
        return (Skipped(PACKAGE, "; ".join(notes) or "there is no apk, or no mirror in its package lists"),)
    adopted: list[Adopted] = []
    for name, (url, where) in zip(named(places), places.items(), strict=True):
        base_url, username, password = split_credentials(url)
        label = ", ".join(dict.fromkeys(place.label for place in where))
        more = () if adopted else tuple(notes)
        adopted.append(Adopted(name, PACKAGE, base_url, label, username, password, more))
    return tuple(adopted)


def _upstream(machine: Machine, source: Source, notes: list[str]) -> Iterator[str]:
    """Give the mirror that a line stands for; none, with a note, where it can't be one."""
    if ours(machine, source.url):
        yield from earlier(machine, source)
        return
    reason = "has a variable that is not set" if "${" in source.url else unfit(source.base)
    if reason is None:
        yield source.base
    else:
        notes.append(f"{source.label}: {shown(source.url)} {reason}")


def ours(machine: Machine, url: str) -> bool:
    """Whether an address leads to this pond: to a repository of it, or any place below one."""
    scheme, _, rest = url.partition("://")
    host, *segments = rest.split("/")
    prefixes = ("/".join([f"{scheme}://{host}", *segments[: count + 1]]) for count in range(len(segments)))
    return any(machine.pond.owns(prefix, SUFFIX) for prefix in prefixes)


def earlier(machine: Machine, source: Source) -> Iterator[str]:
    """Give what stood in the place of the pond's address before `connect`; none: nothing is known of it."""
    before = machine.earlier.get(source.file)
    if before is None:
        return
    old = apkrepositories.parse(source.file, before.decode(errors="replace"))
    now = apkrepositories.parse(source.file, apkrepositories.read(source.file) or "")
    for was, one in zip(old, now, strict=False):
        if one.start == source.start and was.tag == one.tag and not ours(machine, was.url):
            if unfit(was.base) is None:
                yield was.base
            return


def named(urls: Iterable[str]) -> Iterator[str]:
    """Name the first mirror ``alpine``, others ``alpine-`` and their address's last part; ``-2`` where two clash."""
    taken: set[str] = set()
    for url in urls:
        parts = urlsplit(url)
        last = parts.path.rstrip("/").rpartition("/")[2] or (parts.hostname or "")
        plain = re.sub(r"[^a-z0-9._-]+", "-", last.lower()).strip("-._")[:MAX_NAME]
        name = stem = f"{REPOSITORY}-{plain or 'mirror'}" if taken else REPOSITORY
        number = 1
        while name in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name)
        yield name
