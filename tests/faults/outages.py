"""The ways to fail, and a small world to fail in: an upstream, a host for its files, and a pond before them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from tests import repodata
from tests.apks import Apk, Mirror
from tests.archives import Archive, Deb
from tests.faults.inside import Inside
from tests.faults.traffic import Seen, content
from tests.images import digest_of, image
from tests.registries import ABBREVIATED_TYPE, FULL_TYPE, NPM_ACCEPT, Package, Registry
from tests.wheels import JSON_TYPE, Wheel, json_page

from millpond.artifacts.formats.docker.negotiation import ALL
from millpond.testing.behaviours import Behaviour, Chunked, Fixed, Hang, Slow, portal, reset, status, truncate
from millpond.testing.resources import Answer
from millpond.testing.upstream import FakeUpstream

TTL_S = 60
READ_TIMEOUT_S = 1.0
PATIENCE_S = 0.1
RETRY_AFTER_S = 90
NEGATIVE_TTL_S = 30
JSON = "application/json"
METALINK = "application/metalink+xml"
SIGNATURE = b"-----BEGIN PGP SIGNATURE-----\n\n" + b"QUJD" * 16 * 40 + b"\n-----END PGP SIGNATURE-----\n"
REFUSED, BROKEN, FINE = "refused", "broken", "fine"
EITHER = "refused or broken"
"""What is told in words if it is known soon enough, and else by a transfer that breaks off."""
CONFIG = """
[upstream]
read_timeout_s = {timeout}
connect_timeout_s = 2.0
patience_s = {patience}
circuit_failures = 100000
[repositories.files]
package = "generic"
base_url = "{upstream}/files"
mutable_ttl_s = {ttl}
[repositories.docker]
package = "docker"
base_url = "{upstream}"
mutable_ttl_s = {ttl}
[repositories.alpine]
package = "alpine"
base_url = "{upstream}/mirror/alpine"
mutable_ttl_s = {ttl}
check_mutable_updates = true
[repositories.debian]
package = "debian"
base_url = "{upstream}/archive"
mutable_ttl_s = {ttl}
check_mutable_updates = true
[repositories.rpm]
package = "rpm"
base_url = "{upstream}/repo"
mutable_ttl_s = {ttl}
check_mutable_updates = true
[repositories.npm]
package = "npm"
base_url = "{upstream}/registry"
trusted_origins = ["{host}"]
mutable_ttl_s = {ttl}
check_mutable_updates = true
[repositories.pypi]
package = "pypi"
base_url = "{upstream}/simple"
trusted_origins = ["{host}"]
mutable_ttl_s = {ttl}
check_mutable_updates = true
"""


@dataclass(frozen=True)
class Fault:
    """One way to fail. `cold`, `page`: what comes of it with nothing stored, for a body that streams and for an index,
    which is answered only whole. `kind` is the word in Cache-Status."""

    name: str
    make: Callable[[bytes], Behaviour] | None
    kind: str
    cold: str = REFUSED
    page: str = REFUSED
    status: int = 502
    retry_after: str = ""


def wrong_digest(body: bytes) -> Behaviour:
    """The right length and look, and one byte that is not what the index promises."""
    return Fixed(Answer(200, {"content-type": "application/octet-stream"}, body[:-1] + bytes([body[-1] ^ 1])))


def half(body: bytes) -> int:
    return len(body) // 2


FAULTS = [
    Fault("down", None, "connect"),
    Fault("slow", lambda _: Slow(delay_s=READ_TIMEOUT_S / 2), "", FINE, FINE, 200),
    Fault("reset", lambda body: reset(half(body)), "reset", BROKEN),
    Fault("truncated", lambda body: truncate(half(body)), "truncated", BROKEN),
    Fault("chunks without an end", lambda body: Chunked(4096, stop_after=half(body)), "truncated", BROKEN),
    Fault("portal", lambda _: portal(), "unsound"),
    Fault("500", lambda _: status(500), "status-500"),
    Fault("503", lambda _: status(503, retry_after=str(RETRY_AFTER_S)), "status-503", retry_after=str(RETRY_AFTER_S)),
    Fault("429", lambda _: status(429, retry_after=str(RETRY_AFTER_S)), "status-429", retry_after=str(RETRY_AFTER_S)),
    Fault("401", lambda _: status(401), "status-401"),
    Fault("403", lambda _: status(403), "status-403"),
    Fault("404", lambda _: status(404), "status-404", status=404),
    Fault("410", lambda _: status(410), "status-410", status=410),
    Fault("hang", lambda _: Hang(), "timeout"),
    Fault("hang in the body", lambda body: Hang(after=half(body)), "timeout", BROKEN),
]
BLOB_FAULTS = [
    # A page of HTML can be a blob; but it is not the one that was asked for.
    *(replace(fault, cold=BROKEN, kind="mismatch") if fault.name == "portal" else fault for fault in FAULTS),
    Fault("wrong digest", wrong_digest, "mismatch", BROKEN),
]
WRONG = Fault("wrong digest", wrong_digest, "mismatch", BROKEN)
CHANGING = replace(WRONG, cold=EITHER, status=503, retry_after="5")
"""The same where generations are kept apart: it is the upstream that is being changed."""


@dataclass(frozen=True)
class Thing:
    """One object of the pond: where clients ask for it, where it lies upstream, and its bytes, old and new."""

    path: str
    repository: str
    key: str
    place: str
    old: bytes
    new: bytes
    kind: str = ""
    accept: str = ""
    errors: str = "application/problem+json"
    probed: bool = False
    """Whether it is asked by HEAD first."""

    @property
    def headers(self) -> dict[str, str]:
        return {"accept": self.accept} if self.accept else {}


class World:
    """An upstream, a host for its files, and a pond before them."""

    def __init__(self, pond: Inside, upstream: FakeUpstream, host: FakeUpstream) -> None:
        self.pond, self.upstream, self.host = pond, upstream, host

    def generic(self) -> Thing:
        old, new = content("old", 300_000), content("new", 310_000)
        return Thing("/files/a/thing.bin", "files", "a/thing.bin", "/files/a/thing.bin", old, new)

    def index(self) -> Thing:
        old, new = (json_page("demo", self.wheels(count), f"{self.host.url}/packages") for count in (3, 4))
        return Thing("/pypi/simple/demo/", "pypi", "simple/demo/#json", "/simple/demo/", old, new, JSON_TYPE, JSON_TYPE)

    def manifest(self) -> Thing:
        old, new = image("old").index, image("new").index
        key = f"demo/manifests/latest#{ALL}"
        place = "/v2/demo/manifests/latest"
        return Thing("/v2/docker/demo/manifests/latest", "docker", key, place, old, new, errors=JSON, probed=True)

    def blob(self) -> Thing:
        body = content("blob", 300_000)
        key = f"demo/blobs/{digest_of(body)}"
        return Thing(f"/v2/docker/{key}", "docker", key, f"/v2/{key}", body, b"", errors=JSON)

    def tags(self) -> Thing:
        old, new = (json.dumps({"name": "demo", "tags": tags}).encode() for tags in (["1.0"], ["1.0", "2.0"]))
        key = "demo/tags/list"
        return Thing(f"/v2/docker/{key}", "docker", key, f"/v2/{key}", old, new, errors=JSON)

    def referrers(self) -> Thing:
        old, new = (image(name).index for name in ("referred", "referring"))
        key = f"demo/referrers/{digest_of(old)}"
        return Thing(f"/v2/docker/{key}", "docker", key, f"/v2/{key}", old, new, errors=JSON)

    def file(self) -> Thing:
        wheel = self.wheels(1)[0]
        place = f"/packages/{wheel.filename}"
        self.upstream.put("/simple/demo/", self.index().old, headers={"content-type": JSON_TYPE})
        return Thing(
            f"/pypi/files/demo/{wheel.filename}", "pypi", f"files/demo/{wheel.filename}", place, wheel.body, b""
        )

    def entry_file(self) -> Thing:
        archive = Archive(FakeUpstream(), by_hash=False)
        bodies = []
        for count in (1, 2):
            archive.publish(*self.debs(count))
            bodies.append(archive.sign(archive.release(), True))
        key = f"{archive.suite}InRelease"
        return Thing(f"/debian/{key}", "debian", key, f"/archive/{key}", *bodies)

    def signature(self) -> Thing:
        """Give a detached signature; what it signs is upstream."""
        archive = Archive(self.upstream, split=True, sign=lambda *_: SIGNATURE)
        archive.publish(*self.debs(1))
        key = f"{archive.suite}Release.gpg"
        return Thing(f"/debian/{key}", "debian", key, f"/archive/{key}", SIGNATURE, b"")

    async def member(self) -> Thing:
        """Give an index, whose entry file is at hand."""
        archive = Archive(self.upstream, by_hash=False)
        archive.publish(*self.debs(1))
        await self.pond.get(f"/debian/{archive.suite}InRelease", {})
        key = f"{archive.suite}{archive.index}"
        return Thing(f"/debian/{key}", "debian", key, f"/archive/{key}", archive.members[archive.index], b"")

    async def deb(self) -> Thing:
        """Give a package, whose index is at hand."""
        index = await self.member()
        await self.get(index)
        deb = self.debs(1)[0]
        key = f"pool/main/{deb.filename}"
        return Thing(f"/debian/{key}", "debian", key, f"/archive/{key}", deb.body, b"")

    def repomd(self) -> Thing:
        repo, bodies = repodata.Repository(FakeUpstream()), []
        for count in (1, 2):
            repo.publish(*self.rpms(count))
            bodies.append(repo.entry)
        key = "repodata/repomd.xml"
        return Thing(f"/rpm/{key}", "rpm", key, f"/repo/{key}", *bodies)

    def mirrors(self) -> Thing:
        """Give a list of mirrors."""
        repo, bodies = repodata.Repository(FakeUpstream()), []
        for count in (1, 2):
            repo.publish(*self.rpms(count))
            bodies.append(repodata.metalink(repo.entry, ["https://mirror.example/repo/"]))
        return Thing("/rpm/metalink", "rpm", "metalink", "/repo/metalink", *bodies, METALINK)

    async def primary(self) -> Thing:
        """Give an index, whose entry file is at hand."""
        repo = repodata.Repository(self.upstream)
        repo.publish(*self.rpms(1))
        await self.pond.get("/rpm/repodata/repomd.xml", {})
        key = repo.path()
        return Thing(f"/rpm/{key}", "rpm", key, f"/repo/{key}", repo.members[key], b"")

    async def rpm(self) -> Thing:
        """Give a package, whose index is at hand."""
        index = await self.primary()
        await self.get(index)
        one = self.rpms(1)[0]
        key = repodata.Repository.pool(one)
        return Thing(f"/rpm/{key}", "rpm", key, f"/repo/{key}", one.body, b"")

    @staticmethod
    def rpms(count: int) -> list[repodata.Rpm]:
        return [repodata.Rpm("demo", f"1.{n}", payload=content(f"rpm {n}", 200_000)) for n in range(count)]

    @staticmethod
    def debs(count: int) -> list[Deb]:
        return [Deb("demo", f"1.{n}", payload=content(f"deb {n}", 200_000)) for n in range(count)]

    def apkindex(self) -> Thing:
        mirror, bodies = Mirror(FakeUpstream()), []
        for count in (1, 2):
            mirror.publish(*self.apks(count))
            bodies.append(mirror.index)
        key = mirror.index_path
        return Thing(f"/alpine/{key}", "alpine", key, f"/{mirror.place}/{key}", *bodies)

    async def apk(self) -> Thing:
        """Give a package, whose index is at hand."""
        mirror = Mirror(self.upstream)
        mirror.publish(*self.apks(1))
        await self.pond.get(f"/alpine/{mirror.index_path}", {})
        key = mirror.path(mirror.has[0])
        return Thing(f"/alpine/{key}", "alpine", key, f"/{mirror.place}/{key}", mirror.body(mirror.has[0]), b"")

    @staticmethod
    def apks(count: int) -> list[Apk]:
        return [Apk("demo", f"1.{n}-r0", payload=content(f"apk {n}", 200_000)) for n in range(count)]

    def packument(self) -> Thing:
        def with_versions(count: int) -> bytes:
            registry = Registry(self.upstream, self.host, native=False)
            registry.has["demo"] = self.packages(count)
            return registry.abbreviated("demo")

        old, new = with_versions(3), with_versions(4)
        kind, accept = ABBREVIATED_TYPE, NPM_ACCEPT
        return Thing("/npm/demo", "npm", "demo#abbreviated", "/registry/demo", old, new, kind, accept, FULL_TYPE)

    def tarball(self) -> Thing:
        package = self.packages(1)[0]
        self.upstream.put("/registry/demo", self.packument().old, headers={"content-type": ABBREVIATED_TYPE})
        place = Registry(self.upstream, self.host, native=False).tarball_place(package)
        key = f"demo/-/{package.filename}"
        return Thing(f"/npm/{key}", "npm", key, place, package.body, b"", errors=FULL_TYPE)

    @staticmethod
    def packages(count: int) -> list[Package]:
        return [Package("demo", f"1.{n}.0", payload=content(f"package {n}", 200_000)) for n in range(count)]

    @staticmethod
    def wheels(count: int) -> list[Wheel]:
        return [Wheel("demo", f"1.{number}", payload=content(f"wheel {number}", 200_000)) for number in range(count)]

    def server(self, thing: Thing) -> FakeUpstream:
        return self.host if thing.place.startswith(("/packages/", "/elsewhere/")) else self.upstream

    def asked(self, thing: Thing) -> int:
        return self.server(thing).count(thing.place)

    def offer(self, thing: Thing, body: bytes) -> None:
        headers = {"content-type": thing.kind or "application/octet-stream"}
        if thing.repository == "docker":
            headers["docker-content-digest"] = digest_of(body)
        self.server(thing).put(thing.place, body, headers=headers)

    async def breaks(self, thing: Thing, fault: Fault, body: bytes) -> None:
        if fault.make is None:
            await self.server(thing).cut()
        else:
            self.server(thing).always(thing.place, fault.make(body))

    async def mends(self, thing: Thing, fault: Fault) -> None:
        if fault.make is None:
            await self.server(thing).restore()
        self.server(thing).always(thing.place, None)

    async def get(self, thing: Thing) -> Seen:
        return await self.pond.get(thing.path, thing.headers)

    def right(self, seen: Seen, thing: Thing, body: bytes) -> bool:
        """Whether an answer is these bytes, whole (an index: their rewritten form)."""
        if not seen.whole or seen.status != 200:
            return False
        if not thing.kind:
            return seen.body == body
        if thing.kind == METALINK:
            return _promised(seen.body) == _promised(body) and b"http://pond.test/rpm/repodata/" in seen.body
        if thing.kind == ABBREVIATED_TYPE:
            return _versions(seen.body, "http://pond.test/npm/demo/-/") == _versions(body)
        links = body.replace(f"{self.host.url}/packages".encode(), b"http://pond.test/pypi/files/demo")
        return _files(seen.body) == _files(links)


def _promised(metalink: bytes) -> list[bytes]:
    return re.findall(rb"<hash[^>]*>[0-9a-f]+</hash>", metalink)


def _versions(packument: bytes, mount: str = "") -> list[tuple[str, str]]:
    """Give the versions and their digests; with `mount`, each must have its tarball there."""
    found = json.loads(packument)["versions"]
    assert all(one["dist"]["tarball"] == f"{mount}demo-{version}.tgz" for version, one in found.items() if mount)
    return [(version, one["dist"]["integrity"]) for version, one in found.items()]


def _files(page: bytes) -> list[tuple[str, str, str]]:
    return [
        (one["filename"], one["url"].partition("#")[0], one["hashes"]["sha256"]) for one in json.loads(page)["files"]
    ]
