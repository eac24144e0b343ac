"""``millpond task``: what is being done, how it stands, and what people order."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

import typer

from millpond.cli.deploy import who
from millpond.cli.output import cut_off, err, fields, moment, moment_from_now, out, say_json, table
from millpond.cli.session import ConfigOption, DataOption, JsonOption, perform
from millpond.delivery.board.verdicts import APPROVE, REJECT, Said, read
from millpond.delivery.deciding.ending import SHORT

app = typer.Typer(no_args_is_help=True, help="Tasks: issues on their way to production.")
Task = Annotated[str, typer.Argument(help="The task's key, such as SH-12, or its number.")]
FOLLOW_S = 0.3
WORDS = {"sha": "commit", "sets": "labels"}


@app.command("ls", epilog="Example: millpond task ls --all")
def list_(
    project: Annotated[str | None, typer.Option(help="Only of this project.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Those too that have ended.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most, the newest first.")] = 100,
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """List the tasks."""
    found = perform("task_ls", config, data, {"project": project, "all_": all_, "limit": limit}, json=json)
    if json:
        say_json(found)
        return
    rows = [(one["key"], one["stage"], one["phase"], one["attempts"], one["title"], one["waits"]) for one in found]
    table(("TASK", "STAGE", "PHASE", "TRIES", "TITLE", "WHY"), rows)
    cut_off(len(rows), limit)


@app.command("show", epilog="Example: millpond task show SH-12")
def show(task: Task, config: ConfigOption = None, data: DataOption = None, json: JsonOption = False) -> None:
    """Show a task: what it waits for, its gates, its jobs and what they cost."""
    found = perform("task_show", config, data, {"task": task}, json=json)
    if json:
        say_json(found)
        return
    names = ("key", "title", "stage", "phase", "reason", "branch", "sha", "attempts", "sets", "waits", "next")
    told = {WORDS.get(name, name): found[name] or "-" for name in names}
    fields({**told, "since": moment_from_now(found["since"]), "spent": f"{found['spent_usd']:.2f} USD"})
    for one in found["gates"]:
        out.print(f"gate {one['gate']}: {one['word']}: {one['reason']}")
    if found["jobs"]:
        rows = [
            (one["id"], one["stage"], one["attempt"], one["state"], _usd(one["spent_usd"]), one["reason"])
            for one in found["jobs"]
        ]
        table(("JOB", "STAGE", "TRY", "STATE", "USD", "WHY"), rows)


def _usd(cost: float) -> str:
    return f"{cost:.2f}" if cost else "-"


@app.command("log", epilog="Example: millpond task log SH-12 --follow")
def log(
    task: Task,
    job: Annotated[int | None, typer.Option(help="Which job's. [default: the last one's]")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Print the log of a task's job. With --follow it goes on through a restart of the daemon."""
    arguments: dict[str, Any] = {"task": task, "job": job, "offset": 0}
    begun = False
    while True:
        found = perform("task_log", config, data, arguments, waits=follow and begun)
        if found["job"] is None and not begun:
            err.print(f"{task} has no log yet: `millpond why {task}` says what it waits for")
        begun = True
        sys.stdout.write(found["text"])
        sys.stdout.flush()
        more = bool(found["text"])
        arguments |= {"job": found["job"] or job, "offset": found["next"]}
        if found["ended"] or not (follow or more):
            return
        if not more:
            time.sleep(FOLLOW_S)


@app.command("events", epilog="Example: millpond task events SH-12")
def events(task: Task, config: ConfigOption = None, data: DataOption = None, json: JsonOption = False) -> None:
    """Tell what happened to a task, from the start."""
    found = perform("task_events", config, data, {"task": task}, json=json)
    if json:
        say_json(found)
        return
    rows = [
        (moment(one["at"]), one["what"], one["detail"].get("by", ""),
         " ".join(f"{WORDS.get(name, name)}={value}" for name, value in one["detail"].items() if name != "by"))
        for one in found
    ]  # fmt: skip
    table(("WHEN", "WHAT", "WHO", ""), rows)


