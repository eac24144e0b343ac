"""The whole HTTP surface of one application."""

from __future__ import annotations

from typing import cast

from millpond.api.artifacts import ArtifactServer
from millpond.api.auth import Doorkeeper
from millpond.api.late import Late
from millpond.api.origin import Origins
from millpond.api.publish import Publisher
from millpond.api.routes import Site
from millpond.api.sending import Asgi
from millpond.app import App


def site(app: App) -> Site:
    """Make the ASGI application; a reload changes its repositories, and who may read without a token."""
    config = app.config
    doorkeeper = Doorkeeper(app.tokens, anonymous_read=config.access.anonymous == "read")
    app.on_reload.append(lambda: doorkeeper.open_to_read(app.config.access.anonymous == "read"))

    def control() -> Asgi:
        from millpond.api.control import build  # FastAPI: heavy, and not needed for artifacts

        return cast("Asgi", build(app, doorkeeper))

    return Site(
        repositories=lambda: app.repositories,
        artifacts=ArtifactServer(app.usage, app.metrics, app.clock, app.hits),
        publisher=Publisher(),
        doorkeeper=doorkeeper,
        origins=Origins(config.server.public_url, config.server.trusted_proxies),
        control=Late(control),
        adopted=app.adopted,
    )
