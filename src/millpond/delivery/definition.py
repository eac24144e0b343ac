"""A pipeline as it is written: TOML, in the configuration or in the repo's own ``.millpond/pipeline.toml``. PURE.

It is read from the base branch: a branch cannot loosen the gates that it has to pass. A bad definition is refused
with each mistake's place; nothing is guessed.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping, Sequence

from millpond.delivery import stepsettings
from millpond.delivery.deciding.gates import GATES, REQUIRED, SETTINGS
from millpond.delivery.judging import Unjudged, by_labels, unjudged
from millpond.delivery.model import Budget, Json, Key
from millpond.delivery.pipeline import DEFAULT, Backoff, GateRule, Label, OnFail, Pipeline, Stage, Then
from millpond.delivery.reading import Mistakes, Table, nearest
from millpond.errors import ConfigError

FILE = ".millpond/pipeline.toml"
STEPS = frozenset({"command", "agent", "merge", "deploy", "monitor"})
MAX_BYTES = 65536
MAX_STAGES = 50
MAX_LABELS = 100
MAX_USD = 100_000.0
MAX_TIMEOUT_S = 7 * 86400.0
MAX_ATTEMPTS = 1000
MAX_TURNS = 100_000
MAX_PRIORITY = 1000
_SHOWN = frozenset(Key) - {Key.TO_ANALYSE, Key.APPROVED, Key.REJECTED, Key.CANCELLED}
_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
_NOTHING = "nothing"
_SPARE = "give a stage that is left a gate, or have the label change less"


def read(
    text: str, file: str = FILE, steps: Collection[str] = STEPS, variables: Collection[str] | None = None
) -> Pipeline:
    """Read a definition. Raises `ConfigError` with every mistake.

    `variables`: names of those that stages may pass on to what they run; None: they are not known here.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise ConfigError(f"{file}: larger than {MAX_BYTES} bytes; that is no pipeline")
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{file}: not TOML: {error}") from None
    return from_table(values, file, steps, variables)


def from_table(
    values: Mapping[str, object],
    file: str,
    steps: Collection[str] = STEPS,
    variables: Collection[str] | None = None,
) -> Pipeline:
    """Take a definition that was read from TOML; as `read`. Raises `ConfigError` with every mistake."""
    mistakes = Mistakes(file)
    top = Table(values, "", mistakes)
    stages = _stages(top, steps, variables)
    on_push = _on_push(top, stages)
    labels = _labels(top, stages, variables)
    _judged(top, stages, labels)
    budget = _budget(top)
    top.close()
    if mistakes.found:
        raise ConfigError(*mistakes.found)
    return Pipeline(stages, budget, on_push, labels)


def _on_push(top: Table, stages: Sequence[Stage]) -> str:
    """Read which stage looks again: one before the merge, with a gate between, where there is any."""
    name, names = top.text("on_push"), [stage.name for stage in stages]
    if name and name not in names:
        top.wrong("on_push", f'there is no stage "{name}"', nearest(name, names))
    elif name:
        merge = next((index for index, stage in enumerate(stages) if stage.step == "merge"), len(stages))
        here = names.index(name)
        if here >= merge:
            top.wrong(
                "on_push", f'"{name}" is not before the merge', "name a stage whose gates a new commit is to pass"
            )
        elif any(one.gates for one in stages[:here]) and not any(one.gates for one in stages[here:merge]):
            text = f'no gate lies between "{name}" and the merge, so a new commit would pass none'
            top.wrong("on_push", text, "name an earlier stage")
    return name


def _stages(top: Table, steps: Collection[str], variables: Collection[str] | None) -> tuple[Stage, ...]:
    tables = top.tables("stages")
    if not tables:
        top.wrong("stages", "there is no stage", "write a [[stages]] table for each")
    if len(tables) > MAX_STAGES:
        top.wrong("stages", f"{len(tables)} stages; at most {MAX_STAGES} are taken")
    made: list[Stage] = []
    for table in tables[:MAX_STAGES]:
        made.append(_stage(table, steps, variables, [stage.name for stage in made]))
        table.close()
    if any(stage.step == "monitor" for stage in made) and not any(stage.step == "deploy" for stage in made):
        top.wrong("stages", "a monitor watches what a deploy stage brought out, and there is none")
    return tuple(made)


