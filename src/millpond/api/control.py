"""The control API (FastAPI): status, configuration, upkeep. OpenAPI at ``/api/v1/openapi.json``.

Artifacts are served by `routes` and `artifacts`, plain ASGI; what is here runs the application's operations, the
same as the command
line.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from millpond import __version__
from millpond.access.scopes import ADMINISTRATION, Scope, reading
from millpond.api.auth import CHALLENGE, Caller, Doorkeeper
from millpond.api.delivery import add_delivery
from millpond.api.delivery import run as _run
from millpond.api.described import described
from millpond.api.hooks import add_hooks
from millpond.api.oci import Registries
from millpond.api.problems import CONTENT_TYPE as PROBLEM
from millpond.api.problems import problem, status_of
from millpond.api.tokens import add_token_endpoint
from millpond.app.application import App
from millpond.app.queue import queue
from millpond.errors import ConfigError, Conflict, Denied, MillpondError
from millpond.metrics import CONTENT_TYPE as PROMETHEUS

READ_ALL = reading("*")
NOT_FOUND, UNREADABLE, BROKEN = 404, 422, 500


class NewToken(BaseModel):
    """A token to make."""

    name: str = Field(min_length=1, max_length=100)
    scopes: list[str] = Field(min_length=1, max_length=100)
    expires: str | None = None


def build(app: App, doorkeeper: Doorkeeper, registries: Callable[[], Registries]) -> FastAPI:
    """Make the control API of one application."""
    api = FastAPI(
        title="Millpond", version=__version__, openapi_url="/api/v1/openapi.json", docs_url=None, redoc_url=None
    )
    api.add_exception_handler(MillpondError, _failed)
    api.add_exception_handler(HTTPException, _refused)
    api.add_exception_handler(RequestValidationError, _misread)
    api.add_exception_handler(Exception, _broken)
    may_read = Depends(_needs(doorkeeper, READ_ALL))
    may_read_some = Depends(_reads_some(doorkeeper))
    may_change = Depends(_needs(doorkeeper, ADMINISTRATION))
    _status(api, app, doorkeeper, may_read, may_read_some)
    _upkeep(api, app, may_read, may_change)
    _hosts(api, app, may_read)
    _tokens(api, app, may_change)
    add_delivery(api, app, may_read, _needs(doorkeeper, ADMINISTRATION))
    add_hooks(api, app)
    add_token_endpoint(api, doorkeeper, registries)
    document = api.openapi
    setattr(api, "openapi", lambda: described(document()))  # noqa: B010 - FastAPI's own way; mypy takes it for a mistake
    return api


def _status(api: FastAPI, app: App, doorkeeper: Doorkeeper, may_read: Any, may_read_some: Any) -> None:
    may_flush = _needs(doorkeeper, ADMINISTRATION)

    @api.get("/", dependencies=[may_read_some])
    async def root() -> Any:
        """Tell the version and the repositories."""
        return {"version": __version__, "remotes": list(app.repositories)}

    @api.get("/health", dependencies=[may_read_some])
    async def health() -> Any:
        """Tell that this worker serves."""
        return {"status": "healthy", "version": __version__, "worker": app.role.number, "flights": len(app.flights)}

    @api.get("/metrics", dependencies=[may_read_some])
    async def metrics(request: Request, format: str = "") -> Response:  # noqa: A002 - the contract's parameter
        """Give the metrics: Prometheus text, or JSON when asked for."""
        app.hits.flush()
        if format == "json" or "application/json" in request.headers.get("accept", ""):
            return JSONResponse(app.metrics.values())
        return Response(app.metrics.text(), media_type=PROMETHEUS)

    @api.get("/config", dependencies=[may_read])
    async def config() -> Any:
        """Give the configuration, secrets masked."""
        masked = app.masked()
        return {"remotes": masked.pop("repositories"), **masked}

    @api.put("/cache/flush")
    async def flush(request: Request, remote: str | None = None) -> Any:
        """Drop cached (never local) content, of one repository if named."""
        if remote is not None:
            app.repository(remote)
        await may_flush(request)
        return await _run(app, "repo_flush", name=remote)


def _upkeep(api: FastAPI, app: App, may_read: Any, may_change: Any) -> None:
    @api.get("/api/v1/repositories", dependencies=[may_read])
    async def repositories() -> Any:
        """List the repositories."""
        return await _run(app, "repo_ls")

    @api.get("/api/v1/repositories/{name}", dependencies=[may_read])
    async def repository(name: str, prefix: str = "", limit: Annotated[int, Query(ge=1, le=10_000)] = 100) -> Any:
        """Show one repository and its entries."""
        return await _run(app, "repo_show", name=name, prefix=prefix, limit=limit)

    @api.get("/api/v1/why", dependencies=[may_read])
    async def why(ref: Annotated[str, Query(max_length=4096)]) -> Any:
        """Explain an artifact's state, or what an issue waits for."""
        return await _run(app, "why", ref=ref)

    @api.get("/api/v1/usage", dependencies=[may_read])
    async def usage(
        artifact: str | None = None,
        token: str | None = None,
        task: Annotated[str | None, Query(max_length=64)] = None,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
    ) -> Any:
        """List who got what, newest first; `task`: what the jobs of a task drew."""
        return await _run(app, "usage", artifact=artifact, token=token, task=task, limit=limit)

    @api.post("/api/v1/gc", dependencies=[may_change])
    async def gc(*, dry_run: bool = False) -> Any:
        """Collect what nothing refers to."""
        return await _run(app, "gc", dry_run=dry_run)

    @api.post("/api/v1/reload", dependencies=[may_change])
    async def reload() -> Any:
        """Read the configuration again; one that is refused changes nothing (409)."""
        try:
            return await _run(app, "reload")
        except ConfigError as error:
            raise Conflict(f"not reloaded, what held goes on: {error}") from error


