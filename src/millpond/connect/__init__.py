"""Client settings that point at the pond, printed, written and restored. A file per tool."""

from __future__ import annotations

from millpond.connect.containers import NAMES as ENGINES
from millpond.connect.saved import Record
from millpond.connect.settings import Settings
from millpond.connect.writing import TOOLS, Written, package_of, plan, this_machine, undo, write

__all__ = [
    "ENGINES", "TOOLS", "Record", "Settings", "Written", "package_of", "plan", "this_machine", "undo", "write",
]  # fmt: skip
