"""``millpond release``: what was brought out, when, by whom, and what came of it."""

from __future__ import annotations

import json as jsonlib
import time
from typing import Annotated

import typer

from millpond.cli.output import fields, harmless, out, say_json, table
from millpond.cli.session import ConfigOption, DataOption, JsonOption, perform

app = typer.Typer(no_args_is_help=True, help="Look at the releases of apps.")
SHORT = 12


@app.command("ls", epilog="Example: millpond release ls shop")
def list_(
    name: Annotated[str | None, typer.Argument(help="The app; else all of them.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 20,
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """List releases, newest first."""
    found = perform("release_ls", config, data, {"name": name, "limit": limit}, json=json)
    if json:
        say_json(found)
        return
    rows = [
        (one["app"], one["number"], one["state"], _time(one["created_ts"]), one["by"], one["sha"][:SHORT],
         one["error"] or (f"as {one['restores']}" if one["restores"] is not None else ""))
        for one in found
    ]  # fmt: skip
    table(("APP", "RELEASE", "STATE", "MADE", "BY", "COMMIT", ""), rows)


@app.command(epilog="Example: millpond release show shop 3")
def show(
    name: Annotated[str, typer.Argument(help="The app.")],
    number: Annotated[int | None, typer.Argument(help="The number of a release; else the latest.")] = None,
    document: Annotated[bool, typer.Option("--document", help="Print its document only, secrets masked.")] = False,
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Show one release: images by content, hosts and how far each came, why it failed. Secrets are masked."""
    found = perform("release_show", config, data, {"name": name, "number": number}, json=json)
    if json:
        say_json(found)
        return
    if document:
        typer.echo(harmless(jsonlib.dumps(found["document"], indent=1, sort_keys=True, ensure_ascii=False)))
        return
    plain = ("app", "number", "state", "kind", "by", "sha", "restores", "error")
    words = {"sha": "commit"}
    fields({words.get(key, key): found[key] for key in plain if found[key] not in {"", None}})
    times = {key: _time(found[f"{key}_ts"]) for key in ("created", "began", "activated", "ended")}
    fields({key: value for key, value in times.items() if value != "-"})
    for title, rows in (("images", found["images"]), ("set", found["sets"])):
        for key, value in rows.items():
            out.print(f"{title}: {key}  {value}")
    for host in found["hosts"]:
        out.print(f"host: {host}  {found['progress'].get(host, 'untouched')}")
    for line in found["details"]:
        out.print(f"  {line}")


def _time(at: float | None) -> str:
    return "-" if at is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
