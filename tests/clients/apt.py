"""apt-get as the tests run it: a root of its own, nothing of this machine's settings, in the jail or not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.clients.programs import Ran, Room

MISMATCH = "Hash Sum mismatch"
_SETTINGS = """
Dir "{root}";
Dir::State "{root}/state";
Dir::State::status "{root}/status";
Dir::Cache "{root}/cache";
Dir::Log "{root}/log";
Dir::Etc "{root}/etc";
Dir::Etc::SourceList "{root}/etc/sources.list";
Dir::Bin::Methods "/usr/lib/apt/methods";
Dir::Bin::dpkg "/usr/bin/dpkg";
APT::Architecture "amd64";
APT::Architectures "amd64";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "{retries}";
Acquire::http::Timeout "20";
{more}
"""


@dataclass
class Apt:
    """One machine that has apt: its lists and its cache stay from run to run, as they do in life."""

    room: Room
    root: Path
    retries: int = 0
    more: str = ""

    def __post_init__(self) -> None:
        for folder in ("state/lists/partial", "cache/archives/partial", "log", "etc/sources.list.d", "etc/apt.conf.d"):
            (self.root / folder).mkdir(parents=True)
        for folder in ("etc/preferences.d", "etc/trusted.gpg.d", "downloads"):
            (self.root / folder).mkdir()
        (self.root / "status").touch()
        settings = _SETTINGS.format(root=self.root, retries=self.retries, more=self.more)
        (self.root / "apt.conf").write_text(settings)

    def sources(self, text: str, name: str = "sources.list") -> None:
        """Write its package list."""
        (self.root / "etc" / name).write_text(text)

    def run(self, *words: str) -> Ran:
        """Run apt-get; it is in a folder of its own, where downloads go."""
        return self.room.run(
            ["sh", "-c", 'cd "$0" && exec apt-get "$@"', str(self.root / "downloads"), *words],
            {"APT_CONFIG": str(self.root / "apt.conf"), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )

    def update(self) -> Ran:
        """Get the lists; a list that could not be had fails the run, as it does not by itself."""
        return self.run("update", "--error-on=any")

    def download(self, *names: str) -> Ran:
        """Download packages; what was downloaded before is removed first."""
        for old in (self.root / "downloads").iterdir():
            old.unlink()
        return self.run("download", *names)

    def downloaded(self) -> dict[str, bytes]:
        """Give what was downloaded."""
        return {path.name: path.read_bytes() for path in (self.root / "downloads").iterdir()}
