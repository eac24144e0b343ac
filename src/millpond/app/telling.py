"""Tasks, jobs and issues as JSON: what commands, the API and ``/queue`` show of them."""

from __future__ import annotations

from typing import Any

from millpond.delivery.board.store import Card
from millpond.delivery.model import Comment, Job, Task


def task_row(task: Task) -> dict[str, Any]:
    """Tell a task in a line."""
    return {
        "id": task.id,
        "key": task.key,
        "project": task.project,
        "title": task.title,
        "stage": task.stage,
        "phase": str(task.phase),
        "attempts": task.attempts,
        "reason": task.reason,
        "sha": task.sha,
        "since": task.since,
        "created_at": task.created_at,
    }


def task_told(task: Task) -> dict[str, Any]:
    """Tell all of a task."""
    return {
        **task_row(task),
        "issue": task.issue,
        "repo": task.repo,
        "branch": task.branch,
        "visit": task.visit,
        "returns": task.returns,
        "not_before": task.not_before or None,
        "cancelling": task.cancelling or None,
        "options": {
            "skip": sorted(task.options.skip),
            "priority": task.options.priority,
            "task_usd": task.options.task_usd,
            "after": list(task.options.after),
            "settings": dict(task.options.settings),
        },
    }


def job_told(job: Job, spent_usd: float = 0.0) -> dict[str, Any]:
    """Tell a job, and what it cost."""
    return {
        "id": job.id,
        "stage": job.stage,
        "step": job.step,
        "visit": job.visit,
        "attempt": job.attempt,
        "state": str(job.state),
        "sha": job.sha,
        "worker": job.worker,
        "started_at": job.started_at or None,
        "ended_at": job.ended_at or None,
        "reason": job.reason,
        "stop": job.stop,
        "allowed_usd": job.usd,
        "spent_usd": spent_usd,
    }


def card_row(card: Card) -> dict[str, Any]:
    """Tell an issue of the embedded board in a line."""
    issue = card.issue
    return {
        "project": issue.project,
        "number": issue.number,
        "title": issue.title,
        "column": card.column,
        "labels": sorted(issue.labels),
        "author": card.author,
        "created_at": card.created_at,
        "updated_at": issue.updated_at,
    }


def card_told(card: Card) -> dict[str, Any]:
    """Tell all of an issue of the embedded board."""
    comments = [_comment(one) for one in card.issue.comments]
    return {**card_row(card), "description": card.description, "comments": comments}


def _comment(comment: Comment) -> dict[str, Any]:
    return {"at": comment.at, "author": comment.author, "text": comment.text, "ours": comment.ours}
