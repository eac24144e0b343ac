"""yarn itself reads the files as we write them, and asks where we point it. All traffic stays on loopback."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from millpond import connect
from millpond.testing.upstream import ThreadedUpstream

pytestmark = pytest.mark.client
MODULES = Path(__file__).parents[2] / "build/test-tools/node_modules"
SCRIPTS = {"yarn": MODULES / "@yarnpkg/cli-dist/bin/yarn.js", "yarn1": MODULES / "yarn/bin/yarn.js"}
both = pytest.mark.parametrize("tool", ["yarn", "yarn1"])


def ask(tool: str, home: Path, environ: dict[str, str] | None = None) -> None:
    """Let the tool look for a package; it fails, since nobody has it."""
    node = shutil.which("node")
    if node is None or not SCRIPTS[tool].exists():
        pytest.skip(f"{tool} is not there: `sh tests/install-tools.sh` installs it from npm's registry")
    project = home / "project"
    project.mkdir(exist_ok=True)
    (project / "package.json").write_text('{"name": "p", "version": "1.0.0"}')
    (project / "yarn.lock").touch()
    known = {"HOME": str(home), "PATH": "/usr/bin:/bin", "CI": "true", "YARN_ENABLE_TELEMETRY": "0"}
    known |= {"YARN_HTTP_RETRY": "0"} if tool == "yarn" else {}
    words = [node, str(SCRIPTS[tool]), "add", "nobody-has-it"]
    done = subprocess.run(words, cwd=project, env=known | (environ or {}), capture_output=True, timeout=60, check=False)
    assert done.returncode != 0


def asked(upstream: ThreadedUpstream) -> set[str]:
    found = {request.path for request in upstream.requests}
    upstream.requests.clear()
    return found


@both
def test_the_tool_asks_the_pond_when_it_is_connected(tool, tmp_path, upstream):
    connect.write(tool, upstream.url, {}, tmp_path, root=tmp_path, repository="npm")
    ask(tool, tmp_path)
    assert asked(upstream) == {"/npm/nobody-has-it"}
    connect.undo(tool, {}, tmp_path)
    assert not (tmp_path / ".yarnrc").exists()
    assert not (tmp_path / ".yarnrc.yml").exists()


@both
def test_the_printed_variables_are_enough(tool, tmp_path, upstream):
    ask(tool, tmp_path, dict(connect.plan(tool, upstream.url, {}, tmp_path, repository="npm").variables))
    assert asked(upstream) == {"/npm/nobody-has-it"}
