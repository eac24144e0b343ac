"""What the hosts' area speaks of: options, what a command gave, what a disk holds, and why a host failed. PURE.

Sizes are bytes, times epoch seconds, spans seconds, shares percent of what an ordinary user may fill.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from millpond.errors import MillpondError
from millpond.hosts.address import Address

MAX_SESSIONS = 10
"""What sshd allows on one connection unless it is told otherwise (sshd_config(5), MaxSessions)."""


class Kind(StrEnum):
    """What kind of failure it is, and so what is done about it."""

    PERMANENT = "permanent"
    """It fails again, however often it is tried."""
    CREDENTIALS = "credentials"
    WAIT = "wait"
    """A quota: later it works."""
    DISK = "disk"
    CORRUPT = "corrupt"
    """Bytes are not those that were promised: what is cached of them has to go."""
    TRANSIENT = "transient"
    """Trying again may help."""


class HostFailed(MillpondError):
    """A host could not be made to run a command, or what it answered is of no use.

    A command that ran and failed is no such fault but a `Completed` with its exit code; who asked may make one of it.
    `reason` is one word (refused, timeout, host-key, denied, unknown, unreachable, no-ssh, lost, unreadable, command);
    `rc` the exit code that told, if there was one.
    """

    def __init__(self, host: str, text: str, *, kind: Kind, reason: str, rc: int | None = None) -> None:
        super().__init__(f"{host}: {text}")
        self.host, self.text, self.kind, self.reason, self.rc = host, text, kind, reason, rc

    @property
    def told(self) -> str:
        """The line for `last_error`: it has ``timeout``, or ``rc=N`` with the error's text."""
        if self.reason == "timeout":
            return f"timeout: {self.text}"
        return f"rc={self.rc}: {self.text}" if self.rc is not None else self.text


@dataclass(frozen=True, slots=True)
class Completed:
    """What a command gave. `out` and `err` are text, whatever bytes came; `truncated`: their middle is left out."""

    rc: int
    out: str = ""
    err: str = ""
    truncated: bool = False

    @property
    def ok(self) -> bool:
        """Whether it says that it succeeded."""
        return self.rc == 0


@dataclass(frozen=True, slots=True)
class Limits:
    """How patient we are with one host."""

    connect_timeout_s: float = 10.0
    command_timeout_s: float = 60.0
    """For what only asks; what works has a time-out of its own."""
    max_sessions: int = 4
    """Commands at a time, on its one connection."""
    max_output_bytes: int = 4 << 20
    """Kept of each of a command's two outputs: half of it from the head, half from the tail."""


@dataclass(frozen=True, slots=True)
class PruneOptions:
    """The build-cache pruner's settings for one host, sound ones (see `hosts.settings`)."""

    enabled: bool = True
    interval_s: float = 21600
    until: str = "24h"
    """As it was configured."""
    all: bool = False
    timeout_s: float = 120
    notify_min_gb: float = 0
    """Reclaimed decimal gigabytes from which on one is told; 0: never."""


class Rung(StrEnum):
    """What makes room, in the order in which it is tried."""

    BUILD_CACHE = "build_cache"
    DANGLING = "dangling"
    IMAGES = "images"
    POND = "pond"
    """The pond's own: what exceeds its limit, and what nothing refers to."""


HOST_RUNGS = (Rung.BUILD_CACHE, Rung.DANGLING, Rung.IMAGES)


@dataclass(frozen=True, slots=True)
class Marks:
    """Above `high` percent room is made until it is below `low`."""

    high: float = 85.0
    low: float = 80.0


@dataclass(frozen=True, slots=True)
class DiskOptions:
    """The disk watchdog's settings for one host, or for the pond itself."""

    enabled: bool = True
    interval_s: float = 300.0
    bytes: Marks = Marks()
    inodes: Marks = Marks()
    cooldown_s: float = 1800.0
    """How long after making room nothing more is removed."""
    rungs: frozenset[Rung] = frozenset(Rung)
    """Those that are not switched off."""
    timeout_s: float = 600.0
    """For each command that removes something."""
    until: str = "1h"
    """How long ago build cache was last used that goes."""
    image_min_age_s: float = 3600.0
    """Images that were pulled or tagged later than that stay."""


@dataclass(frozen=True, slots=True)
class HostOptions:
    """One configured host."""

    name: str
    address: Address
    labels: tuple[str, ...] = ()
    limits: Limits = Limits()
    identity_file: str = ""
    known_hosts: str = ""
    """Empty: the user's and the machine's own files."""
    accept_new_keys: bool = False
    """Believe the key of a host that was never seen (a changed one never)."""
    docker_host: str = ""
    """The engine's socket there, as ``unix:///path``; empty: docker's own default."""
    prune: PruneOptions = PruneOptions()
    disk: DiskOptions = DiskOptions()


@dataclass(frozen=True, slots=True)
class Filled:
    """How full something is: a file system's bytes or its inodes. Root's reserve counts neither as used nor as free."""

    total: int
    used: int
    available: int

    @property
    def percent(self) -> float:
        """The share that is used, of what an ordinary user may fill (as df(1) tells it)."""
        whole = self.used + self.available
        return 100.0 * self.used / whole if whole else 100.0


@dataclass(frozen=True, slots=True)
class Room:
    """A file system; `inodes` is None where it has no fixed number of them (btrfs)."""

    bytes: Filled
    inodes: Filled | None = None


@dataclass(frozen=True, slots=True)
class Image:
    """An image on a host; `tagged_at` is when it was last pulled by tag or tagged there, 0: never or unknown."""

    id: str
    tags: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    """As ``name@sha256:...``."""
    size: int = 0
    created_at: float = 0.0
    tagged_at: float = 0.0

    @property
    def dangling(self) -> bool:
        """Whether nothing names it."""
        return not self.tags and not self.digests


@dataclass(frozen=True, slots=True)
class Engine:
    """What a Docker Engine tells of itself."""

    version: str
    root: str
    """Its data directory: an absolute path on the host."""
    swarm: str = "inactive"
    manager: bool = False
    node: str = ""
    """Its id in its swarm."""


@dataclass(frozen=True, slots=True)
class Reclaimed:
    """What a prune says that it freed: its own words, and whole bytes."""

    text: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Run:
    """What is remembered of one task on one host. `told` has the task's own facts, as JSON values."""

    ran_at: float | None = None
    error: str = ""
    told: dict[str, object] = field(default_factory=dict)
