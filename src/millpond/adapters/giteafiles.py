"""Files of a repository on a Gitea, such as the pipeline that it brings (its contents API)."""

from __future__ import annotations

from millpond.adapters.gitea import GiteaOptions
from millpond.adapters.giteacontents import read_contents
from millpond.adapters.httpjson import ApiOptions, JsonApi
from millpond.clock import Clock
from millpond.delivery.model import Project
from millpond.delivery.ports import ForgeFailed
from millpond.delivery.ratebudget import RateBudget
from millpond.delivery.workspaces.gitargs import check_branch, check_repo


class GiteaFiles:
    """Reads files of the repositories of one server; `budget` is the one that its forge draws from."""

    def __init__(self, options: GiteaOptions, clock: Clock, budget: RateBudget | None = None) -> None:
        base, headers = f"{options.url.rstrip('/')}/api/v1/repos", {"Authorization": f"token {options.token}"}
        api = ApiOptions("Gitea", base, headers, timeout_s=options.timeout_s)
        self._api = JsonApi(api, ForgeFailed, now=clock.now, budget=budget)

    async def close(self) -> None:
        """Close every connection."""
        await self._api.close()

    async def read(self, project: Project, branch: str, path: str, limit: int) -> bytes | None:
        """Give a file of a branch; None: there is none. Raises `ForgeFailed` (also when it is larger than `limit`)."""
        repo = check_repo(project.repo)
        found = await read_contents(self._api, repo, check_branch(branch), path, limit)
        if found is not None and found.raw is None:
            raise ForgeFailed(f"{path} in {repo} is larger than {limit} bytes", permanent=True)
        return found.raw if found is not None else None
