"""yarn: ``npmRegistryServer`` in the user's ``.yarnrc.yml`` (2 and later), ``registry`` in ``.yarnrc`` (1, classic).

Newer yarn reads no file of npm's, and asks nobody by plain http whose name is not in ``unsafeHttpWhitelist``. Its file
is YAML, of which only lines of the plainest form are edited; any other is left to its owner.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

from millpond.adopt.machine import Candidate, Machine, Run
from millpond.adopt.npm import PACKAGE, SUFFIX, of_npm, public_registry
from millpond.adopt.pipconf import decode, read
from millpond.connect.npm import Npm
from millpond.connect.settings import Settings
from millpond.errors import Conflict

SERVER, WHITELIST, SCOPES = "npmRegistryServer", "unsafeHttpWhitelist", "npmScopes"
_KEY = re.compile(r"(?P<key>[A-Za-z][A-Za-z0-9]*|\"[^\"]*\"|'[^']*')[ \t]*:(?P<value>(?:[ \t].*)?)")
_SCALAR = re.compile(
    r"(?P<before>[ \t]*)(?P<quote>[\"']?)(?P<text>[^\s\"'#\[\]{}&*!|>%@`][^\s\"'#]*)(?P=quote)"
    r"(?P<after>[ \t]*(?:[ \t]#.*)?)"
)
_ITEM = re.compile(r"(?P<indent>[ \t]*)-[ \t]+(?P<quote>[\"']?)(?P<text>[^\"']+?)(?P=quote)[ \t]*")
_CLASSIC = re.compile(
    r"(?P<key>[ \t]*\"?registry\"?[ \t]+)(?P<quote>\"?)(?P<url>[^\"\s]*)(?P=quote)(?P<end>[ \t]*\r?\n?)"
)


class Yarn:
    """See `Tool`: yarn 2 and later."""

    name: ClassVar[str] = "yarn"
    package: ClassVar[str] = PACKAGE
    suffix: ClassVar[str] = SUFFIX
    variables: ClassVar[tuple[str, ...]] = ("YARN_NPM_REGISTRY_SERVER",)

    def settings(self, url: str, machine: Machine) -> Settings:
        """Say what to tell it."""
        host = _plain_host(url)
        variables = {"YARN_NPM_REGISTRY_SERVER": url} | ({"YARN_UNSAFE_HTTP_WHITELIST": host} if host else {})
        command = " ".join([*(f"{name}={value}" for name, value in variables.items()), "yarn add"])
        return Settings(self.name, url, command, variables, machine.home / ".yarnrc.yml", _lines(url, host))

    def edit(self, text: str, settings: Settings, machine: Machine) -> str:
        """Put the settings into the text of its file; all else stays as it is. Raises `Conflict`."""
        del machine
        host = _plain_host(settings.url)
        lines = text.splitlines(keepends=True)
        if lines and not lines[-1].endswith("\n"):
            lines[-1] += "\n"
        done = _with_server(lines, settings.url) and (not host or _with_host(lines, host))
        if not done:
            raise Conflict(
                f"{settings.file} has a form that is not edited here; write into it by hand:\n{settings.text}"
            )
        return "".join(lines)

    def candidates(self, machine: Machine) -> Iterator[Candidate]:
        """Give the registry of its file. Raises `ConfigError`."""
        file = machine.home / ".yarnrc.yml"
        url = _server(_text(file))
        if url:
            before = machine.earlier.get(file)
            earlier = _server(decode(before, file)) if before is not None else ""
            yield Candidate(url, str(file), earlier=earlier, file=file)

    def notes(self, machine: Machine) -> Iterator[str]:
        """Say what else of its settings leads past the pond."""
        file = machine.home / ".yarnrc.yml"
        if any(_key(line) == SCOPES for line in _text(file).splitlines()):
            yield f"{file}: scopes with a registry of their own ({SCOPES}) are still asked without the pond"

    def public(self, run: Run) -> str | None:
        """Give npm's public registry; yarn's own default is another name of it."""
        return public_registry(run)


class YarnClassic(Npm):
    """See `Tool`: yarn 1, which reads npm's files where its own says nothing."""

    name: ClassVar[str] = "yarn1"
    variables: ClassVar[tuple[str, ...]] = ("YARN_REGISTRY", "yarn_registry")
    install: ClassVar[str] = "yarn add"

    def settings(self, url: str, machine: Machine) -> Settings:
        """Say what to tell it."""
        text = f"registry {json.dumps(url)}\n"
        command = f"{self.install} --registry {url}"
        return Settings(self.name, url, command, {"YARN_REGISTRY": url}, machine.home / ".yarnrc", text)

    def edit(self, text: str, settings: Settings, machine: Machine) -> str:
        """Put the settings into the text of its file; all else stays as it is."""
        del machine
        lines = text.splitlines(keepends=True)
        found = [at for at, line in enumerate(lines) if _CLASSIC.fullmatch(line)]
        for at in found:
            match = _CLASSIC.fullmatch(lines[at])
            assert match is not None  # noqa: S101 - it was found by this
            lines[at] = f"{match['key']}{json.dumps(settings.url)}{match['end']}"
        if found:
            return "".join(lines)
        return text + ("" if not text or text.endswith("\n") else "\n") + settings.text

    def candidates(self, machine: Machine) -> Iterator[Candidate]:
        """Give the registries of its file and of npm's, the strongest first. Raises `ConfigError`."""
        file = machine.home / ".yarnrc"
        url = _classic(_text(file))
        if url:
            before = machine.earlier.get(file)
            earlier = _classic(decode(before, file)) if before is not None else ""
            yield Candidate(url, str(file), earlier=earlier, file=file)
        yield from (found for found in of_npm(machine) if found.file is not None)


