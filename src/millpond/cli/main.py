"""The `millpond` command and its parts."""

from __future__ import annotations

from typing import Annotated

import typer

from millpond import __version__
from millpond.cli import board, demo, deploy, flow, host, release, repo, setup, task, token, upkeep
from millpond.cli.output import out
from millpond.cli.prepull import prepull

app = typer.Typer(
    name="millpond",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # what stands in square brackets is a table of the configuration, or a default
    help="Keeps delivering when its upstreams fail: artifacts, hosts, and issues on their way to production.",
    epilog="Start here: millpond serve",
)
app.command(epilog="Example: millpond serve --port 8080 --data /srv/millpond")(setup.serve)
app.command(epilog="Example: millpond init")(setup.init)
app.command(epilog="Example: millpond check")(setup.check)
app.command(epilog="Example: millpond connect pip --write")(setup.connect)
app.command(epilog="Example: millpond why http://127.0.0.1:8080/pypi/simple/six/; millpond why SH-12")(upkeep.why)
app.command(epilog="Example: millpond usage --artifact pypi/simple/six/")(upkeep.usage)
app.command(epilog="Example: millpond gc --dry-run")(upkeep.gc)
app.command(epilog="Example: millpond fsck --repair")(upkeep.fsck)
app.command(epilog="Example: millpond reload")(upkeep.reload)
app.command(epilog="Example: millpond prepull shop --dry-run")(prepull)
app.command(epilog="Example: millpond deploy shop --set VERSION=1.4.2")(deploy.deploy)
app.command(epilog="Example: millpond rollback shop")(deploy.rollback)
app.command(epilog="Example: millpond call-off shop")(deploy.call_off)
app.command(epilog="Example: millpond demo --keep")(demo.demo)
app.command(epilog="Example: millpond queue")(flow.queue)
app.command(epilog="Example: millpond reconcile --dry-run")(flow.reconcile)
app.command(epilog="Example: millpond drift --mend")(flow.drift)
app.add_typer(board.app, name="board")
app.add_typer(task.app, name="task")
app.add_typer(release.app, name="release")
app.add_typer(repo.app, name="repo")
app.add_typer(token.app, name="token")
app.add_typer(host.app, name="host")


def _version(value: bool) -> None:
    if value:
        out.print(f"millpond {__version__}")
        raise typer.Exit


@app.callback()
def millpond(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Nothing here: the commands do the work."""
    del version


def run() -> None:
    """Run the command line."""
    app()
