"""The command line: a file per noun; a command is one operation of the application and its rendering."""

from __future__ import annotations

from millpond.cli.main import run

__all__ = ["run"]
