"""``millpond token``: who may do what."""

from __future__ import annotations

from typing import Annotated

import typer

from millpond.cli.output import out, say_json, table
from millpond.cli.session import ConfigOption, DataOption, JsonOption, perform

app = typer.Typer(no_args_is_help=True, help="Make, list and revoke access tokens.")


@app.command(epilog="Example: millpond token create ci --scope read:pypi --scope write:releases --expires 90d")
def create(
    name: Annotated[str, typer.Argument(help="A name for people and for the usage records.")],
    scope: Annotated[list[str], typer.Option(help="read:REPO, write:REPO (REPO may be *), or admin; repeatable.")],
    expires: Annotated[str | None, typer.Option(help="How long it is good: 12h, 90d. [default: for ever]")] = None,
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Make a token and print it, once."""
    found = perform("token_create", config, data, {"name": name, "scopes": scope, "expires": expires}, json=json)
    if json:
        say_json(found)
    else:
        out.print(found["token"])


@app.command("ls", epilog="Example: millpond token ls --json")
def list_(config: ConfigOption = None, data: DataOption = None, json: JsonOption = False) -> None:
    """List the tokens; their secrets are not kept."""
    found = perform("token_ls", config, data, {}, json=json)
    if json:
        say_json(found)
    else:
        rows = [(t["name"], " ".join(t["scopes"]), t["created"], t["expires"] or "never", t["state"]) for t in found]
        table(("NAME", "SCOPES", "CREATED", "EXPIRES", "STATE"), rows)


@app.command(epilog="Example: millpond token revoke ci")
def revoke(
    name: Annotated[str, typer.Argument(help="The token's name.")],
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Revoke a token; it is refused from now on, by every worker."""
    perform("token_revoke", config, data, {"name": name})
    out.print(f"revoked {name}")
