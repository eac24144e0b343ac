"""How git is called, on whatever repository: nothing in it, and nothing of the machine, makes git run a program. PURE.

A repository's content is somebody's input. So git gets an environment of its own (no system or user configuration, no
prompt, no replaced objects), hooks and watchers are off, protocols are an allow-list, and a name that came from outside
is checked here before it stands on a command line, behind ``--end-of-options`` (git 2.24) or ``--``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

MAX_REF, MAX_PATH = 200, 1000
NO_COMMIT = "0" * 40
"""What `update-ref` takes for "there was none"."""
NETWORK = ("http", "https", "ssh")
_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_REPO = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}(?:/[A-Za-z0-9_][A-Za-z0-9._-]{0,99}){0,3}")
_BAD_IN_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//")
_HARDENED: Mapping[str, str] = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.symlinks": "false",
    "core.askPass": "",
    "core.pager": "cat",
    "core.editor": "false",
    "credential.helper": "",
    "diff.external": "",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "commit.gpgSign": "false",
    "tag.gpgSign": "false",
    "submodule.recurse": "false",
    "fetch.recurseSubmodules": "false",
    "push.recurseSubmodules": "no",
    "log.showSignature": "false",
    "transfer.fsckObjects": "true",
    "http.followRedirects": "false",
}
"""What no repository's own configuration may say otherwise: a value on the command line wins over it."""


def git(
    *words: str, git_dir: str = "", work_tree: str = "", config: Mapping[str, str] | None = None, program: str = "git"
) -> list[str]:
    """Write the command ``git WORDS...`` with everything switched off that could run something.

    With a `git_dir` no repository is searched for. `config` has further settings, none of them a secret: command lines
    can be read by everybody on the machine.
    """
    settings = {**_HARDENED, **(config or {})}
    places = [f"--git-dir={git_dir}"] if git_dir else []
    places += [f"--work-tree={work_tree}"] if work_tree else []
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return [program, "--no-pager", *places, *options, *words]


def environment(
    kept: Mapping[str, str],
    *,
    protocols: Sequence[str] = ("file",),
    more: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Give git's variables: of `kept` (the daemon's) the paths only, then what closes git, then `more`.

    `protocols` is the list that may be used for fetching and pushing (git-config(1), ``GIT_ALLOW_PROTOCOL``).
    """
    made = {name: kept[name] for name in ("PATH", "TMPDIR") if name in kept}
    closed = {
        "HOME": "/nonexistent",
        "LC_ALL": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_SYSTEM": "/dev/null",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/false",
        "SSH_ASKPASS": "/bin/false",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_ALLOW_PROTOCOL": ":".join(protocols),
        "GIT_PROTOCOL_FROM_USER": "0",
    }
    return {**made, **closed, **(more or {})}


def check_branch(name: str) -> str:
    """Give a branch's name back (git-check-ref-format(1), narrower). Raises `ValueError` in words."""
    parts = name.split("/")
    sound = (
        0 < len(name) <= MAX_REF
        and not _BAD_IN_REF.search(name)
        and not name.startswith("-")
        and not name.endswith((".", "/"))
        and name not in {"@", "HEAD"}
        and all(part and not part.startswith(".") and not part.endswith(".lock") for part in parts)
    )
    if not sound:
        raise ValueError(f"{name[:MAX_REF]!r} is no name for a branch")
    return name


def is_sha(text: str) -> bool:
    """Whether a text is a commit's full name."""
    return _SHA.fullmatch(text) is not None


def check_sha(text: str) -> str:
    """Give a commit's full name back. Raises `ValueError` in words."""
    if not is_sha(text):
        raise ValueError(f"{text[:80]!r} is no commit: its full name is needed, 40 or 64 hexadecimal digits")
    return text


def check_path(path: str) -> str:
    """Give a file's path within a tree back. Raises `ValueError` in words."""
    parts = path.split("/")
    if not 0 < len(path) <= MAX_PATH or any(part in {"", ".", ".."} for part in parts) or _unprintable(path):
        raise ValueError(f"{path[:80]!r} is no path within a repository")
    return path


def check_repo(name: str) -> str:
    """Give a repository's name back: up to four parts, with nothing in them that leads elsewhere.

    Raises `ValueError` in words.
    """
    if not _REPO.fullmatch(name) or any(part.endswith((".git", ".lock", ".")) for part in name.split("/")):
        raise ValueError(
            f'{name[:80]!r} is no repository\'s name; write it like "team/shop": letters, digits, ".", "_", "-"'
        )
    return name


def _unprintable(text: str) -> bool:
    return any(ord(char) < ord(" ") or char == "\x7f" for char in text)
