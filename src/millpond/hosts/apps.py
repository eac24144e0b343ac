"""What is deployed: an app's options, what its files resolve to, and the images that this needs, pinned. PURE.

An app's files are resolved once, into one document. Pre-pull gives each image of it a digest; a release is that
document with every image by digest. So what was pre-pulled is what is deployed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from millpond.errors import MillpondError
from millpond.hosts.model import Kind

LATER = "is pinned when it is pulled"
"""What a dry run says of an image whose digest only a pull tells."""


class AppFailed(MillpondError):
    """An app can't be had as its files are: nothing was changed. `text` is for people, and holds no secret of them."""

    def __init__(self, app: str, text: str) -> None:
        super().__init__(f"{app}: {text}")
        self.app, self.text = app, text


class AppKind(StrEnum):
    """What runs an app."""

    COMPOSE = "compose"
    """``docker compose``, on each of its hosts by itself."""
    SWARM = "swarm"
    """A stack of a swarm: deployed on the first of its hosts that is a manager, pre-pulled on all of them."""


class PullFrom(StrEnum):
    """Where hosts pull from."""

    POND = "pond"
    """Through the pond, under its name."""
    DIRECT = "direct"
    """From the image's own registry."""


@dataclass(frozen=True, slots=True)
class Health:
    """How it is told that a deployed app is well. Without `url` and `command`: containers that run, and are healthy.

    `url` is asked from the pond's machine and has to answer with 200 to 399; `command` runs on each host of the app and
    has to end with 0. Both are asked every `interval_s` until they say yes, for at most `timeout_s`.
    """

    url: str = ""
    command: tuple[str, ...] = ()
    timeout_s: float = 60.0
    interval_s: float = 2.0


@dataclass(frozen=True, slots=True)
class AppOptions:
    """One configured app. Paths are absolute, and lie on the pond's machine, or on the host named by `on`."""

    name: str
    """Also the compose project's, or the stack's."""
    path: str
    hosts: tuple[str, ...]
    """Names of configured hosts, in order, each once; labels are resolved already. The first is pulled to first."""
    kind: AppKind = AppKind.COMPOSE
    pull: PullFrom = PullFrom.POND
    on: str = ""
    files: tuple[str, ...] = ()
    """Compose or stack files, relative to `path`; empty: what its .env says (COMPOSE_FILE), else the usual names."""
    env_file: str = ""
    """Relative to `path`; empty: its ``.env``, where there is one."""
    profiles: tuple[str, ...] = ()
    pond: str = ""
    """``host:port`` under which the app's hosts reach the pond; empty: that of ``server.public_url``."""
    health: Health = Health()
    parallel: int = 4
    """Hosts that pull, or are deployed to, at a time."""
    pull_timeout_s: float = 1800.0
    converge_timeout_s: float = 300.0
    in_place: bool = False
    """It runs only on the machine that `path` lies on, so that what lies beside its files is there."""
    keep: int = 5
    """Releases that are kept; the images of the current and the previous one stay on the hosts."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An image that an app needs.

    `reference` is as its file has it; `platform` as ``linux/arm64``, or empty: the host's own.
    """

    reference: str
    platform: str = ""


@dataclass(frozen=True, slots=True)
class Resolved:
    """What an app's files say, with every variable filled in."""

    document: Mapping[str, Any] = field(repr=False)
    """The compose or stack file as one JSON object, in which each dollar is doubled; it may hold secrets."""
    wanted: tuple[Wanted, ...]
    """Each image once, in the order of the document; services that are only built have none."""
    services: Mapping[str, Wanted] = field(default_factory=dict)
    """The image of each service that has one."""


@dataclass(frozen=True, slots=True)
class Pinned:
    """An image by content. `reference` is what a release's file names: ``name@sha256:...``, or an image's id."""

    wanted: Wanted
    reference: str
    digest: str
    """Of the manifest or index; of the image's configuration where no registry has it (built, or loaded)."""
    local: bool = False
    """It is known by its id only: good for compose on the hosts that have it, not for a swarm."""


@dataclass(frozen=True, slots=True)
class PullFailure:
    """One image that a host could not be given. `text` is one line, with the cause in the registry's own words."""

    image: str
    kind: Kind
    text: str


@dataclass(frozen=True, slots=True)
class HostPull:
    """How far one host is: images that it must have, is being given, has, and could not be given."""

    desired: int
    active: int = 0
    succeeded: int = 0
    failures: tuple[PullFailure, ...] = ()
    error: str = ""
    """Why the host as a whole could not be worked on (ssh, no engine); empty: it could."""
    kind: Kind = Kind.PERMANENT
    """Of that error: whether it may pass."""

    @property
    def ok(self) -> bool:
        """Whether it has all of them."""
        return not self.error and not self.failures and self.succeeded == self.desired


@dataclass(frozen=True, slots=True)
class Prepulled:
    """What a pre-pull came to: one digest for each image, on all hosts alike, and each host's state."""

    pins: Mapping[Wanted, Pinned]
    hosts: Mapping[str, HostPull]

    @property
    def ok(self) -> bool:
        """Whether every host has every image."""
        return all(host.ok for host in self.hosts.values())
