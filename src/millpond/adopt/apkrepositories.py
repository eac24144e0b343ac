"""apk's package lists: ``/etc/apk/repositories`` and ``repositories.d`` (apk-repositories(5)).

A line is an address, perhaps with a type and a tag before it and components behind it; newer apk knows variables too.
Every entry is read, with the place of its address in the text, so that `connect` can put another there and leave all
else as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from millpond.adopt.machine import Machine
from millpond.errors import ConfigError

MAX_BYTES = 1 << 20
MAX_FILES = 1000
SUFFIX = ".list"
OWN, DISTRIBUTIONS = "etc/apk/repositories.d", "lib/apk/repositories.d"
_ENTRY = re.compile(
    r"[ \t]*(?:(?P<type>ndx|v2|v3)[ \t]+)?(?:@(?P<tag>\S+)[ \t]+)?(?P<url>\S+)(?:[ \t]+[^\s#]\S*)*[ \t]*"
)
_SET = re.compile(r"[ \t]*set[ \t]+(?P<default>-default[ \t]+)?(?P<key>[A-Za-z][A-Za-z0-9_]*)=(?P<value>\S*)[ \t]*")
_VARIABLE = re.compile(r"\$\{([A-Za-z][A-Za-z0-9_]*)\}")
_BRANCH = re.compile(r"(?P<base>.+?)(?P<rest>/(?:v[0-9]+(?:\.[0-9]+)*|edge|latest-stable)(?:/[^/]+)*)/*")
_INDEX = (".tar.gz", ".adb")


@dataclass(frozen=True, slots=True)
class Source:
    """One line's address, and where it stands: `start` and `end` in the text of its file.

    `url` has its variables filled in; `written` is as it stands there.
    """

    file: Path
    url: str
    written: str
    tag: str
    start: int
    end: int

    @property
    def label(self) -> str:
        """Where it was found, for people."""
        return str(self.file)

    @property
    def base(self) -> str:
        """What all branches of a mirror have in common; of an address without a branch, all of it."""
        return _split(self.url)[0]

    @property
    def rest(self) -> str:
        """What stands behind that: a branch and what is below it, with its slash; an index's own name; or nothing."""
        return _split(self.url)[1]


def files(machine: Machine) -> list[Path]:
    """List the files that apk reads, in its order; of two lists with one name the machine's own wins."""
    found: dict[str, Path] = {}
    for folder in (OWN, DISTRIBUTIONS):
        try:
            names = sorted(path.name for path in (machine.root / folder).iterdir() if path.suffix == SUFFIX)
        except OSError:
            continue
        for name in names[:MAX_FILES]:
            found.setdefault(name, machine.root / folder / name)
    return [machine.root / "etc/apk/repositories", *found.values()]


def is_machines_own(machine: Machine, file: Path) -> bool:
    """Whether a list is for this machine's owner to change, and not the distribution's."""
    return file.parent != machine.root / DISTRIBUTIONS


def sources(machine: Machine) -> Iterator[Source]:
    """Read every entry. Raises `ConfigError` for a file that can't be read."""
    variables: dict[str, str] = {}
    for file in files(machine):
        yield from parse(file, read(file) or "", variables)


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


def parse(file: Path, text: str, variables: dict[str, str] | None = None) -> Iterator[Source]:
    """Give the entries of a list; what is none is passed over, as apk will complain of it itself.

    `variables` are those of the lists before it, and get those of this one.
    """
    known: dict[str, str] = {} if variables is None else variables
    at = 0
    for line in text.splitlines(keepends=True):
        bare = line.rstrip("\r\n")
        assigned, entry = _SET.fullmatch(bare), _ENTRY.fullmatch(bare)
        if assigned:
            if not assigned["default"] or assigned["key"] not in known:
                known[assigned["key"]] = _filled(assigned["value"], known)
        elif entry and not entry["url"].startswith("#"):
            start, end = entry.span("url")
            yield Source(file, _filled(entry["url"], known), entry["url"], entry["tag"] or "", at + start, at + end)
        at += len(line)


def _filled(text: str, variables: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda found: variables.get(found[1], found[0]), text)


def _split(url: str) -> tuple[str, str]:
    found = _BRANCH.fullmatch(url)
    if found:
        return found["base"].rstrip("/"), found["rest"]
    if url.endswith(_INDEX):
        folder, slash, name = url.rpartition("/")
        return folder, slash + name
    return url.rstrip("/"), ""
