"""What is answered when a person gives a verdict in a comment that nothing waits for. PURE.

Without an answer it would look as if it had been taken. Each such comment is answered once, and no other ones are.
"""

from __future__ import annotations

from millpond.delivery.board.board import spoken
from millpond.delivery.deciding.actions import Heed, Tell
from millpond.delivery.model import Issue, Phase, Task


def unheard(issue: Issue, task: Task) -> tuple[Heed, Tell] | tuple[()]:
    """Answer a verdict in a comment, of whose task none is awaited."""
    said = spoken(issue.comments, task.mark)
    if said is None:
        return ()
    approved, comment = said
    word = "/approve" if approved else "/reject"
    by = f" of {comment.name or comment.author}" if comment.author else ""
    text = f"{task.key}: the {word}{by} counts for nothing, since {_why(task)}."
    heed = Heed(approved, comment.author or "a comment", (comment.at, comment.id))
    return (heed, Tell(text, f"{task.id}:{comment.id}:unheard"))


def _why(task: Task) -> str:
    match task.phase:
        case Phase.DONE:
            return "it is done"
        case Phase.CANCELLED:
            return "it was cancelled"
        case Phase.PARKED:
            return f"it is parked (`millpond why {task.key}` says what it needs)"
    return f"nothing waits for a verdict at {task.stage} now; it will be asked for where one is needed"
