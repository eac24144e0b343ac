"""Small npm packages, and a registry that has them: real tarballs, and packuments in both forms, on loopback."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from base64 import b64encode
from dataclasses import dataclass, field
from hashlib import sha1, sha512
from urllib.parse import quote

from millpond.testing.behaviours import Exchange
from millpond.testing.resources import Resource, respond
from millpond.testing.upstream import FakeUpstream

ABBREVIATED_TYPE = "application/vnd.npm.install-v1+json"
NPM_ACCEPT = f"{ABBREVIATED_TYPE}; q=1.0, application/json; q=0.8, */*"
FULL_TYPE = "application/json"
AT = 1577836800


@dataclass(frozen=True)
class Package:
    """One version of a package. `requires`: names and ranges."""

    name: str
    version: str = "1.0.0"
    requires: tuple[tuple[str, str], ...] = ()
    payload: bytes = b"payload"

    @property
    def filename(self) -> str:
        return f"{self.name.rpartition('/')[2]}-{self.version}.tgz"

    @property
    def manifest(self) -> dict[str, object]:
        return {"name": self.name, "version": self.version, "dependencies": dict(self.requires), "main": "index.js"}

    @property
    def body(self) -> bytes:
        out = io.BytesIO()
        files = {"package.json": json.dumps(self.manifest).encode(), "index.js": b"", "payload.bin": self.payload}
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for name, data in files.items():
                member = tarfile.TarInfo(f"package/{name}")
                member.size, member.mtime, member.mode = len(data), AT, 0o644
                archive.addfile(member, io.BytesIO(data))
        return gzip.compress(out.getvalue(), mtime=AT)

    @property
    def integrity(self) -> str:
        return "sha512-" + b64encode(sha512(self.body).digest()).decode()

    def described(self, tarball: str) -> dict[str, object]:
        dist = {"shasum": sha1(self.body).hexdigest(), "integrity": self.integrity, "tarball": tarball}
        return {**self.manifest, "dist": dist}


@dataclass
class Forms:
    """A packument in the form that is asked for (`testing.behaviours.Behaviour`); `full_only`: whatever is asked."""

    full: Resource
    abbreviated: Resource
    full_only: bool = False

    async def play(self, exchange: Exchange) -> bool:
        short = ABBREVIATED_TYPE in exchange.request.headers.get("accept", "") and not self.full_only
        answer = respond(self.abbreviated if short else self.full, exchange.request)
        return await exchange.deliver(answer)


@dataclass
class Registry:
    """A registry; tarballs lie on `files` (the same server, or another one) below `files_path`."""

    server: FakeUpstream
    files: FakeUpstream
    native: bool = True
    """Whether tarballs are where npm's own registry has them; else anywhere."""
    full_only: bool = False
    has: dict[str, list[Package]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Its address as clients would be given it."""
        return f"{self.server.url}/registry/"

    def place(self, name: str) -> str:
        """The path of a packument as npm asks for it."""
        return f"/registry/{name.replace('/', '%2f')}"

    def places(self, name: str) -> set[str]:
        """The same in every spelling: npm writes %2f, pnpm %2F."""
        return {self.place(name), self.place(name).replace("%2f", "%2F"), f"/registry/{name}"}

    def tarball_place(self, package: Package) -> str:
        """The path of a tarball."""
        if self.native:
            return f"/registry/{quote(package.name, safe='@/')}/-/{package.filename}"
        return f"/elsewhere/{sha1(package.body).hexdigest()}/download"

    def tarball_url(self, package: Package) -> str:
        return self.files.url + self.tarball_place(package)

    def add(self, *packages: Package) -> None:
        """Publish versions, beside those that are there."""
        for package in packages:
            others = [one for one in self.has.get(package.name, []) if one.version != package.version]
            self.has[package.name] = [*others, package]
            kind = {"content-type": "application/octet-stream"}
            self.files.put(self.tarball_place(package), package.body, headers=kind)
            self.publish(package.name)

    def publish(self, name: str) -> None:
        """Serve a package's documents as they are now."""
        forms = Forms(
            Resource.of(self.full(name), {"content-type": FULL_TYPE}, 200, AT),
            Resource.of(self.abbreviated(name), {"content-type": ABBREVIATED_TYPE}, 200, AT),
            self.full_only,
        )
        for place in self.places(name):
            self.server.always(place, forms)

    def abbreviated(self, name: str) -> bytes:
        versions = {one.version: one.described(self.tarball_url(one)) for one in self.has[name]}
        tags = {"latest": self.has[name][-1].version}
        return json.dumps({"name": name, "dist-tags": tags, "versions": versions, "modified": "2020-01-01"}).encode()

    def full(self, name: str) -> bytes:
        document = json.loads(self.abbreviated(name))
        times = {one.version: "2020-01-01T00:00:00.000Z" for one in self.has[name]}
        return json.dumps({"_id": name, **document, "time": times, "readme": "read me"}).encode()

    def asked(self, name: str) -> list[object]:
        """Give the requests for a packument."""
        return [one for one in self.server.requests if one.path in self.places(name)]

    def downloads(self, package: Package) -> int:
        """Count the requests for a tarball."""
        return self.files.count(self.tarball_place(package))


def config(registry: Registry, *, ttl_s: float, more: str = "") -> str:
    """Write the configuration of a pond in front of a registry."""
    return f"""
[access]
allow_open_network = true
[repositories.npm]
package = "npm"
base_url = "{registry.url}"
trusted_origins = ["{registry.files.url}"]
mutable_ttl_s = {ttl_s}
check_mutable_updates = true
{more}
"""