def _hosts(api: FastAPI, app: App, may_read: Any) -> None:
    @api.get("/queue", dependencies=[may_read])
    async def page() -> Any:
        """Tell what every background part does."""
        return await queue(app)

    @api.get("/api/v1/hosts", dependencies=[may_read])
    async def hosts() -> Any:
        """List the hosts with what was last seen of them."""
        return await _run(app, "host_ls")

    @api.get("/api/v1/releases", dependencies=[may_read])
    async def releases(
        name: Annotated[str | None, Query(alias="app", max_length=64)] = None,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
    ) -> Any:
        """List the releases of all apps, or of one, newest first."""
        return await _run(app, "release_ls", name=name, limit=limit)


def _tokens(api: FastAPI, app: App, may_change: Any) -> None:
    @api.get("/api/v1/tokens", dependencies=[may_change])
    async def tokens() -> Any:
        """List the tokens."""
        return await _run(app, "token_ls")

    @api.post("/api/v1/tokens", dependencies=[may_change], status_code=201)
    async def create(new: NewToken) -> Any:
        """Make a token; its secret is told this once."""
        return await _run(app, "token_create", name=new.name, scopes=new.scopes, expires=new.expires)

    @api.delete("/api/v1/tokens/{name}", dependencies=[may_change])
    async def revoke(name: str) -> Any:
        """Revoke a token."""
        return await _run(app, "token_revoke", name=name)


def _needs(doorkeeper: Doorkeeper, need: Scope) -> Callable[[Request], Awaitable[Caller]]:
    async def check(request: Request) -> Caller:
        caller = await doorkeeper.caller(request.headers)
        caller.require(need)
        return caller

    return check


def _reads_some(doorkeeper: Doorkeeper) -> Callable[[Request], Awaitable[None]]:
    async def check(request: Request) -> None:
        (await doorkeeper.caller(request.headers)).require_some_reading()

    return check


async def _failed(_request: Request, error: Exception) -> Response:
    assert isinstance(error, MillpondError)  # noqa: S101 - registered for these only
    headers = {"www-authenticate": CHALLENGE.decode()} if isinstance(error, Denied) and error.authenticate else {}
    status = status_of(error)
    return Response(problem(status, str(error)), status, headers, media_type=PROBLEM)


async def _refused(request: Request, error: Exception) -> Response:
    """Tell of an unknown path, or a method that it does not take."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for these only
    hint = "; /api/v1/openapi.json lists what there is" if error.status_code == NOT_FOUND else ""
    detail = f"{request.method} {request.url.path}: {error.detail}{hint}"
    return Response(problem(error.status_code, detail), error.status_code, error.headers, media_type=PROBLEM)


async def _misread(_request: Request, error: Exception) -> Response:
    """Tell which parameter or field is wrong, and how; what was sent is not repeated."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for these only
    wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
    return Response(problem(UNREADABLE, wrong), UNREADABLE, media_type=PROBLEM)


async def _broken(_request: Request, _error: Exception) -> Response:
    """Say that the fault is ours; it is logged where requests come in."""
    return Response(problem(BROKEN, "a fault of the pond's own: its log tells more"), BROKEN, media_type=PROBLEM)
