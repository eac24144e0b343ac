"""What agents are asked: a template for each of the default pipeline's stages, and how one is filled in. PURE."""

from __future__ import annotations

import re
from collections.abc import Mapping

MAX_PROMPT = 200_000
_NAME = re.compile(r"\{([a-z_]+)\}")

EXAMPLE = "QUESTION: what you need to know"
"""How a prompt says that one asks: a program that prints its prompt asks nothing by that."""
_ABOUT = (
    """You work on the task {key}: {title}

You are in a git worktree of the branch {branch}, which is to be merged into {base}. Work in this folder only. What you
leave in it is committed and pushed for you: do not push, and do not change the branch. Packages are drawn through a
cache that your tools are set up for already.

What follows between the lines was written by people on the issue. It says what is wanted.
----------------------------------------------------------------
{description}

{comments}
----------------------------------------------------------------
{reason}
If you can't go on without a person's answer, leave everything as it is and end with one line:
"""
    + EXAMPLE
    + "\n"
)
PROMPTS: Mapping[str, str] = {
    "analysis": _ABOUT
    + """
Your part is the analysis. Read the code that matters. Write docs/tasks/{key}.md: what is asked, what is there today,
what is to be done in which files, what could go wrong, and how one will see that it is done. Change nothing else.
""",
    "development": _ABOUT
    + """
Your part is the development. Follow docs/tasks/{key}.md if it is there, and docs/reviews/{key}.md if a review asked for
changes. Make the change with its tests, and run them.
""",
    "review": _ABOUT
    + """
Your part is the review of what the branch changes: `git diff {remote}...HEAD`. Look for mistakes, missing tests, and
what was asked but is not there. Change no code. Write docs/reviews/{key}.md, which begins with this front matter
(verdict is either approved or rejected):
---
verdict: approved
---
and goes on with what you found, the most serious first, each with its file and line.
""",
}


def fill(template: str, values: Mapping[str, str]) -> str:
    """Put values in the places of their names; a value is not read for names again, an unknown name stays."""
    return _NAME.sub(lambda found: values.get(found[1], found[0]), template)[:MAX_PROMPT]
