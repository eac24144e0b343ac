"""What is known of a task's worktree: noted beside it, for who takes its job up again."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Workspace:
    """A task's worktree. `admin` is its folder within the copy `bare`."""

    path: Path
    bare: Path
    admin: Path
    branch: str
    start: str
    """The commit that it began at."""
    remote_head: str
    """Where the forge had the branch; empty: it had none."""
    made_at: int = field(default_factory=lambda: int(time.time()))
    """When it was made, epoch seconds: the date of what is committed in it, so that who commits again, since nobody
    could note how that ended, makes the same commit."""


def notes_of(path: Path) -> Path:
    """Give the file beside a worktree that says how it was made."""
    return path.with_name(f"{path.name}.json")


def note(workspace: Workspace) -> None:
    """Write down how a worktree was made; all of it or nothing."""
    told = {name: str(value) for name, value in asdict(workspace).items()}
    fresh = workspace.path.with_name(f"{workspace.path.name}.new")
    fresh.write_text(json.dumps(told))
    fresh.rename(notes_of(workspace.path))


def noted(path: Path) -> Workspace | None:
    """Read how a worktree was made; None: it was not, or not to its end."""
    try:
        told = json.loads(notes_of(path).read_text())
    except (FileNotFoundError, ValueError):
        return None
    made_at = told.get("made_at") or notes_of(path).stat().st_mtime  # an earlier version noted none
    return Workspace(
        path=Path(told["path"]),
        bare=Path(told["bare"]),
        admin=Path(told["admin"]),
        branch=told["branch"],
        start=told["start"],
        remote_head=told["remote_head"],
        made_at=int(made_at),
    )
