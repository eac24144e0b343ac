"""A whole world in memory that is driven by `decide` alone: a board, a forge, a worker, people, and faults.

Its ledger does what the real one does, by the same `folding`. Everything that happens is a step that a test orders, so
that looks are lost, doubled, delayed and reordered, writes fail before or after their effect, and workers die.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from millpond.delivery.board.board import NAMES, Board, board
from millpond.delivery.deciding.actions import (
    Acknowledge,
    Action,
    Alert,
    CreateTask,
    ParkTask,
    PassOn,
    SendBack,
    Show,
    StartJob,
    StopJob,
    Succeed,
    Tell,
    TryAgain,
    UseVerdict,
    Wait,
)
from millpond.delivery.deciding.decide import decide
from millpond.delivery.deciding.folding import by_command, confirmed, fold, verdict
from millpond.delivery.deciding.looking import World
from millpond.delivery.model import (
    Comment,
    Evidence,
    Input,
    Issue,
    Job,
    JobState,
    Json,
    Phase,
    Project,
    State,
    Task,
)
from millpond.delivery.pipeline import DEFAULT, GateRule, Pipeline

GRACE_S = 120.0
FULL = board([State("backlog", "Backlog"), *(State(key.value, name) for key, name in NAMES.items())], NAMES, {})
PLAIN = board([State(name, name) for name in ("Backlog", "In Progress", "Approved", "Rejected", "Done")], NAMES, {})
BARE = board([State(name, name) for name in ("Backlog", "In Progress", "Done")], NAMES, {})
PATIENT = replace(DEFAULT, stages=tuple(replace(stage, attempts=500) for stage in DEFAULT.stages))
UNTOLD = replace(PATIENT, on_push="")
"""It does not say which stage looks again."""
PLAINLY = Pipeline(
    tuple(
        replace(one, gates=(GateRule("branch-pushed"), GateRule("human-verdict"))) if one.name == "development" else one
        for one in PATIENT.stages
        if one.name not in {"analysis", "review"}
    )
)
"""What people write by hand."""
SHOP = Project("shop", "p1", "team/shop", "SH", app="shop")


@dataclass
class Sent:
    """A row of the outbox."""

    id: int
    action: Show | Tell | Alert
    issue: str
    task: int
    inputs: int
    tried: int = 0


@dataclass
class Decision:
    """What was decided, and about which state of the ledger."""

    issue: str
    task: int
    version: int
    actions: tuple[Action, ...]


@dataclass
class Branch:
    """A task's branch on the forge."""

    head: str = ""
    merged: str = ""
    commits: int = 0
    reviews: int = 0
    monitored: int = 0
    deploys: list[str] = field(default_factory=list)
    merges: int = 0


