"""What the hosts' area needs of the world, and what others give to it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol, TypeAlias

from millpond.errors import MillpondError
from millpond.hosts.model import Completed, Kind, Room
from millpond.hosts.references import Reference

Heard: TypeAlias = Callable[[bytes], None]
"""Takes a command's output while it runs; it must not block."""


class Host(Protocol):
    """A machine that runs commands: over ssh, this one, or a fake (`millpond.testing.hosts` has the conformance kit).

    Commands are argument lists and reach the program byte for byte, whatever is in them; no shell reads them.
    """

    @property
    def name(self) -> str:
        """Its name in the configuration."""

    async def run(
        self, argv: Sequence[str], *, timeout_s: float, stdin: bytes | None = None, heard: Heard | None = None
    ) -> Completed:
        """Run a command to its end; without `stdin` it reads nothing. `heard` gets standard output as it comes.

        A command that fails is an answer, one that is not there has the exit code 127. After `timeout_s`, or when the
        caller is cancelled, whatever was started here is ended, and what runs on the host is as far as it can be.
        Raises `HostFailed`: the host can't be reached or refuses, the time is over, the command can't be passed on.
        """

    async def close(self) -> None:
        """End what is open; nothing is left running here."""


class Asker(Protocol):
    """Asks URLs from the pond's machine."""

    async def status(self, url: str, timeout_s: float) -> int:
        """Give the status of one GET; redirects are not followed. Raises `OSError` where there is no answer in time."""


class Notifier(Protocol):
    """Tells people."""

    async def notify(self, title: str, body: str) -> None:
        """Send one message, within a bounded time. Never raises: what could not be sent is logged."""


class Roots(Protocol):
    """Says which images must stay on a host, whether a container uses them or not."""

    async def protected(self, host: str) -> Collection[str]:
        """Give references, digests and image ids: of current and previous releases, and of what is being deployed."""


class Pond(Protocol):
    """The pond's own disk."""

    async def measure(self) -> Room:
        """Measure the fuller one of the disks that it is on. Raises `OSError`."""

    async def collect(self, *, dry_run: bool) -> int:
        """Evict what exceeds its limit and collect what nothing refers to; gives the bytes that this freed, or would.

        Raises `Busy` while that is under way already.
        """


Layers: TypeAlias = Mapping[str, Mapping[str, int]]
"""For each platform the blobs of an image: digest -> bytes."""


class NotPulled(MillpondError):
    """An image can't be had: by a host, or by the pond. `text` is one line, with the cause in the registry's words."""

    def __init__(self, text: str, *, kind: Kind, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.text, self.kind, self.retry_after_s = text, kind, retry_after_s


class Registry(Protocol):
    """The registries that images come from, as the pond sees them. References are the app's own."""

    def name(self, reference: Reference) -> str:
        """Give the image's name (domain and path) under the pond. Raises `NotPulled` where no repository fits."""

    async def pin(self, reference: Reference, platform: str, *, refresh: bool = False) -> str:
        """Give the digest that a tag has now; with `platform`, that of this platform's manifest. Raises `NotPulled`.

        `refresh`: the registry is asked, also where what it said last would still do.
        """

    async def warm(self, reference: Reference, platforms: Collection[str], heard: Callable[[int, int], None]) -> Layers:
        """Have the pond hold what a digest comes to for some platforms. Raises `NotPulled`.

        `heard` is told how many bytes of how many are there.
        """

    async def drop(self, reference: Reference) -> int:
        """Take away what the pond holds of a digest and is not what it should be; gives how many objects that were."""
