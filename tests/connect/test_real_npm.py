"""npm and pnpm themselves read the files as we do, and ask where we point them. All traffic stays on loopback."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from millpond import connect
from millpond.adopt import Machine, Pond, adopt_npm
from millpond.testing.upstream import ThreadedUpstream

pytestmark = pytest.mark.client
PNPM = Path(__file__).parents[2] / "build/test-tools/node_modules/pnpm/bin/pnpm.cjs"
both = pytest.mark.parametrize("tool", ["npm", "pnpm"])


def ask(tool: str, home: Path, environ: dict[str, str] | None = None) -> None:
    """Let the tool look for a package; it fails, since nobody has it."""
    program = shutil.which(tool if tool == "npm" else "node")
    if program is None or (tool == "pnpm" and not PNPM.exists()):
        pytest.skip(f"{tool} is not installed")
    project = home / "project"
    project.mkdir(exist_ok=True)
    (project / "package.json").write_text('{"name": "p", "version": "1.0.0"}')
    words = [program, "view", "nobody-has-it"] if tool == "npm" else [program, str(PNPM), "add", "nobody-has-it"]
    known = {"HOME": str(home), "PATH": "/usr/bin:/bin", "npm_config_fetch_retries": "0", "CI": "true"}
    done = subprocess.run(words, cwd=project, env=known | (environ or {}), capture_output=True, timeout=60, check=False)
    assert done.returncode != 0


def asked(upstream: ThreadedUpstream) -> set[str]:
    found = {request.path for request in upstream.requests}
    upstream.requests.clear()
    return found


@both
def test_the_tool_asks_the_pond_when_it_is_connected_and_not_afterwards(tool, tmp_path, upstream):
    before = f"fund=false\nregistry={upstream.url}/elsewhere/\n"
    (tmp_path / ".npmrc").write_text(before)
    elsewhere = [f"{upstream.url}/elsewhere"]
    connect.write(tool, upstream.url, {}, tmp_path, upstreams=elsewhere, root=tmp_path, repository="npm")
    ask(tool, tmp_path)
    assert asked(upstream) == {"/npm/nobody-has-it"}
    connect.undo(tool, {}, tmp_path)
    assert (tmp_path / ".npmrc").read_text() == before
    ask(tool, tmp_path)
    assert asked(upstream) == {"/elsewhere/nobody-has-it"}


@both
def test_the_printed_variables_are_enough(tool, tmp_path, upstream):
    ask(tool, tmp_path, dict(connect.plan(tool, upstream.url, {}, tmp_path, repository="npm").variables))
    assert asked(upstream) == {"/npm/nobody-has-it"}


# Each names several registries (`@` is the server): the tool itself says which one counts.
PLACES = {
    "the project's before the user's": ({"project/.npmrc": "registry=@/a/\n", ".npmrc": "registry=@/b/\n"}, {}),
    "the last of two": ({".npmrc": "registry=@/a/\nregistry=@/b/\n"}, {}),
    "the environment before files": ({"project/.npmrc": "registry=@/a/\n"}, {"NPM_CONFIG_REGISTRY": "@/b/"}),
    "a variable in a file": ({".npmrc": "registry=${WHERE}/c/\n"}, {"WHERE": "@"}),
    "quotes": ({".npmrc": 'registry = "@/d/"\n'}, {}),
    "before a section": ({".npmrc": "registry=@/a/\n[section]\nregistry=@/b/\n"}, {}),
    "the user's before the machine's": (
        {".npmrc": "registry=@/a/\n", "g.rc": "registry=@/b/\n"},
        {"npm_config_globalconfig": "$HOME/g.rc"},
    ),
    "the machine's": ({"g.rc": "registry=@/b/\n"}, {"npm_config_globalconfig": "$HOME/g.rc"}),
}


@pytest.mark.parametrize("case", PLACES)
def test_what_is_adopted_is_what_npm_itself_asks(case, tmp_path, upstream):
    files, variables = PLACES[case]
    environ = {
        name: value.replace("@", upstream.url).replace("$HOME", str(tmp_path)) for name, value in variables.items()
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text.replace("@", upstream.url))
    pond = Pond.at("127.0.0.1", 1)
    here = Machine(environ, tmp_path, lambda _argv: None, tmp_path, pond, cwd=tmp_path / "project")
    (tmp_path / "project").mkdir(exist_ok=True)
    found = adopt_npm(here)
    ask("npm", tmp_path, environ)
    assert asked(upstream) == {f"{found.base_url.removeprefix(upstream.url)}nobody-has-it"}


def test_the_credentials_that_are_adopted_are_those_that_npm_sends(tmp_path, upstream):
    host = upstream.url.removeprefix("http:")
    text = f"registry={upstream.url}/a/\n{host}/:_authToken=far\n{host}/a/:_authToken=near\n{host}/b/:_authToken=no\n"
    (tmp_path / ".npmrc").write_text(text)
    found = adopt_npm(Machine({}, tmp_path, lambda _argv: None, tmp_path, Pond.at("127.0.0.1", 1)))
    ask("npm", tmp_path)
    assert {request.headers["authorization"] for request in upstream.requests} == {f"Bearer {found.password}"}