def _judged(top: Table, stages: Sequence[Stage], labels: Mapping[str, Label]) -> None:
    """See that gates judge whatever is merged, if there are any, for each set of labels, with an app and without."""
    anywhere = [stage for stage in stages if not stage.only_with_app]
    for held, where in ((stages, ""), (anywhere, "in projects without an app: ")):
        if found := unjudged(held, (), {}):
            place = f"stages[{[stage.name for stage in stages].index(found.stage)}].gates"
            top.wrong(place, where + found.reason, "give it a gate, or write commit = false into its settings")
            return
        if labelled := by_labels(held, labels):
            _labelled(top, held, labels, labelled, where)
            return


def _labelled(
    top: Table,
    stages: Sequence[Stage],
    labels: Mapping[str, Label],
    labelled: tuple[tuple[str, ...], Unjudged],
    where: str,
) -> None:
    """Tell which labels, alone or together on one issue, let a commit by."""
    names, found = labelled
    written = [name for name in top.table("labels").keys if name.casefold() in names]
    if len(names) > 1:
        top.wrong(f"labels.{written[0]}", f"{where}with {' and '.join(written)} on one issue {found.reason}", _SPARE)
        return
    key = "skip" if unjudged(stages, labels[names[0]].skip, {}) else "settings.commit"
    top.wrong(f"labels.{written[0]}.{key}", f"{where}with this label {found.reason}", _SPARE)


def _stage(table: Table, steps: Collection[str], variables: Collection[str] | None, before: Collection[str]) -> Stage:
    name = table.text("name", required=True)
    if name and not _NAME.fullmatch(name):
        table.wrong("name", f"{name!r} is no name", "write small letters, digits and hyphens, at most 40")
    if name in before:
        table.wrong("name", f'there is a stage "{name}" already')
    step = table.choice("step", steps, "", required=True)
    plain = Stage(name, step)
    return Stage(
        name,
        step,
        _settings(table, step, variables),
        _gates(table, step),
        table.whole("attempts", plain.attempts, 1, MAX_ATTEMPTS),
        _backoff(table),
        table.number("timeout_s", plain.timeout_s, 1, MAX_TIMEOUT_S),
        table.number("gate_timeout_s", plain.gate_timeout_s, 0, 365 * 86400),
        _on_fail(table, [*before, name]),
        _named(table, "needs", before, " before this one"),
        _key(table, "shows", plain.shows),
        _key(table, "queued", plain.queued),
        _key(table, "waits", plain.waits),
        table.flag("only_with_app"),
        _usd(table, "run_usd", None),
        _turns(table, "run_turns", None),
    )


def _settings(table: Table, step: str, variables: Collection[str] | None) -> Mapping[str, Json]:
    settings = table.settings("settings")
    if (step == "command" or settings.get("preset") == "command") and settings.get("argv") in (None, []):
        table.wrong("settings.argv", "a command needs a list of words", 'write such as ["make", "test"]')
    takes = stepsettings.TAKES.get(step)
    if settings and takes is not None:
        stepsettings.check(Table(table.raw("settings"), table.at("settings"), table.notes), takes, variables)
    return settings


def _gates(table: Table, step: str) -> tuple[GateRule, ...]:
    rules: list[GateRule] = []
    for index, value in enumerate(table.items("gates")):
        inner = Table(
            {"gate": value} if isinstance(value, str) else value, f"{table.at('gates')}[{index}]", table.notes
        )
        name = inner.choice("gate", GATES, "", required=True)
        given = {key: inner.raw(key) for key in SETTINGS.get(name, ())}  # asked for, so that it is meant where misspelt
        settings = {key: inner.json(value, inner.at(key)) for key, value in given.items() if value is not None}
        for key in REQUIRED.get(name, ()):
            if not isinstance(settings.get(key), str) or not settings[key]:
                inner.wrong(key, f"the gate {name} needs it")
            else:
                stepsettings.filled(inner, key, str(settings[key]))
        contexts = settings.get("contexts", [])
        if not isinstance(contexts, list) or not all(isinstance(one, str) for one in contexts):
            inner.wrong("contexts", "this is a list of names of statuses")
        if name and name in {rule.name for rule in rules} and not settings:
            inner.wrong("gate", f'"{name}" is there already')
        if name:  # what an unknown gate would take nobody knows
            inner.close()
        rules.append(GateRule(name, settings))
    if rules and step == "merge":
        table.wrong("gates", "what is judged here is merged by then", "give them to a stage before it")
    return tuple(rules)


