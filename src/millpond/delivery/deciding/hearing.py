"""Which verdicts in comments count for nothing, and what is answered to them. PURE.

Without an answer it would look as if one had been taken that nothing waits for. Each such comment is answered once, and
no other ones are. Of what was said before a new commit was seen only that counts which names it.
"""

from __future__ import annotations

import difflib

from millpond.delivery.board.verdicts import APPROVE, COMMANDS, Said, in_code, lines_of, names_one, said_in, spoken
from millpond.delivery.deciding.actions import Heed, Tell, UseVerdict
from millpond.delivery.deciding.ending import SHORT
from millpond.delivery.deciding.pushes import Unseen
from millpond.delivery.model import Comment, Issue, Phase, Task

NEAR = 0.7
"""How alike a word and a command are for it to be meant (`difflib.SequenceMatcher.ratio`)."""
MAX_WORD = 40


def unheard(issue: Issue, task: Task, *, awaited: bool = False) -> tuple[Heed, Tell] | tuple[()]:
    """Answer what was said in a comment where none is awaited, or that is none on what is awaited."""
    found = spoken(issue.comments, task.mark)
    if found is None:
        return ()
    said, comment = found
    by = f" of {comment.name or comment.author}" if comment.author else ""
    text = f"{task.key}: the {said.word}{by} counts for nothing, since {_why(task, said, awaited=awaited)}."
    heed = Heed(said.approved is not False, comment.author or "a comment", (comment.at, comment.id))
    return (heed, Tell(text, f"{task.id}:{comment.id}:unheard"))


def answer(text: str, task: Task | None, *, awaited: bool, newer: Unseen | None = None) -> str:
    """Say to whoever writes a comment what its verdict does, or which one was probably meant; empty: it has none.

    `awaited`: a person's verdict is waited for. `newer`: what was pushed and not looked at yet. What is said here is of
    this moment; the engine decides when it looks.
    """
    said = said_in(text)
    if said is None:
        return _unspoken(text)
    word = "approval" if said.approved is not False else "rejection"
    if task is None:
        return f"the {word} counts for nothing, since there is no task yet"
    if awaited and newer is not None and (not said.commit or names_one(said.commit, (task.sha, newer.sha))):
        return _of_newer(said, word, newer)
    if awaited and said.approved is not None and (not said.commit or names_one(said.commit, (task.sha,))):
        return f"the {word} is looked at now"
    return f"the {word} counts for nothing, since {_why(task, said, awaited=awaited)}"


def _of_newer(said: Said, word: str, newer: Unseen) -> str:
    """Say what a verdict does behind a push: it counts where it names that commit, and nothing is done again for it."""
    pushed = newer.sha[:SHORT]
    if newer.again:
        return f"the {word} counts for nothing, since {pushed} was pushed: {newer.again} is done again for it"
    if said.commit and said.approved is not None and names_one(said.commit, (newer.sha,)):
        return f"the {word} is looked at now"
    how = f"write {said.word} {pushed} for that one"
    return f"the {word} counts for nothing, since {pushed} was pushed, and has to be judged: {how}"


def _unspoken(text: str) -> str:
    """Say which verdict was probably meant where none is heard; empty: none was."""
    if word := in_code(text):
        return f"that is no verdict, since it stands in a block of code: write {word} on a line outside of it"
    meant = next((near for line in lines_of(text) if (near := _nearly(line))), "")
    return f"that is no verdict: write {meant} on a line of its own" if meant else ""


def _nearly(line: str) -> str:
    """Give the verdict that a line was probably meant to be; empty: none."""
    word = next(iter(line.split()), "").casefold()
    if not word.startswith("/"):
        return ""
    return next(iter(difflib.get_close_matches(word[:MAX_WORD], list(COMMANDS), n=1, cutoff=NEAR)), "")


def named(issue: Issue, task: Task, head: str) -> UseVerdict | None:
    """Find the verdict on a commit that was pushed unseen: the last one that names it. None: there is none.

    Whatever else was said before the commit was seen may be about an older one, and counts for nothing.
    """
    found = spoken((one for one in issue.comments if _names(one, head)), task.mark)
    if found is None or found[0].approved is None:
        return None
    said, comment = found
    by = comment.author or "a comment"
    return UseVerdict(said.approved is True, by, issue.mark, "", comment.name, said.reason)


def _names(comment: Comment, head: str) -> bool:
    said = said_in(comment.text)
    return said is not None and bool(said.commit) and names_one(said.commit, (head,))


def _why(task: Task, said: Said, *, awaited: bool) -> str:
    match task.phase:
        case Phase.DONE:
            return "it is done"
        case Phase.CANCELLED:
            return "it was cancelled"
        case Phase.PARKED:
            return f"it is parked (`millpond why {task.key}` says what it needs)"
    if task.phase is Phase.GATED and said.commit and not names_one(said.commit, (task.sha,)):
        return f"it names {said.commit[:SHORT]}, and {task.key} is at {task.sha[:SHORT] or 'no commit yet'}"
    if awaited and said.approved is None:
        named = f", or {APPROVE} {task.sha[:SHORT]} before the words" if task.sha else ""
        how = f"to approve, write {APPROVE} alone on its line{named} (a card at Approved counts all the same)"
        return f"the words around it may say yes or no: {how}"
    return f"nothing waits for a verdict at {task.stage} now; it will be asked for where one is needed"
