"""The last comment on an issue."""

from __future__ import annotations

from millpond.delivery.deciding.ending import ending
from millpond.delivery.model import Evidence, Json, Project, Task

SHOP = Project("shop", "p1", "team/shop", "SH", app="shop")
TASK = Task(1, "SH-1", "shop", "i1", "team/shop", "feature/SH-1-x", "merge")
SHA = "a" * 40


def fact(kind: str, at: float, visit: int = 1, **facts: Json) -> Evidence:
    return Evidence(kind, facts, SHA, at, visit)


def said(who: str, at: float, visit: int, *, approved: bool = True) -> Evidence:
    return fact("human-verdict", at, visit, approved=approved, by=who)


def test_it_tells_the_merge_who_approved_the_deploy_and_the_health():
    past = [
        said("ada", 1, 1),
        said("eve", 2, 2, approved=False),
        said("ben", 3, 3, approved=False),
        said("cy", 4, 3),
        said("ada", 5, 4),
        fact("merged", 6, merged=True, branch="main"),
        fact("deploy", 7, converged=True, release=12),
        fact("health", 8, state="HEALTHY"),
    ]
    assert ending(TASK, SHOP, past) == (
        "SH-1 is done. Commit aaaaaaaaaaaa of feature/SH-1-x is merged into main. Approved by ada and cy. "
        "Deployed: shop, release 12. It is healthy."
    )


def test_what_did_not_happen_is_not_told():
    assert ending(TASK, SHOP, []) == "SH-1 is done."
    past = [said("ada", 1, 1, approved=False), fact("deploy", 7, converged=False), fact("health", 8, state="DEGRADED")]
    assert ending(TASK, SHOP, past) == "SH-1 is done."
