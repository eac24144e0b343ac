"""Which settings each step takes, of what kind, and what they name: nothing misspelt is left out in silence. PURE."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from enum import StrEnum

from millpond.delivery.reading import Table, nearest

MOST = 1e9
LEAST_EVERY_S = 5.0
"""Between two looks of a monitor: each is a job of its own."""
LIMITS: Mapping[str, tuple[float, float]] = {
    "every_s": (LEAST_EVERY_S, 86400.0),
    "for_s": (0.0, 30 * 86400.0),
    "confirm": (0.0, 100.0),
}
"""From, to; numbers that are not named here may be 0 to `MOST`."""


class Kind(StrEnum):
    """What a setting is."""

    TEXT = "text"
    WORDS = "a list of words"
    FLAG = "true or false"
    NUMBER = "a number"
    TABLE = "a table"


_RUNS = {"argv": Kind.WORDS, "commit": Kind.FLAG, "passes": Kind.WORDS, "stall_s": Kind.NUMBER}
TAKES: Mapping[str, Mapping[str, Kind]] = {
    "command": {**_RUNS, "message": Kind.TEXT},
    "agent": {
        **_RUNS,
        "costs": Kind.FLAG,
        "model": Kind.TEXT,
        "more": Kind.WORDS,
        "preset": Kind.TEXT,
        "prices": Kind.TABLE,
        "prompt": Kind.TEXT,
        "repeats": Kind.NUMBER,
    },
    "merge": {},
    "deploy": {"sets": Kind.TABLE},
    "monitor": {
        "confirm": Kind.NUMBER,
        "every_s": Kind.NUMBER,
        "for_s": Kind.NUMBER,
        "rollback": Kind.FLAG,
    },
}
"""By step; a name means the same wherever it is taken."""
CHOICES: Mapping[str, Collection[str]] = {
    "preset": ("claude", "codex", "command"),
    "prompt": ("analysis", "development", "review"),
}
"""The words that a text is one of: those of `steps.presets` and `steps.prompts`."""
FILLED: Mapping[str, Collection[str]] = {
    **dict.fromkeys(("argv", "message", "more", "path"), ("{key}",)),
    "sets": ("{key}", "{sha}"),
}
"""What is filled in, by the setting of a step or a gate (`path`)."""
_FIELD = re.compile(r"\{[a-z_]+\}")
ANY: Mapping[str, Kind] = {name: kind for takes in TAKES.values() for name, kind in takes.items()}
"""What at least one step takes: a label's settings go to each of them."""


def unfilled(name: str, text: str) -> list[str]:
    """Give what looks like a field in a setting's text, such as ``{kay}``, and is filled in by nobody."""
    return [field for field in dict.fromkeys(_FIELD.findall(text)) if field not in FILLED[name]]


def filled(table: Table, name: str, text: str) -> None:
    """Note the fields of a text that nobody fills in; for texts of ours, in which braces mean nothing else."""
    for field in unfilled(name, text):
        table.wrong(name, f'"{field}" is filled in by nobody', nearest(field, FILLED[name]))


def check(table: Table, takes: Mapping[str, Kind], variables: Collection[str] | None = None) -> None:
    """Note what is not known in a table of settings, and what is of another kind.

    `variables`: names of those that the operator lets stages pass; None: they are not known here.
    """
    for name, kind in takes.items():
        value = table.raw(name)
        if value is not None:
            _one(table, name, kind, value)
    if "message" in takes and isinstance(message := table.raw("message"), str):
        filled(table, "message", message)
    if variables is not None and "passes" in takes:
        _passed(table, variables)
    if takes:
        table.close()
    else:
        for name in table.keys:
            table.wrong(name, "this step takes no settings")


def _one(table: Table, name: str, kind: Kind, value: object) -> None:
    """Note what is wrong with a setting by its kind."""
    match kind:
        case Kind.NUMBER:
            table.number(name, 0, *LIMITS.get(name, (0.0, MOST)))
        case Kind.FLAG:
            table.flag(name)
        case Kind.TEXT if isinstance(value, str):
            table.choice(name, CHOICES.get(name, (value,)), "")
        case Kind.TABLE if isinstance(value, Mapping):
            pass
        case Kind.WORDS if isinstance(value, list) and all(isinstance(word, str) for word in value):
            pass
        case _:
            table.wrong(name, f"this is {kind}")


def _passed(table: Table, variables: Collection[str]) -> None:
    """Note variables that nobody has: what needs one would run without it."""
    names = table.raw("passes")
    for index, name in enumerate(names if isinstance(names, list) else ()):
        if isinstance(name, str) and name not in variables:
            meant = nearest(name, variables) if variables else f'write {name} = {{ env = "{name}" }} there'
            table.wrong(f"passes[{index}]", f'"{name}" is not in [delivery.environment]', meant)
