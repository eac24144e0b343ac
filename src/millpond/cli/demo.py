"""``millpond demo``: the whole story on an empty machine, in about a minute, from an issue to what is deployed.

Nothing but what the demo makes itself is asked: the index, the repository, the image and the daemon are its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import secrets
import shlex
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from millpond.cli.demoworld import PACKAGE, Daemon, DemoFailed, Docker, Index, Programs, engine_socket, sample_repo
from millpond.cli.ending import Ending
from millpond.cli.output import Bar, failing, out
from millpond.cli.session import SOCKET
from millpond.server import control

LIMIT_S = 180.0
CALL_OFF_S = 30.0
"""How long it is waited for a job that is called off: its processes have 10 s to end by themselves."""
LOOK_S = 0.1
KEY = "DEMO-1"
TITLE = "Greet whoever comes by"


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the folder, and what is deployed, to look at.")] = False,
    docker: Annotated[bool, typer.Option(help="Deploy, if there is a Docker Engine here.")] = True,
) -> None:
    """Take an issue to production on this machine, with an outage on the way; leaves nothing behind."""
    folder = Path(tempfile.gettempdir(), f"millpond-demo-{secrets.token_hex(8)}")
    ending = Ending()
    story = Story(folder, ending, keep=keep, docker=docker)  # makes nothing yet
    with ending:
        try:
            with failing(), ending.heeding():
                story.tell()
        finally:
            story.end()


class Story:
    """One demo."""

    def __init__(self, folder: Path, ending: Ending, *, keep: bool, docker: bool) -> None:
        self._folder, self._keep = folder, keep
        self._daemon, self._began, self._chapter = Daemon(folder, ending), time.monotonic(), 0
        self._programs = Programs(ending)
        self._why_not = Docker.missing(self._programs) if docker else "--no-docker"
        self._docker = None if self._why_not else Docker(self._programs)
        self._index: Index | None = None

    def tell(self) -> None:
        """Do it all, and say what is done. Raises `DemoFailed`."""
        if importlib.util.find_spec("pip") is None or shutil.which("git") is None:
            raise DemoFailed("the demo needs pip (python -m ensurepip) and git: install them")
        self._set_up()
        self._begin_work()
        self._outage()
        self._finish()
        self._say(f"That took {time.monotonic() - self._began:.0f} s.")

    def _set_up(self) -> None:
        self._folder.mkdir(0o700)
        index = self._index = Index(self._folder / "index")
        self._say(f"A package index of our own, at {index.url}, with one package: {PACKAGE}.")
        if self._docker is not None:
            self._docker.make(self._folder / "app")
        (self._folder / "millpond.toml").write_text(self._config(index.url))
        self._daemon.start()
        address = self._ask("address")
        self._say(f"A daemon of its own, at http://127.0.0.1:{address['server_port']}, that caches this index.")
        bare = self._daemon.data / "git" / "demo.git"
        self._until("the daemon made no repository", (bare / "HEAD").exists)
        sample_repo(self._programs, self._folder / "work", bare)
        self._say(f"A sample repository: a shop that needs {PACKAGE}, pushed to the daemon's own git.")

    def _begin_work(self) -> None:
        self._ask("board_new", title=TITLE, column="To Analyse", by="ada")
        self._say(f'An issue on the daemon\'s own board, at To Analyse: {KEY}, "{TITLE}".')
        self._run("board", "ls")
        self._say(
            "Its pipeline begins at once. The stage build installs the package through the pond and pushes a branch."
        )
        self._until("the stage build did not end", lambda: self._task()["phase"] == "gated")
        self._show_log("build")
        self._until("the board was not told", lambda: self._column() == "Needs Input")
        self._say(f"{KEY} waits for a person, and the board says so: {self._column()}.")
        self._run("why", KEY)

    def _outage(self) -> None:
        assert self._index is not None  # noqa: S101 - `_set_up` comes first
        self._index.cut()
        asked = self._index.asked
        self._say(f"Now the upstream is gone: the index was asked {asked} times, and answers no more.")
        self._ask("board_move", key=KEY, column="Approved", by="ada")
        self._say("We approve, on the board. The stage test installs the package again, with an empty client cache.")
        self._until(
            "the stage test did not end", lambda: self._task()["stage"] not in {"build", "test"} or not self._open()
        )
        self._show_log("test")
        drawn = self._ask("usage", artifact=f"pypi/simple/{PACKAGE}/", limit=10)
        outcomes = ", ".join(dict.fromkeys(f"{one['outcome']}" for one in reversed(drawn)))
        self._say(f"It went on with what the pond had. How the index was answered, in order: {outcomes}.")

    def _finish(self) -> None:
        self._until(f"{KEY} did not come to its end", lambda: not self._open())
        task = self._task()
        if task["phase"] != "done":
            raise DemoFailed(f"{KEY} is {task['phase']}: {task['reason']}")
        self._say("What its jobs drew from the pond is on record as the task's:")
        self._run("usage", "--task", KEY)
        self._say("The branch was merged, guarded by the commit that was tested:")
        self._print(self._merged())
        if self._docker is not None:
            (release, *_) = self._ask("release_ls", name=self._docker.app, limit=1)
            self._say(f"It was deployed: release {release['number']} of {release['app']} is {release['state']}.")
        else:
            self._say(f"Nothing was deployed: {self._why_not}.")
        self._until("the board was not told", lambda: self._column() == "Done")
        self._say("And the board shows it:")
        self._run("board", "ls")
        self._run("task", "show", KEY)

    def _config(self, index: str) -> str:
        """Write the daemon's configuration: one repository, one project with a pipeline of small commands."""
        python = shlex.quote(sys.executable)
        pip = f"{python} -m pip --disable-pip-version-check install --no-cache-dir --no-deps --no-compile"
        build = f'{pip} --target "$TMPDIR/lib" {PACKAGE} && PYTHONPATH="$TMPDIR/lib" {python} shop.py >greeting.txt'
        test = f'{pip} --target "$TMPDIR/lib" {PACKAGE} && PYTHONPATH="$TMPDIR/lib" {python} -B -m unittest -v'
        app = self._docker.app if self._docker is not None else ""
        text = _CONFIG.format(index=index, build=json.dumps(build), test=json.dumps(test))
        if not app:
            return text.replace("APP\n", "")
        deployed = _DEPLOYED.format(app=app, path=self._folder / "app", engine=json.dumps(engine_socket()))
        return text.replace("APP\n", f'app = "{app}"\n') + deployed

    # the daemon

    def _ask(self, operation: str, **arguments: Any) -> Any:
        return asyncio.run(control.call(self._daemon.data / SOCKET, operation, arguments, Bar()))

    def _task(self) -> dict[str, Any]:
        found = self._ask("task_ls", all_=True)
        return dict(found[0]) if found else {"phase": "", "stage": "build", "reason": ""}

    def _open(self) -> bool:
        return self._task()["phase"] not in {"done", "cancelled", "parked"}

    def _column(self) -> str:
        return str(self._ask("board_show", key=KEY)["column"])

    def _merged(self) -> str:
        bare = self._daemon.data / "git" / "demo.git"
        return self._programs.done(["git", f"--git-dir={bare}", "log", "--oneline", "--graph", "main"]).rstrip()

    def _until(self, wrong: str, there: Any) -> None:
        """Wait for something. Raises `DemoFailed` where it does not come, or the task was parked."""
        until = time.monotonic() + LIMIT_S
        while not there():
            task = self._task() if self._chapter > 3 else {"phase": ""}  # noqa: PLR2004 - there is none before
            if time.monotonic() > until or task["phase"] in {"parked", "cancelled"}:
                told = f"{task.get('reason') or wrong}\n{self._log_of()}\n{self._daemon.tail()}"
                raise DemoFailed(f"{wrong}: {told}")
            time.sleep(LOOK_S)

    # what is said

    def _say(self, text: str) -> None:
        self._chapter += 1
        out.print(f"\n{self._chapter}. ", end="", style="bold")
        out.print(text)

    def _print(self, text: str) -> None:
        for line in text.splitlines():
            out.print(f"   | {line}")

    def _run(self, *words: str) -> None:
        """Run a command as a user would, and show it."""
        out.print(f"   $ millpond {' '.join(words)}")
        where = ["--config", str(self._daemon.config), "--data", str(self._daemon.data)]
        self._print(self._programs.done([sys.executable, "-m", "millpond", *words, *where]))

    def _show_log(self, stage: str) -> None:
        jobs = [job for job in self._ask("task_show", task=KEY)["jobs"] if job["stage"] == stage]
        out.print(f"   $ millpond task log {KEY} --job {jobs[-1]['id']}")
        self._print(self._ask("task_log", task=KEY, job=jobs[-1]["id"])["text"])

    def _log_of(self) -> str:
        with contextlib.suppress(Exception):
            return str(self._ask("task_log", task=KEY)["text"])
        return ""

    def end(self) -> None:
        """Take everything away again, however far it came."""
        self._call_off()
        self._daemon.stop()
        if self._index is not None:
            self._index.cut()
        said = f"\nKept: {self._folder} (its millpond.toml, data and daemon.log)"
        if not self._keep:
            if self._docker is not None:
                self._docker.remove()
            shutil.rmtree(self._folder, ignore_errors=True)
            said = "Daemon, index and folder are gone again; --keep would have left them to look at."
        with contextlib.suppress(OSError):  # the terminal may be gone, too
            out.print(said)

    def _call_off(self) -> None:
        """End a job that is at work: a run goes on without the daemon."""
        with contextlib.suppress(Exception):  # there is no daemon, or it does not answer: it is stopped all the same
            if self._working():
                self._ask("task_cancel", task=KEY, by="ada")
            until = time.monotonic() + CALL_OFF_S
            while self._working() and time.monotonic() < until:
                time.sleep(LOOK_S)

    def _working(self) -> bool:
        jobs = self._ask("task_show", task=KEY)["jobs"]
        return any(job["state"] in {"queued", "running"} for job in jobs)


