"""pip and uv themselves read the files as we do, and ask where we point them. All traffic stays on loopback."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from millpond import connect
from millpond.adopt import Machine, Pond, adopt_pypi

pytestmark = pytest.mark.client
PROJECT = "a-project-that-nobody-has"


@pytest.fixture
def index():
    """A server that has nothing, and remembers what it was asked."""
    asked = []

    class Nothing(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Nothing)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    server.asked = asked
    server.url = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def pip_argv(python):
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=False).returncode:
        pytest.skip("this Python has no pip")
    return [sys.executable, "-m", "pip", "--python", python, "install", "--dry-run", "--target", "t", "--retries", "0"]


def uv_argv(python):
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin")
    if uv is None:
        pytest.skip("uv is not installed")
    return [uv, "pip", "install", "--dry-run", "--no-cache", "--python", python]


ARGV = {"pip": pip_argv, "uv": uv_argv}
CALM = {"UV_HTTP_RETRIES": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PATH": "/usr/bin:/bin"}
both = pytest.mark.parametrize("tool", ["pip", "uv"])


def ask(tool, home, environ, python=sys.executable):
    """Let the tool look for a project; it fails, since nobody has it."""
    argv = [*ARGV[tool](python), PROJECT]
    environ = CALM | {"HOME": str(home), "XDG_CONFIG_DIRS": "/none"} | environ
    done = subprocess.run(argv, cwd=home, env=environ, capture_output=True, timeout=60, check=False)
    assert done.returncode != 0


@both
def test_the_tool_asks_the_pond_when_it_is_connected_and_not_afterwards(tool, tmp_path, index):
    file = connect.plan(tool, index.url, {}, tmp_path).file
    before = {"pip": "[global]\nindex-url = {}\n", "uv": '[[index]]\nurl = "{}"\ndefault = true\n'}[tool]
    file.parent.mkdir(parents=True)
    file.write_text(before.format(f"{index.url}/elsewhere/"))
    connect.write(tool, index.url, {}, tmp_path, upstreams=[f"{index.url}/elsewhere"], root=tmp_path)
    ask(tool, tmp_path, {})
    assert set(index.asked) == {f"/pypi/simple/{PROJECT}/"}
    index.asked.clear()
    connect.undo(tool, {}, tmp_path)
    ask(tool, tmp_path, {})
    assert set(index.asked) == {f"/elsewhere/{PROJECT}/"}


@both
def test_the_printed_variables_are_enough(tool, tmp_path, index):
    ask(tool, tmp_path, dict(connect.plan(tool, index.url, {}, tmp_path).variables))
    assert set(index.asked) == {f"/pypi/simple/{PROJECT}/"}


DEFAULT = '[[index]]\nurl = "{}"\ndefault = true\n'
USER, SHARED = ".config/uv/uv.toml", "xdg/uv/uv.toml"
# Each names several indexes (`@` is the server): the tool itself says which one counts.
PLACES = {
    "pip: the command's section before the common one": (
        "pip",
        {".config/pip/pip.conf": "[global]\nindex-url = @/a\n", ".pip/pip.conf": "[install]\nindex-url = @/b\n"},
    ),
    "pip: the user's file before the older one": (
        "pip",
        {".config/pip/pip.conf": "[global]\nindex_url = @/a\n", ".pip/pip.conf": "[global]\nindex-url = @/b\n"},
    ),
    "pip: the environment's file before the user's": (
        "pip",
        {"venv/pip.conf": "[global]\nindex-url: @/a\n", ".config/pip/pip.conf": "[global]\nindex-url = @/b\n"},
    ),
    "uv: a default before the older forms": (
        "uv",
        {USER: 'index-url = "@/a"\n' + DEFAULT.format("@/b") + '[pip]\nindex-url = "@/c"\n'},
    ),
    "uv: pip's form before the oldest one": ("uv", {USER: 'index-url = "@/a"\n[pip]\nindex-url = "@/b"\n'}),
    "uv: the first of two defaults": ("uv", {USER: DEFAULT.format("@/a") + DEFAULT.format("@/b")}),
    "uv: the machine's default before the user's older form": (
        "uv",
        {USER: 'index-url = "@/a"\n', SHARED: DEFAULT.format("@/b")},
    ),
    "uv: the user's file before the machine's": ("uv", {USER: 'index-url = "@/a"\n', SHARED: 'index-url = "@/b"\n'}),
}


@pytest.mark.parametrize("case", PLACES)
def test_what_is_adopted_is_what_the_tool_itself_asks(case, tmp_path, index):
    tool, files = PLACES[case]
    environ, python = {"XDG_CONFIG_DIRS": str(tmp_path / "xdg")}, sys.executable
    if "venv/pip.conf" in files:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
        environ["VIRTUAL_ENV"] = str(tmp_path / "venv")
        python = str(tmp_path / "venv/bin/python")
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text.replace("@", index.url))
    found = adopt_pypi(Machine(environ, tmp_path, lambda _argv: None, tmp_path, Pond.at("127.0.0.1", 1)))
    ask(tool, tmp_path, environ, python)
    assert set(index.asked) == {f"{found.base_url.removeprefix(index.url)}/{PROJECT}/"}
