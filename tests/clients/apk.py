"""apk as the tests run it: a root of its own, nothing of this machine's settings, in the jail or not.

Debian has no apk-tools; where the program is installed all the same it is the one that runs. The other one is a small
client of the tests (`playedapk`), which goes through apk's own steps by what is documented of them.
"""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.apks import ARCH
from tests.clients.programs import Ran, Room

MISMATCH = re.compile(r"BAD|UNTRUSTED|integrity|does not contain expected data|format", re.ASCII)
"""What apk says of bytes that are not the ones that it was promised."""
_PLAYED = Path(__file__).with_name("playedapk.py")
_FOLDERS = ("etc/apk/keys", "lib/apk/db", "var/cache/apk", "downloads")


def real(tools: Path) -> list[str] | None:
    """Give the command of the real program; None: there is none."""
    found = shutil.which("apk", path=f"{tools}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    return None if found is None else [found]


def played() -> list[str]:
    """Give the command of the tests' own."""
    return [sys.executable, str(_PLAYED)]


@dataclass
class ApkMachine:
    """One machine that has apk: its indexes and what is installed stay from run to run, as they do in life."""

    room: Room
    root: Path
    command: list[str]

    def __post_init__(self) -> None:
        for folder in _FOLDERS:
            (self.root / folder).mkdir(parents=True)

    def settings(self, key: Path, *lines: str) -> None:
        """Give it a key to trust, and its package list."""
        shutil.copy(key, self.root / "etc/apk/keys")
        (self.root / "etc/apk/repositories").write_text("".join(f"{line}\n" for line in lines))
        made = self.run("add", "--initdb", network=False)
        assert made.ok, made.output

    def run(self, *words: str, network: bool = True) -> Ran:
        """Run it; without a network, it takes what is in its cache."""
        shared = ["--root", str(self.root), "--arch", ARCH, "--timeout", "20", *([] if network else ["--no-network"])]
        return self.room.run([*self.command, *shared, *words])

    def update(self) -> Ran:
        """Get the indexes."""
        return self.run("update", "--update-cache")  # or 2.14.9 finds an index of some hours new enough

    def fetch(self, *names: str) -> Ran:
        """Download packages; what was downloaded before is removed first."""
        for old in (self.root / "downloads").iterdir():
            old.unlink()
        return self.run("fetch", "-o", str(self.root / "downloads"), *names)

    def add(self, *names: str) -> Ran:
        """Install packages, upgrading them."""
        return self.run("add", "-u", *names)

    def fetched(self) -> dict[str, bytes]:
        """Give what was downloaded."""
        return {path.name: path.read_bytes() for path in (self.root / "downloads").iterdir()}
