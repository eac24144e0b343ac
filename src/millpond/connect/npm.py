"""npm and pnpm: ``registry`` in the user's ``.npmrc``, which both read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from millpond.adopt import npmrc
from millpond.adopt.machine import Candidate, Machine, Run, shown
from millpond.adopt.npm import PACKAGE, SUFFIX, of_npm, public_registry
from millpond.connect.settings import Settings
from millpond.errors import Conflict

_REGISTRY = re.compile(r"(?P<key>\s*[\"']?registry[\"']?\s*=\s*)[^\r\n]*(?P<end>\r?\n?)")
_SECTION = re.compile(r"\s*\[")


class Npm:
    """See `Tool`."""

    name: ClassVar[str] = "npm"
    package: ClassVar[str] = PACKAGE
    suffix: ClassVar[str] = SUFFIX
    variables: ClassVar[tuple[str, ...]] = ("npm_config_registry", "NPM_CONFIG_REGISTRY")
    install: ClassVar[str] = "npm install"

    def settings(self, url: str, machine: Machine) -> Settings:
        """Say what to tell it."""
        text = f"{npmrc.REGISTRY}={url}\n"
        command = f"{self.install} --registry {url}"
        return Settings(self.name, url, command, {"npm_config_registry": url}, npmrc.user_file(machine), text)

    def edit(self, text: str, settings: Settings, machine: Machine) -> str:
        """Put the settings into the text of its file; all else stays as it is. Raises `Conflict`."""
        edited = _with_registry(text, settings.url)
        expected = npmrc.parse(text, machine.environ) | {npmrc.REGISTRY: settings.url}
        if npmrc.parse(edited, machine.environ) != expected:
            raise Conflict(
                f"{settings.file} has a form that is not edited here; write into it by hand:\n{settings.text}"
            )
        return edited

    def candidates(self, machine: Machine) -> Iterator[Candidate]:
        """Give the registries of its files, the strongest first. Raises `ConfigError`."""
        return (found for found in of_npm(machine) if found.file is not None)

    def notes(self, machine: Machine) -> Iterator[str]:
        """Say what else of its settings leads past the pond."""
        for place in npmrc.places(machine):
            for scope, url in npmrc.scoped(place):
                yield f"{place.label}: {scope} is still asked without the pond: {shown(url)}"

    def public(self, run: Run) -> str | None:
        """Give the registry that it has without settings."""
        return public_registry(run)


class Pnpm(Npm):
    """See `Tool`; its settings are npm's."""

    name: ClassVar[str] = "pnpm"
    install: ClassVar[str] = "pnpm add"


def _with_registry(text: str, url: str) -> str:
    """Set the registry in the text of an ``.npmrc``: in its last place before any section, else as a new line there."""
    lines = text.splitlines(keepends=True)
    end = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    stop = next((at for at, line in enumerate(lines) if _SECTION.match(line)), len(lines))
    for at in reversed(range(stop)):
        found = _REGISTRY.fullmatch(lines[at])
        if found:
            lines[at] = f"{found['key']}{url}{found['end']}"
            return "".join(lines)
    if stop and not lines[stop - 1].endswith(("\n", "\r")):
        lines[stop - 1] += end
    return "".join([*lines[:stop], f"{npmrc.REGISTRY}={url}{end}", *lines[stop:]])
