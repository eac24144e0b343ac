"""``docker``: OCI registries, Docker Hub among them."""

from __future__ import annotations

from millpond.artifacts.formats.docker.repository import Docker

__all__ = ["Docker"]
