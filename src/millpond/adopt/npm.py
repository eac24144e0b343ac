"""Where this machine's npm and pnpm have their packages from: the environment, npm's files, else npm's own default.

The default is not written in this project: npm is asked for it, with its files and variables left out (they have been
read by then), by a program of its own that has a time limit. Scopes with registries of their own are not adopted: a
repository draws from one upstream, and which of them a scope's packages are in, only the client's settings say. They
are told of; a repository can be written for each.
"""

from __future__ import annotations

from collections.abc import Iterator

from millpond.adopt import npmrc
from millpond.adopt.machine import Adopted, Candidate, Found, Machine, Run, Skipped, shown, split_credentials, unfit
from millpond.errors import ConfigError

PACKAGE = "npm"
SUFFIX = ""
_NOWHERE = "/nonexistent/"
_ASK_NPM = (
    "env", "-u", "npm_config_registry", "-u", "NPM_CONFIG_REGISTRY", "npm", "config", "get", "registry", "--global",
    "--logs-max=0", "--no-update-notifier", "--cache=/dev/null/none",  # or it would leave files behind
    f"--userconfig={_NOWHERE}user", f"--globalconfig={_NOWHERE}global",
)  # fmt: skip


def adopt_npm(machine: Machine) -> Found:
    """Find the registry that this machine's npm uses."""
    notes: list[str] = []
    try:
        settings = list(npmrc.places(machine))
        notes += _scopes(machine, settings)
        passed = len(notes)
        for candidate in of_npm(machine):
            found = _judge(machine, candidate, settings, notes)
            if found is not None:
                return found
    except ConfigError as error:
        return Skipped(PACKAGE, f'{error}, or write the registry as base_url of a repository with package = "npm"')
    if len(notes) > passed:
        return Skipped(PACKAGE, "; ".join(notes) + "; write base_url in the configuration to cache another one")
    url = public_registry(machine.run)
    if url is None:
        return Skipped(PACKAGE, "no client names a registry, and there is no npm that tells its default")
    username, password = npmrc.credentials(settings, url)
    return Adopted(PACKAGE, PACKAGE, url, "npm's own default", username, password, tuple(notes))


def of_npm(machine: Machine) -> Iterator[Candidate]:
    """Give the registries of the environment and of npm's files, the strongest first. Raises `ConfigError`."""
    for place in npmrc.places(machine):
        url = place.values.get(npmrc.REGISTRY, "")
        if url:
            ours = place.file is not None and machine.pond.owns(url, SUFFIX)
            before = npmrc.earlier(machine, place.file) if ours and place.file is not None else ""
            yield Candidate(url, place.label, earlier=before, file=place.file)


def public_registry(run: Run) -> str | None:
    """Ask npm for its own default; None: it can't be asked."""
    url = (run(_ASK_NPM) or "").strip()
    return url if url and unfit(url) is None else None


def _scopes(machine: Machine, settings: list[npmrc.Settings]) -> Iterator[str]:
    for place in settings:
        for scope, url in npmrc.scoped(place):
            if not machine.pond.owns(url, SUFFIX):
                yield f"{place.label}: {scope} has a registry of its own, which is not adopted: {shown(url)}"


def _judge(machine: Machine, candidate: Candidate, settings: list[npmrc.Settings], notes: list[str]) -> Adopted | None:
    url, label = candidate.url, candidate.label
    if machine.pond.owns(url, SUFFIX):
        url, label = candidate.earlier, f"{label}, before it was connected to this pond"
        if not url or machine.pond.owns(url, SUFFIX):
            return None
    reason = unfit(url)
    if reason is not None:
        notes.append(f"{label}: {shown(url)} {reason}")
        return None
    base_url, username, password = split_credentials(url)
    if not username and not password:
        username, password = npmrc.credentials(settings, base_url)
    return Adopted(PACKAGE, PACKAGE, base_url, label, username, password, tuple(notes))
