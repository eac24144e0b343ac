"""``millpond host``: the machines that apps run on, and their upkeep."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from millpond.cli.output import NO, out, say_json, size, table
from millpond.cli.session import ConfigOption, DataOption, JsonOption, perform

app = typer.Typer(no_args_is_help=True, help="Look at hosts, and keep them clean.")
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only tell what would be done.")]


@app.command("ls", epilog="Example: millpond host ls")
def list_(config: ConfigOption = None, data: DataOption = None, json: JsonOption = False) -> None:
    """List the hosts with what was last seen of them; no host is asked."""
    found = perform("host_ls", config, data, {}, json=json)
    if json:
        say_json(found)
        return
    rows = [
        (one["name"], one["ssh"], " ".join(one["labels"]), _percent(one["bytes_percent"]),
         _percent(one["inodes_percent"]), _time(one["last_seen_ts"]), one["last_error"] or "")
        for one in found
    ]  # fmt: skip
    table(("NAME", "SSH", "LABELS", "DISK", "INODES", "SEEN", "ERROR"), rows)


@app.command(epilog="Example: millpond host check web1")
def check(
    name: Annotated[str, typer.Argument(help="The host.")],
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Look at ssh, Docker, disk, compose and swarm of a host, and say what to do where something is missing."""
    found = perform("host_check", config, data, {"name": name}, json=json)
    if json:
        say_json(found)
    else:
        for one in found["checks"]:
            out.print(f"{'ok  ' if one['ok'] else 'FAIL'}  {one['what']}: {one['told']}")
            if one["advice"]:
                out.print(f"      {one['advice']}")
    if not found["ok"]:
        raise typer.Exit(NO)


@app.command(epilog="Example: millpond host prune web1 --dry-run")
def prune(
    name: Annotated[str | None, typer.Argument(help="The host. [default: all of them]")] = None,
    dry_run: DryRun = False,
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Prune the build cache now, by the settings of [upkeep.build_cache]; never images, containers or volumes."""
    found = perform("host_prune", config, data, {"name": name, "dry_run": dry_run}, json=json)
    if json:
        say_json(found)
    else:
        for row in found["hosts"]:
            out.print(f"{row['host']}: {_would_prune(row) if dry_run else _pruned(row)}")
    if not found["ok"]:
        raise typer.Exit(NO)


def _pruned(row: Mapping[str, Any]) -> str:
    if row["skipped"] or row["error"]:
        return f"left alone: {row['skipped']}" if row["skipped"] else str(row["error"])
    before, after = row["free_before_bytes"], row["free_after_bytes"]
    freed = f"; free disk {size(before)} -> {size(after)}" if before is not None and after is not None else ""
    return f"reclaimed {row['reclaimed'] or 'what Docker did not tell'}{freed}"


def _would_prune(row: Mapping[str, Any]) -> str:
    if row["error"]:
        return str(row["error"])
    most = "" if row["at_most_bytes"] is None else f" (at most {size(row['at_most_bytes'])})"
    return f"left alone: {row['skip']}" if row["skip"] else f"{' '.join(row['argv'])}{most}"


@app.command(epilog="Example: millpond host disk --dry-run")
def disk(
    name: Annotated[str | None, typer.Argument(help="The host, or pond. [default: all of them]")] = None,
    dry_run: DryRun = False,
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Measure the disks, and make room where one is above its mark: build cache, images that nothing needs."""
    found = perform("host_disk", config, data, {"name": name, "dry_run": dry_run}, json=json)
    if json:
        say_json(found)
    else:
        for row in found["places"]:
            _show_disk(row, dry_run=dry_run)
    if not found["ok"]:
        raise typer.Exit(NO)


def _show_disk(row: Mapping[str, Any], *, dry_run: bool) -> None:
    if "bytes_percent" not in row:
        out.print(f"{row['name']}: {row['error']}")
        return
    free = f"{size(row['free_bytes'])} free"
    out.print(f"{row['name']}: {_percent(row['bytes_percent'])} used, {free}, inodes {_percent(row['inodes_percent'])}")
    if row["error"]:
        out.print(f"  {row['error']}")
    if dry_run:
        out.print(f"  {'room is needed' if row['needed'] else 'no room is needed'}; what could go:")
        for would in row["rungs"]:
            most = "unknown" if would["bytes"] is None else f"at most {size(would['bytes'])}"
            out.print(f"  - {would['rung']}: {most}: {', '.join(would['what']) or 'nothing'}")
        return
    if row["note"]:
        out.print(f"  {row['note']}")
    for step in row["steps"] or ():
        out.print(f"  - {step['rung']}: {step['what']}")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}%"


def _time(at: float | None) -> str:
    return "-" if at is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
