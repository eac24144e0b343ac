"""``millpond prepull``: every host has every image of an app before anything is changed."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from millpond.cli.output import NO, Bars, out, say_json, table
from millpond.cli.session import ConfigOption, DataOption, JsonOption, perform
from millpond.hosts.apps import LATER

BEFORE = "clear pull error BEFORE deploy"


def prepull(
    app: Annotated[str, typer.Argument(help="The app, as [apps.NAME] calls it.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell what is there and what would be pulled.")
    ] = False,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Ask for every tag again at its registry, also where hosts have it.")
    ] = False,
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Give an app's hosts the images that they lack, by digest, and check them there; nothing is deployed."""
    arguments = {"name": app, "dry_run": dry_run, "refresh": refresh}
    found = perform("prepull", config, data, arguments, Bars(), json=json)
    if json:
        say_json(found)
    else:
        _show(found)
    if not found["ok"]:
        raise typer.Exit(NO)


def _show(found: dict[str, Any]) -> None:
    if not found["hosts"] or not any(host["desired"] for host in found["hosts"].values()):
        out.print("its files name no image: there is nothing to pull")
        return
    pinned = [(one["image"], one["pinned"] or (LATER if one["later"] else "-")) for one in found["images"]]
    table(("IMAGE", "PINNED"), pinned)
    out.print()
    rows = [
        (name, one["desired"], one["active"], one["succeeded"], one["failed"], one["error"] or "")
        for name, one in found["hosts"].items()
    ]
    table(("HOST", "DESIRED", "ACTIVE", "PRESENT" if found["dry_run"] else "SUCCEEDED", "FAILED", "ERROR"), rows)
    for name, host in found["hosts"].items():
        if host["error"]:
            out.print(f"{BEFORE}: host {name}: {host['error']}")
        for one in host["failures"]:
            out.print(f"{BEFORE}: image {one['image']}, host {name}: {one['kind']}: {one['text']}")
