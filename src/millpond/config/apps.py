"""The table of the apps: `[apps.NAME]`."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from millpond.config import fields as f
from millpond.config.table import Table, about
from millpond.hosts.apps import AppKind, PullFrom
from millpond.hosts.references import parse_reference

_PROFILE = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}|\*")


def _pond(value: str) -> str:
    """Check that images can stand below it: ``host:port`` is what their names begin with."""
    try:
        domain = parse_reference(f"{value}/repository/image").domain if value else ""
    except ValueError:
        domain = ""
    if domain != value:
        raise ValueError('not the address of a registry; write host and port, such as "pond.lan:8080"')
    return value


def _word(value: str) -> str:
    if not value:
        raise ValueError("empty; leave it out")
    return value


def _profile(value: str) -> str:
    if not _PROFILE.fullmatch(value):
        raise ValueError("a profile has letters, digits, '.', '_' and '-', and begins with a letter or digit")
    return value


Words = Annotated[tuple[Annotated[f.LocalPath, AfterValidator(_word)], ...], Field(strict=False, max_length=100)]
Profiles = Annotated[tuple[Annotated[str, AfterValidator(_profile)], ...], Field(strict=False, max_length=100)]


class HealthConfig(Table):
    """How it is told that a deployed app is well. Without url and command: by its containers."""

    url: f.PublicUrl = about("", "Asked from the pond's machine; 200 to 399 is well.")
    command: Words = about((), "Runs on each host, as a list of words; 0 is well.")
    timeout_s: f.Seconds = about(60, "How long it may take to become well.")
    interval_s: f.Seconds = about(2, "How often it is asked.")


class AppConfig(Table):
    """One app."""

    path: f.LocalPath = about(..., "The folder of its compose or stack files and .env.")
    on: str = about("", "The host that this folder lies on. Empty: the pond's machine.")
    kind: Annotated[AppKind, Field(strict=False)] = about(AppKind.COMPOSE, "compose or swarm.")
    hosts: f.Labels = about(..., "The hosts it runs on, by name or label.")
    pull: Annotated[PullFrom, Field(strict=False)] = about(PullFrom.POND, "pond or direct: where hosts pull from.")
    pond: Annotated[str, AfterValidator(_pond)] = about(
        "", "host:port under which its hosts reach the pond. Empty: that of server.public_url."
    )
    files: Words = about((), "Its files. Empty: what COMPOSE_FILE in .env says, else the usual names.")
    env_file: f.LocalPath = about("", "Its .env. Empty: the one beside its files.")
    profiles: Profiles = about((), "Profiles of compose that are on. Empty: COMPOSE_PROFILES in .env.")
    health: HealthConfig = HealthConfig()
    parallel: Annotated[int, Field(ge=1, le=64)] = about(4, "Hosts that pull, or are deployed to, at a time.")
    pull_timeout_s: f.Seconds = about(1800, "How long the pull of one image may take.")
    converge_timeout_s: f.Seconds = about(300, "How long a deploy may take to run as it should.")
    keep: Annotated[int, Field(ge=2, le=1000)] = about(5, "Releases that are kept.")
