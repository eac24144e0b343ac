"""From the sources to a `Config`, or to the list of all that is wrong."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from millpond.config.checks import Kinds, contradictions
from millpond.config.lenient import take_sound
from millpond.config.model import Config
from millpond.config.problems import Problem, explain
from millpond.config.sources import find, gather
from millpond.errors import ConfigError


def load(
    path: Path | None,
    *,
    environ: Mapping[str, str],
    overrides: Mapping[str, object],
    cwd: Path,
    kinds: Kinds,
) -> Config:
    """Load the configuration.

    `path` is the file that was asked for (None: looked for); `overrides` has dotted keys, from the command line.
    Repositories whose `base_url` is "adopt" still say so: `with_adopted` fills them in. Raises `ConfigError` with one
    line for each mistake.
    """
    gathered = gather(find(path, cwd), environ=environ, overrides=overrides, cwd=cwd)
    warnings = take_sound(gathered)
    problems = list(contradictions(gathered.table, kinds))
    config = None
    try:
        config = Config.model_validate(gathered.table, context={"environ": environ})
    except ValidationError as error:
        problems += [explain(detail) for detail in error.errors(include_url=False)]
    if config is None or problems:
        raise ConfigError(*(problem.mistake(gathered.origin(problem.path)) for problem in _in_order(problems)))
    return config.warned(warnings) if warnings else config


def _in_order(problems: list[Problem]) -> list[Problem]:
    """Put what belongs together together: by place."""
    return sorted(problems, key=lambda problem: [str(part) for part in problem.path])


def open_network_problem(config: Config) -> str | None:
    """Say why the daemon must not listen where it is told to, with ways out; None: it may."""
    mirror = config.server.mirror_listen
    places = {"host": config.server.host} | ({"mirror_listen": mirror.rpartition(":")[0].strip("[]")} if mirror else {})
    outside = [(key, host) for key, host in places.items() if not is_loopback(host)]
    if not outside or config.access.anonymous == "none" or config.access.allow_open_network:
        return None
    key, host = outside[0]
    return (
        f'[server] {key}: "{host}" can be reached from the network, and reading needs no token there '
        '([access] anonymous = "read"). Either listen on 127.0.0.1, or write [access] anonymous = "none" and give '
        "tokens to the clients (`millpond token create`), or, in a network that you trust, write "
        "[access] allow_open_network = true"
    )


def is_loopback(host: str) -> bool:
    """Whether an address to listen on can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() in {"localhost", "localhost."}
