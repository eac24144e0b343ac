"""``millpond queue``, ``reconcile``, ``drift``: what the background does, and whether all agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from millpond.cli.output import NO, out, say_json, table
from millpond.cli.session import ConfigOption, DataOption, JsonOption, perform


def queue(config: ConfigOption = None, data: DataOption = None, json: JsonOption = False) -> None:
    """Tell what every background part does, and which tasks changed last."""
    found = perform("queue", config, data, {}, json=json)
    if json:
        say_json(found)
        return
    counts = found["counts"]
    out.print(f"jobs: {_counted(counts)}; at most {found['max_concurrency']} at a time")
    out.print(f"tasks: {_counted(counts.get('tasks', {}))}")
    out.print(f"waiting: {counts.get('nudges', 0)} looks, {counts.get('outbox', 0)} writes to the board")
    for name, block in found.items():
        if isinstance(block, dict) and name != "counts":
            state = "on " if block.get("enabled") else "off"
            problem = block.get("reason") or block.get("last_error")
            out.print(f"{state}  {name}{f': {problem}' if problem else ''}")
    told = found["reconcile"]
    for project, error in (told.get("failed") or {}).items():
        out.print(f"the board of {project} could not be asked: {error}")
    for project, error in (told.get("pipelines_refused") or {}).items():
        out.print(f"the pipeline of {project} is refused, and its issues wait:\n{error}")
    rows = [(one["key"], one["stage"], one["phase"], one["title"]) for one in found["recent"]]
    if rows:
        table(("TASK", "STAGE", "PHASE", "TITLE"), rows)


def reconcile(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be done.")] = False,
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Ask the board now what no webhook told. Exit code 1: a project could not be asked."""
    found = perform("reconcile", config, data, {"dry_run": dry_run}, json=json)
    if json:
        say_json(found)
    else:
        rows = [(one["project"], one["issue"], one["told"]) for one in found["would"]]
        if rows:
            table(("PROJECT", "ISSUE", "WOULD"), rows)
        _failed(found)
        out.print(f"{found['found']} issues {'would be' if dry_run else 'are to be'} looked at")
    if not found["ok"]:
        raise typer.Exit(NO)


def drift(
    mend: Annotated[bool, typer.Option("--mend", help="Have each of them looked at now.")] = False,
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Tell where board, engine and forge differ. Exit code 1: they do."""
    found = perform("drift", config, data, {"mend": mend}, json=json)
    if json:
        say_json(found)
    else:
        rows = [(one["key"] or one["issue"], one["project"], one["between"], one["told"]) for one in found["drift"]]
        if rows:
            table(("ISSUE", "PROJECT", "WHERE", "WHAT"), rows)
        _failed(found)
        out.print(_differences(len(rows), len(found["failed"]), mend=mend))
    if not found["ok"]:
        raise typer.Exit(NO)


def _differences(rows: int, failed: int, *, mend: bool) -> str:
    """Sum a comparison up; where something could not be compared nobody knows that there is no difference."""
    told = f"{rows} difference{'' if rows == 1 else 's'}" if rows else "no difference"
    if rows:
        told += "; looked at now" if mend else "; --mend has them looked at now"
    return f"{told}; {failed} project{'' if failed == 1 else 's'} could not be compared" if failed else told


def _failed(found: Mapping[str, Any]) -> None:
    for project, error in found["failed"].items():
        out.print(f"{project}: {error}")


def _counted(counts: Mapping[str, Any]) -> str:
    known = {name: n for name, n in counts.items() if isinstance(n, int) and n and name not in {"nudges", "outbox"}}
    return ", ".join(f"{n} {name}" for name, n in known.items()) or "none"
