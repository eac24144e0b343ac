"""apt's package lists: ``sources.list`` and ``sources.list.d``, one-line and deb822 (sources.list(5)).

Every entry is read, in the order in which apt reads them, with the place of its addresses in the text, so that
`connect` can put others there and leave all else as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from millpond.adopt.machine import Machine
from millpond.errors import ConfigError

MAX_BYTES = 4 << 20
MAX_FILES = 1000
_NAME = re.compile(r"[A-Za-z0-9_.-]+\.(?:list|sources)", re.ASCII)
_LINE = re.compile(
    r"[ \t]*(?P<type>deb|deb-src)[ \t]+(?:\[(?P<options>[^\]]*)\][ \t]*)?(?P<uri>\S+)[ \t]+(?P<rest>\S[^#\r\n]*)"
)
_FIELD = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9-]*)[ \t]*:[ \t]*(?P<value>.*)")
_WORD = re.compile(r"\S+")
_NO = frozenset({"no", "false", "without", "off", "disable", "0"})


@dataclass(frozen=True, slots=True)
class Source:
    """One address of an entry, and where it stands: `start` and `end` in the text of its file."""

    file: Path
    uri: str
    suites: str
    start: int
    end: int
    enabled: bool = True

    @property
    def label(self) -> str:
        """Where it was found, for people."""
        return str(self.file)


def files(machine: Machine) -> list[Path]:
    """List the files that apt reads, in its order."""
    etc = machine.root / "etc/apt"
    parts = etc / "sources.list.d"
    try:
        names = sorted(path.name for path in parts.iterdir() if _NAME.fullmatch(path.name))
    except OSError:
        names = []
    return [etc / "sources.list", *(parts / name for name in names[:MAX_FILES])]


def sources(machine: Machine) -> Iterator[Source]:
    """Read every entry that is enabled. Raises `ConfigError` for a file that can't be read."""
    for file in files(machine):
        text = read(file)
        if text is not None:
            yield from (one for one in parse(file, text) if one.enabled)


def read(file: Path) -> str | None:
    """Read a list; None: there is none. Raises `ConfigError`."""
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


def parse(file: Path, text: str) -> Iterator[Source]:
    """Give the entries of a list in either form; what is none is passed over, as apt will complain of it itself."""
    return _stanzas(file, text) if file.suffix == ".sources" else _lines(file, text)


def _lines(file: Path, text: str) -> Iterator[Source]:
    at = 0
    for line in text.splitlines(keepends=True):
        found = _LINE.match(line)
        if found:
            start, end = found.span("uri")
            options = dict(one.partition("=")[::2] for one in (found["options"] or "").split())
            enabled = options.get("enabled", "yes").lower() not in _NO
            yield Source(file, found["uri"], found["rest"].strip(), at + start, at + end, enabled)
        at += len(line)


def _stanzas(file: Path, text: str) -> Iterator[Source]:
    stanza: dict[str, list[tuple[str, int]]] = {}
    lines: list[tuple[str, int]] | None = None
    at = 0
    for line in [*text.splitlines(keepends=True), "\n"]:
        bare = line.rstrip("\r\n")
        if not bare.strip():
            yield from _of_stanza(file, stanza)
            stanza, lines = {}, None
        elif bare[0] in " \t":
            if lines is not None:
                lines.append((bare, at))
        elif not bare.startswith("#"):
            found = _FIELD.match(bare)
            lines = None
            if found:
                lines = stanza.setdefault(found["name"].lower(), [])
                lines.append((found["value"], at + found.start("value")))
        at += len(line)


def _of_stanza(file: Path, stanza: dict[str, list[tuple[str, int]]]) -> Iterator[Source]:
    enabled = _value(stanza, "enabled").lower() not in _NO
    suites = _value(stanza, "suites")
    for value, at in stanza.get("uris", []):
        for word in _WORD.finditer(value):
            yield Source(file, word[0], suites, at + word.start(), at + word.end(), enabled)


def _value(stanza: dict[str, list[tuple[str, int]]], name: str) -> str:
    return " ".join(value.strip() for value, _ in stanza.get(name, [])).strip()
