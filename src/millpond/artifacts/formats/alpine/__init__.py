"""Alpine package repositories, as apk reads them."""

from __future__ import annotations

from millpond.artifacts.formats.alpine.repository import Alpine

__all__ = ["Alpine"]