_CONFIG = """\
[repositories.pypi]
package = "pypi"
base_url = "{index}"
mutable_ttl_s = 1
check_mutable_updates = true
[upstream]
connect_timeout_s = 2
patience_s = 3
[upkeep.disk]
enabled = false
[delivery]
poll_interval_s = 5
reconcile_grace_s = 0
[projects.demo]
prefix = "DEMO"
APP
[[projects.demo.pipeline.stages]]
name = "build"
step = "command"
settings = {{ argv = ["sh", "-c", {build}], commit = true }}
gates = ["branch-pushed", "human-verdict"]
attempts = 1
[[projects.demo.pipeline.stages]]
name = "test"
step = "command"
settings = {{ argv = ["sh", "-c", {test}] }}
gates = ["tests-passed", "no-conflict"]
attempts = 1
shows = "code_review"
[[projects.demo.pipeline.stages]]
name = "merge"
step = "merge"
[[projects.demo.pipeline.stages]]
name = "deploy"
step = "deploy"
gates = ["deploy-converged"]
queued = "awaiting_deploy"
shows = "deploying"
only_with_app = true
[[projects.demo.pipeline.stages]]
name = "monitoring"
step = "monitor"
settings = {{ for_s = 1 }}
gates = ["health"]
backoff = {{ first_s = 1, factor = 1, most_s = 1 }}
attempts = 100
shows = "monitoring"
only_with_app = true
"""
_DEPLOYED = """
[hosts.here]
ssh = "local"
docker_host = {engine}
[hosts.here.build_cache]
enabled = false
[apps.{app}]
path = "{path}"
hosts = ["here"]
pull = "direct"
"""
