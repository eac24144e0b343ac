"""uv: an ``[[index]]`` with ``default = true`` in the user's ``uv.toml``."""

from __future__ import annotations

import copy
import json
import re
import tomllib
from collections.abc import Iterator
from typing import Any, ClassVar

from millpond.adopt import uvconf
from millpond.adopt.machine import Candidate, Machine, Run, shown
from millpond.adopt.pypi import PACKAGE, SUFFIX, of_uv_files, public_index
from millpond.connect.settings import Settings
from millpond.errors import Conflict

_HEADER = re.compile(r"\s*\[")
_INDEX = re.compile(r"\s*\[\[\s*index\s*\]\]")
_URL = re.compile(r"(?P<key>\s*(?:url|\"url\"|'url')\s*=\s*)(?:\"[^\"]*\"|'[^']*')(?P<rest>[^\"']*(?:#.*)?\r?\n?)")


class Uv:
    """See `Tool`."""

    name: ClassVar[str] = "uv"
    package: ClassVar[str] = PACKAGE
    suffix: ClassVar[str] = SUFFIX
    variables: ClassVar[tuple[str, ...]] = ("UV_DEFAULT_INDEX", "UV_INDEX_URL")

    def settings(self, url: str, machine: Machine) -> Settings:
        """Say what to tell it."""
        text = f"[[index]]\nurl = {json.dumps(url)}\ndefault = true\n"
        command = f"uv pip install --default-index {url}"
        return Settings(self.name, url, command, {"UV_DEFAULT_INDEX": url}, uvconf.user_file(machine), text)

    def edit(self, text: str, settings: Settings, machine: Machine) -> str:
        """Put the settings into the text of its file; all else stays as it is. Raises `Conflict`."""
        del machine
        table = uvconf.parse(text, settings.file)
        entry = uvconf.default_index(table)
        expected = copy.deepcopy(table)
        if entry is None:
            edited = _appended(text, settings.text)
            expected.setdefault("index", []).append({"url": settings.url, "default": True})
        else:
            number = table["index"].index(entry)
            edited = _replaced(text, number, settings.url)
            expected["index"][number]["url"] = settings.url
        if not _reads_as(edited, expected):
            raise Conflict(
                f"{settings.file} has a form that is not edited here; set its default index by hand:\n{settings.text}"
            )
        return edited

    def candidates(self, machine: Machine) -> Iterator[Candidate]:
        """Give the indexes of its files, the strongest first. Raises `ConfigError`."""
        return of_uv_files(machine)

    def notes(self, machine: Machine) -> Iterator[str]:
        """Say what else of its settings leads past the pond."""
        for variable in ("UV_INDEX", "UV_EXTRA_INDEX_URL"):
            for value in machine.environ.get(variable, "").split():
                yield f"{variable}: this index is still asked without the pond: {shown(uvconf.named(value)[0])}"
        for file, url in uvconf.more_indexes(machine):
            yield f"{file}: this index is still asked without the pond: {shown(url)}"

    def public(self, run: Run) -> str | None:
        """Give the index that it has without settings."""
        return public_index(run)


def _reads_as(text: str, expected: dict[str, Any]) -> bool:
    try:
        return tomllib.loads(text) == expected
    except tomllib.TOMLDecodeError:
        return False


def _appended(text: str, block: str) -> str:
    end = "\r\n" if "\r\n" in text else "\n"
    gap = "" if not text else end if text.endswith("\n") else end * 2
    return text + gap + block.replace("\n", end)


def _replaced(text: str, number: int, url: str) -> str:
    """Replace the URL of one ``[[index]]`` in place; where it is not found the text stays, and the caller notices."""
    lines = text.splitlines(keepends=True)
    seen, inside = -1, False
    for at, line in enumerate(lines):
        if _HEADER.match(line):
            seen += 1 if _INDEX.match(line) else 0
            inside = bool(_INDEX.match(line)) and seen == number
        elif inside and (found := _URL.fullmatch(line)):
            lines[at] = f"{found['key']}{json.dumps(url)}{found['rest']}"
            break
    return "".join(lines)
