"""What ``--help`` tells of each command is what is written there."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import islice

import click
import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from millpond.cli.main import app


def commands(group: click.Command, *words: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield words, group
    for name, one in getattr(group, "commands", {}).items():
        yield from commands(one, *words, name)


EACH = dict(commands(typer.main.get_command(app)))


@cache
def said(words: tuple[str, ...]) -> Result:
    return CliRunner().invoke(app, [*words, "--help"])


def plain(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("words", EACH, ids=" ".join)
def test_nothing_in_square_brackets_is_lost(words: tuple[str, ...]):
    done = said(words)
    command = EACH[words]
    written = [command.help or "", command.epilog or "", *(getattr(one, "help", None) or "" for one in command.params)]
    assert done.exit_code == 0
    for text in written:
        assert plain(text) in plain(done.output)


@pytest.mark.heavy
def test_there_are_some():
    assert "[apps.NAME]" in said(("prepull",)).output
    assert "[upkeep.build_cache]" in said(("host", "prune")).output
    named = (words for words in EACH if "[default: ./millpond.toml" in " ".join(said(words).output.split()))
    assert len(list(islice(named, 11))) == 11
