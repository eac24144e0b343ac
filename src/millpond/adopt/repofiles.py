"""dnf's repository files: ``dnf.conf`` and ``*.repo`` (dnf.conf(5)), with their variables.

Every section is read with the place of its values in the text, so that `connect` can put others there and leave all
else as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from millpond.adopt.machine import Machine
from millpond.errors import ConfigError

MAX_BYTES = 4 << 20
MAX_FILES = 1000
BASEURL, METALINK, MIRRORLIST = "baseurl", "metalink", "mirrorlist"
_FOLDERS = ("/etc/yum.repos.d", "/etc/yum/repos.d", "/etc/distro.repos.d")
_SECTION = re.compile(r"\[(?P<name>[^\]]+)\]")
_OPTION = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9_.-]*)[ \t]*=[ \t]*(?P<value>.*)")
_WORD = re.compile(r"[^\s,]+")
_VARIABLE = re.compile(r"\$(?:\{(?P<braced>[A-Za-z0-9_]+)\}|(?P<plain>[A-Za-z0-9_]+))")
_VALUE = re.compile(r"[A-Za-z0-9._~+-]{1,64}")
_NO = frozenset({"0", "no", "false", "off"})
_BASE_ARCHES = {
    "i386": "i386", "i486": "i386", "i586": "i386", "i686": "i386", "amd64": "x86_64", "arm64": "aarch64",
    "armv7l": "armhfp", "armv7hl": "armhfp",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Word:
    """A value, and where it stands in the text of its file."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Section:
    """One section: the lines of its options, by their names, each with its place; `at`: where each option begins."""

    file: Path
    name: str
    lines: Mapping[str, list[tuple[str, int]]] = field(default_factory=dict)
    at: Mapping[str, int] = field(default_factory=dict)

    def value(self, name: str) -> str:
        """Give an option's value in one line; empty: it is not set."""
        return " ".join(text.strip() for text, _ in self.lines.get(name, [])).strip()

    def words(self, name: str) -> list[Word]:
        """Give the words of a list."""
        found = []
        for text, at in self.lines.get(name, []):
            found += [Word(word[0], at + word.start(), at + word.end()) for word in _WORD.finditer(text)]
        return found

    def whole(self, name: str) -> list[Word]:
        """Give a value as one word, with whatever is in it."""
        lines = [(text, at) for text, at in self.lines.get(name, []) if text.strip()]
        if len(lines) != 1:
            return []
        text, at = lines[0]
        start = at + len(text) - len(text.lstrip())
        return [Word(text.strip(), start, start + len(text.strip()))]

    @property
    def enabled(self) -> bool:
        """Whether it is used."""
        return self.value("enabled").lower() not in _NO


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a section has its packages from: which option says it, its address as it stands, and with its variables."""

    option: str
    word: Word
    url: str
    others: int = 0
    """How many more addresses there are, of the same packages."""


class Variables:
    """The variables of a machine's repository files; those that take a tool are looked up when they are used."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def filled(self, text: str) -> str | None:
        """Put the values in; None: one of them is not known."""
        missing: list[str] = []

        def value(match: re.Match[str]) -> str:
            name = match["braced"] or match["plain"]
            found = self._value(name)
            if found is None:
                missing.append(name)
            return found or ""

        filled = _VARIABLE.sub(value, text)
        return None if missing else filled

    def _value(self, name: str) -> str | None:
        match name:
            case _ if name in self._own:
                return self._own[name]
            case "releasever":
                return self._releasever
            case "releasever_major":
                return self._releasever and self._releasever.partition(".")[0]
            case "releasever_minor":
                return self._releasever and self._releasever.partition(".")[2]
            case "arch":
                return self._arch
            case "basearch":
                return self._arch and _BASE_ARCHES.get(self._arch, self._arch)
        return None

    @cached_property
    def _own(self) -> dict[str, str]:
        """Read the files of variables: one each, its first line is the value."""
        found: dict[str, str] = {}
        for folder in ("etc/yum/vars", "etc/dnf/vars"):
            try:
                files = sorted((self._machine.root / folder).iterdir())[:MAX_FILES]
            except OSError:
                continue
            for file in files:
                text = read(file) if file.is_file() else None
                if text and text.splitlines()[0].strip():
                    found[file.name] = text.splitlines()[0].strip()
        return found

    @cached_property
    def _releasever(self) -> str | None:
        told = self._machine.run(["rpm", "-q", "--qf", "%{VERSION}\n", "--whatprovides", "system-release"]) or ""
        first = told.strip().partition("\n")[0]
        if _VALUE.fullmatch(first):
            return first
        text = read(self._machine.root / "etc/os-release") or ""
        pairs = dict(line.partition("=")[::2] for line in text.splitlines())
        version = pairs.get("VERSION_ID", "").strip("\"'")
        return version if _VALUE.fullmatch(version) else None

    @cached_property
    def _arch(self) -> str | None:
        told = (self._machine.run(["uname", "-m"]) or "").strip()
        return told if _VALUE.fullmatch(told) else None


