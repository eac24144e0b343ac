"""dnf as the tests run it: a root of its own to install into, no settings of this machine, in the jail or not."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.clients.programs import Ran, Room, tree
from tests.repodata import Rpm

MISMATCH = ("Checksum mismatch", "checksum doesn't match", "does not match", "Package checksum")
_SETTINGS = """[main]
reposdir={root}/repos
gpgcheck=0
plugins=0
keepcache=1
metadata_expire=0
install_weak_deps=0
timeout=20
minrate=1
retries={retries}
{more}
"""
_SPEC = """Name: {one.name}
Version: {one.version}
Release: 1
Summary: A thing
License: MIT
BuildArch: noarch
%description
A thing.
%install
mkdir -p %{{buildroot}}/usr/share/{one.name}
cp {payload} %{{buildroot}}/usr/share/{one.name}/payload
%files
/usr/share/{one.name}/payload
"""


def built(one: Rpm, folder: Path) -> Rpm:
    """Build a real package with its payload (rpmbuild)."""
    folder.mkdir(parents=True)
    (folder / "payload").write_bytes(one.payload)
    (folder / "it.spec").write_text(_SPEC.format(one=one, payload=folder / "payload"))
    argv = ["rpmbuild", "-bb", "--quiet", "--define", f"_topdir {folder}", "--define", "_build_id_links none"]
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "SOURCE_DATE_EPOCH": "1577836800"}
    done = subprocess.run(
        [*argv, str(folder / "it.spec")], env=environ, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = (folder / "RPMS").rglob("*.rpm")
    return replace(one, real=made.read_bytes())


@dataclass
class Dnf:
    """One machine that has dnf: what it has cached and installed stays from run to run, as it does in life."""

    room: Room
    root: Path
    retries: int = 1
    more: str = ""
    files: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for folder in ("repos", "install", "downloads"):
            (self.root / folder).mkdir(parents=True)
        (self.root / "dnf.conf").write_text(_SETTINGS.format(root=self.root, retries=self.retries, more=self.more))

    def repository(self, lines: str, name: str = "test") -> None:
        """Write a repository's file."""
        text = f"[{name}]\nname={name}\nenabled=1\n{lines}\n"
        (self.root / "repos" / f"{name}.repo").write_text(text)

    def run(self, *words: str) -> Ran:
        """Run dnf."""
        argv = ["dnf", "-y", "-c", str(self.root / "dnf.conf"), f"--installroot={self.root}/install", "--releasever=1"]
        argv += [f"--setopt=reposdir={self.root}/repos", *words]
        return self.room.run(argv, {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})

    def makecache(self) -> Ran:
        """Have the metadata, new if it is not fresh any more."""
        return self.run("makecache")

    def download(self, *names: str) -> Ran:
        """Download packages; what was downloaded before is removed first."""
        for old in (self.root / "downloads").iterdir():
            old.unlink()
        shutil.rmtree(self.root / "install/var/cache/dnf/packages", ignore_errors=True)
        for folder in (self.root / "install/var/cache/dnf").glob("*/packages"):
            shutil.rmtree(folder)
        return self.run("install", "--downloadonly", f"--downloaddir={self.root}/downloads", *names)

    def downloaded(self) -> dict[str, bytes]:
        """Give what was downloaded."""
        return {path.name: path.read_bytes() for path in (self.root / "downloads").iterdir()}

    def installed(self) -> dict[str, bytes]:
        """Give the files of the packages that are installed, by their names."""
        return tree(self.root / "install/usr/share")


def mismatched(ran: Ran) -> bool:
    """Whether a run says that bytes are not the promised ones."""
    return any(words.lower() in ran.output.lower() for words in MISMATCH)
