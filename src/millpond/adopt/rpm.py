"""Where this machine's dnf has its packages from: one repository for each address in its repository files.

A list of mirrors is one address (``metalink+https:``, ``mirrorlist+https:``). A repository is named by the last part of
its address that means something; where that is a word like ``os``, an architecture or a version, or the address is that
of a list, by dnf's own name for it. Credentials come from the address or from the section.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit

from millpond.adopt import repofiles
from millpond.adopt.machine import Adopted, Found, Machine, Skipped, shown, split_credentials, unfit
from millpond.adopt.repofiles import BASEURL, Origin, Section, Variables
from millpond.errors import ConfigError

PACKAGE = "rpm"
MAX_NAME = 64
_WORDS = re.compile(
    r"os|source|sources|srpms|debug|debuginfo|tree|packages|stable|testing|latest|current|release|releases|repo|repos|"
    r"rpm|rpms|yum|dnf|linux|noarch|main|base|everything|x86_64|i[3-6]86|aarch64|arm64|armhfp|armv7hl|ppc64le|s390x|"
    r"riscv64|amd64|(?:el|fc|rhel|centos|fedora)?[0-9][0-9._-]*(?:stream)?",
    re.IGNORECASE,
)
"""Parts of an address that say nothing of what is there."""
_TAKEN = frozenset({
    "api", "v2", "health", "metrics", "config", "cache", "queue", "webhook", "ui", "docs", "favicon.ico",
    "pypi", "npm", "dockerhub", "golang", "cargo", "maven", "alpine", "debian",
})  # fmt: skip
"""Names that mean something else already."""


def adopt_rpm(machine: Machine) -> tuple[Found, ...]:
    """Find the repositories that this machine's dnf uses."""
    notes: list[str] = []
    variables = Variables(machine)
    try:
        main = repofiles.main_section(machine)
        found = [
            one for section in repofiles.sections(machine) for one in _upstream(machine, section, variables, notes)
        ]
    except ConfigError as error:
        return (Skipped(PACKAGE, f'{error}, or write a repository with package = "rpm" and its base_url'),)
    proxies = {one.value("proxy") for one in (main, *(section for _, section in found))} - {"", "_none_"}
    notes += [f"dnf is set to the proxy {shown(url)}; the pond asks the repositories itself" for url in sorted(proxies)]
    places: dict[str, list[Section]] = {}
    for url, section in found:
        places.setdefault(url, []).append(section)
    if not places:
        return (Skipped(PACKAGE, "; ".join(notes) or "there is no dnf, or no repository in its files"),)
    names = named({url: sections[0].name for url, sections in places.items()})
    adopted = [_adopted(names[url], url, sections, main) for url, sections in places.items()]
    return (replace(adopted[0], notes=tuple(notes)), *adopted[1:])


def _adopted(name: str, url: str, sections: list[Section], main: Section) -> Adopted:
    base_url, username, password = split_credentials(url)
    if not username and not password:
        username, password = next(
            ((one.value("username"), one.value("password")) for one in (*sections, main) if one.value("password")),
            ("", ""),
        )
    label = ", ".join(dict.fromkeys(f"[{one.name}] of {one.file}" for one in sections))
    return Adopted(name, PACKAGE, base_url, label, username, password)


def _upstream(
    machine: Machine, section: Section, variables: Variables, notes: list[str]
) -> Iterator[tuple[str, Section]]:
    """Give the upstream that a section stands for, and the section as it was before `connect`, with its credentials.

    None, with a note, where it can't be one.
    """
    label = f"[{section.name}] of {section.file}"
    found = repofiles.origin(section, variables)
    if found is not None and is_pond(machine, found.url):
        before = earlier(machine, section, variables)
        if before is None:
            return
        found, section = before
    if found is None:
        notes.append(f"{label}: it names no address, or one with a variable that is not known here")
        return
    reason = no_upstream(found)
    if reason is not None:
        notes.append(f"{label}: {shown(found.url)} {reason}")
        return
    if found.others:
        notes.append(f"{label}: of its {found.others + 1} addresses the pond draws from the first")
    if section.value("sslclientcert"):
        notes.append(f"{label}: it shows a certificate of its own, which the pond does not")
    yield (found.url.rstrip("/") if found.option == BASEURL else found.url), section


def no_upstream(found: Origin) -> str | None:
    """Say why an address can't be an upstream; None: it can."""
    if found.option == BASEURL:
        return unfit(found.url)
    plain, _, query = found.url.partition("+")[2].partition("?")
    return unfit(plain) or ("has white space or a fragment in it" if re.search(r"[\x00-\x20#\\\x7f]", query) else None)


def earlier(machine: Machine, section: Section, variables: Variables) -> tuple[Origin, Section] | None:
    """Give what stood in the place of the pond's address before `connect`, in which section; None: it is not known."""
    before = machine.earlier.get(section.file)
    if before is None:
        return None
    for was in repofiles.parse(section.file, before.decode(errors="replace")):
        if was.name == section.name:
            found = repofiles.origin(was, variables)
            return None if found is None or is_pond(machine, found.url) else (found, was)
    return None


def is_pond(machine: Machine, url: str) -> bool:
    """Whether an address is this pond's: of a repository, of a list of its mirrors, or of a folder in it."""
    plain = re.sub(r"^[a-z]+\+", "", url)
    try:
        parts = urlsplit(plain)
    except ValueError:
        return False
    segments = parts.path.strip("/").split("/")
    begins = ("/".join(segments[:count]) for count in range(1, len(segments) + 1))
    return any(machine.pond.owns(f"{parts.scheme}://{parts.netloc}/{begin}", "") for begin in begins)


def named(places: dict[str, str]) -> dict[str, str]:
    """Name each repository; `places`: dnf's names by address. Where two would clash, with ``-2`` and so on."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for url, own in places.items():
        last = urlsplit(url).path.rstrip("/").rpartition("/")[2]
        listed = "+" in url.partition("://")[0]
        wanted = own if listed or not last or _WORDS.fullmatch(last) else last
        plain = re.sub(r"[^a-z0-9._-]+", "-", wanted.lower()).strip("-._")[:MAX_NAME] or PACKAGE
        plain = f"dnf-{plain}" if plain in _TAKEN else plain
        name, number = plain, 1
        while name in taken:
            number += 1
            name = f"{plain}-{number}"
        taken.add(name)
        names[url] = name
    return names
