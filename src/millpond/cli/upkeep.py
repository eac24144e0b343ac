"""``millpond gc``, ``fsck``, ``why``, ``usage``, ``reload``: upkeep of the pond, and its explanations."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from millpond.cli.output import NO, fields, moment_from_now, out, say_json, table
from millpond.cli.session import ConfigOption, DataOption, JsonOption, perform

TIMES = ("since", "next attempt")
"""The facts about an issue that are times: epoch seconds in JSON."""
WORDS = {"sha": "commit"}


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would go.")] = False,
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Collect what nothing refers to, in two phases with a grace period, and what exceeds max_size."""
    found = perform("gc", config, data, {"dry_run": dry_run}, json=json)
    if json:
        say_json(found)
    else:
        fields(found)


def fsck(
    repair: Annotated[bool, typer.Option("--repair", help="Mend what is found, and restore what was lost.")] = False,
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Check every stored byte against its digest, and the catalog against the disk."""
    found = perform("fsck", config, data, {"repair": repair}, json=json)
    if json:
        say_json(found)
    else:
        fields({key: value for key, value in found.items() if key != "problems"})
        for problem in found["problems"]:
            out.print(f"- {problem}")
    if not found["ok"]:
        raise typer.Exit(NO)


def why(
    ref: Annotated[str, typer.Argument(help="An artifact's URL or path (pypi/simple/six/), or an issue: SH-12")],
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Say why an artifact is served as it is (fresh, stale or refused, by which rule), or what an issue waits for."""
    found = perform("why", config, data, {"ref": ref}, json=json)
    if json:
        say_json(found)
        return
    out.print(found["verdict"])
    if found.get("next"):
        out.print(f"next: {found['next']}")
    fields({WORDS.get(name, name): _shown(name, value) for name, value in found["facts"].items()})


def _shown(name: str, value: Any) -> object:
    return moment_from_now(value) if name in TIMES else "-" if value in {None, ""} else value


def usage(
    artifact: Annotated[str | None, typer.Option(help="Its REPOSITORY/PATH, whole.")] = None,
    token: Annotated[str | None, typer.Option(help="Only what this token drew.")] = None,
    task: Annotated[str | None, typer.Option(help="Only what the jobs of this task drew: SH-12.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many records at most, newest first.")] = 50,
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Say who got what, and when."""
    asked = {"artifact": artifact, "token": token, "task": task, "limit": limit}
    found = perform("usage", config, data, asked, json=json)
    if json:
        say_json(found)
    else:
        names = ("at", "repository", "path", "outcome", "count", "token", "digest")
        rows = [tuple(use[name] or "-" for name in names) for use in found]
        table(("WHEN", "REPOSITORY", "PATH", "OUTCOME", "TIMES", "TOKEN", "DIGEST"), rows)


def reload(config: ConfigOption = None, data: DataOption = None) -> None:
    """Make the running daemon read its configuration again; a mistake in it leaves everything as it was.

    Ends once every worker has taken it; exit code 1 and its reason where one has not.
    """
    perform("reload", config, data, {})
    out.print("reloaded")
