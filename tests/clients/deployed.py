"""A world to deploy in: a real pond, a real registry, a real Docker Engine with compose behind a real sshd."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.clients.registries import Registry
from tests.composing import compose, stack_docker
from tests.engine import Engine
from tests.sshd import Sshd

from millpond.testing.pond import PondProcess

COMMAND_S = 300
DOCKERFILE = 'FROM scratch\nCOPY busybox /bin/busybox\nCOPY version /version\n{more}\nCMD ["/bin/busybox", {command}]\n'
RUNS = '"sleep", "3600"'
IMAGES = {
    "1": (RUNS, ""),
    "2": (RUNS, ""),
    "exits": ('"sh", "-c", "echo starting; echo boom $DB_PASSWORD >&2; exit 3"', ""),
    "sick": (RUNS, 'HEALTHCHECK --interval=1s --retries=2 CMD ["/bin/busybox", "sh", "-c", "echo no database; false"]'),
}
"""Versions of one app: what they run, and what else is in their Dockerfile."""
COMPOSE = """
services:
  web:
    image: 127.0.0.1:{registry}/shop/app:${{VERSION}}
    network_mode: host
    stop_grace_period: 1s
    environment: {{DB_PASSWORD: "${{DB_PASSWORD}}", NOTE: "5$$ ${{NOTE:-é}}"}}
"""
STACK = """
version: "3.8"
services:
  web:
    image: 127.0.0.1:{registry}/shop/app:${{VERSION}}
    networks: [hostnet]
    stop_grace_period: 1s
    environment: {{DB_PASSWORD: "${{DB_PASSWORD}}", NOTE: "5$$"}}
    deploy: {{replicas: 2, update_config: {{monitor: 2s}}, restart_policy: {{delay: 1s}}}}
networks: {{hostnet: {{external: true, name: host}}}}
"""
PASSWORD = "canary-9a41"


HOOKED = """#!/bin/sh
# Compose, with a test's own hook before it brings anything out.
case " $* " in *" up "*) [ -x {hook} ] && {hook} ;; esac
exec {real} "$@"
"""


def programs(folder: Path, docker: str = "") -> str:
    """Put compose and a docker client (else one that reads stack files) into a folder; gives a PATH that has it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "docker-compose").write_text(HOOKED.format(hook=folder / "hook", real=compose()))
    (folder / "docker-compose").chmod(0o755)
    (folder / "docker").symlink_to(docker or stack_docker() or "/usr/bin/docker")
    return f"{folder}:/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True, slots=True)
class Parts:
    """What ponds share. `path`: the programs of the pond's machine; `there`: the folder of those on the host."""

    path: str
    there: Path
    sshd: Sshd
    engine: Engine
    registry: Registry


def fill(registry: Registry, engine: Engine, folder: Path) -> str:
    """Build the versions of the app, push them, and leave none on the engine; gives why that can't be."""
    for version, (command, more) in IMAGES.items():
        place = folder / version
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy("/bin/busybox", place / "busybox")
        (place / "version").write_text(version)
        (place / "Dockerfile").write_text(DOCKERFILE.format(command=command, more=more))
        name = f"127.0.0.1:{registry.port}/shop/app:{version}"
        if not engine.build(place, name):
            return f"BuildKit builds nothing here: {engine.build_log()[-500:]}"
        pushed = engine.docker("push", name)
        if not pushed.ok:
            return pushed.output
    engine.empty()
    return ""


