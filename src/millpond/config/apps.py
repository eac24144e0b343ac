"""The table of the apps: `[apps.NAME]`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from millpond.config import fields as f
from millpond.config.table import Table, about
from millpond.hosts.apps import AppKind, PullFrom

Words = Annotated[tuple[f.LocalPath, ...], Field(strict=False, max_length=100)]


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
    pond: str = about("", "host:port under which its hosts reach the pond. Empty: that of server.public_url.")
    files: Words = about((), "Its files. Empty: what COMPOSE_FILE in .env says, else the usual names.")
    env_file: f.LocalPath = about("", "Its .env. Empty: the one beside its files.")
    profiles: Words = about((), "Profiles of compose that are on.")
    health: HealthConfig = HealthConfig()
    parallel: Annotated[int, Field(ge=1, le=64)] = about(4, "Hosts that pull, or are deployed to, at a time.")
    pull_timeout_s: f.Seconds = about(1800, "How long the pull of one image may take.")
    converge_timeout_s: f.Seconds = about(300, "How long a deploy may take to run as it should.")
    keep: Annotated[int, Field(ge=2, le=1000)] = about(5, "Releases that are kept.")
