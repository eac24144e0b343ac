"""Git run on one repository: closed (`delivery.gitargs`), bounded in time and output, its failures told as the port's.

What git says goes into errors cut short; no secret is ever on its command line or in its environment here.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from millpond.adapters.processes import Ended, run_program
from millpond.delivery.ports import ForgeFailed
from millpond.delivery.workspaces.gitargs import environment, git

TIMEOUT_S = 60.0
MAX_OUTPUT = 1 << 20
MAX_ERROR = 300
WHO: Mapping[str, str] = {
    "GIT_AUTHOR_NAME": "Millpond",
    "GIT_AUTHOR_EMAIL": "millpond@localhost",
    "GIT_COMMITTER_NAME": "Millpond",
    "GIT_COMMITTER_EMAIL": "millpond@localhost",
}
"""Whose the commits are that this system makes."""


@dataclass(frozen=True, slots=True)
class GitCommand:
    """Git on the repository at `path`."""

    path: Path
    timeout_s: float = TIMEOUT_S

    async def run(
        self,
        *words: str,
        fine: Collection[int] = (0,),
        also_fine: Collection[str] = (),
        stdin: bytes | None = None,
        max_bytes: int = MAX_OUTPUT,
    ) -> Ended:
        """Run git to its end. Raises `ForgeFailed`: an exit code is a fault that is not `fine`.

        Neither is one with one of the words of `also_fine` among its errors (in English: see `gitargs.environment`).
        """
        argv = git(*words, git_dir=str(self.path))
        try:
            ended = await run_program(
                argv,
                timeout_s=self.timeout_s,
                max_output_bytes=max_bytes,
                stdin=stdin,
                environ=environment(os.environ, more=WHO),
            )
        except TimeoutError as error:
            raise ForgeFailed(f"`git {words[0]}` in {self.path} did not end within {self.timeout_s:g} s") from error
        except FileNotFoundError as error:
            raise ForgeFailed("git is not installed here: install it", permanent=True) from error
        except OSError as error:
            raise ForgeFailed(f"git could not be started: {error.strerror or error}") from error
        if ended.rc not in fine and not any(word in ended.err for word in also_fine):
            said = " ".join(ended.err.split())[:MAX_ERROR]
            raise ForgeFailed(f"`git {words[0]}` in {self.path} failed with {ended.rc}: {said or 'it said nothing'}")
        return ended
