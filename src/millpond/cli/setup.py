"""``millpond serve``, ``init``, ``check``, ``connect``: from nothing to a pond that clients use."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from millpond.cli.output import NO, USAGE, err, failing, out, say_json
from millpond.cli.session import ConfigOption, DataOption, JsonOption, listening, source

TOOLS = ("pip", "uv", "npm", "pnpm")
YARNS, LISTS = ("yarn", "yarn1"), ("apt", "apk", "dnf")
ENGINES = ("docker", "containerd", "podman")
CLIENTS = ", ".join((*TOOLS, *YARNS, *LISTS, *ENGINES))


def serve(
    config: ConfigOption = None,
    data: DataOption = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on. [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="The port. [default: 8080]")] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=64, help="Worker processes. [default: 1]")] = None,
) -> None:
    """Run the daemon. Without any configuration it adopts what this machine's own package managers use."""
    from millpond.server.secluding import seclude

    was_open = seclude()  # before anything of ours, and anything secret, is read
    gc.disable()  # what is imported stays: to look through it for garbage, again and again, finds none
    from millpond.server.main import run

    gc.freeze()
    gc.enable()
    with failing():
        where = source(
            config,
            server_data=str(data) if data else None,
            server_host=host,
            server_port=port,
            server_workers=workers,
        )
        code = run(where, was_open=was_open)
    raise typer.Exit(code)


def init(
    config: Annotated[Path, typer.Option("--config", help="The file to write.")] = Path("millpond.toml"),
    data: DataOption = None,
    adopt: Annotated[bool, typer.Option("--adopt", help="Look again at what this machine's clients use.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a commented millpond.toml with what was adopted; --adopt looks again, also beside a present file."""
    from millpond.app.setup import initialise

    with failing():
        told = initialise(config, data, look_again=adopt, force=force)
    for line in told:
        out.print(line)


def check(config: ConfigOption = None, data: DataOption = None, json: JsonOption = False) -> None:
    """Validate the configuration, and try each upstream."""
    from millpond.app.setup import try_everything

    with failing(json_too=json, listed=True):
        where = source(config, server_data=str(data) if data else None)
        results = asyncio.run(try_everything(where))
    if json:
        say_json([{"what": r.what, "ok": r.ok, "told": r.told} for r in results])
    else:
        for result in results:
            out.print(f"{'ok  ' if result.ok else 'FAIL'}  {result.what}: {result.told}")
    if not all(result.ok for result in results):
        raise typer.Exit(NO)


def connect(
    tool: Annotated[str | None, typer.Argument(help=f"Which client: {CLIENTS}. [default: {', '.join(TOOLS)}]")] = None,
    write: Annotated[bool, typer.Option("--write", help="Put the settings into the client's own file.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Take them back; the file is as it was before.")] = False,
    config: ConfigOption = None,
    data: DataOption = None,
    url: Annotated[str | None, typer.Option(help="The pond's address. [default: the running daemon's]")] = None,
) -> None:
    """Print, or with --write install, the settings that point a client at the pond; --undo alone: of every client."""
    from millpond.app.connecting import all_taken_back, connected, taken_back

    if tool is not None and tool not in (*TOOLS, *YARNS, *LISTS, *ENGINES):
        err.print(f"millpond: no settings are known for {tool!r}; there are: {CLIENTS}")
        raise typer.Exit(USAGE)
    if write and undo:
        err.print("millpond: --write and --undo are opposites: give one of them")
        raise typer.Exit(USAGE)
    with failing():
        if undo:
            told: Iterable[str] = all_taken_back() if tool is None else taken_back(tool)
        else:
            running = {} if url else listening(config, data)
            where = source(config, server_data=str(data) if data else None, **running)
            told = connected(where, TOOLS if tool is None else (tool,), url, write=write)
        for line in told:
            out.print(line)
