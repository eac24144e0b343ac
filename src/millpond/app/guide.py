"""What a person sees at the start: what is served, from where, and how to point a client at it."""

from __future__ import annotations

from millpond import connect
from millpond.app.core import Core
from millpond.app.counterparts import local_git, project_of
from millpond.config import Config
from millpond.delivery.ports import ForgeFailed


def base_url(config: Config) -> str:
    """Give the pond's address as a client on this machine sees it."""
    server = config.server
    if server.public_url:
        return server.public_url.rstrip("/")
    host = "127.0.0.1" if server.host in {"0.0.0.0", "::"} else server.host  # noqa: S104 - read, not listened on
    return f"http://[{host}]:{server.port}" if ":" in host else f"http://{host}:{server.port}"


def guide(app: Core) -> str:
    """Write it."""
    url = base_url(app.config)
    lines = [f"Millpond serves at {url}"]
    for name, settings in app.config.repositories.items():
        origin = f" from {settings.base_url}" if settings.base_url else ""
        found = f" (found in {settings.found_in})" if settings.found_in else ""
        lines.append(f"  {url}/{name}/  {settings.package}, {settings.type}{origin}{found}")
        if settings.package == "docker":
            lines.append(f"    docker pull {url.partition('://')[2]}/{name}/IMAGE")
        tools = [tool for tool in connect.TOOLS if connect.package_of(tool) == settings.package]
        plans = (connect.plan(tool, url, {}, app.data, repository=name) for tool in tools)
        lines += [f"    {plan.command} PACKAGE" for plan in plans]
    lines += [f"  not adopted: {reason}" for reason in app.skipped]
    if not app.config.repositories:
        lines.append("  no repositories: write some into millpond.toml (`millpond init` makes one)")
    lines += _projects(app)
    lines.append("  `millpond connect TOOL --write` makes these settings permanent; Ctrl-C stops")
    return "\n".join(lines)


def _projects(app: Core) -> list[str]:
    """Tell of each project where its issues and its commits go."""
    config, lines = app.config, list[str]()
    for name in config.projects:
        project = project_of(name, config)
        if config.forge.kind == "local":
            try:
                there = str(local_git(config, app.clock).path(project))
            except ForgeFailed as error:
                lines.append(f"  project {name}: {error}")
                continue
        else:
            there = f"{config.forge.url.rstrip('/')}/{project.repo}"
        issues = f"issues {project.prefix}-1, ...: `millpond board new TITLE --project {name}`"
        told = issues if config.tracker.kind == "local" else f"issues of {config.tracker.url}"
        lines.append(f"  project {name}: push to {there} ({project.branch}); {told}")
    return lines


def welcome(app: Core) -> str:
    """Write what this worker has to tell: the admin token if it made it, and the guide if it is the first one."""
    made = app.new_admin_token
    lines = [f"admin token (kept in {app.data / 'admin-token'}): {made}"] if made else []
    if app.role.number == 0:
        lines.append(guide(app))
    return "".join(f"{line}\n" for line in lines)
