"""One bare repository as the embedded forge asks it: refs, our JSON blobs, merges without a work tree."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import cast

from millpond.adapters.gitcommand import GitCommand
from millpond.delivery.frontmatter import fields
from millpond.delivery.model import Json
from millpond.delivery.ports import ForgeFailed
from millpond.delivery.workspaces.gitargs import check_path

MAX_FILE = 64 << 10
"""Bytes of a file whose front matter is read."""
CONFLICT = 1
"""The exit code of `git merge-tree` for it."""
_RACES = ("but expected", "reference already exists", "unable to resolve reference", "File exists")
"""What `git update-ref` says where somebody else was there first."""
TOO_OLD = 129
"""The exit code of git for an option that it does not know."""
NOT_SO = 1
"""The exit code of `git merge-base --is-ancestor` for it."""
REFS = "refs/millpond"


class Repo(GitCommand):
    """What the forge asks of one repository."""

    async def heads(self, *branches: str) -> dict[str, str]:
        """Give the commits that branches are at; those that are not there are left out."""
        patterns = [f"refs/heads/{branch}" for branch in branches]
        told = await self.run("for-each-ref", "--format=%(objecttype) %(objectname) %(refname)", "--", *patterns)
        found = [line.split(" ", 2) for line in told.out.splitlines()]
        heads = {name.removeprefix("refs/heads/"): sha for kind, sha, name in found if kind == "commit"}
        return {branch: heads[branch] for branch in branches if branch in heads}

    async def resolve(self, ref: str) -> str:
        """Give the object that a ref names; empty: there is no such ref."""
        told = await self.run("for-each-ref", "--format=%(objectname) %(refname)", "--", ref)
        found = [line.split(" ", 1) for line in told.out.splitlines()]
        return next((sha for sha, name in found if name == ref), "")

    async def read(self, ref: str) -> dict[str, Json] | None:
        """Read one of our JSON blobs; None: there is none."""
        sha = await self.resolve(ref)
        return await self.json(ref, sha) if sha else None

    async def json(self, ref: str, sha: str) -> dict[str, Json] | None:
        """Read one of our JSON blobs by its name, which a ref is at."""
        try:
            found = json.loads((await self.run("cat-file", "blob", sha)).out)
        except ValueError as error:
            raise ForgeFailed(f"{ref} in {self.path} is not readable: delete that ref", permanent=True) from error
        return cast("dict[str, Json]", found) if isinstance(found, dict) else None

    async def blob(self, value: Mapping[str, Json]) -> str:
        """Write a JSON blob and give its name."""
        text = json.dumps(value, sort_keys=True).encode()
        return (await self.run("hash-object", "-w", "--stdin", stdin=text)).out.strip()

    async def states(self, sha: str, blob: str) -> dict[str, Json]:
        """Give a commit's statuses, state by context, that stand in one of our blobs."""
        told = await self.json(f"{REFS}/statuses/{sha}", blob) or {}
        return {name: str(one["state"]) for name, one in told.items() if isinstance(one, dict) and "state" in one}

    async def has(self, sha: str) -> bool:
        """Whether there is such a commit."""
        return (await self.run("cat-file", "-e", f"{sha}^{{commit}}", fine=(0, 1, 128))).rc == 0

    async def is_ancestor(self, old: str, new: str) -> bool:
        """Whether `new` has all of `old`."""
        return (await self.run("merge-base", "--is-ancestor", old, new, fine=(0, NOT_SO))).rc == 0

    async def merged_tree(self, base: str, sha: str) -> str:
        """Merge two commits without a work tree; empty: they conflict. Needs git 2.38."""
        words = ("merge-tree", "--write-tree", "--name-only", base, sha)
        told = await self.run(*words, fine=(0, CONFLICT, TOO_OLD), also_fine=("unrelated histories",))
        if told.rc == TOO_OLD:
            raise ForgeFailed("git here can't merge without a work tree: install 2.38 or newer")
        return told.out.split("\n", 1)[0] if told.rc == 0 else ""

    async def file(self, sha: str, path: str) -> list[tuple[str, dict[str, Json]]]:
        """Tell whether a file is in a commit, and what its front matter says."""
        try:
            check_path(path)
        except ValueError:
            return [("file", {"path": path, "present": False})]
        told = await self.run("ls-tree", "-z", "-l", "--full-tree", sha, "--", path)
        mode, kind, blob, size = [*told.out.partition("\t")[0].split(), "", "", "", ""][:4]
        plain = kind == "blob" and mode.startswith("100")  # a link's content is a path, and not what it names
        found: list[tuple[str, dict[str, Json]]] = [("file", {"path": path, "present": plain})]
        if plain and size.isdigit() and int(size) <= MAX_FILE:
            words = fields((await self.run("cat-file", "blob", blob, max_bytes=2 * MAX_FILE)).out)
            if words is not None:
                found.append(("front-matter", {"path": path, "fields": cast("Json", words)}))
        return found

    async def last_number(self) -> int:
        """Give the highest number of a change; 0: there is none."""
        told = await self.run(
            "for-each-ref", "--sort=-version:refname", "--count=1", "--format=%(refname:lstrip=3)", f"{REFS}/changes"
        )
        return int(told.out.strip() or 0)

    async def write_new(self, number: int, index: str, record: Mapping[str, Json]) -> bool:
        """Record a change under a number that nobody has; False: somebody does by now."""
        blob = await self.blob(record)
        return await self.update(f"create {REFS}/changes/{number} {blob}\nupdate {index} {blob}")

    async def note_merged(self, number: int, record: Mapping[str, Json], sha: str) -> None:
        """Note which commit of a change was merged."""
        if record["merged"] != sha:
            blob = await self.blob({**record, "merged": sha})
            await self.update(f"update {REFS}/changes/{number} {blob}\nupdate {index_of(str(record['branch']))} {blob}")

    async def commit(self, tree: str, parents: tuple[str, str], text: str) -> str:
        """Make a merge commit."""
        words = ["commit-tree", tree, *(word for parent in parents for word in ("-p", parent)), "-F", "-"]
        return (await self.run(*words, stdin=f"{text}\n".encode())).out.strip()

    async def move(self, base: tuple[str, str, str], unmoved: tuple[str, str]) -> bool:
        """Move a branch from a commit to another, while a second branch stays where it is; False: one of them moved."""
        (name, old, new), (other, sha) = base, unmoved
        return await self.update(f"update refs/heads/{name} {new} {old}\nverify refs/heads/{other} {sha}")

    async def update(self, commands: str) -> bool:
        """Change refs, all or none (git-update-ref(1)); False: one was not as expected, or is locked."""
        text = f"start\n{commands}\nprepare\ncommit\n".encode()
        return (await self.run("update-ref", "--stdin", stdin=text, also_fine=_RACES)).rc == 0


def index_of(branch: str) -> str:
    """Name the ref that leads from a branch to its last change; hashed, since a/b and a can't both be refs."""
    return f"{REFS}/branches/{hashlib.sha256(branch.encode()).hexdigest()}"
