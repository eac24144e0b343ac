"""Reading a table that a person wrote: each value with its kind and limits, each mistake with its place. PURE.

Nothing is raised on the way; mistakes are gathered, so that all of them are told at once. A value that is wrong reads
as its default.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import cast

from millpond.delivery.model import Json
from millpond.errors import Mistake

MAX_TEXT = 4096
MAX_ITEMS = 100
MAX_DEPTH = 8


@dataclass(slots=True)
class Mistakes:
    """What is wrong with one file."""

    file: str
    found: list[Mistake] = field(default_factory=list)

    def add(self, key: str, wrong: str, meant: str = "") -> None:
        """Note a mistake at a place such as ``stages[2].gates``."""
        self.found.append(Mistake(wrong, self.file, key, meant))


def nearest(word: str, known: Collection[str]) -> str:
    """Say what was probably meant, or what there is."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f'did you mean "{close[0]}"?' if close else f"write one of {', '.join(sorted(known))}"


class Table:
    """A table at a place in the file; keys that are not asked for are mistakes (`close`)."""

    def __init__(self, value: object, place: str, mistakes: Mistakes) -> None:
        self.place, self.notes, self._asked = place, mistakes, set[str]()
        if isinstance(value, Mapping):
            self._values: Mapping[str, object] = value
        else:
            self._values = {}
            mistakes.add(place, f"{_shown(value)} is no table")

    def __contains__(self, key: str) -> bool:
        return key in self._values

    @property
    def keys(self) -> Collection[str]:
        """What is written in it."""
        return self._values.keys()

    def at(self, key: str) -> str:
        """Write the place of a key."""
        return f"{self.place}.{key}" if self.place else key

    def wrong(self, key: str, text: str, meant: str = "") -> None:
        """Note a mistake at a key."""
        self.notes.add(self.at(key), text, meant)

    def raw(self, key: str) -> object:
        """Give a value as it is; None: there is none."""
        self._asked.add(key)
        return self._values.get(key)

    def text(self, key: str, default: str = "", *, required: bool = False) -> str:
        """Read a text."""
        value = self.raw(key)
        if value is None:
            if required:
                self.wrong(key, "missing")
            return default
        if not isinstance(value, str) or not value or len(value) > MAX_TEXT or "\0" in value:
            self.wrong(key, f"{_shown(value)} is no text of 1 to {MAX_TEXT} characters")
            return default
        return value

    def choice(self, key: str, known: Collection[str], default: str, *, required: bool = False) -> str:
        """Read one of some words."""
        value = self.text(key, required=required)
        if value and value not in known:
            self.wrong(key, f'"{value}" is not known', nearest(value, known))
            return default
        return value or default

    def number(self, key: str, default: float, least: float, most: float) -> float:
        """Read a number within limits."""
        value = self.raw(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            self.wrong(key, f"{_shown(value)} is no number")
            return default
        if not least <= value <= most:
            self.wrong(key, f"{value:g} is out of bounds", f"write {least:g} to {most:g}")
            return default
        return float(value)

    def whole(self, key: str, default: int, least: int, most: int) -> int:
        """Read a whole number within limits."""
        value = self.number(key, default, least, most)
        if value != int(value):
            self.wrong(key, f"{value:g} is no whole number")
            return default
        return int(value)

    def flag(self, key: str) -> bool:
        """Read true or false; false where it is left out."""
        value = self.raw(key)
        if value is not None and not isinstance(value, bool):
            self.wrong(key, f"{_shown(value)} is neither true nor false")
        return value is True

    def items(self, key: str) -> list[object]:
        """Read a list."""
        value = self.raw(key)
        if value is None:
            return []
        if not isinstance(value, list):
            self.wrong(key, f"{_shown(value)} is no list")
            return []
        if len(value) > MAX_ITEMS:
            self.wrong(key, f"{len(value)} items; at most {MAX_ITEMS} are taken")
        return list(value[:MAX_ITEMS])

    def texts(self, key: str) -> list[str]:
        """Read a list of texts."""
        good = []
        for index, value in enumerate(self.items(key)):
            if isinstance(value, str) and 0 < len(value) <= MAX_TEXT:
                good.append(value)
            else:
                self.notes.add(f"{self.at(key)}[{index}]", f"{_shown(value)} is no text")
        return good

    def table(self, key: str) -> Table:
        """Read a table within; an empty one where it is left out."""
        value = self.raw(key)
        return Table({} if value is None else value, self.at(key), self.notes)

    def tables(self, key: str) -> list[Table]:
        """Read a list of tables."""
        return [Table(one, f"{self.at(key)}[{index}]", self.notes) for index, one in enumerate(self.items(key))]

    def settings(self, key: str) -> Mapping[str, Json]:
        """Read a table whose keys are somebody else's."""
        table = self.table(key)
        return {name: self.json(value, table.at(name)) for name, value in table._values.items()}  # noqa: SLF001

    def json(self, value: object, place: str, depth: int = 0) -> Json:
        """Take a value that JSON has, too (TOML's dates it has not)."""
        if depth > MAX_DEPTH:
            self.notes.add(place, f"nested more than {MAX_DEPTH} deep")
            return None
        if isinstance(value, str | int | bool) or (isinstance(value, float) and math.isfinite(value)):
            return value
        if isinstance(value, list):
            return [self.json(one, f"{place}[{index}]", depth + 1) for index, one in enumerate(value)]
        if isinstance(value, dict):
            inner = cast("dict[str, object]", value)
            return {name: self.json(one, f"{place}.{name}", depth + 1) for name, one in inner.items()}
        self.notes.add(place, f"{_shown(value)} can't be used here; write a text or a number")
        return None

    def close(self) -> None:
        """Note each key that nobody asked for."""
        for key in self._values:
            if key not in self._asked:
                self.wrong(key, f'"{key}" is not known here', nearest(key, self._asked))


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."  # noqa: PLR2004
