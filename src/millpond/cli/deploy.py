"""``millpond deploy`` and ``millpond rollback``: bringing apps out on their hosts, and back."""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from millpond.cli.output import NO, Bars, out, say_json
from millpond.cli.session import ConfigOption, DataOption, JsonOption, perform

App = Annotated[str, typer.Argument(help="The app, as the configuration calls it.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only tell what would change.")]


def deploy(
    name: App,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A variable over those of the app's .env, this time only."),
    ] = None,
    commit: Annotated[str, typer.Option(help="The commit to record; else that of the folder.")] = "",
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Ask for every tag again at its registry, also where hosts have it.")
    ] = False,
    dry_run: DryRun = False,
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Pre-pull an app's images, bring it out on its hosts, wait until it is well, and record the release.

    Nothing is changed before every host has every image. Exit code 1: it is not well, or was not begun.
    """
    arguments: dict[str, Any] = {"name": name, "sets": _pairs(sets or ()), "by": who(), "commit": commit}
    arguments |= {"refresh": refresh, "dry_run": dry_run}
    _show(perform("deploy", config, data, arguments, Bars(), json=json), json=json)


def rollback(
    name: App,
    to: Annotated[int | None, typer.Option(help="The number of a release; else the previous one.")] = None,
    dry_run: DryRun = False,
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Bring the previous release of an app back, exactly as it was. No registry is needed: its images were kept.

    After a deploy that failed, that is the release before it.
    """
    arguments = {"name": name, "to": to, "by": who(), "dry_run": dry_run}
    _show(perform("rollback", config, data, arguments, Bars(), json=json), json=json)


def call_off(name: App, config: ConfigOption = None, data: DataOption = None, json: JsonOption = False) -> None:
    """Break off a deploy, rollback or pre-pull of an app that is under way, whoever asked for it.

    What was changed stays changed; a release is noted as interrupted.
    """
    found = perform("call_off", config, data, {"name": name}, json=json)
    if json:
        say_json(found)
    else:
        out.print(f"{name}: what was under way is broken off")


def _pairs(sets: list[str] | tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in sets:
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise typer.BadParameter("write NAME=VALUE", param_hint="--set")
        if name in found:
            raise typer.BadParameter(f"{name} is set twice", param_hint="--set")
        found[name] = value
    return found


def who() -> str:
    """Say who runs this: behind sudo, who called it."""
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        return ""


def _show(found: Mapping[str, Any], *, json: bool) -> None:
    if json:
        say_json(found)
    elif found.get("dry_run"):
        _show_plan(found)
    else:
        _show_release(found)
    if not found["ok"]:
        raise typer.Exit(NO)


def _show_plan(found: Mapping[str, Any]) -> None:
    running = f"release {found['running']} runs" if found["running"] else "nothing of it runs yet"
    back = f", {found['restores']} would be brought back" if "restores" in found else ""
    out.print(f"{found['app']} on {', '.join(found['hosts'])}: {running}{back}; nothing was changed")
    for line in found["changes"] or ("what would be brought out is what runs",):
        out.print(f"  {line}")
    _show_left(found)


def _show_release(found: Mapping[str, Any]) -> None:
    one = found["release"]
    what = f"{one['app']} {one['number']}"
    if found["ok"]:
        restores = f", as release {one['restores']} was" if one["restores"] is not None else ""
        out.print(f"{what} is active on {', '.join(one['hosts'])}{restores}")
        for service, image in sorted(one["images"].items()):
            out.print(f"  {service}  {image}")
        for line in found["details"]:
            out.print(f"  note: {line}")
    else:
        out.print(f"{what} {one['state']}: {one['error']}")
        for line in found["details"]:
            out.print(f"  {line}")
        back = found["rollback"]
        bring = f"; `millpond rollback {one['app']}` brings back release {back}" if back is not None else ""
        changed = "" if one["began_ts"] is not None else "; no host was changed"
        out.print(f"next: mend it and deploy again{bring}{changed}")
    _show_left(found)


def _show_left(found: Mapping[str, Any]) -> None:
    if found["left_on"]:
        hosts = ", ".join(found["left_on"])
        out.print(f"note: an earlier release may still run on {hosts}, which it is not deployed to any more")
