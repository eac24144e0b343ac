"""RPM repositories on loopback: generations of what `repodata/` has, with names by digest or plain, signed or not.

The packages are small and only look like RPMs, unless a test brings real ones.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from millpond.testing.upstream import FakeUpstream

AT = 1577836800
MAGIC = b"\xed\xab\xee\xdb"
COMMON, LINUX = "http://linux.example/metadata/common", "http://linux.example/metadata/rpm"
UNSIGNED = b"-----BEGIN PGP SIGNATURE-----\n\niQIzBAEBCgAdFiEE\n=abcd\n-----END PGP SIGNATURE-----\n"
PACK: Mapping[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": lambda body: gzip.compress(body, mtime=0),
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
}
Sign = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Rpm:
    """A package without dependencies. `real`: its bytes, where a test has made them."""

    name: str = "hello"
    version: str = "1.0"
    payload: bytes = b"payload"
    real: bytes = field(default=b"", repr=False)

    @property
    def filename(self) -> str:
        return f"{self.name}-{self.version}-1.noarch.rpm"

    @property
    def body(self) -> bytes:
        return self.real or MAGIC + f"{self.name} {self.version} ".encode() + self.payload

    def stanza(self, folder: str = "Packages/", algorithm: str = "sha256", base: str = "") -> str:
        """Write its part of primary.xml."""
        version = f'epoch="0" ver="{self.version}" rel="1"'
        where = f' xml:base="{base}"' if base else ""
        return f"""<package type="rpm">
  <name>{self.name}</name><arch>noarch</arch><version {version}/>
  <checksum type="{algorithm}" pkgid="YES">{hashlib.new(algorithm, self.body).hexdigest()}</checksum>
  <summary>A thing</summary><description>A thing of &lt;several&gt; lines
  </description><packager/><url>http://things.example/</url><time file="{AT}" build="{AT}"/>
  <size package="{len(self.body)}" installed="100" archive="200"/>
  <location{where} href="{escape(folder + self.filename)}"/>
  <format><rpm:license>MIT</rpm:license><rpm:vendor/><rpm:group>Unspecified</rpm:group>
    <rpm:buildhost>host</rpm:buildhost><rpm:sourcerpm>{self.name}-{self.version}-1.src.rpm</rpm:sourcerpm>
    <rpm:header-range start="0" end="{len(self.body)}"/>
    <rpm:provides><rpm:entry name="{self.name}" flags="EQ" {version}/></rpm:provides>
    <file>/usr/share/{self.name}/payload</file>
  </format>
