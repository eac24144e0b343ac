"""Docker distribution (docker-registry): objects are blobs, pushed by its own API."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import ClassVar
from urllib.parse import urlsplit

from bench.objects import LARGE, MEDIUM, SMALL, Object
from bench.servers.asking import get
from bench.servers.base import Server

REPOSITORY = "bench"
CREATED, ACCEPTED = 201, 202
_CONFIG = """\
version: 0.1
log: {{accesslog: {{disabled: true}}, level: error}}
storage:
  filesystem: {{rootdirectory: {folder}/store}}
  cache: {{blobdescriptor: inmemory}}
http: {{addr: "127.0.0.1:{port}"}}
"""


class Registry(Server):
    """The registry with its store in a folder."""

    name: ClassVar[str] = "docker-registry"
    program: ClassVar[str] = "docker-registry"

    def has(self, names: Collection[str]) -> bool:
        """A thousand pushes prove nothing that one does not."""
        return {SMALL, MEDIUM, LARGE}.issuperset(names)

    def target(self, wanted: Object) -> str:
        """Blobs go by their digest."""
        return f"/v2/{REPOSITORY}/blobs/sha256:{wanted.digest}"

    def fill(self, wanted: Sequence[Object]) -> None:
        """Push them (distribution specification, "Pushing a blob monolithically")."""
        for one in wanted:
            opened = get(f"{self.base}/v2/{REPOSITORY}/blobs/uploads/", method="POST")
            if opened.status != ACCEPTED:
                raise RuntimeError(f"the registry answered {opened.status} to an upload")
            place = urlsplit(opened.headers["location"])
            url = f"{self.base}{place.path}?{place.query}&digest=sha256:{one.digest}"
            headers = {"Content-Type": "application/octet-stream"}
            pushed = get(url, headers, method="PUT", body=one.file.read_bytes())
            if pushed.status != CREATED:
                raise RuntimeError(f"the registry answered {pushed.status} to a blob")
        super().fill(wanted)

    def argv(self) -> list[str]:
        """Write the configuration."""
        config = self.folder / "config.yml"
        config.write_text(_CONFIG.format(folder=self.folder, port=self.port))
        return ["docker-registry", "serve", str(config)]
