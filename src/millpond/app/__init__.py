"""The composition root: it alone knows which adapter serves which port."""

from __future__ import annotations

from millpond.app.accepted import Accepted
from millpond.app.application import App
from millpond.app.core import Role
from millpond.app.datalock import DataLock
from millpond.app.loading import Source, load
from millpond.app.opening import open_app
from millpond.app.preflight import has_pond, prepare_catalog

__all__ = ["Accepted", "App", "DataLock", "Role", "Source", "has_pond", "load", "open_app", "prepare_catalog"]
