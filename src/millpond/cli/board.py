"""``millpond board``: the embedded issue board."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from millpond.cli.deploy import who
from millpond.cli.output import cut_off, fields, moment, out, say_json, table
from millpond.cli.session import ConfigOption, DataOption, JsonOption, perform

app = typer.Typer(no_args_is_help=True, help="The embedded board: what is to be done, and where it stands.")
Key = Annotated[str, typer.Argument(help="The issue, such as SH-12; with one project 12 does.")]
ProjectOption = Annotated[
    str | None, typer.Option("--project", help="The project's name or prefix. [default: the only one]")
]


@app.command("ls", epilog="Example: millpond board ls --column 'In Progress'")
def list_(
    project: ProjectOption = None,
    column: Annotated[list[str] | None, typer.Option(help="Only what stands there; may be repeated.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many at most, the newest first.")] = 100,
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """List the issues."""
    found = perform("board_ls", config, data, {"project": project, "columns": column or [], "limit": limit}, json=json)
    if json:
        say_json(found)
        return
    rows = [(one["key"], one["column"], " ".join(one["labels"]), one["title"]) for one in found]
    table(("ISSUE", "COLUMN", "LABELS", "TITLE"), rows)
    cut_off(len(rows), limit)


@app.command("new", epilog="Example: millpond board new 'Sell left shoes' --column 'To Analyse'")
def new(
    title: Annotated[str, typer.Argument(help="What is to be done, in a line.")],
    project: ProjectOption = None,
    description: Annotated[str, typer.Option(help="What else there is to say.")] = "",
    label: Annotated[list[str] | None, typer.Option(help="A label; may be repeated.")] = None,
    column: Annotated[str, typer.Option(help="Where it stands. [default: the board's first column]")] = "",
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Make an issue. At To Analyse its task begins at once."""
    arguments = {"title": title, "project": project, "description": description, "labels": label or []}
    found = perform("board_new", config, data, {**arguments, "column": column, "by": who()}, json=json)
    _told(found, json=json, text=f"{found['key']} stands at {found['column']}")


@app.command("show", epilog="Example: millpond board show SH-12")
def show(key: Key, config: ConfigOption = None, data: DataOption = None, json: JsonOption = False) -> None:
    """Show an issue with its comments."""
    found = perform("board_show", config, data, {"key": key}, json=json)
    if json:
        say_json(found)
        return
    fields({
        "issue": found["key"], "title": found["title"], "column": found["column"],
        "labels": " ".join(found["labels"]) or "-", "made by": found["author"] or "-",
    })  # fmt: skip
    if found["description"]:
        out.print(f"\n{found['description']}")
    for one in found["comments"]:
        out.print(f"\n{moment(one['at'])} {one['author'] or 'somebody'}:\n{one['text']}")


@app.command("move", epilog="Example: millpond board move SH-12 Approved")
def move(
    key: Key,
    column: Annotated[str, typer.Argument(help="The column's name or id.")],
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Move an issue to another column: it begins, gives a verdict, takes it back, or just stands there."""
    found = perform("board_move", config, data, {"key": key, "column": column, "by": who()}, json=json)
    _told(found, json=json, text=f"{found['key']} stands at {found['column']}")


@app.command("label", epilog="Example: millpond board label SH-12 --add hotfix --remove after:SH-3")
def label(
    key: Key,
    add: Annotated[list[str] | None, typer.Option(help="A label to add; may be repeated.")] = None,
    remove: Annotated[list[str] | None, typer.Option(help="A label to take away; may be repeated.")] = None,
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Change an issue's labels. They are read when its task is made: one that has begun keeps what they set."""
    arguments = {"key": key, "add": add or [], "remove": remove or [], "by": who()}
    found = perform("board_label", config, data, arguments, json=json)
    _told(found, json=json, text=f"{found['key']} has the labels: {', '.join(found['labels']) or 'none'}")


@app.command("comment", epilog="Example: millpond board comment SH-12 /approve")
def comment(
    key: Key,
    text: Annotated[str, typer.Argument(help="What to say; a line /approve, or /reject and why, is a verdict.")],
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Comment on an issue."""
    found = perform("board_comment", config, data, {"key": key, "text": text, "by": who()}, json=json)
    what = f"; {found['verdict']}" if found["verdict"] else ""
    _told(found, json=json, text=f"{found['key']}: noted{what}")


def _told(found: Mapping[str, Any], *, json: bool, text: str) -> None:
    if json:
        say_json(found)
    else:
        out.print(text)
