"""``npm``: the registry protocol of npm, pnpm and yarn: packuments, tarballs, and the services beside them. PURE."""

from __future__ import annotations

from millpond.artifacts.formats.npm.repository import Npm

__all__ = ["Npm"]
