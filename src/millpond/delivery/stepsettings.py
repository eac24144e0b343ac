"""Which settings each step takes, and of what kind: what is misspelt there would be left out in silence. PURE."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum

from millpond.delivery.reading import Table

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
ANY: Mapping[str, Kind] = {name: kind for takes in TAKES.values() for name, kind in takes.items()}
"""What at least one step takes: a label's settings go to each of them."""


def check(table: Table, takes: Mapping[str, Kind]) -> None:
    """Note what is not known in a table of settings, and what is of another kind."""
    for name, kind in takes.items():
        value = table.raw(name)
        match kind:
            case _ if value is None:
                continue
            case Kind.NUMBER:
                table.number(name, 0, *LIMITS.get(name, (0.0, MOST)))
            case Kind.FLAG:
                table.flag(name)
            case Kind.TEXT if isinstance(value, str):
                table.choice(name, CHOICES.get(name, (value,)), "")
            case Kind.TABLE if isinstance(value, Mapping):
                continue
            case Kind.WORDS if isinstance(value, list) and all(isinstance(word, str) for word in value):
                continue
            case _:
                table.wrong(name, f"this is {kind}")
    if takes:
        table.close()
    else:
        for name in table.keys:
            table.wrong(name, "this step takes no settings")
