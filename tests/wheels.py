"""Small real packages, and indexes of them as a public index would write them."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass

from millpond.testing.upstream import FakeUpstream

JSON_TYPE = "application/vnd.pypi.simple.v1+json"


@dataclass(frozen=True)
class Wheel:
    """A wheel that any Python can install; `payload` makes it as large as wanted."""

    project: str
    version: str
    requires: tuple[str, ...] = ()
    payload: bytes = b""
    requires_python: str = ">=3.8"
    yanked: str = ""
    """Why it was yanked; empty: it was not."""

    @property
    def filename(self) -> str:
        return f"{self.project.replace('-', '_')}-{self.version}-py3-none-any.whl"

    @property
    def metadata(self) -> bytes:
        lines = ["Metadata-Version: 2.1", f"Name: {self.project}", f"Version: {self.version}"]
        lines += [f"Requires-Python: {self.requires_python}", *(f"Requires-Dist: {name}" for name in self.requires)]
        return "\n".join([*lines, ""]).encode()

    @property
    def body(self) -> bytes:
        module = self.project.replace("-", "_")
        info = f"{module}-{self.version}.dist-info"
        files = {
            f"{module}/__init__.py": f"version = {self.version!r}\n".encode(),
            f"{module}/payload.bin": self.payload,
            f"{info}/METADATA": self.metadata,
            f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        record = "".join(f"{name},{_record_hash(data)},{len(data)}\n" for name, data in files.items())
        files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            for name, data in files.items():
                archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), data)
        return out.getvalue()

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.body).hexdigest()


def _record_hash(data: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def _yanked(wheel: Wheel) -> str:
    return f' data-yanked="{html.escape(wheel.yanked)}"' if wheel.yanked else ""


def html_page(wheels: Iterable[Wheel], files_url: str) -> bytes:
    """A project page as PEP 503 and 658 have it."""
    links = "".join(
        f'<a href="{files_url}/{w.filename}#sha256={w.sha256}" data-requires-python="{html.escape(w.requires_python)}" '
        f'data-dist-info-metadata="sha256={hashlib.sha256(w.metadata).hexdigest()}"{_yanked(w)}>{w.filename}</a><br/>\n'
        for w in wheels
    )
    return f"<!DOCTYPE html>\n<html><head><title>Links</title></head><body>\n{links}</body></html>\n".encode()


def json_page(project: str, wheels: Iterable[Wheel], files_url: str) -> bytes:
    """The same as PEP 691 and 700 have it."""
    wheels = list(wheels)
    files = [
        {
            "filename": w.filename,
            "url": f"{files_url}/{w.filename}",
            "hashes": {"sha256": w.sha256},
            "requires-python": w.requires_python,
            "core-metadata": {"sha256": hashlib.sha256(w.metadata).hexdigest()},
            "size": len(w.body),
            "upload-time": "2020-01-01T00:00:00Z",
            "yanked": w.yanked or False,
        }
        for w in wheels
    ]
    versions = sorted({w.version for w in wheels})
    return json.dumps({"meta": {"api-version": "1.1"}, "name": project, "versions": versions, "files": files}).encode()


def publish(index: FakeUpstream, files: FakeUpstream, *wheels: Wheel, as_json: bool = False) -> None:
    """Put wheels on an index whose files lie on another server."""
    projects: dict[str, list[Wheel]] = {}
    for wheel in wheels:
        projects.setdefault(wheel.project, []).append(wheel)
        files.put(f"/packages/{wheel.filename}", wheel.body)
        files.put(f"/packages/{wheel.filename}.metadata", wheel.metadata)
    for project, its in projects.items():
        url = f"{files.url}/packages"
        if as_json:
            index.put(f"/simple/{project}/", json_page(project, its, url), headers={"content-type": JSON_TYPE})
        else:
            index.put(f"/simple/{project}/", html_page(its, url), headers={"content-type": "text/html; charset=utf-8"})
