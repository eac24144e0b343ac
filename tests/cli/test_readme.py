"""README's "From issue to production" works as it is written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from millpond.testing.pond import free_port

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]
ROOT = Path(__file__).parents[2]
SECTION = (ROOT / "README.md").read_text().split("## From issue to production")[1].split("\n## ")[0]


def block(language: str) -> str:
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL))


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A shell's, with `millpond` in its PATH and a port that is free; the machine's package indexes are not asked."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/millpond"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m millpond "$@"\n')
    program.chmod(0o755)
    who = {f"GIT_{role}_{what}": "ada@shop.example" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return {
        "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "HOME": str(tmp_path),
        "MILLPOND_SERVER__PORT": str(free_port()),
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple/",
        **who,
    }


@pytest.fixture
def folder(tmp_path: Path, environ: dict[str, str]) -> Iterator[Path]:
    """Where its daemon runs."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here/millpond.toml").write_text(block("toml"))
    with (tmp_path / "log").open("wb") as log:
        daemon = subprocess.Popen(
            ["millpond", "serve"], cwd=tmp_path / "here", env=environ, stdout=log, stderr=log, start_new_session=True,
            executable=str(tmp_path / "bin/millpond"),
        )  # fmt: skip
    until = time.monotonic() + 60
    while "Millpond serves at" not in (tmp_path / "log").read_text():
        assert time.monotonic() < until, (tmp_path / "log").read_text()
        assert daemon.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.05)
    yield tmp_path / "here"
    daemon.terminate()
    daemon.wait(60)


def test_the_section_on_delivery_works_as_it_is_written(folder: Path, environ: dict[str, str]):
    def shell(text: str) -> str:
        ran = subprocess.run(
            ["sh", "-ec", text], capture_output=True, text=True, cwd=folder, env=environ, timeout=120, check=False
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    said = shell(block("sh"))
    assert "SH-1 stands at To Analyse" in said
    assert "It is built." in said, "the log was followed"
    assert "SH-1 stands at Approved" in said
    named = re.findall(r"`(millpond [^`]+|git -C [^`]+)`", SECTION)
    assert {"millpond board ls", "millpond task show SH-1", "git -C shop pull origin main"} <= set(named)
    until = time.monotonic() + 60
    while "Done" not in (board := shell("millpond board ls")):
        assert time.monotonic() < until, board + shell("millpond why SH-1; millpond task show SH-1")
        time.sleep(0.1)
    assert "phase     done" in shell("millpond task show SH-1")
    shell("git -C shop pull origin main")
    assert (folder / "shop/built.txt").read_text() == "It is built.\n"
