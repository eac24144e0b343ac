"""An upstream with small packages, and a pond in front of it: both in one hand, as the clients' tests need them."""

from __future__ import annotations

import gzip
import io
import tarfile
import time
from dataclasses import dataclass, field

from tests.wheels import Wheel, html_page, json_page, publish

from millpond.testing.pond import Got, PondProcess
from millpond.testing.resources import Request
from millpond.testing.upstream import ThreadedUpstream

JSON = "application/vnd.pypi.simple.v1+json"
TTL_S = 1.0

BACKEND = """\
import pathlib, shutil
ROOT = pathlib.Path(__file__).parent

def prepare_metadata_for_build_wheel(folder, config_settings=None):
    info = pathlib.Path(folder, "{info}")
    info.mkdir()
    shutil.copy(ROOT / "PKG-INFO", info / "METADATA")
    return info.name

def build_wheel(folder, config_settings=None, metadata_directory=None):
    shutil.copy(ROOT / "{wheel}", folder)
    return "{wheel}"
"""
PROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


@dataclass(frozen=True)
class Sdist(Wheel):
    """A source distribution that any client can build with nothing installed: it brings its own backend."""

    @property
    def filename(self) -> str:
        return f"{self.project.replace('-', '_')}-{self.version}.tar.gz"

    @property
    def body(self) -> bytes:
        wheel = Wheel(self.project, self.version, self.requires, self.payload, self.requires_python)
        info = f"{self.project.replace('-', '_')}-{self.version}.dist-info"
        files = {
            "PKG-INFO": self.metadata,
            "pyproject.toml": PROJECT.encode(),
            "backend.py": BACKEND.format(info=info, wheel=wheel.filename).encode(),
            wheel.filename: wheel.body,
        }
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for name, data in files.items():
                member = tarfile.TarInfo(f"{self.filename.removesuffix('.tar.gz')}/{name}")
                member.size, member.mtime = len(data), 1577836800
                archive.addfile(member, io.BytesIO(data))
        return gzip.compress(out.getvalue(), mtime=1577836800)


@dataclass(slots=True)
class Index:
    """An index whose files lie on another server; `as_json`: it has JSON pages only, else HTML ones only."""

    pages: ThreadedUpstream
    files: ThreadedUpstream
    as_json: bool
    has: dict[str, list[Wheel]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Its address, as a client would be given it."""
        return f"{self.pages.url}/simple/"

    def add(self, *wheels: Wheel) -> None:
        """Publish files, beside those that are there."""
        for wheel in wheels:
            others = [one for one in self.has.get(wheel.project, []) if one.filename != wheel.filename]
            self.has[wheel.project] = [*others, wheel]
            publish(self.pages, self.files, *self.has[wheel.project], as_json=self.as_json)

    def put_bytes(self, wheel: Wheel, body: bytes) -> None:
        """Serve other bytes than the index says."""
        assert len(body) == len(wheel.body)
        assert body != wheel.body
        self.files.put(f"/packages/{wheel.filename}", body)

    def cut(self) -> None:
        """Be gone."""
        self.pages.cut_now()
        self.files.cut_now()

    def asked(self, project: str) -> list[Request]:
        """Give the requests for a project's page."""
        return [one for one in self.pages.requests if one.path == f"/simple/{project}/"]

    def downloads(self, wheel: Wheel, suffix: str = "") -> int:
        """Count the requests for a file (`suffix` ".metadata": for its metadata)."""
        return self.files.count(f"/packages/{wheel.filename}{suffix}")

    def page(self, project: str) -> bytes:
        """Give a project's page as it is now."""
        write = json_page if self.as_json else lambda _, wheels, url: html_page(wheels, url)
        return write(project, self.has[project], f"{self.files.url}/packages")


@dataclass(slots=True)
class Mill:
    """A pond, its upstream, and the address that clients in the jail are given."""

    pond: PondProcess
    index: Index

    @property
    def url(self) -> str:
        """The index URL for clients."""
        return f"{self.pond.url}/pypi/simple/"

    def page(self, project: str) -> Got:
        """Look at a project's page as clients get it."""
        return self.pond.get(f"/pypi/simple/{project}/", {"accept": JSON})

    def file(self, wheel: Wheel, suffix: str = "") -> Got:
        """Look at a file as clients get it."""
        return self.pond.get(f"/pypi/files/{wheel.project}/{wheel.filename}{suffix}")

    def outlive_ttl(self) -> None:
        """Wait until nothing mutable is fresh: all that was asked for was checked before this call."""
        time.sleep(TTL_S + 0.05)


def config(index: Index, *, ttl_s: float) -> str:
    """Write the pond's configuration."""
    return f"""
[access]
allow_open_network = true

[repositories.pypi]
package = "pypi"
base_url = "{index.pages.url}/simple"
trusted_origins = ["{index.files.url}"]
mutable_ttl_s = {ttl_s}
check_mutable_updates = true
"""
