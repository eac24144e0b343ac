"""`millpond demo`, for real: it goes through, and leaves nothing running nor lying about."""

from __future__ import annotations

import io
import os
import select
import signal
import subprocess
import sys
import time
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from millpond.cli import demoworld
from millpond.cli.demoworld import Docker, Index, Programs, program, wheel
from millpond.cli.ending import Ending

pytestmark = pytest.mark.process


def run(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    here = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    environ = {**here, "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    argv = [sys.executable, "-m", "millpond", "demo", *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=280, env=environ, cwd=tmp_path, check=False)


def mentioning(text: str) -> list[str]:
    """Processes whose command line has a text in it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        found += [words] if text in words else []
    return found


@pytest.mark.timeout(300)
def test_it_takes_an_issue_to_done_through_an_outage_and_leaves_nothing(tmp_path: Path):
    told = run(tmp_path, "--no-docker")
    assert told.returncode == 0, told.stdout + told.stderr
    text = told.stdout
    assert "Successfully installed pondweed-1.0" in text
    assert "Needs Input" in text
    assert "the index was asked" in text
    assert "in order: miss, stale" in text, "what the pond had went on after the upstream was gone"
    assert "Merge feature/DEMO-1-greet-whoever-comes-by" in text
    assert "DEMO-1  Done" in text
    assert "| phase     done" in text
    assert "gone again" in text
    assert list(tmp_path.glob("millpond-demo-*")) == []
    assert mentioning(str(tmp_path)) == []


BUILDS = "Its pipeline begins at once"


def ended_by(tmp_path: Path, number: signal.Signals, at: str) -> tuple[int, str]:
    """Begin a demo, send it a signal once it has said something; give how it ended and what it said."""
    here = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    argv = [sys.executable, "-u", "-m", "millpond", "demo", "--no-docker"]
    process = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=tmp_path,
        env={**here, "HOME": str(tmp_path), "TMPDIR": str(tmp_path)},
        preexec_fn=partial(signal.signal, number, signal.SIG_DFL),  # noqa: PLW1509 - else ignored, where nohup runs us
    )  # fmt: skip
    assert process.stdout is not None
    said, until = b"", time.monotonic() + 100
    try:
        while at.encode() not in said:
            assert select.select([process.stdout], [], [], max(until - time.monotonic(), 0))[0], said.decode()
            part = os.read(process.stdout.fileno(), 65536)
            assert part, said.decode()
            said += part
        process.send_signal(number)
        more, _ = process.communicate(timeout=150)
    finally:
        process.kill()
        process.wait()
    return process.returncode, (said + more).decode()


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("number", "at"),
    [(signal.SIGTERM, "A package index"), (signal.SIGTERM, BUILDS), (signal.SIGHUP, "waits for a person")],
)
def test_a_signal_ends_it_and_it_leaves_nothing_all_the_same(tmp_path: Path, number: signal.Signals, at: str):
    code, said = ended_by(tmp_path, number, at)
    assert (code, "gone again" in said) == (128 + number, True), said
    assert list(tmp_path.glob("millpond-demo-*")) == []
    assert mentioning(str(tmp_path)) == []


@pytest.mark.timeout(120)
def test_what_it_can_t_go_on_without_is_named_and_everything_is_taken_away(tmp_path: Path):
    (tmp_path / "bin").mkdir()
    here = {"PYTHONPATH": os.environ.get("PYTHONPATH", ""), "PATH": str(tmp_path / "bin")}
    argv = [sys.executable, "-m", "millpond", "demo"]
    told = subprocess.run(
        argv, capture_output=True, text=True, timeout=100, env={**here, "TMPDIR": str(tmp_path)}, check=False
    )
    assert (told.returncode, "needs pip" in told.stderr) == (1, True), told.stderr
    assert list(tmp_path.glob("millpond-demo-*")) == []


def test_the_wheel_is_one_that_any_installer_takes_and_always_the_same():
    assert wheel() == wheel()
    with zipfile.ZipFile(io.BytesIO(wheel())) as archive:
        assert archive.testzip() is None
        record = archive.read("pondweed-1.0.dist-info/RECORD").decode()
        assert {line.partition(",")[0] for line in record.splitlines()} == set(archive.namelist())


def test_an_index_that_was_cut_answers_no_more(tmp_path: Path):
    index = Index(tmp_path)
    index.cut()
    index.cut()
    assert index.asked == 0


def test_the_program_of_the_image_waits_until_it_is_ended(tmp_path: Path):
    content = program()
    if content is None:
        pytest.skip("no program for this processor")
    file = tmp_path / "wait"
    file.write_bytes(content)
    file.chmod(0o755)
    process = subprocess.Popen([str(file)])
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)
    process.terminate()
    assert process.wait(30) == -15


def test_without_docker_it_says_why_nothing_is_deployed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "/nowhere")
    programs = Programs(Ending())
    assert Docker.missing(programs) == "there is no docker here"
    monkeypatch.setattr(demoworld.platform, "machine", lambda: "vax")
    assert "no program for vax" in Docker.missing(programs)


def test_a_program_that_is_being_started_when_a_signal_comes_is_ended(monkeypatch: pytest.MonkeyPatch):
    real, started = subprocess.Popen, list[Any]()

    def interrupted(*about: Any, **more: Any) -> Any:
        started.append(real(*about, **more))
        signal.raise_signal(signal.SIGTERM)
        return started[0]

    monkeypatch.setattr(demoworld.subprocess, "Popen", interrupted)
    ending = Ending()
    with ending, pytest.raises(SystemExit) as ended, ending.heeding():
        Programs(ending).done([sys.executable, "-c", "import time; time.sleep(60)"])
    assert ended.value.code == 128 + signal.SIGTERM
    assert started[0].poll() == -signal.SIGKILL
