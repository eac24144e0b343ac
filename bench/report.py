"""The report in Markdown: each row with its median, spread, ratio to nginx, and the command that repeats it. PURE."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bench import stats
from bench.model import Key, Row, measured_in, ratio_of
from bench.targets import Verdict, judge

TITLES = {
    "hits": "Hits",
    "misses": "Misses",
    "herd": "Herds: many clients, one cold object",
    "beside": "Hits beside other work",
    "memory": "Memory",
    "image": "A cold image",
    "startup": "Start-up",
    "turns": "Turns of the event loop",
    "entries": "One million entries",
    "prepull": "Pre-pull",
    "delivery": "Delivery",
    "lag": "Event-loop lag of the pond during the loads",
}


_WHOLE = 100
"""From here on a figure's digits behind the point say nothing."""


def number(value: float) -> str:
    """Write a figure with the digits it is worth."""
    if abs(value) >= _WHOLE or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def command(row: Row) -> str:
    """Give the command that measures a row again."""
    group = measured_in(row)
    servers = [row.server]
    if group == "hits":
        servers.append("nginx-2" if row.server.endswith("-2") else "nginx")
    elif group in {"misses", "herd"}:
        servers.append("nginx-cache")
    return f"python -m bench --only {group} --servers {','.join(dict.fromkeys(servers))}"


def table(rows: Mapping[Key, Row], group: str) -> str:
    """Write the table of one group."""
    lines = [
        "| load | server | figure | median | spread | ratio to nginx | again |",
        "| --- | --- | --- | ---: | ---: | ---: | --- |",
    ]
    for row in sorted((row for row in rows.values() if row.group == group), key=lambda row: row.case):
        against = ratio_of(row, rows)
        ratio = f"{stats.median(against):.2f}" if against else "-"
        unit = f" {row.unit}" if row.unit else ""
        lines.append(
            f"| {row.case} | {row.server} | {row.metric} | {number(row.median)}{unit} | {row.spread:.0%} | {ratio} "
            f"| `{command(row)}` |"
        )
    return "\n".join(lines) + "\n"


def machine_text(machine: dict[str, Any]) -> str:
    """Describe the machine."""
    versions = ", ".join(f"{name} {version}" for name, version in machine.get("versions", {}).items())
    return (
        f"{machine.get('at')}, commit {machine.get('commit')}: {machine.get('cpu')}, {machine.get('cores')} cores, "
        f"{machine.get('memory_gib')} GiB, {machine.get('system')}, kernel {machine.get('kernel')}, Python "
        f"{machine.get('python')}; {versions}. {machine.get('rounds')} rounds of {machine.get('seconds')} s; load "
        f"average before: {machine.get('load_before')}.\n"
    )


def runs_text(machine: dict[str, Any]) -> str:
    """Say which groups were measured in another run than the last one."""
    last = machine.get("at"), machine.get("commit")
    earlier = {group: one for group, one in machine.get("runs", {}).items() if (one["at"], one["commit"]) != last}
    lines = [
        f"- {group}: {one['at']}, commit {one['commit']}, {one['rounds']} rounds of {one['seconds']} s; load average "
        f"before: {one['load_before']}\n"
        for group, one in earlier.items()
    ]
    return "Measured in earlier runs on this machine:\n\n" + "".join(lines) if lines else ""


def verdicts(found: Iterable[Verdict]) -> str:
    """Write what was to be reached, and whether it was."""
    lines = ["| to reach | load | figure | target | |", "| --- | --- | ---: | ---: | --- |"]
    for one in found:
        sign = "at least" if one.target.at_least else "at most"
        figure = "-" if one.figure is None else number(one.figure)
        word = f"**{one.word}**" if one.word == "missed" else one.word
        lines.append(f"| {one.target.text} | {one.case} | {figure} | {sign} {number(one.target.limit)} | {word} |")
    return "\n".join(lines) + "\n"


def markdown(rows: Mapping[Key, Row], machine: dict[str, Any], chart: str = "") -> str:
    """Write the report; `chart` is the picture's file name, empty for none."""
    parts = ["# What was measured\n", machine_text(machine)]
    parts += [earlier] if (earlier := runs_text(machine)) else []
    parts.append(f"## To reach\n\n{verdicts(judge(rows))}")
    if machine.get("failed"):
        parts.append("## What failed, and counts for nothing\n\n" + "".join(f"- {one}\n" for one in machine["failed"]))
    if chart:
        parts.append(f"![Ratios to nginx]({chart})\n")
    found = {row.group for row in rows.values()}
    parts += [f"## {TITLES[group]}\n\n{table(rows, group)}" for group in TITLES if group in found]
    return "\n".join(parts)
