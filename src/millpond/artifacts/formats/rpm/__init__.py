"""RPM package repositories, as dnf reads them."""

from __future__ import annotations

from millpond.artifacts.formats.rpm.repository import Rpm

__all__ = ["Rpm"]
