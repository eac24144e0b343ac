"""proxpi: a cache of a Python package index, here of a small one on loopback."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import ClassVar

from bench.objects import MEDIUM, SMALL, Object
from bench.servers.base import Server

PROJECT = "benchpkg"


class Proxpi(Server):
    """proxpi under gunicorn, as its authors run it: one process, threads."""

    name: ClassVar[str] = "proxpi"
    unprivileged: ClassVar[bool] = False
    program: ClassVar[str] = "python3"

    @classmethod
    def unavailable(cls, peers: Path) -> str:
        """It has a virtual environment of its own."""
        return "" if _gunicorn(peers).exists() else "proxpi is not installed"

    def has(self, names: Collection[str]) -> bool:
        """Wheels of common sizes."""
        return {SMALL, MEDIUM}.issuperset(names)

    def target(self, wanted: Object) -> str:
        """Give a file's path."""
        return f"/index/{PROJECT}/{_file(wanted.name)}"

    def argv(self) -> list[str]:
        """Write the index's page and its files where the upstream serves them."""
        objects = self.site.objects
        page = objects.folder / "pages" / PROJECT
        page.mkdir(parents=True, exist_ok=True)
        links = []
        for name in (SMALL, MEDIUM):
            one = objects.get(name)
            file = page / _file(name)
            if not file.exists():
                file.hardlink_to(one.file)
            links.append(f'<a href="{_file(name)}#sha256={one.digest}">{_file(name)}</a>')
        (page / "index.html").write_text(f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>")
        gunicorn = str(_gunicorn(self.site.peers))
        listen = f"127.0.0.1:{self.port}"
        return [gunicorn, "--workers", "1", "--threads", "4", "--bind", listen, "proxpi.server:app"]

    def environ(self) -> Mapping[str, str]:
        """Point it at the loopback index."""
        return {
            "PROXPI_INDEX_URL": f"{self.site.upstream}/pages/",
            "PROXPI_CACHE_DIR": str(self.folder / "cache"),
            "PROXPI_DOWNLOAD_TIMEOUT": "30",
            "PYTHONPATH": "",
        }


def _gunicorn(peers: Path) -> Path:
    return peers / "proxpi" / "bin" / "gunicorn"


def _file(name: str) -> str:
    return f"{PROJECT}-{1 if name == SMALL else 2}.0-py3-none-any.whl"