def _backoff(table: Table) -> Backoff:
    inner, plain = table.table("backoff"), Backoff()
    first_s = inner.number("first_s", plain.first_s, 0, MAX_TIMEOUT_S)
    made = Backoff(
        first_s,
        inner.number("factor", plain.factor, 1, 100),
        inner.number("most_s", max(plain.most_s, first_s), first_s, MAX_TIMEOUT_S),
    )
    inner.close()
    return made


def _on_fail(table: Table, known: Collection[str]) -> OnFail:
    value = table.raw("on_fail")
    if value is None or isinstance(value, str):
        return OnFail(Then(table.choice("on_fail", [Then.PARK, Then.BLOCK], Then.PARK)))
    inner = table.table("on_fail")
    back_to = inner.text("back_to", required=True)
    if back_to and back_to not in known:
        inner.wrong("back_to", f'there is no stage "{back_to}" before this one', nearest(back_to, known))
    times = inner.whole("times", OnFail().times, 1, 100)
    inner.close()
    return OnFail(Then.BACK, back_to, times)


def _named(table: Table, key: str, known: Collection[str], where: str = "") -> tuple[str, ...]:
    names = table.texts(key)
    for index, name in enumerate(names):
        if name not in known:
            table.wrong(f"{key}[{index}]", f'there is no stage "{name}"{where}', nearest(name, known))
    return tuple(names)


def _key(table: Table, key: str, default: Key | None) -> Key | None:
    word = table.choice(key, _SHOWN | {_NOTHING}, default or _NOTHING)
    return None if word == _NOTHING else Key(word)


def _usd(table: Table, key: str, default: float | None) -> float | None:
    return table.number(key, 0, 0, MAX_USD) if key in table else default


def _turns(table: Table, key: str, default: int | None) -> int | None:
    return table.whole(key, 1, 1, MAX_TURNS) if key in table else default


def _budget(top: Table) -> Budget:
    inner, plain = top.table("budget"), DEFAULT.budget
    made = Budget(
        _usd(inner, "run_usd", plain.run_usd),
        _usd(inner, "task_usd", plain.task_usd),
        _usd(inner, "day_usd", plain.day_usd),
        _turns(inner, "run_turns", plain.run_turns),
    )
    inner.close()
    return made


def _labels(top: Table, stages: Collection[Stage], variables: Collection[str] | None) -> Mapping[str, Label]:
    tables, made = top.table("labels"), dict[str, Label]()
    if len(tables.keys) > MAX_LABELS:
        top.wrong("labels", f"{len(tables.keys)} labels; at most {MAX_LABELS} are taken")
    names = [stage.name for stage in stages]
    for name in list(tables.keys)[:MAX_LABELS]:
        inner = tables.table(name)
        skip = _named(inner, "skip", names)
        for stage in stages:
            if stage.name not in skip and (needed := sorted(set(stage.needs) & set(skip))):
                inner.wrong("skip", f"{stage.name} needs {', '.join(needed)}", f'skip "{stage.name}" too, or neither')
        if name.casefold() in made:
            tables.wrong(name, "this label is there already (case does not count)")
        made[name.casefold()] = Label(
            frozenset(skip),
            inner.whole("priority", 0, -MAX_PRIORITY, MAX_PRIORITY),
            _usd(inner, "task_usd", None),
            inner.settings("settings"),
        )
        if made[name.casefold()].settings:
            own = Table(inner.raw("settings"), inner.at("settings"), top.notes)
            stepsettings.check(own, stepsettings.ANY, variables)
        inner.close()
    return made
