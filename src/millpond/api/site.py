"""The whole HTTP surface of one application."""

from __future__ import annotations

from typing import cast

from millpond.api.artifacts import ArtifactServer
from millpond.api.auth import Doorkeeper
from millpond.api.errands import ErrandServer
from millpond.api.late import Late
from millpond.api.oci import Registries, Registry
from millpond.api.origin import Origins
from millpond.api.publish import Publisher
from millpond.api.routes import Site
from millpond.api.sending import Asgi
from millpond.app.application import App
from millpond.config import Config


def site(app: App) -> Site:
    """Make the ASGI application; a reload changes its repositories, and who may read without a token."""
    config = app.config
    doorkeeper = Doorkeeper(app.tokens, anonymous_read=config.access.anonymous == "read", pulls=app.pulls)
    app.on_reload.append(lambda: doorkeeper.open_to_read(app.config.access.anonymous == "read"))
    artifacts = ArtifactServer(app.usage, app.metrics, app.clock, app.hits)
    origins = Origins(config.server.public_url, config.server.trusted_proxies)
    registries = _Latest(app)

    def control() -> Asgi:
        from millpond.api.control import build  # FastAPI: heavy, and not needed for artifacts

        return cast("Asgi", build(app, doorkeeper, registries))

    artifacts = ArtifactServer(app.usage, app.metrics, app.clock, app.hits)
    return Site(
        repositories=lambda: app.repositories,
        artifacts=artifacts,
        errands=ErrandServer(artifacts),
        publisher=Publisher(),
        registry=Registry(artifacts, doorkeeper, registries, origins, app.adopted),
        doorkeeper=doorkeeper,
        origins=origins,
        control=Late(control),
        adopted=app.adopted,
    )


class _Latest:
    """The registries of the configuration that holds now; read again when that is another one."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._config: Config | None = None
        self._registries = Registries({}, {})

    def __call__(self) -> Registries:
        if self._config is not self._app.config:
            self._config = self._app.config
            self._registries = Registries.of(self._config)
        return self._registries
