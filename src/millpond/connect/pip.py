"""pip: ``index-url``, and ``trusted-host`` for a pond that is reached by plain http over a network."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from millpond.adopt import pipconf
from millpond.adopt.machine import Candidate, Machine, Run, shown
from millpond.adopt.pypi import PACKAGE, SUFFIX, of_pip_files, public_index
from millpond.connect.settings import Settings, untrusted_host
from millpond.errors import ConfigError, Conflict

_HEADER = re.compile(r"\[(?P<name>.+)\]\s*")
_OPTION = re.compile(r"(?P<key>[^\s=:#;\[][^=:]*?)\s*[=:]")
INDEX, TRUSTED, EXTRA = "index-url", "trusted-host", "extra-index-url"


class Pip:
    """See `Tool`."""

    name: ClassVar[str] = "pip"
    package: ClassVar[str] = PACKAGE
    suffix: ClassVar[str] = SUFFIX
    variables: ClassVar[tuple[str, ...]] = ("PIP_INDEX_URL",)

    def settings(self, url: str, machine: Machine) -> Settings:
        """Say what to tell it."""
        host = untrusted_host(url)
        variables = {"PIP_INDEX_URL": url} | ({"PIP_TRUSTED_HOST": host} if host else {})
        command = f"pip install --index-url {url}" + (f" --trusted-host {host}" if host else "")
        text = f"[global]\n{INDEX} = {url}\n" + (f"{TRUSTED} = {host}\n" if host else "")
        return Settings(self.name, url, command, variables, pipconf.user_file(machine), text)

    def edit(self, text: str, settings: Settings, machine: Machine) -> str:
        """Put the settings into the text of its file; all else stays as it is. Raises `Conflict`."""
        wanted = {(section, INDEX): settings.url for section in _sections(machine, INDEX)}
        host = untrusted_host(settings.url)
        if host:
            trusted = next((found.value.split() for found in pipconf.values(machine, TRUSTED)), [])
            value = " ".join(dict.fromkeys([*trusted, host]))
            wanted |= {(section, TRUSTED): value for section in _sections(machine, TRUSTED)}
        edited = text
        for section in dict.fromkeys(section for section, _ in wanted):
            for option in (TRUSTED, INDEX):  # what is new goes to the section's start: the last one comes first
                if (section, option) in wanted:
                    edited = set_option(edited, section, option, wanted[section, option])
        self._verify(text, edited, wanted, settings)
        return edited

    def _verify(self, text: str, edited: str, wanted: dict[tuple[str, str], str], settings: Settings) -> None:
        expected = pipconf.parse(text, settings.file)
        for (section, option), value in wanted.items():
            expected.setdefault(section, {})[option] = value
        try:
            done = pipconf.parse(edited, settings.file) == expected
        except ConfigError:
            done = False
        if not done:
            raise Conflict(
                f"{settings.file} has a form that is not edited here; write into it by hand:\n{settings.text}"
            )

    def candidates(self, machine: Machine) -> Iterator[Candidate]:
        """Give the indexes of its files, the strongest first. Raises `ConfigError`."""
        return of_pip_files(machine)

    def notes(self, machine: Machine) -> Iterator[str]:
        """Say what else of its settings leads past the pond."""
        more = [(found.label, found.value) for found in pipconf.values(machine, EXTRA)]
        if machine.environ.get("PIP_EXTRA_INDEX_URL"):
            more.insert(0, ("PIP_EXTRA_INDEX_URL", machine.environ["PIP_EXTRA_INDEX_URL"]))
        for label, value in more:
            urls = ", ".join(shown(url) for url in value.split())
            yield f"{label}: {EXTRA} is still asked without the pond: {urls}"

    def public(self, run: Run) -> str | None:
        """Give the index that it has without settings."""
        return public_index(run)


def _sections(machine: Machine, option: str) -> list[str]:
    """List the sections to write: ``[install]`` too where a file has the option there, since that would win."""
    install = any(found.section == "install" for found in pipconf.values(machine, option))
    return ["global", "install"] if install else ["global"]


def set_option(text: str, section: str, option: str, value: str) -> str:
    """Set one option in the text of an INI file; comments, order and all other lines stay."""
    lines = text.splitlines(keepends=True)
    end = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    line = f"{option} = {value}{end}"
    start = _find_section(lines, section)
    if start is None:
        if lines and not lines[-1].endswith(("\n", "\r")):
            lines[-1] += end
        return "".join([*lines, f"[{section}]{end}", line])
    first, last = _find_option(lines, start, option)
    if first == start and not lines[start - 1].endswith(("\n", "\r")):
        lines[start - 1] += end
    lines[first:last] = [line]
    return "".join(lines)


def _find_section(lines: list[str], section: str) -> int | None:
    """Find the line after a section's header."""
    for number, line in enumerate(lines):
        header = _HEADER.fullmatch(line)
        if header and header["name"] == section:
            return number + 1
    return None


def _find_option(lines: list[str], start: int, option: str) -> tuple[int, int]:
    """Find an option's lines with its continuations; where it is missing: the empty place at the section's start."""
    for first in range(start, len(lines)):
        if lines[first].startswith("["):
            break
        found = _OPTION.match(lines[first])
        if found and pipconf.normalised(found["key"]) == option:
            last = first + 1
            while last < len(lines) and lines[last][0] in " \t" and lines[last].strip():
                last += 1
            return first, last
    return start, start