@dataclass
class World:
    """The parts, and the app's own folder."""

    folder: Path
    parts: Parts
    pond: PondProcess
    app: str = "shop"
    said: list[str] = field(default_factory=list)

    @property
    def engine(self) -> Engine:
        """The host's engine."""
        return self.parts.engine

    @property
    def registry(self) -> Registry:
        """The registry behind the pond."""
        return self.parts.registry

    @property
    def files(self) -> Path:
        """The folder of the app's files."""
        return self.folder / self.app

    def write(self, version: str, text: str = COMPOSE) -> None:
        """Write the app's files; its .env wants this version."""
        self.files.mkdir(parents=True, exist_ok=True)
        (self.files / "compose.yml").write_text(text.format(registry=self.registry.port))
        (self.files / ".env").write_text(f"VERSION={version}\nDB_PASSWORD={PASSWORD}\n")

    def millpond(self, *words: str, code: int | None = 0) -> str:
        """Run a command beside the pond, or without it; gives what it said."""
        argv = [*words, "--config", str(self.pond.folder / "millpond.toml"), "--data", str(self.pond.data)]
        environ = {**os.environ, "PATH": self.parts.path, "HOME": str(self.folder)}
        assert self.pond.nursery is not None
        done = self.pond.nursery.run(argv, environ=environ, folder=self.folder, timeout_s=COMMAND_S)
        self.said.append(done.stdout + done.stderr)
        assert code is None or done.returncode == code, self.said[-1]
        return self.said[-1]

    def starting(self, *words: str, program: tuple[str, ...] = ("-m", "millpond")) -> subprocess.Popen[str]:
        """Start a command beside the pond, or without it."""
        argv = [sys.executable, *program, *words, "--config", str(self.pond.folder / "millpond.toml")]
        argv += ["--data", str(self.pond.data)]
        environ = {**os.environ, "PATH": self.parts.path, "HOME": str(self.folder)}
        return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environ)

    def told(self, *words: str, code: int | None = 0) -> Any:
        """Run a command, and give the JSON that it says."""
        said = self.millpond(*words, "--json", code=code)
        return json.JSONDecoder().raw_decode(said)[0]

    def deploy(self, version: str, *words: str, code: int = 0) -> Any:
        """Deploy a version."""
        self.write(version)
        return self.told("deploy", self.app, *words, code=code)

    def inspect(self, *names: str) -> list[Mapping[str, Any]]:
        """Describe containers."""
        ran = self.engine.docker("container", "inspect", *names)
        return json.loads(ran.output.partition("\n")[2]) if ran.ok else []

    def container(self) -> Mapping[str, Any]:
        """Describe the app's one container; empty: there is none."""
        found = self.inspect(f"{self.app}-web-1")
        return found[0] if found else {}

    def version(self) -> str:
        """What runs: the version in the image of the app's container."""
        ran = self.engine.docker("exec", f"{self.app}-web-1", "/bin/busybox", "cat", "/version")
        return ran.output.partition("\n")[2].strip() if ran.ok else ""

    def states(self) -> dict[int, str]:
        """The app's releases."""
        return {row["number"]: row["state"] for row in self.told("release", "ls", self.app)}

    def hook(self, script: str) -> None:
        """Have the host do something right before compose brings anything out there; empty: nothing any more."""
        place = self.parts.there / "hook"
        place.unlink(missing_ok=True)
        if script:
            place.write_text(f"#!/bin/sh\n{script}\n")
            place.chmod(0o755)

    def hold(self) -> None:
        """Have compose wait on the host before it brings anything out, until `go_on`."""
        (self.folder / "hold").touch()
        self.hook(f"touch {self.folder}/reached; while [ -e {self.folder}/hold ]; do sleep 0.1; done")

    def reached(self) -> None:
        """Wait until compose waits."""
        until((self.folder / "reached").exists)

    def go_on(self) -> None:
        """Let it."""
        self.hook("")
        (self.folder / "hold").unlink(missing_ok=True)

    def down(self) -> None:
        """Take the app's containers away."""
        ran = self.engine.docker("ps", "-aq", "--filter", "label=com.docker.compose.project")
        ids = ran.output.split("\n")[1:]
        for one in filter(None, ids):
            self.engine.docker("rm", "-f", one)


def config(parts: Parts, port: int, folder: Path) -> str:
    """Write the pond's configuration."""
    return f"""
[repositories.hub]
package = "docker"
base_url = "{parts.registry.url}"
[upkeep.build_cache]
enabled = false
[upkeep.disk]
enabled = false
{parts.sshd.toml("web1")}docker_host = "{parts.engine.host}"
connect_timeout_s = 30
[apps.shop]
path = "{folder}/shop"
hosts = ["web1"]
pond = "127.0.0.1:{port}"
converge_timeout_s = 40
"""


def until(there: Callable[[], bool], timeout_s: float = 60) -> None:
    """Wait."""
    end = time.monotonic() + timeout_s
    while not there():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)