@app.command("cancel", epilog="Example: millpond task cancel SH-12")
def cancel(task: Task, config: ConfigOption = None, data: DataOption = None, json: JsonOption = False) -> None:
    """Take a task back: its job is stopped, then it ends."""
    _order("task_cancel", {"task": task}, "is being cancelled", (config, data), json=json)


@app.command("retry", epilog="Example: millpond task retry SH-12")
def retry(task: Task, config: ConfigOption = None, data: DataOption = None, json: JsonOption = False) -> None:
    """Make the next attempt now: of a task that is parked, or that waits before it tries again."""
    _order("task_retry", {"task": task}, "is tried again", (config, data), json=json)


@app.command("park", epilog="Example: millpond task park SH-12 --reason 'the shop is closed until Monday'")
def park(
    task: Task,
    reason: Annotated[str, typer.Option(help="Why; it is shown on the issue.")] = "",
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Hold a task that has no job, until it is released."""
    _order("task_park", {"task": task, "reason": reason}, "is parked", (config, data), json=json)


@app.command("release", epilog="Example: millpond task release SH-12 --usd 50")
def release(
    task: Task,
    usd: Annotated[
        float | None, typer.Option(help="Another budget for all of the task, in US dollars: more than it has spent.")
    ] = None,
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Let a parked task go on, in the stage where it stopped."""
    _order("task_release", {"task": task, "task_usd": usd}, "goes on", (config, data), json=json)


@app.command("approve", epilog="Example: millpond task approve SH-12 1a2b3c4 looks fine")
def approve(
    task: Task,
    words: Annotated[
        list[str] | None,
        typer.Argument(help="The commit that is meant (7 digits at least), and why. [default: what the task is at]"),
    ] = None,
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Pass the gate that waits for a person."""
    said = _said(APPROVE, words)
    if said.approved is None:
        text = "words behind it may say yes or no: write the commit before them, or none at all"
        raise typer.BadParameter(text, param_hint="WORDS")
    _verdict(task, said, (config, data), json=json)


@app.command("reject", epilog="Example: millpond task reject SH-12 the colour is wrong")
def reject(
    task: Task,
    words: Annotated[
        list[str] | None, typer.Argument(help="Why; who does it again is told. A commit before it is the one meant.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Likewise, as one word of the shell.")] = "",
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Fail the gate that waits for a person."""
    if words and reason:
        raise typer.BadParameter("there is a reason without it already; give one", param_hint="--reason")
    said = replace(_said(REJECT, None), reason=reason) if reason else _said(REJECT, words)
    _verdict(task, said, (config, data), json=json)


def _said(word: str, words: list[str] | None) -> Said:
    """Read a verdict by the words behind it, as one in a comment is read."""
    said = read(" ".join([word, *" ".join(words or ()).split()]))
    return said if said is not None else Said(None)


def _verdict(task: str, said: Said, where: tuple[Any, Any], *, json: bool) -> None:
    arguments = {"task": task, "approved": said.approved, "reason": said.reason, "commit": said.commit}
    _order("task_verdict", arguments, "is approved" if said.approved else "is rejected", where, json=json)


def _order(operation: str, arguments: dict[str, Any], text: str, where: tuple[Any, Any], *, json: bool) -> None:
    found = perform(operation, *where, {**arguments, "by": who()}, json=json)
    if json:
        say_json(found)
    else:
        out.print(f"{found['key']} {text}{_about(found) if operation == 'task_verdict' else ''}")


def _about(found: Mapping[str, Any]) -> str:
    """Say which commit a verdict is on, and what voids it already."""
    about = f" at {found['sha'][:SHORT]}" if found["sha"] else ""
    if not found["newer"]:
        return about
    newer = f"but {found['branch']} is at {found['newer'][:SHORT]} by now, which voids that"
    return f"{about}, {newer}: look at it, and give the verdict again once it is asked for"