def _text(file: Path) -> str:
    content = read(file)
    return "" if content is None else decode(content, file)


def _classic(text: str) -> str:
    """Read the registry of a classic file; of two the last counts."""
    found = [match["url"] for line in text.splitlines() if (match := _CLASSIC.fullmatch(line))]
    return found[-1] if found else ""


def _plain_host(url: str) -> str:
    """Give the host that is asked by plain http; empty: it is asked by https."""
    parts = urlsplit(url)
    return parts.hostname or "" if parts.scheme == "http" else ""


def _lines(url: str, host: str) -> str:
    text = f"{SERVER}: {json.dumps(url)}\n"
    return text + (f"{WHITELIST}:\n  - {json.dumps(host)}\n" if host else "")


def _key(line: str) -> str:
    """Give the key of a line of the outermost mapping; empty: it is none."""
    found = _KEY.fullmatch(line.rstrip("\r\n"))
    return found["key"].strip("\"'") if found else ""


def _value(line: str) -> str | None:
    """Give the plain value behind a key; empty: there is none in this line; None: it has another form."""
    found = _KEY.fullmatch(line.rstrip("\r\n"))
    value = found["value"] if found else ""
    if not value.strip() or value.strip().startswith("#"):
        return ""
    scalar = _SCALAR.fullmatch(value)
    return scalar["text"] if scalar else None


def _server(text: str) -> str:
    return next((_value(line) or "" for line in text.splitlines() if _key(line) == SERVER), "")


def _with_server(lines: list[str], url: str) -> bool:
    places = [at for at, line in enumerate(lines) if _key(line) == SERVER]
    if not places:
        lines.append(f"{SERVER}: {json.dumps(url)}\n")
        return True
    if len(places) > 1 or not _value(lines[places[0]]):
        return False
    line = _KEY.fullmatch(lines[places[0]].rstrip("\r\n"))
    scalar = None if line is None else _SCALAR.fullmatch(line["value"])
    if line is None or scalar is None:
        return False
    lines[places[0]] = f"{line['key']}:{scalar['before']}{json.dumps(url)}{scalar['after']}\n"
    return True


def _with_host(lines: list[str], host: str) -> bool:
    """Put a host on the list of those that may be asked by plain http."""
    places = [at for at, line in enumerate(lines) if _key(line) == WHITELIST]
    if not places:
        lines += [f"{WHITELIST}:\n", f"  - {json.dumps(host)}\n"]
        return True
    at = places[0] + 1
    items = []
    while at < len(lines) and (found := _ITEM.fullmatch(lines[at].rstrip("\r\n"))):
        items.append(found)
        at += 1
    if len(places) > 1 or _value(lines[places[0]]) != "" or not items:
        return False
    if all(found["text"] != host for found in items):
        lines.insert(at, f"{items[-1]['indent']}- {json.dumps(host)}\n")
    return True
