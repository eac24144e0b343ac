"""What ``--help`` tells of each command is what is written there."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
import typer
from typer.testing import CliRunner

from millpond.cli.main import app


def commands(group: click.Command, *words: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield words, group
    for name, one in getattr(group, "commands", {}).items():
        yield from commands(one, *words, name)


EACH = dict(commands(typer.main.get_command(app)))


def plain(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("words", EACH, ids=" ".join)
def test_nothing_in_square_brackets_is_lost(words: tuple[str, ...]):
    done = CliRunner().invoke(app, [*words, "--help"])
    command = EACH[words]
    written = [command.help or "", command.epilog or "", *(getattr(one, "help", None) or "" for one in command.params)]
    assert done.exit_code == 0
    for text in written:
        assert plain(text) in plain(done.output)


def test_there_are_some():
    said = {words: CliRunner().invoke(app, [*words, "--help"]).output for words in EACH}
    assert "[apps.NAME]" in said["prepull",]
    assert "[upkeep.build_cache]" in said["host", "prune"]
    assert sum("[default: ./millpond.toml" in " ".join(text.split()) for text in said.values()) > 10
