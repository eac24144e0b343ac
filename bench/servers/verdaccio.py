"""verdaccio: an npm registry; objects are the tarballs of packages, published by npm's own API."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import ClassVar

from bench.objects import MEDIUM, SMALL, Object
from bench.servers.asking import get
from bench.servers.base import Server

CREATED, CONFLICT = 201, 409
VERSION = "1.0.0"
_CONFIG = """\
storage: {folder}/storage
uplinks: {{}}
packages:
  "**": {{access: $all, publish: $all}}
max_body_size: 100mb
web: {{enable: false}}
log: {{type: stdout, format: json, level: error}}
logs: [{{type: stdout, format: json, level: error}}]
"""


class Verdaccio(Server):
    """verdaccio with its own storage and no upstream."""

    name: ClassVar[str] = "verdaccio"
    unprivileged: ClassVar[bool] = False
    program: ClassVar[str] = "node"

    @classmethod
    def unavailable(cls, peers: Path) -> str:
        """It needs node and what npm installed."""
        return super().unavailable(peers) or ("" if _script(peers).exists() else "verdaccio is not installed")

    def has(self, names: Collection[str]) -> bool:
        """A tarball is published within one JSON document: no large ones."""
        return {SMALL, MEDIUM}.issuperset(names)

    def target(self, wanted: Object) -> str:
        """Give a tarball's path."""
        name = _package(wanted)
        return f"/{name}/-/{name}-{VERSION}.tgz"

    def fill(self, wanted: Sequence[Object]) -> None:
        """Publish each as a package of its own."""
        for one in wanted:
            headers = {"Content-Type": "application/json"}
            url = f"{self.base}/{_package(one)}"
            told = get(url, headers, method="PUT", body=_publication(one, self.base))
            if told.status not in {CREATED, CONFLICT}:
                raise RuntimeError(f"verdaccio answered {told.status}: {told.start[:300]!r}")
        super().fill(wanted)

    def argv(self) -> list[str]:
        """Write the configuration."""
        config = self.folder / "config.yaml"
        config.write_text(_CONFIG.format(folder=self.folder))
        listen = f"127.0.0.1:{self.port}"
        return ["node", str(_script(self.site.peers)), "--config", str(config), "--listen", listen]


def _script(peers: Path) -> Path:
    return peers / "verdaccio" / "node_modules" / "verdaccio" / "bin" / "verdaccio"


def _package(wanted: Object) -> str:
    return f"bench-{wanted.file.stem}"


def _publication(wanted: Object, base: str) -> bytes:
    """Write the document that `npm publish` would send."""
    name, body = _package(wanted), wanted.file.read_bytes()
    file = f"{name}-{VERSION}.tgz"
    dist = {"shasum": hashlib.sha1(body, usedforsecurity=False).hexdigest(), "tarball": f"{base}/{name}/-/{file}"}
    data = base64.b64encode(body).decode()
    document = {
        "_id": name,
        "name": name,
        "dist-tags": {"latest": VERSION},
        "versions": {VERSION: {"_id": f"{name}@{VERSION}", "name": name, "version": VERSION, "dist": dist}},
        "_attachments": {file: {"content_type": "application/octet-stream", "data": data, "length": len(body)}},
    }
    return json.dumps(document).encode()
