"""The whole story under faults: looks and answers lost, doubled, late, reordered; workers die, others push.

Whatever happens, the end is the same as without, and on the way nothing is done twice.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.delivery.simulated import BARE, FULL, PATIENT, PLAIN, PLAINLY, UNTOLD, Simulated

from millpond.delivery.model import Phase
from millpond.delivery.pipeline import Pipeline

BOARDS = {"full": FULL, "plain": PLAIN, "bare": BARE}
PIPELINES = {"default": PATIENT, "plainly": PLAINLY}
STEPS = (
    *("look", "look", "poll", "decide", "apply", "apply-again", "claim", "finish", "finish", "die-before", "die-after"),
    *("send", "send", "send-fails", "send-lost", "send-late", "late", "person", "order", "push", "time"),
)


ROUND = ("look", "look", "look", "claim", "finish", "look", "look", "send", "send", "person", "time")


def step(world: Simulated, what: str, which: int) -> None:  # noqa: C901 - one case for each thing that can happen
    issue = f"i{which % len(world.issues)}"
    match what:
        case "look" | "poll":
            world.apply(world.look(issue, urgent=what == "look"))
        case "decide":
            world.delayed.append(world.look(issue))
        case "apply" | "apply-again" if world.delayed:
            at = which % len(world.delayed)
            world.apply(world.delayed[at] if what == "apply-again" else world.delayed.pop(at))
        case "claim":
            world.claim(which)
        case "finish" | "die-before" | "die-after":
            world.finish(lost=what == "die-after", before=what == "die-before")
        case "send" | "send-fails" | "send-lost" | "send-late":
            world.send(which, how={"send": "well"}.get(what, what.removeprefix("send-")))
        case "late" if world.late:
            world.confirm(world.late.pop(which % len(world.late)))
        case "person":
            world.answer()
        case "order":
            world.order()
        case "push":
            world.push()
        case "time":
            world.now += 10.0 ** (which % 4)
    world.check()


def without_faults(board: str, issues: int, pipeline: str = "default") -> Simulated:
    world = Simulated(BOARDS[board], issues, PIPELINES[pipeline])
    world.settle()
    return world


@pytest.mark.parametrize("board", BOARDS)
def test_without_a_fault_every_issue_ends_at_done(board: str):
    world = without_faults(board, 2)
    world.check()
    for issue, tasks in world.tasks.items():
        assert [task.phase for task in tasks] == [Phase.DONE]
        assert (
            world.board.resolve(next(key for key in world.board.own if key.value == "done"))
            == world.issues[issue].state
        )
        branch = world.branches[tasks[0].id]
        assert (branch.merges, len(branch.deploys), branch.reviews) == (1, 1, 2)
    assert world.verdicts_used == world.verdicts_given == 4
    assert not world.outbox


EXAMPLES = 60


@pytest.mark.heavy
@pytest.mark.parametrize(("board", "pipeline"), [*((board, "default") for board in BOARDS), ("full", "plainly")])
@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None)
@given(script=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 7)), min_size=20, max_size=200))
def test_whatever_gets_lost_the_end_is_the_same(board: str, pipeline: str, script: list[tuple[str, int]]):
    world = Simulated(BOARDS[board], 2, PIPELINES[pipeline])
    for what, which in script:
        step(world, what, which)
    world.settle()
    world.check()
    assert world.summary() == without_faults_summary(board, pipeline)


@pytest.mark.heavy
@pytest.mark.parametrize("pipeline", [PATIENT, UNTOLD, PLAINLY], ids=["default", "untold", "plainly"])
def test_whenever_somebody_pushes_what_is_merged_is_what_the_last_gates_passed(pipeline: Pipeline):
    """`Simulated.work` asserts it at each merge."""
    moments = pushed(pipeline, None)
    assert moments > 40
    steps = [pushed(pipeline, at) for at in range(moments)]
    assert sum(taken > moments for taken in steps) > 10  # what was judged is judged again


def pushed(pipeline: Pipeline, at: int | None) -> int:
    """Take an issue to Done, with a push before one of the steps there; gives how many steps there were."""
    world, count = Simulated(FULL, 1, pipeline), 0
    while (task := world.task("i0")) is None or task.open:
        for what in ROUND:
            if count == at:
                world.push()
            step(world, what, 3)
            count += 1
        assert count < 1000, task
    branch = world.branches[task.id]
    assert (task.phase, branch.merges, len(branch.deploys)) == (Phase.DONE, 1, 1)
    assert world.judged[task.id] == branch.merged
    return count


SUMMARIES: dict[tuple[str, str], list[tuple[object, ...]]] = {}


def without_faults_summary(board: str, pipeline: str) -> list[tuple[object, ...]]:
    if (board, pipeline) not in SUMMARIES:
        SUMMARIES[board, pipeline] = without_faults(board, 2, pipeline).summary()
    return SUMMARIES[board, pipeline]


@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("how", ["person", "order"])
def test_a_board_that_stays_at_approved_passes_one_gate_only(how: str, pipeline: str):
    """The move behind a verdict never reaches the board: the next gate waits for a verdict of its own.

    So it does where a command gave that verdict, too, and nobody had seen the column yet.
    """
    world = Simulated(FULL, 1, PIPELINES[pipeline])
    asked = 0
    for _ in range(60):
        world.now += 200
        world.apply(world.look("i0"))
        world.claim()
        world.finish()
        for index, item in enumerate(world.outbox):
            if hasattr(item.action, "key") and str(item.action.key).endswith(":gate") and asked == 0:
                world.send(index)
                step(world, how, 0)
                asked += 1
    task = world.task("i0")
    assert task
    assert (task.phase, task.stage, world.verdicts_used) == (Phase.GATED, "testing", 1)
    world.settle()
    assert world.summary() == without_faults("full", 1, pipeline).summary()
