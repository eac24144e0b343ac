"""Client settings that point at the pond, printed, written and restored. A file per tool (`pip`, `uv`)."""

from __future__ import annotations

from millpond.connect.containers import NAMES as ENGINES
from millpond.connect.saved import Record
from millpond.connect.settings import Settings
from millpond.connect.writing import TOOLS, Written, plan, this_machine, undo, write

__all__ = ["ENGINES", "TOOLS", "Record", "Settings", "Written", "plan", "this_machine", "undo", "write"]
