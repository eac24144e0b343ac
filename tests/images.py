"""Container images of random layers: as an OCI layout for real clients, and as the answers of a fake registry."""

from __future__ import annotations

import gzip
import io
import json
import random
import tarfile
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from millpond.testing.upstream import FakeUpstream

OCI = "application/vnd.oci.image."
MANIFEST, INDEX = f"{OCI}manifest.v1+json", f"{OCI}index.v1+json"
CONFIG, LAYER = f"{OCI}config.v1+json", f"{OCI}layer.v1.tar+gzip"
V2 = "application/vnd.docker.distribution.manifest.v2+json"
PLATFORMS = ("amd64", "arm64")


def digest_of(body: bytes) -> str:
    return "sha256:" + sha256(body).hexdigest()


def layer_of(seed: str, size: int) -> bytes:
    """A layer with one file of bytes that don't compress; the same seed gives the same layer."""
    tape = io.BytesIO()
    with tarfile.open(fileobj=tape, mode="w") as archive:
        entry = tarfile.TarInfo(f"file-{seed}")
        entry.size = size
        archive.addfile(entry, io.BytesIO(random.Random(seed).randbytes(size)))
    return tape.getvalue()


@dataclass
class Image:
    """An image for several platforms. `blobs` are layers and configurations, `manifests` the documents, by digest."""

    index: bytes = b""
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        return digest_of(self.index)

    @property
    def layers(self) -> list[str]:
        """The layers' digests."""
        return [one for one, body in self.blobs.items() if body[:2] == b"\x1f\x8b"]

    def of(self, architecture: str) -> str:
        """Give the digest of one platform's manifest."""
        rows = json.loads(self.index)["manifests"]
        return next(row["digest"] for row in rows if row["platform"]["architecture"] == architecture)

    def write(self, folder: Path, tag: str = "latest") -> Path:
        """Write it as an OCI layout; of several in one folder each has its tag."""
        store = folder / "blobs/sha256"
        store.mkdir(parents=True, exist_ok=True)
        for digest, body in {**self.blobs, **self.manifests, self.digest: self.index}.items():
            (store / digest.removeprefix("sha256:")).write_bytes(body)
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        there = folder / "index.json"
        rows = json.loads(there.read_text())["manifests"] if there.exists() else []
        named = {"org.opencontainers.image.ref.name": tag}
        rows = [row for row in rows if row["annotations"] != named]
        rows.append(_descriptor(INDEX, self.index) | {"annotations": named})
        there.write_text(json.dumps({"schemaVersion": 2, "manifests": rows}))
        return folder

    def offer(self, upstream: FakeUpstream, name: str, tag: str = "latest") -> None:
        """Let a fake registry have it."""
        for digest, body in self.blobs.items():
            offer_blob(upstream, name, body)
            assert digest == digest_of(body)
        for body in self.manifests.values():
            offer_manifest(upstream, name, digest_of(body), body)
        offer_manifest(upstream, name, self.digest, self.index)
        offer_manifest(upstream, name, tag, self.index)


def image(seed: str = "one", sizes: tuple[int, ...] = (60_000, 3_000)) -> Image:
    """Make one for both platforms; each has its own layers."""
    made = Image()
    rows = []
    for architecture in PLATFORMS:
        tapes = [layer_of(f"{seed}-{architecture}-{number}", size) for number, size in enumerate(sizes)]
        layers = [gzip.compress(tape, 1, mtime=0) for tape in tapes]
        root = {"type": "layers", "diff_ids": [digest_of(tape) for tape in tapes]}
        configuration = _json({"architecture": architecture, "os": "linux", "config": {}, "rootfs": root})
        made.blobs |= {digest_of(body): body for body in (configuration, *layers)}
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _descriptor(CONFIG, configuration),
            "layers": [_descriptor(LAYER, body) for body in layers],
        }
        body = _json(document)
        made.manifests[digest_of(body)] = body
        rows.append(_descriptor(MANIFEST, body) | {"platform": {"architecture": architecture, "os": "linux"}})
    made.index = _json({"schemaVersion": 2, "mediaType": INDEX, "manifests": rows})
    return made


def offer_blob(upstream: FakeUpstream, name: str, body: bytes) -> None:
    headers = {"content-type": "application/octet-stream", "docker-content-digest": digest_of(body)}
    upstream.put(f"/v2/{name}/blobs/{digest_of(body)}", body, headers=headers)


def offer_manifest(
    upstream: FakeUpstream, name: str, reference: str, body: bytes, *, kind: str = "", promised: str | None = None
) -> None:
    """Let a fake registry have a manifest; `promised`: the digest it tells, if not the true one."""
    told = digest_of(body) if promised is None else promised
    headers = {"content-type": kind or json.loads(body)["mediaType"]} | (
        {"docker-content-digest": told} if told else {}
    )
    upstream.put(f"/v2/{name}/manifests/{reference}", body, headers=headers)


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode()


def _descriptor(kind: str, body: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest_of(body), "size": len(body)}