</package>
"""

    def other(self, kind: str) -> str:
        """Write its part of filelists.xml or other.xml."""
        pkgid = hashlib.sha256(self.body).hexdigest()
        files = f"<file>/usr/share/{self.name}/payload</file>" if kind == "filelists" else ""
        head = f'<package pkgid="{pkgid}" name="{self.name}" arch="noarch">'
        return f'{head}<version epoch="0" ver="{self.version}" rel="1"/>{files}</package>\n'


def rpm(name: str, size: int, seed: int = 0) -> Rpm:
    """Make a package of about so many bytes, which do not compress."""
    return Rpm(name, payload=random.Random(f"{name} {seed}").randbytes(size))


def primary(rpms: list[Rpm], folder: str = "Packages/", algorithm: str = "sha256") -> bytes:
    """Write primary.xml."""
    body = "".join(one.stanza(folder, algorithm) for one in rpms)
    head = f'<metadata xmlns="{COMMON}" xmlns:rpm="{LINUX}" packages="{len(rpms)}">'
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{head}\n{body}</metadata>\n'.encode()


def beside(kind: str, rpms: list[Rpm]) -> bytes:
    """Write filelists.xml or other.xml."""
    body = "".join(one.other(kind) for one in rpms)
    name = "otherdata" if kind == "other" else kind
    head = f'<{name} xmlns="http://linux.example/metadata/{kind}" packages="{len(rpms)}">'
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{head}\n{body}</{name}>\n'.encode()


@dataclass
class Repository:
    """A repository below a folder (`place`) of a server. `publish` makes a new generation of what it has."""

    server: FakeUpstream
    hashed: bool = True
    sign: Sign | None = None
    place: str = "repo"
    suffix: str = ".gz"
    pack: Callable[[bytes], bytes] | None = None
    algorithm: str = "sha256"
    metalink: bool = False
    """Whether it has a metalink and a mirrorlist of its own."""
    has: list[Rpm] = field(default_factory=list)
    generation: int = 0
    members: dict[str, bytes] = field(default_factory=dict)
    """The current generation's, by their paths in the repository."""
    entry: bytes = b""
    former: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.server.url}/{self.place}/"

    def path(self, kind: str = "primary") -> str:
        """Give the path of a member."""
        return next(path for path in self.members if path.partition("/")[2].rpartition("-")[2].startswith(kind))

    @staticmethod
    def pool(one: Rpm) -> str:
        return f"Packages/{one.filename}"

    def publish(self, *rpms: Rpm, keep: bool = True) -> None:
        """Have exactly these packages (none: those that are there), in a new generation; `keep`: old members too."""
        names = {one.filename for one in rpms}
        gone = [self.pool(one) for one in self.has if rpms and one.filename not in names]
        self.has = list(rpms) or self.has
        self.generation += 1
        old, self.members = self.members, {}
        data = "".join(
            self._data(kind, body) for kind, body in (
                ("primary", primary(self.has)), ("filelists", beside("filelists", self.has)),
                ("other", beside("other", self.has)),
            )
        )  # fmt: skip
        for path in (*gone, *(path for path in old if not keep and path not in self.members)):
            self.server.remove(f"/{self.place}/{path}")
        for one in self.has:
            self.put(self.pool(one), one.body)
        for path, body in self.members.items():
            self.put(path, body)
        self.former = [self.entry, *self.former][:3] if self.entry else []
        head = '<repomd xmlns="http://linux.example/metadata/repo">'
        self.entry = (
            f'<?xml version="1.0"?>\n{head}\n<revision>{AT + self.generation}</revision>\n{data}</repomd>\n'.encode()
        )
        self.put("repodata/repomd.xml", self.entry)
        if self.sign is not None:
            self.put("repodata/repomd.xml.asc", self.sign(self.entry))
        if self.metalink:
            self.lists([self.url])

    def _data(self, kind: str, body: bytes) -> str:
        packed = (self.pack or PACK[self.suffix])(body)
        digest = hashlib.new(self.algorithm, packed).hexdigest()
        name = f"repodata/{digest}-{kind}.xml{self.suffix}" if self.hashed else f"repodata/{kind}.xml{self.suffix}"
        self.members[name] = packed
        opened = hashlib.new(self.algorithm, body).hexdigest()
        return f"""<data type="{kind}">
  <checksum type="{self.algorithm}">{digest}</checksum><open-checksum type="{self.algorithm}">{opened}</open-checksum>
  <location href="{name}"/><timestamp>{AT + self.generation}</timestamp>
  <size>{len(packed)}</size><open-size>{len(body)}</open-size>
</data>
"""

    def lists(self, mirrors: list[str]) -> None:
        """Put the lists of mirrors where they are asked for: a metalink and a mirrorlist."""
        kind = {"content-type": "application/metalink+xml"}
        self.server.put(f"/{self.place}/metalink", metalink(self.entry, mirrors, self.former), headers=kind)
        text = "# these\n" + "".join(f"{one}\n" for one in mirrors)
        self.server.put(f"/{self.place}/mirrorlist", text.encode(), headers={"content-type": "text/plain"})

    def put(self, path: str, body: bytes) -> None:
        kind = {"content-type": "application/octet-stream"}
        self.server.put(f"/{self.place}/{path}", body, headers=kind, modified_at=AT + 60 * self.generation)

    def asked(self, path: str) -> int:
        """Count the requests for a path."""
        return self.server.count(f"/{self.place}/{path}")


def metalink(entry: bytes, mirrors: list[str], former: list[bytes] = []) -> bytes:  # noqa: B006 - never changed
    """Write a metalink as dnf reads it."""
    urls = "".join(
        f'<url protocol="{one.partition(":")[0]}" type="{one.partition(":")[0]}" location="US" '
        f'preference="{100 - place}">{one}repodata/repomd.xml</url>\n'
        for place, one in enumerate(mirrors)
    )
    older = "".join(f"<mm0:alternate>{_sums(body)}</mm0:alternate>\n" for body in former)
    alternates = f"<mm0:alternates>{older}</mm0:alternates>" if older else ""
    return f"""<?xml version="1.0" encoding="utf-8"?>
<metalink version="3.0" xmlns="http://metalinker.example/" type="dynamic" pubdate="Mon, 01 Jan 2024 00:00:00 GMT"
  generator="mirrormanager" xmlns:mm0="http://mirrors.example/mm0">
<publisher><name>Somebody</name><url>http://publisher.example/</url></publisher>
<files><file name="repomd.xml">{_sums(entry)}{alternates}
<resources maxconnections="1">
{urls}<url protocol="rsync" type="rsync" preference="99">rsync://mirrors.example/repodata/repomd.xml</url>
</resources></file></files></metalink>
""".encode()


def _sums(entry: bytes) -> str:
    sums = "".join(f'<hash type="{one}">{hashlib.new(one, entry).hexdigest()}</hash>' for one in ("sha256", "sha512"))
    stamp = entry.partition(b"<revision>")[2].partition(b"<")[0].decode()
    return f"<mm0:timestamp>{stamp}</mm0:timestamp><size>{len(entry)}</size><verification>{sums}</verification>"


def repository(name: str, made: Repository, *, ttl_s: float, base_url: str = "", more: str = "") -> str:
    """Write a repository's part of a configuration."""
    return f"""
[repositories.{name}]
package = "rpm"
base_url = "{base_url or made.url}"
mutable_ttl_s = {ttl_s}
check_mutable_updates = true
{more}
"""


def config(made: Repository, *, ttl_s: float, base_url: str = "", more: str = "") -> str:
    """Write the configuration of a pond in front of a repository."""
    return f"[access]\nallow_open_network = true\n{repository('rpm', made, ttl_s=ttl_s, base_url=base_url)}{more}"
