"""Where a command's operation runs: in the daemon that holds the data directory, or here when none does."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from millpond.cli.output import Bar, err, failing
from millpond.errors import ConfigError, NotFound
from millpond.server import control

if TYPE_CHECKING:
    from millpond.app.sourcing import Source
    from millpond.config import Config

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="The configuration file. [default: ./millpond.toml, /etc/millpond]")
]
DataOption = Annotated[Path | None, typer.Option("--data", help="The data directory. [default: ./millpond-data]")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SOCKET = "control.sock"
WAIT_S = 0.5
GOES_ON = frozenset(
    {
        "board_new", "board_move", "board_comment", "queue", "reconcile", "drift", "task_cancel", "task_ls",
        "task_park", "task_release", "task_retry", "task_show", "task_verdict",
    }
)  # fmt: skip
"""What is of no effect, or says nothing of what comes, until a daemon runs."""


def overrides(**values: object) -> dict[str, object]:
    """Give the configuration keys that the command line sets: ``server_port`` is ``server.port``."""
    return {key.replace("_", ".", 1): value for key, value in values.items() if value is not None}


def perform(
    operation: str,
    config: Path | None,
    data: Path | None,
    arguments: Mapping[str, Any],
    bar: Bar | None = None,
    *,
    json: bool = False,
    waits: bool = False,
) -> Any:
    """Run one operation and give its result; faults end the command, with `json` they are printed as such too.

    `bar`: how progress is shown, if not by one. `waits`: where no daemon runs, one is waited for, for as long as it
    takes; the data are not opened here, since that would keep a daemon from starting.
    """
    bar = bar or Bar()
    try:
        with failing(json_too=json):
            if waits:
                return asyncio.run(_waited(operation, config, data, arguments, bar))
            return asyncio.run(_perform(operation, config, data, arguments, bar))
    finally:
        bar.close()


def source(config: Path | None, **settings: object) -> Source:
    """Say where the configuration comes from: the file, and what the command line sets."""
    from millpond.app.sourcing import Source

    return Source(config, overrides(**settings), Path.cwd())


def listening(config: Path | None, data: Path | None) -> dict[str, Any]:
    """Ask the daemon that holds the data directory where it listens: settings for `source`. Empty: none runs there."""
    loaded = source(config, server_data=str(data) if data else None).load()
    try:
        found: dict[str, Any] = asyncio.run(control.call(loaded.server.data / SOCKET, "address", {}, Bar()))
    except (FileNotFoundError, NotADirectoryError, ConnectionError, PermissionError):
        return {}
    return found


def _unread(said: str, name: object, loaded: Config) -> str:
    """Say what to do where the daemon knows no host or app of a name that stands in the file."""
    tables = (("host", loaded.hosts), ("app", loaded.apps))
    added = any(name in table and said.startswith(f"there is no {what} {name!r}") for what, table in tables)
    return "; the file has it: `millpond reload` makes the daemon read it" if added else ""


async def _waited(
    operation: str, config: Path | None, data: Path | None, arguments: Mapping[str, Any], bar: Bar
) -> Any:
    folder, told = source(config, server_data=str(data) if data else None).load().server.data, False
    while True:
        try:
            return await control.call(folder / SOCKET, operation, arguments, bar)
        except (FileNotFoundError, NotADirectoryError, ConnectionError):
            if not told:
                err.print(f"no daemon runs on {folder}: waiting for one (Ctrl-C ends this)")
            told = True
            await asyncio.sleep(WAIT_S)


async def _perform(
    operation: str, config: Path | None, data: Path | None, arguments: Mapping[str, Any], bar: Bar
) -> Any:
    where = source(config, server_data=str(data) if data else None)
    loaded = where.load()
    try:
        return await control.call(loaded.server.data / SOCKET, operation, arguments, bar)
    except NotFound as error:
        raise NotFound(f"{error}{_unread(str(error), arguments.get('name'), loaded)}") from None
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        pass
    from millpond.app.datalock import DataLock
    from millpond.app.opening import open_app
    from millpond.app.preflight import has_pond
    from millpond.server.logs import configure

    configure("console", "warning")  # to standard error: what the command says may be read by a program
    data_folder = loaded.server.data
    if not has_pond(loaded):
        raise ConfigError(f"there is no pond in {data_folder}; start one: `millpond serve`, or give --data")
    if operation == "reload":
        raise NotFound(f"no daemon runs on {data_folder}: there is nothing to reload")
    lock = DataLock(data_folder)
    try:
        app = await open_app(loaded, where, admin=False, mend=operation == "fsck" and bool(arguments.get("repair")))
        try:
            found = await app.operations[operation](progress=bar, **arguments)
        finally:
            await app.close()
        if operation in GOES_ON or (operation == "why" and "issue" in found["facts"]):
            err.print(f"no daemon runs on {data_folder}: it goes on with `millpond serve`")
        return found
    finally:
        lock.release()
