"""Files of a bare repository's branch, such as the pipeline that it brings."""

from __future__ import annotations

from millpond.adapters.gitcommand import GitCommand
from millpond.adapters.localgit import LocalGit
from millpond.delivery.model import Project
from millpond.delivery.ports import ForgeFailed
from millpond.delivery.workspaces.gitargs import check_branch, check_path


class GitFiles:
    """Reads files of the embedded repositories."""

    def __init__(self, forge: LocalGit) -> None:
        self._forge = forge

    async def read(self, project: Project, branch: str, path: str, limit: int) -> bytes | None:
        """Give a file of a branch; None: there is none. Raises `ForgeFailed` (also when it is larger than `limit`)."""
        git = GitCommand(await self._forge.ensure(project))
        ref = f"refs/heads/{check_branch(branch)}"
        there = await git.run("for-each-ref", "--format=%(objectname)", "--", ref)
        if not there.out.strip():
            return None
        listed = await git.run("ls-tree", "-z", "-l", "--full-tree", ref, "--", check_path(path))
        mode, kind, blob, size = [*listed.out.partition("\t")[0].split(), "", "", "", ""][:4]
        if kind != "blob" or not mode.startswith("100"):  # a link's content is a path, and not what it names
            return None
        if not size.isdigit() or int(size) > limit:
            raise ForgeFailed(f"{path} in {project.repo} is larger than {limit} bytes", permanent=True)
        return (await git.run("cat-file", "blob", blob, max_bytes=2 * limit)).out.encode()
