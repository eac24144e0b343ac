"""Files of a repository on a Gitea, such as the pipeline that it brings (its contents API)."""

from __future__ import annotations

import base64
import binascii

from millpond.adapters.gitea import GiteaOptions
from millpond.adapters.httpjson import ApiOptions, JsonApi, segment
from millpond.clock import Clock
from millpond.delivery.budget import RateBudget
from millpond.delivery.model import Project
from millpond.delivery.ports import ForgeFailed
from millpond.delivery.rates import Use
from millpond.delivery.workspaces.gitargs import check_branch, check_path, check_repo

NOT_FOUND = 404


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
        place = "/".join(segment(part) for part in check_path(path).split("/"))
        asked = f"{check_repo(project.repo)}/contents/{place}"
        answer = await self._api.ask("GET", asked, use=Use.READ, query={"ref": check_branch(branch)}, may_cut=True)
        if answer.status == NOT_FOUND:
            return None
        body = answer.body
        if answer.cut:
            raise ForgeFailed(f"{path} in {project.repo} is larger than {limit} bytes", permanent=True)
        if not answer.ok:
            raise ForgeFailed(f"Gitea answered {answer.status} when {path} of {project.repo} was read")
        if not isinstance(body, dict) or body.get("type") != "file":  # a folder is a list, a link has its own type
            return None
        try:
            content = base64.b64decode(str(body.get("content") or ""))
        except (binascii.Error, ValueError) as error:
            raise ForgeFailed(f"Gitea's answer about {path} of {project.repo} can't be read") from error
        if len(content) > limit:
            raise ForgeFailed(f"{path} in {project.repo} is larger than {limit} bytes", permanent=True)
        return content
