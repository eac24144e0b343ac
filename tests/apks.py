"""Small Alpine packages (apk-v2(5)), and a mirror that has them: one folder of a branch, on loopback."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from millpond.testing.upstream import FakeUpstream

AT = 1577836800
BRANCH, ARCH = "v3.20/main", "x86_64"
KEY_NAME = "test@alpine.example-5e4b0000.rsa.pub"
Sign = Callable[[bytes], bytes]
"""Signs a segment, with RSA and SHA-1."""


def nobody(segment: bytes) -> bytes:
    """Sign in nobody's name."""
    return hashlib.sha256(segment).digest() * 8


def segment(files: dict[str, bytes], *, last: bool = False) -> bytes:
    """Make a gzip stream of a part of a tar archive; only the `last` one has the archive's end."""
    out = io.BytesIO()
    archive = tarfile.TarFile(fileobj=out, mode="w", format=tarfile.PAX_FORMAT)
    folders: dict[str, None] = {}
    for name in files:
        parts = name.split("/")[:-1]
        folders |= dict.fromkeys("/".join(parts[: count + 1]) for count in range(len(parts)))
    for name in folders:
        member = tarfile.TarInfo(name)
        member.type, member.mode, member.mtime = tarfile.DIRTYPE, 0o755, AT
        archive.addfile(member)
    for name, body in files.items():
        member = tarfile.TarInfo(name)
        member.size, member.mode, member.mtime = len(body), 0o644, AT
        if last and not name.startswith((".", "APKINDEX", "DESCRIPTION")):  # as abuild-tar does
            member.pax_headers = {"APK-TOOLS.checksum.SHA1": hashlib.sha1(body).hexdigest()}
        archive.addfile(member, io.BytesIO(body))
    plain = out.getvalue()[: archive.offset] + bytes(1024 if last else 0)
    return gzip.compress(plain, mtime=AT)


def signed(body: bytes, sign: Sign) -> bytes:
    """Put a signature of the whole before it, as abuild-sign does."""
    return segment({f".SIGN.RSA.{KEY_NAME}": sign(body)}) + body


@dataclass(frozen=True)
class Apk:
    """A package without dependencies, with one file in it."""

    name: str = "hello"
    version: str = "1.0-r0"
    payload: bytes = b"payload"
    has_datahash: bool = True
    """Packages of old have none."""

    @property
    def filename(self) -> str:
        return f"{self.name}-{self.version}.apk"

    @property
    def file(self) -> str:
        """The path of its file, where it is installed."""
        return f"usr/share/{self.name}/payload"

    @cached_property
    def data(self) -> bytes:
        return segment({self.file: self.payload}, last=True)

    @cached_property
    def control(self) -> bytes:
        info = {
            "pkgname": self.name, "pkgver": self.version, "pkgdesc": "a thing", "url": "https://t.example",
            "builddate": AT, "packager": "T <t@t.example>", "size": len(self.payload), "arch": ARCH,
            "origin": self.name, "license": "MIT",
        }  # fmt: skip
        if self.has_datahash:
            info["datahash"] = hashlib.sha256(self.data).hexdigest()
        text = "# made by a test\n" + "".join(f"{key} = {value}\n" for key, value in info.items())
        return segment({".PKGINFO": text.encode()})

    @property
    def identity(self) -> bytes:
        """What an index calls it: a SHA-1."""
        return hashlib.sha1(self.control + (b"" if self.has_datahash else self.data)).digest()

    def body(self, sign: Sign = nobody) -> bytes:
        return signed(self.control, sign) + self.data

    def stanza(self, size: int) -> str:
        return (
            f"C:Q1{base64.b64encode(self.identity).decode()}\nP:{self.name}\nV:{self.version}\nA:{ARCH}\nS:{size}\n"
            f"I:{len(self.payload)}\nT:a thing\nU:https://t.example\nL:MIT\no:{self.name}\nm:T <t@t.example>\nt:{AT}\n"
        )


def index(*packages: Apk, sign: Sign = nobody, description: str = "v3.20.0-1-g0123456789a") -> bytes:
    """Make an APKINDEX.tar.gz."""
    text = "\n".join(one.stanza(len(one.body(sign))) for one in packages) + "\n"
    return signed(segment({"DESCRIPTION": description.encode(), "APKINDEX": text.encode()}, last=True), sign)


@dataclass(frozen=True)
class Key:
    """A signing key of the test's own; `public` is what apk is given."""

    private: Path
    public: Path

    @classmethod
    def make(cls, folder: Path) -> Key:
        (folder / "keys").mkdir(parents=True)
        key = cls(folder / "private.pem", folder / "keys" / KEY_NAME)
        _openssl("genrsa", "-out", str(key.private), "2048")
        _openssl("rsa", "-in", str(key.private), "-pubout", "-out", str(key.public))
        return key

    def __call__(self, segment: bytes) -> bytes:
        return _openssl("dgst", "-sha1", "-sign", str(self.private), text=segment)


def _openssl(*words: str, text: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *words], input=text, capture_output=True, check=True, timeout=60).stdout


@dataclass
class Mirror:
    """One folder of a mirror below `place` of a server. `publish` makes a new generation of what it has."""

    server: FakeUpstream
    sign: Sign = nobody
    place: str = "mirror/alpine"
    folder: str = f"{BRANCH}/{ARCH}"
    has: list[Apk] = field(default_factory=list)
    generation: int = 0
    index: bytes = b""

    @property
    def url(self) -> str:
        return f"{self.server.url}/{self.place}"

    @property
    def index_path(self) -> str:
        """The index's path in the repository."""
        return f"{self.folder}/APKINDEX.tar.gz"

    def path(self, package: Apk) -> str:
        """A package's path in the repository."""
        return f"{self.folder}/{package.filename}"

    def body(self, package: Apk) -> bytes:
        return package.body(self.sign)

    def publish(self, *packages: Apk, keep_old: bool = False) -> None:
        """Have exactly these packages (none: those that are there), in a new generation; old versions go, or stay."""
        gone = {one.filename for one in self.has} - {one.filename for one in packages} if packages else set()
        self.has = list(packages) or self.has
        self.generation += 1
        for name in gone if not keep_old else ():
            self.server.remove(f"/{self.place}/{self.folder}/{name}")
        for package in self.has:
            self._put(self.path(package), self.body(package))
        self.index = index(*self.has, sign=self.sign, description=f"v3.20.0-{self.generation}-g0123456789a")
        self._put(self.index_path, self.index)

    def _put(self, path: str, body: bytes) -> None:
        kind = {"content-type": "application/octet-stream"}
        self.server.put(f"/{self.place}/{path}", body, headers=kind, modified_at=AT + 60 * self.generation)

    def asked(self, path: str) -> int:
        """Count the requests for a path."""
        return self.server.count(f"/{self.place}/{path}")


def repository(name: str, mirror: Mirror, *, ttl_s: float) -> str:
    """Write a repository's part of a configuration."""
    return f"""
[repositories.{name}]
package = "alpine"
base_url = "{mirror.url}"
mutable_ttl_s = {ttl_s}
check_mutable_updates = true
"""


def config(mirror: Mirror, *, ttl_s: float, more: str = "") -> str:
    """Write the configuration of a pond in front of a mirror."""
    return f"[access]\nallow_open_network = true\n{repository('alpine', mirror, ttl_s=ttl_s)}{more}"
