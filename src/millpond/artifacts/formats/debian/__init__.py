"""Debian package repositories, as apt reads them."""

from __future__ import annotations

from millpond.artifacts.formats.debian.repository import Debian

__all__ = ["Debian"]
