"""Where this machine's Python clients have their packages from: pip first, then uv, else the public default.

The default is not written in this project: it is what the `pypi-simple` library publishes. Importing that library
costs about 0.3 s and its dependencies' memory, so another process does it. A machine whose only index is a folder is
left alone: it does not want the public one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from millpond.adopt import pipconf, uvconf
from millpond.adopt.machine import Adopted, Candidate, Found, Machine, Run, Skipped, shown, split_credentials, unfit
from millpond.errors import ConfigError

PACKAGE = "pypi"
SUFFIX = "/simple"
_PIP_OPTION = "index-url"
_ASK_LIBRARY = "import pypi_simple; print(pypi_simple.PYPI_SIMPLE_ENDPOINT)"


def adopt_pypi(machine: Machine) -> Found:
    """Find the index that this machine's pip and uv use."""
    notes: list[str] = []
    try:
        for candidate in (*_of_environment(machine), *of_pip_files(machine), *of_uv_files(machine)):
            found = _judge(machine, candidate, notes)
            if found is not None:
                return found
    except ConfigError as error:
        return Skipped(PACKAGE, f'{error}, or write the index as base_url of a repository with package = "pypi"')
    if notes:
        return Skipped(PACKAGE, "; ".join(notes) + "; write base_url in the configuration to cache another one")
    url = public_index(machine.run)
    if url is None:
        return Skipped(PACKAGE, "no client names an index, and the library pypi-simple does not tell the public one")
    return Adopted(PACKAGE, PACKAGE, url, "the public default (library pypi-simple)")


def public_index(run: Run) -> str | None:
    """Ask the library for the public index; None: it can't be asked."""
    said = run([sys.executable, "-P", "-c", _ASK_LIBRARY])
    url = (said or "").strip()
    return url if url and unfit(url) is None else None


def _of_environment(machine: Machine) -> Iterator[Candidate]:
    value = machine.environ.get("PIP_INDEX_URL", "").strip()
    if value:
        yield Candidate(value, "PIP_INDEX_URL")
    for variable in ("UV_DEFAULT_INDEX", "UV_INDEX_URL"):
        url, name = uvconf.named(machine.environ.get(variable, ""))
        if url:
            yield Candidate(url, variable, name)


def of_pip_files(machine: Machine) -> Iterator[Candidate]:
    """Give the indexes of pip's files, the strongest first. Raises `ConfigError`."""
    for setting in pipconf.values(machine, _PIP_OPTION):
        ours = machine.pond.owns(setting.value, SUFFIX)
        before = pipconf.earlier(machine, setting, _PIP_OPTION) if ours else ""
        yield Candidate(setting.value, setting.label, earlier=before, file=setting.file)


def of_uv_files(machine: Machine) -> Iterator[Candidate]:
    """Give the default indexes of uv's files, the strongest first. Raises `ConfigError`."""
    for setting, name in uvconf.values(machine):
        ours = machine.pond.owns(setting.value, SUFFIX)
        before, name_before = uvconf.earlier(machine, setting.file) if ours else ("", "")
        yield Candidate(setting.value, setting.label, name, before, name_before, setting.file)


def _judge(machine: Machine, candidate: Candidate, notes: list[str]) -> Adopted | None:
    url, label, name = candidate.url, candidate.label, candidate.name
    if machine.pond.owns(url, SUFFIX):
        url, label, name = candidate.earlier, f"{label}, before it was connected to this pond", candidate.earlier_name
        if not url or machine.pond.owns(url, SUFFIX):
            return None
    reason = unfit(url)
    if reason is not None:
        notes.append(f"{label}: {shown(url)} {reason}")
        return None
    base_url, username, password = split_credentials(url)
    if name and not username and not password:
        username, password = uvconf.credentials(machine, name)
    return Adopted(PACKAGE, PACKAGE, base_url, label, username, password, tuple(notes))
