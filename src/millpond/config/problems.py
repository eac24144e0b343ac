"""From a mistake to one line that names the place, the key, what is wrong, and what was meant.

No line repeats a value that may be a secret: values are quoted only where a closed set of words was expected.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import ErrorDetails

from millpond.config.apps import AppConfig
from millpond.config.delivery import ProjectConfig
from millpond.config.hosts import HostConfig
from millpond.config.model import Config, RepositoryConfig
from millpond.config.table import Table
from millpond.errors import Mistake

Path = tuple[str | int, ...]
_KINDS = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "path_type": "a path",
    "finite_number": "a finite number",
}
_BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_MAX_QUOTED_CHARS = 60
PIPELINE = "pipeline"
"""The one table that is no `Table`: `delivery.definition` reads it, and says what is wrong."""
_SURE = 0.85
FEW = 0.5
"""How alike a word must be to one of a small set ("pipy", "pypi")."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake; `path` is the key's place, such as ``("repositories", "pypi", "mutable_ttl_s")``."""

    path: Path
    text: str
    whole_table: bool = False
    """The place is a table that nobody knows, not a key."""

    def mistake(self, source: str) -> Mistake:
        """Take it apart; `source` is the file, variable or command line that the setting came from."""
        where = f"[{_quoted(self.path[0])}]" if self.whole_table else place(self.path)
        wrong, _, meant = self.text.partition("; ")
        return Mistake(wrong, source, where, meant)


def place(path: Path) -> str:
    """Write a key's place as it stands in the file: ``[repositories.pypi] mutable_ttl_s``."""
    depth = table_depth(path)
    table = ".".join(_quoted(part) for part in path[:depth])
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{_quoted(part)}" for part in path[depth:])
    return f"[{table}] {key.removeprefix('.')}".strip() if table else key.removeprefix(".")


def table_depth(path: Path) -> int:
    """Count the parts of a path that name its table."""
    depth = 2 if path and path[0] in NAMED else 1
    while len(path) > depth and _below(table_class(path[:depth]), str(path[depth])) is not None:
        depth += 1
    return min(len(path), depth) if path and path[0] in Config.model_fields else 0


def _quoted(part: str | int) -> str:
    return str(part) if _BARE.fullmatch(str(part)) else f'"{part}"'


def meant(word: str, known: Iterable[str], likeness: float = 0.6) -> str:
    """Give what was probably meant, as a clause; else what is known."""
    known = sorted(known)
    close = difflib.get_close_matches(word.lower(), known, n=1, cutoff=likeness)
    if close:
        return f'did you mean "{close[0]}"?'
    return "known: " + ", ".join(f'"{name}"' for name in known)


def explain(error: ErrorDetails) -> Problem:
    """Say what one of pydantic's errors means."""
    path, kind = tuple(error["loc"]), error["type"]
    context: Mapping[str, Any] = error.get("ctx") or {}
    match kind:
        case "extra_forbidden":
            return _unknown(path, error["input"])
        case "missing":
            thing = {"hosts": "host", "apps": "app", "projects": "project"}.get(str(path[0]), "repository")
            return Problem(path, f"missing; every {thing} needs it")
        case "value_error":
            return Problem(path, str(context["error"]))
        case "literal_error" | "enum":
            return Problem(path, _not_one_of(error["input"], re.findall(r"'([^']*)'", context["expected"])))
        case "model_type" | "dict_type" | "mapping_type":
            return Problem(path, _no_table(path))
    if kind in _BOUNDS:
        bound, words = _BOUNDS[kind]
        return Problem(path, f"must be {words} {context[bound]:g}, not {_amount(error['input'])}")
    return Problem(path, f"must be {_KINDS.get(kind, 'something else')}, not {describe(error['input'])}")


def describe(value: object) -> str:
    """Name a value's type in the file's own terms, without the value."""
    names = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "a table"}
    return names.get(type(value), "a date or time")


def _amount(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) else describe(value)


def _not_one_of(value: object, words: Sequence[str]) -> str:
    if not isinstance(value, str) or len(value) > _MAX_QUOTED_CHARS:
        return f"must be one of {', '.join(words)}, not {describe(value)}"
    return f'"{value}" is not one of its values; {meant(value, words, FEW)}'


def _no_table(path: Path) -> str:
    shown = ".".join(str(part) for part in path)
    return f"must be a table: write its keys below a line [{shown}]"


def _unknown(path: Path, value: object) -> Problem:
    key = str(path[-1])
    known = table_class(path[:-1]).model_fields
    if len(path) == 1 and isinstance(value, dict):
        return Problem(path, f"unknown table; {meant(key, known)}", whole_table=True)
    homes = homes_of(key)
    if homes and not difflib.get_close_matches(key, known, n=1, cutoff=_SURE):
        return Problem(path, f"unknown key here; it belongs in {' or '.join(homes)}")
    return Problem(path, f"unknown key; {meant(key, known)}")


def homes_of(key: str) -> list[str]:
    """List the tables that have a key, as they are written in the file."""
    tables = [(name,) for name in Config.model_fields if name not in {*NAMED, PIPELINE}]
    inner = [("upkeep", name) for name in table_class(("upkeep",)).model_fields]
    homes = [f"[{'.'.join(place)}]" for place in (*tables, *inner) if key in table_class(place).model_fields]
    return [*homes, *(f"[{table}.NAME]" for table, kind in NAMED.items() if key in kind.model_fields)]


NAMED: Mapping[str, type[Table]] = {
    "repositories": RepositoryConfig,
    "hosts": HostConfig,
    "apps": AppConfig,
    "projects": ProjectConfig,
}
"""The tables of which there is one for each name."""


def table_class(path: Path) -> type[Table]:
    """Find the class of the table at a place; for a place that is no table, that of the whole file."""
    found: type[Table] | None = Config
    rest = path
    if path[:1] and path[0] in NAMED and len(path) > 1:
        found, rest = NAMED[str(path[0])], path[2:]
    for part in rest:
        found = _below(found, str(part)) if found else None
    return found or Config


def _below(table: type[Table], key: str) -> type[Table] | None:
    field = table.model_fields.get(key)
    found = field.annotation if field else None
    return found if isinstance(found, type) and issubclass(found, Table) else None
