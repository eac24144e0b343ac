"""Small Debian packages, and an archive that has them: generations of a suite, or a flat repository, on loopback."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path

from millpond.testing.upstream import FakeUpstream

AT = 1577836800
SUITE = "dists/stable"
ALGORITHMS = (("md5", "MD5Sum"), ("sha256", "SHA256"), ("sha512", "SHA512"))
UNSIGNED = b"-----BEGIN PGP SIGNATURE-----\n\niQIzBAEBCgAdFiEE\n=abcd\n-----END PGP SIGNATURE-----\n"
Sign = Callable[[bytes, bool], bytes]
"""Signs a text: as a message of its own (True), or detached (False)."""


@dataclass(frozen=True)
class Deb:
    """A package without dependencies, with one file in it."""

    name: str = "hello"
    version: str = "1.0"
    payload: bytes = b"payload"

    @property
    def filename(self) -> str:
        return f"{self.name}_{self.version}_all.deb"

    @property
    def control(self) -> str:
        return (
            f"Package: {self.name}\nVersion: {self.version}\nArchitecture: all\nMaintainer: T <t@t.example>\n"
            "Description: a thing\n"
        )

    @property
    def body(self) -> bytes:
        """Give the archive (deb(5))."""
        control = _tar({"./control": self.control.encode()})
        data = _tar({f"./usr/share/{self.name}/payload": self.payload})
        parts = {"debian-binary": b"2.0\n", "control.tar.gz": control, "data.tar.gz": data}
        return b"!<arch>\n" + b"".join(_part(name, body) for name, body in parts.items())

    def stanza(self, folder: str) -> str:
        body = self.body
        sums = {"MD5sum": "md5", "SHA256": "sha256"}
        told = "".join(f"{key}: {hashlib.new(name, body).hexdigest()}\n" for key, name in sums.items())
        return f"{self.control}Filename: {folder}{self.filename}\nSize: {len(body)}\n{told}"


def _tar(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        folders: dict[str, None] = {}
        for name in files:
            parts = name.split("/")[:-1]
            folders |= dict.fromkeys("/".join(parts[: count + 1]) for count in range(len(parts)))
        for folder in folders:
            member = tarfile.TarInfo(f"{folder}/")
            member.type, member.mode, member.mtime = tarfile.DIRTYPE, 0o755, AT
            archive.addfile(member)
        for name, body in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.mtime = len(body), 0o644, AT
            archive.addfile(member, io.BytesIO(body))
    return gzip.compress(out.getvalue(), mtime=AT)


def _part(name: str, body: bytes) -> bytes:
    head = f"{name:<16}{AT:<12}{0:<6}{0:<6}{0o100644:<8o}{len(body):<10}`\n".encode()
    return head + body + (b"\n" if len(body) % 2 else b"")


def nobody(text: bytes, inline: bool) -> bytes:
    """Sign in nobody's name."""
    return b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n" + text + UNSIGNED if inline else UNSIGNED


@dataclass(frozen=True)
class Key:
    """A signing key of the test's own; `public` is what apt is given (Signed-By)."""

    home: Path
    public: Path

    @classmethod
    def make(cls, folder: Path) -> Key:
        folder.mkdir(mode=0o700, parents=True)
        key = cls(folder, folder / "public.gpg")
        key._gpg("--quick-generate-key", "--passphrase", "", "test@archive.example", "rsa2048", "sign", "never")
        key.public.write_bytes(key._gpg("--export"))
        key.public.chmod(0o644)
        return key

    def __call__(self, text: bytes, inline: bool) -> bytes:
        how = ["--clear-sign"] if inline else ["--armor", "--detach-sign"]
        return self._gpg("--digest-algo", "SHA512", *how, text=text)

    def close(self) -> None:
        """End the agent that gpg started."""
        subprocess.run(["gpgconf", "--homedir", str(self.home), "--kill", "all"], check=False, timeout=30)

    def _gpg(self, *words: str, text: bytes = b"") -> bytes:
        argv = [
            "gpg",
            "--homedir",
            str(self.home),
            "--batch",
            "--yes",
            "--quiet",
            "--pinentry-mode",
            "loopback",
            *words,
        ]
        return subprocess.run(argv, input=text, capture_output=True, check=True, timeout=60).stdout


