"""``millpond repo``: what is in the pond."""

from __future__ import annotations

from typing import Annotated

import typer

from millpond.cli.output import fields, out, say_json, size, table
from millpond.cli.session import ConfigOption, DataOption, JsonOption, perform

app = typer.Typer(no_args_is_help=True, help="Look at repositories, and empty their caches.")


@app.command("ls", epilog="Example: millpond repo ls")
def list_(config: ConfigOption = None, data: DataOption = None, json: JsonOption = False) -> None:
    """List the repositories: package, type, upstream and where it was found, what they hold."""
    found = perform("repo_ls", config, data, {}, json=json)
    if json:
        say_json(found)
        return
    rows = [
        (r["name"], r["package"], r["type"], r["entries"], size(r["bytes"]), r["base_url"], r["found_in"])
        for r in found["repositories"]
    ]
    table(("NAME", "PACKAGE", "TYPE", "ENTRIES", "SIZE", "UPSTREAM", "FOUND IN"), rows)
    for skipped in found["skipped"]:
        out.print(f"not adopted: {skipped}")


@app.command(epilog="Example: millpond repo show pypi --prefix simple/")
def show(
    name: Annotated[str, typer.Argument(help="The repository.")],
    prefix: Annotated[str, typer.Option(help="Only paths that begin so.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many entries at most.")] = 50,
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Show one repository: its settings, its upstream's state, its entries."""
    found = perform("repo_show", config, data, {"name": name, "prefix": prefix, "limit": limit}, json=json)
    if json:
        say_json(found)
        return
    fields(found["settings"] | {f"upstream.{key}": value for key, value in found["upstream"].items()})
    rows = [(e["path"], e["variant"], e["status"], size(e["size"]), e["age"], e["state"]) for e in found["entries"]]
    table(("PATH", "VARIANT", "STATUS", "SIZE", "AGE", "STATE"), rows)


@app.command(epilog="Example: millpond repo flush pypi")
def flush(
    name: Annotated[str | None, typer.Argument(help="The repository. [default: all of them]")] = None,
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Drop what is cached (never uploads), of one repository or of all."""
    found = perform("repo_flush", config, data, {"name": name}, json=json)
    if json:
        say_json(found)
    else:
        gone = found["flushed"]
        out.print(f"dropped {gone['entries']} entries, {gone['objects']} objects, {size(gone['bytes'])}")
