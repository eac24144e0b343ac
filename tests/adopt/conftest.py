"""A machine of the test's own: its home, its /etc, its tools."""

from __future__ import annotations

import pytest

from millpond.adopt import Machine, Pond

PUBLIC = "https://public.example/simple/"


@pytest.fixture
def machine(tmp_path):
    """Make a machine whose files are given by their path below the test's folder."""

    def make(files=None, environ=None, earlier=None, pond=None, run=lambda _argv: f"{PUBLIC}\n"):
        for name, text in (files or {}).items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return Machine(
            {key: value.replace("$ROOT", str(tmp_path)) for key, value in (environ or {}).items()},
            tmp_path / "home",
            run,
            tmp_path,
            pond or Pond.at("127.0.0.1", 8080),
            {tmp_path / name: text.encode() if text is not None else None for name, text in (earlier or {}).items()},
        )

    return make