@dataclass
class Archive:
    """An archive below a folder (`place`) of a server. `publish` makes a new generation of what it has."""

    server: FakeUpstream
    by_hash: bool = True
    flat: bool = False
    split: bool = False
    """Release and Release.gpg, and no InRelease."""
    sign: Sign = nobody
    place: str = "archive"
    valid_s: float | None = None
    now: float | None = None
    compressions: tuple[str, ...] = ("", ".xz", ".gz")
    has: list[Deb] = field(default_factory=list)
    generation: int = 0
    members: dict[str, bytes] = field(default_factory=dict)
    """The current generation's, by their paths below the suite."""

    @property
    def url(self) -> str:
        return f"{self.server.url}/{self.place}/"

    @property
    def suite(self) -> str:
        """The folder of the entry file, relative to the archive, with its slash; empty for a flat one."""
        return "" if self.flat else f"{SUITE}/"

    @property
    def index(self) -> str:
        """An index's path below the suite, without its compression."""
        return "Packages" if self.flat else "main/binary-amd64/Packages"

    def pool(self, deb: Deb) -> str:
        """The path of a package."""
        return deb.filename if self.flat else f"pool/main/{deb.filename}"

    def packages(self) -> bytes:
        folder = "./" if self.flat else "pool/main/"
        return "\n".join(deb.stanza(folder) for deb in self.has).encode()

    def publish(self, *debs: Deb, keep_by_hash: bool = True) -> None:
        """Have exactly these packages (none: those that are there), in a new generation."""
        gone = [self.pool(one) for one in self.has if debs and one.filename not in {new.filename for new in debs}]
        self.has = list(debs) or self.has
        self.generation += 1
        old, self.members = self.members, self._members()
        for path in gone:
            self.server.remove(f"/{self.place}/{path}")
        for deb in self.has:
            self._put(self.pool(deb), deb.body)
        for name, body in self.members.items():
            self._put(self.suite + name, body)
            if self.by_hash:
                self._put(self.suite + self.hashed(name, body), body)
        for name, body in old.items():
            if not keep_by_hash and self.members.get(name) != body:
                self.server.remove(f"/{self.place}/{self.suite}{self.hashed(name, body)}")
        text = self.release()
        if self.split:
            self._put(f"{self.suite}Release", text)
            self._put(f"{self.suite}Release.gpg", self.sign(text, False))
        else:
            self._put(f"{self.suite}InRelease", self.sign(text, True))

    def hashed(self, name: str, body: bytes, algorithm: str = "SHA512") -> str:
        """The path by hash of a member."""
        folder = name.rpartition("/")[0]
        return f"{folder}/by-hash/{algorithm}/{hashlib.new(algorithm, body).hexdigest()}".lstrip("/")

    def release(self) -> bytes:
        now = AT if self.now is None else self.now
        head = "Origin: Test\nSuite: stable\nCodename: stable\nComponents: main\nArchitectures: amd64\n"
        head += f"Date: {formatdate(now, usegmt=True).replace('GMT', 'UTC')}\nDescription: {self.generation}\n"
        if self.valid_s is not None:
            head += f"Valid-Until: {formatdate(now + self.valid_s, usegmt=True).replace('GMT', 'UTC')}\n"
        head += "Acquire-By-Hash: yes\n" if self.by_hash else ""
        for algorithm, name in ALGORITHMS:
            lines = (
                f" {hashlib.new(algorithm, body).hexdigest()} {len(body)} {path}" for path, body in self.members.items()
            )
            head += "\n".join([f"{name}:", *lines]) + "\n"
        return head.encode()

    def _members(self) -> dict[str, bytes]:
        body = self.packages()
        made = {"": body, ".xz": lzma.compress(body), ".gz": gzip.compress(body, mtime=0)}
        return {self.index + suffix: made[suffix] for suffix in self.compressions}

    def _put(self, path: str, body: bytes) -> None:
        kind = {"content-type": "application/octet-stream"}
        made_at = AT + 60 * self.generation  # apt asks by If-Modified-Since alone, which knows whole seconds
        self.server.put(f"/{self.place}/{path}", body, headers=kind, modified_at=made_at)

    def asked(self, path: str) -> int:
        """Count the requests for a path."""
        return self.server.count(f"/{self.place}/{path}")


def repository(name: str, archive: Archive, *, ttl_s: float) -> str:
    """Write a repository's part of a configuration."""
    return f"""
[repositories.{name}]
package = "debian"
base_url = "{archive.url}"
mutable_ttl_s = {ttl_s}
check_mutable_updates = true
"""


def config(archive: Archive, *, ttl_s: float, more: str = "") -> str:
    """Write the configuration of a pond in front of an archive."""
    return f"[access]\nallow_open_network = true\n{repository('debian', archive, ttl_s=ttl_s)}{more}"
