"""Where a command's operation runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_beside_a_daemon_a_command_imports_no_more_than_it_needs(tmp_path: Path):
    (tmp_path / "millpond.toml").write_text('[repositories.files]\npackage = "generic"\ntype = "local"\n')
    reads = "from millpond.cli.session import source; source(None).load()"
    told = f"import json, sys; {reads}; print(json.dumps([*sys.modules]))"
    done = subprocess.run([sys.executable, "-c", told], cwd=tmp_path, capture_output=True, text=True, check=True)
    modules = set(json.loads(done.stdout))
    assert "millpond.config" in modules
    assert modules.isdisjoint({"sqlalchemy", "aiohttp", "fastapi", "uvicorn", "millpond.app.application"})