def main_section(machine: Machine) -> Section:
    """Read the settings that hold for all repositories. Raises `ConfigError`."""
    file = machine.root / "etc/dnf/dnf.conf"
    found = (one for one in parse(file, read(file) or "") if one.name == "main")
    return next(found, Section(file, "main"))


def files(machine: Machine) -> list[Path]:
    """List the repository files, in dnf's order. Raises `ConfigError`."""
    named = [word.text for word in main_section(machine).words("reposdir")]
    found: list[Path] = []
    for folder in named or _FOLDERS:
        try:
            there = sorted(machine.root.joinpath(folder.lstrip("/")).glob("*.repo"))
        except OSError:
            continue
        found += there
    return found[:MAX_FILES]


def sections(machine: Machine) -> Iterator[Section]:
    """Read every section that is a repository, and enabled. Raises `ConfigError` for a file that can't be read."""
    for file in files(machine):
        yield from (one for one in parse(file, read(file) or "") if one.enabled and one.name != "main")


def read(file: Path) -> str | None:
    """Read a file; None: there is none. Raises `ConfigError`."""
    try:
        if file.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{file}: cannot be read: it has more than {MAX_BYTES} bytes")
        return file.read_bytes().decode()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise ConfigError(f"{file}: cannot be read: it is not UTF-8 text") from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror or error}") from None


def parse(file: Path, text: str) -> Iterator[Section]:
    """Give the sections of a file; what is none is passed over, as dnf will complain of it itself."""
    lines: dict[str, list[tuple[str, int]]] = {}
    begins: dict[str, int] = {}
    name, option, at = "", "", 0
    for line in text.splitlines(keepends=True):
        bare = line.rstrip("\r\n")
        section, pair = _SECTION.match(bare), _OPTION.match(bare)
        if bare.startswith(("#", ";")) or not bare.strip():
            pass
        elif section:
            if name:
                yield Section(file, name, lines, begins)
            name, option, lines, begins = section["name"].strip(), "", {}, {}
        elif bare[0] in " \t":
            if option:
                lines[option].append((bare, at))
        elif pair:
            option = pair["name"].lower()
            lines[option], begins[option] = [(pair["value"], at + pair.start("value"))], at
        at += len(line)
    if name:
        yield Section(file, name, lines, begins)


def origin(section: Section, variables: Variables) -> Origin | None:
    """Say where a section has its packages from: a base URL, else a metalink, else a mirrorlist, as dnf reads them.

    Of several base URLs the first counts. None: it names nothing, or a variable in it is not known.
    """
    words = section.words(BASEURL)
    if words:
        url = variables.filled(words[0].text)
        return None if url is None else Origin(BASEURL, words[0], url, len(words) - 1)
    for option in (METALINK, MIRRORLIST):
        for word in section.whole(option):
            url = variables.filled(word.text)
            kind = METALINK if METALINK in word.text else option  # so says dnf
            return None if url is None else Origin(option, word, f"{kind}+{url}")
    return None