class Simulated:
    """The world; `columns` is its board."""

    def __init__(self, columns: Board, issues: int = 1, pipeline: Pipeline = PATIENT, project: Project = SHOP) -> None:
        self.board, self.pipeline, self.project = columns, pipeline, project
        self.now = 1_000_000.0
        start = columns.resolve(next(iter(NAMES))) or ""
        self.issues = {
            f"i{n}": Issue(f"i{n}", project.name, n + 1, f"Issue {n}", start, self.now) for n in range(issues)
        }
        self.tasks: dict[str, list[Task]] = {name: [] for name in self.issues}
        self.jobs: list[Job] = []
        self.evidence: dict[int, list[Evidence]] = {}
        self.outbox: list[Sent] = []
        self.late: list[Sent] = []
        self.delayed: list[Decision] = []
        self.told: dict[str, str] = {}  # keys of comments that were delivered -> the issue
        self.answered: set[str] = set()
        self.branches: dict[int, Branch] = {}
        self.judged: dict[int, str] = {}  # each task's commit as the last gates passed it
        self.reminded = 0
        self.verdicts_given = self.verdicts_used = self.alerts = self.moves = self.ids = 0
        self.reasons: dict[str, str] = {}

    def id(self) -> int:
        self.ids += 1
        return self.ids

    def task(self, issue: str) -> Task | None:
        return self.tasks[issue][-1] if self.tasks[issue] else None

    def put(self, task: Task) -> None:
        tasks = next(tasks for tasks in self.tasks.values() if any(one.id == task.id for one in tasks))
        tasks[[one.id for one in tasks].index(task.id)] = task

    # the engine

    def look(self, issue: str, *, urgent: bool = True) -> Decision:
        """Observe (the ledger first, then the tracker), and decide."""
        task = self.task(issue)
        jobs = [job for job in self.jobs if task and job.task == task.id]
        evidence = [*(self.evidence.get(task.id, []) if task else []), *self.observed(task)]
        head = self.branches[task.id].head if task and task.id in self.branches else ""
        world = World(self.project, self.board, self.pipeline, urgent=urgent, grace_s=GRACE_S, head=head)
        actions = decide(self.issues[issue], task, jobs, evidence, self.now, world)
        return Decision(issue, task.id if task else 0, task.version if task else 0, actions)

    def observed(self, task: Task | None) -> list[Evidence]:
        branch = self.branches.get(task.id) if task else None
        if branch is None or not branch.head:
            return []
        path = f"docs/tasks/{task.key}.md" if task else ""
        facts: dict[str, dict[str, Json]] = {
            "head": {},
            "file": {"path": path, "present": True},
            "mergeable": {"mergeable": True},
        }
        return [Evidence(kind, told, branch.head, self.now) for kind, told in facts.items()]

    def apply(self, decision: Decision) -> bool:
        """Carry a decision out in one transaction; False: it was about a ledger that is gone."""
        task = self.task(decision.issue)
        if (task.id if task else 0, task.version if task else 0) != (decision.task, decision.version):
            return False
        after = task
        for action in decision.actions:
            after = self.do(after, action, decision)
        if after is not None and task is not None and after != task:
            self.put(replace(after, version=task.version + 1))
        return True

    def do(self, task: Task | None, action: Action, decision: Decision) -> Task | None:
        match action:
            case Wait(reason=reason):
                assert reason
                self.reasons[decision.issue] = reason
                return task
            case CreateTask():
                assert task is None or not task.open
                issue = self.issues[decision.issue]
                made = Task(
                    *(self.id(), f"SH-{issue.number}", "shop", issue.id, "team/shop", f"b{issue.number}", action.stage),
                    shown=action.state,
                    since=self.now,
                    options=action.options,
                    mark=issue.mark,
                )
                self.tasks[issue.id].append(made)
                return None
        assert task is not None
        stage = self.pipeline.stage(task.stage)
        if isinstance(action, PassOn) and stage is not None and stage.gates and self.pipeline.judges(stage.name):
            self.judged[task.id] = task.sha
        self.beside(task, action, decision.issue)
        return fold(task, action, self.now)

    def beside(self, task: Task, action: Action, issue: str) -> None:
        """Write the rows that an action adds outside the task's own."""
        match action:
            case StartJob():
                assert not [job for job in self.jobs if job.task == task.id and job.active]
                job = Job(
                    *(
                        self.id(),
                        task.id,
                        task.project,
                        task.issue,
                        task.repo,
                        action.stage,
                        action.step,
                        task.visit,
                        action.attempt,
                    ),
                    sha=task.sha,
                )
                self.jobs.append(job)
            case Succeed(job=job_id) | TryAgain(job=job_id) | SendBack(job=job_id) | ParkTask(job=job_id):
                if job_id is not None:
                    self.set(job_id, settled=True)
            case UseVerdict():
                self.verdicts_used += 1
                self.evidence.setdefault(task.id, []).append(verdict(task, action, self.now))
            case Show() | Acknowledge():
                self.outbox = [one for one in self.outbox if not (one.issue == issue and isinstance(one.action, Show))]
            case StopJob(job=job_id):
                job = self.job(job_id)
                assert not job.stop
                self.set(job_id, stop=True)
                if job.state is JobState.QUEUED:
                    self.set(job_id, state=JobState.CANCELLED)
        if isinstance(action, Show | Tell | Alert):
            self.outbox.append(Sent(self.id(), action, issue, task.id, task.inputs))

    def job(self, job_id: int) -> Job:
        return next(job for job in self.jobs if job.id == job_id)

    def set(self, job_id: int, **values: object) -> None:
        index = next(index for index, job in enumerate(self.jobs) if job.id == job_id)
        self.jobs[index] = replace(self.jobs[index], **values)  # type: ignore[arg-type]

    # the outbox's sender

    def send(self, index: int, *, how: str = "well") -> None:
        """Send one write: well, or it fails before its effect, or its answer is lost or late."""
        if not self.outbox:
            return
        item = self.outbox[index % len(self.outbox)]
        if how == "fails":
            return
        item.tried += 1
        if not self.effect(item):
            self.outbox.remove(item)  # a person moved the issue: it is left in peace
            return
        if how == "well":
            self.confirm(item)
        elif how == "late":
            self.late.append(item)

    def effect(self, item: Sent) -> bool:
        match item.action:
            case Show(state=state, seen=seen):
                issue = self.issues[item.issue]
                if issue.state not in {state, seen}:
                    return False
                if issue.state != state:
                    self.moves += 1
                    self.issues[item.issue] = replace(issue, state=state, updated_at=self.now)
            case Tell(key=key):
                if key not in self.told:
                    self.told[key] = item.issue
                    self.comment(item.issue, item.action.text, ours=True)
            case Alert():
                self.alerts += 1
        return True

    def confirm(self, item: Sent) -> None:
        self.outbox = [one for one in self.outbox if one.id != item.id]
        task = next((one for tasks in self.tasks.values() for one in tasks if one.id == item.task), None)
        if task is not None and isinstance(item.action, Show):
            self.put(confirmed(task, item.inputs, item.action.clears))

    # the worker

    def claim(self, index: int = 0) -> None:
        """Claim a queued job whose repo has none running."""
        busy = {job.repo for job in self.jobs if job.state is JobState.RUNNING}
        queued = [job for job in self.jobs if job.state is JobState.QUEUED and job.repo not in busy]
        if queued:
            self.set(queued[index % len(queued)].id, state=JobState.RUNNING)

    def running(self) -> list[Job]:
        return [job for job in self.jobs if job.state is JobState.RUNNING]

    def finish(self, *, lost: bool = False, before: bool = False) -> None:
        """Let the running job end; `lost`: its worker dies after the work was done, `before`: before it."""
        for job in self.running():
            if job.stop:
                self.set(job.id, state=JobState.CANCELLED)
                return
            changes = {} if before else self.work(job)
            self.set(job.id, **({"state": JobState.LOST} if lost or before else changes))

    def work(self, job: Job) -> dict[str, object]:  # noqa: C901 - one case for each stage
        """Do what a step does; each is harmless when it is done twice, as steps have to be."""
        branch = self.branches.setdefault(job.task, Branch())
        good: dict[str, object] = {"state": JobState.SUCCEEDED}
        match job.stage:
            case "analysis" | "development":
                fails = job.stage == "development" and job.attempt == 1
                if not fails or self.pipeline.on_push:  # else its own commit would lead back, every time
                    branch.commits += 1
                    branch.head = f"{job.task}-commit-{branch.commits}"
                if fails:
                    return {"state": JobState.RETRY, "reason": "the network was away"}
                return {**good, "sha": branch.head}
            case "review":
                word = "approved" if branch.reviews else "rejected"
                branch.reviews += 1
                key = f"SH-{next(int(i[1:]) + 1 for i, tasks in self.tasks.items() for t in tasks if t.id == job.task)}"
                self.show(job, "front-matter", {"path": f"docs/reviews/{key}.md", "fields": {"verdict": word}})
            case "testing":
                self.show(job, "tests", {"passed": 3, "failed": 0})
            case "merge":
                if branch.merged != job.sha:
                    if branch.head != job.sha:
                        return {"state": JobState.RETRY, "reason": "head out of date"}
                    assert job.sha == self.judged[job.task], "a commit is merged that the last gates did not pass"
                    branch.merged, branch.merges = job.sha, branch.merges + 1
            case "deploy":
                if job.sha not in branch.deploys:
                    branch.deploys.append(job.sha)
                self.show(job, "deploy", {"converged": True})
            case "monitoring":
                branch.monitored += 1
                if branch.monitored == 1:
                    return {"state": JobState.LATER, "reason": "not long enough yet", "after_s": 30.0}
                self.show(job, "health", {"state": "HEALTHY"})
        return good

    def show(self, job: Job, kind: str, facts: dict[str, Json]) -> None:
        self.evidence.setdefault(job.task, []).append(Evidence(kind, facts, job.sha, self.now, job.visit, "job"))

    # people

    def comment(self, issue: str, text: str, *, ours: bool = False) -> None:
        self.now += 0.001
        told = Comment(str(self.id()).zfill(9), self.now, text, "ada", ours)
        self.issues[issue] = replace(self.issues[issue], comments=(*self.issues[issue].comments, told))

    def move(self, issue: str, state: str) -> None:
        self.issues[issue] = replace(self.issues[issue], state=state, updated_at=self.now)

    def answer(self, *, word: bool = True) -> None:
        """Give one verdict on each request that was not answered yet: by column where there is one, else by comment."""
        for key in [key for key in self.told if key.endswith(":gate") and key not in self.answered]:
            self.answered.add(key)
            self.say(self.told[key], word=word)

    def order(self) -> None:
        """Give one verdict on each request that was not answered yet by column and by command, both at once."""
        for key in [key for key in self.told if key.endswith(":gate") and key not in self.answered]:
            task = self.task(self.told[key])
            if task is not None and key == f"{task.id}:{task.visit}:{task.sha}:gate" and task.phase is Phase.GATED:
                self.answered.add(key)
                self.say(task.issue)
                said = UseVerdict(True, "ada", self.issues[task.issue].mark)
                self.evidence.setdefault(task.id, []).append(verdict(task, said, self.now))
                self.put(by_command(task))
                self.verdicts_used += 1

    def say(self, issue: str, *, word: bool = True) -> None:
        self.verdicts_given += 1
        column = next((s for s in self.board.groups if self.board.verdict(s) is word), None)
        if column is None or self.issues[issue].state == column:
            self.comment(issue, "fine\n/approve" if word else "/reject")
        else:
            self.move(issue, column)

    def remind(self) -> None:
        """People who see that their verdict got lost (our late write met their move) give it again."""
        for name in self.issues:
            if "waits for a person" in self.reasons.get(name, ""):
                self.reminded += 1
                self.say(name)

    def push(self) -> None:
        """Somebody pushes to a branch that is not merged yet."""
        for branch in self.branches.values():
            if branch.head and not branch.merged:
                branch.head = f"{branch.head}+"
                return

    # everything together, without a fault

    def settle(self, rounds: int = 400) -> None:
        """Let everything go on as it should until nothing changes any more."""
        while self.late:
            self.confirm(self.late.pop())
        quiet = 0
        for _ in range(rounds):
            before = self.summary(), len(self.jobs), len(self.told), self.moves, str(self.tasks)
            self.now += GRACE_S + 11
            for issue in self.issues:
                for _ in range(50):
                    decision = self.look(issue, urgent=False)
                    self.apply(decision)
                    if isinstance(decision.actions[-1], Wait):
                        break
                else:
                    raise AssertionError(f"no end to it: {decision.actions}")
            while self.outbox:
                self.send(0)
            self.claim()
            self.finish()
            self.answer()
            quiet = (
                quiet + 1
                if before == (self.summary(), len(self.jobs), len(self.told), self.moves, str(self.tasks))
                else 0
            )
            if quiet > 7 and self.reminded < 4 * len(self.issues):  # longer than the longest back-off
                self.remind()
            if quiet > 8:
                return
        raise AssertionError(f"it never comes to rest: {self.tasks}")

    def summary(self) -> list[tuple[object, ...]]:
        """Say where everything stands, in words that do not depend on the way there."""
        return [
            (
                name,
                self.issues[name].state,
                [(task.phase, task.stage, task.reason) for task in tasks],
                [(branch.merges, len(branch.deploys)) for task in tasks if (branch := self.branches.get(task.id))],
            )
            for name, tasks in self.tasks.items()
        ]

    def check(self) -> None:
        """What must hold at each moment."""
        running = self.running()
        assert len({job.repo for job in running}) == len(running), "two running jobs of one repo"
        active = [job.task for job in self.jobs if job.active]
        assert len(set(active)) == len(active), "two active jobs of one task"
        for tasks in self.tasks.values():
            assert sum(task.open for task in tasks) <= 1, "two open tasks of one issue"
        assert self.verdicts_used <= self.verdicts_given, "a verdict was used twice"
        for branch in self.branches.values():
            assert branch.merges <= 1
            assert len(set(branch.deploys)) == len(branch.deploys)
        assert all(not task.used or task.used in Input for tasks in self.tasks.values() for task in tasks)
