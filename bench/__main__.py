"""``make bench``: measure, print the tables, write JSON, report and chart."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench import chart, machine, model, report
from bench.loads import GROUPS
from bench.loads.base import Setting
from bench.model import Key, Row, Sample
from bench.objects import Objects


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    made = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    names = [group.name for group in GROUPS]
    made.add_argument("--only", type=_names, default=names, help=f"groups, by commas: {', '.join(names)}")
    made.add_argument("--servers", type=_names, help="only these servers, by commas")
    made.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default 5)")
    made.add_argument("--seconds", type=float, default=3.0, help="seconds of each measurement (default 3)")
    made.add_argument("--json", type=Path, help="write the figures there")
    made.add_argument(
        "--out", type=Path, help="write report, figures and chart into this folder, over those of the same groups"
    )
    made.add_argument(
        "--peers", type=Path, default=Path(sys.prefix, ".bench"), help="where `make bench-peers` put some"
    )
    made.add_argument("--list", action="store_true", help="list the groups, and measure nothing")
    return made


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def main() -> int:
    """Measure and print; gives the exit code."""
    options = parser().parse_args()
    if options.list:
        for group in GROUPS:
            print(f"{group.name:10} {group.text}")
        return 0
    unknown = set(options.only) - {group.name for group in GROUPS}
    if unknown:
        parser().error(f"no such group: {', '.join(sorted(unknown))} (--list shows them)")
    for program in ("wrk", "nginx", "taskset"):
        if machine.find(program) is None:
            print(f"bench: {program} is not installed: nothing was measured (make bench-peers)", file=sys.stderr)
            return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is stopped
    told = machine.describe(options.peers) | {"rounds": options.rounds, "seconds": options.seconds}
    samples, failed = _measure(options)
    rows, told = model.rows_of(samples), told | {"failed": failed}
    if rows:
        print(report.markdown(rows, told))
        if options.json:
            options.json.write_text(model.as_json(rows, told))
        if options.out:
            failed += _publish(options.out, rows, told)
    for one in failed:
        machine.say(f"failed: {one}")
    return 0 if rows and not failed else 1


def _publish(folder: Path, rows: Mapping[Key, Row], told: dict[str, Any]) -> list[str]:
    """Write figures, chart and report, and say what could not be; without matplotlib there is no chart.

    Figures of groups that were not measured now stay as they were.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures = folder / "figures.json"
    if figures.exists():
        try:
            rows, told = model.joined(*model.read(figures.read_text()), rows, told)
        except ValueError as error:
            return [f"not written: {error}"]
    figures.write_text(model.as_json(rows, told))
    picture = ""
    try:
        if chart.draw(rows, folder):
            picture = "ratios.svg"
    except ImportError:
        machine.say("no chart: matplotlib is not installed (the extra `dev`)")
    (folder / "report.md").write_text(report.markdown(rows, told, picture))
    return []


def _measure(options: argparse.Namespace) -> tuple[list[Sample], list[str]]:
    """Run the groups; gives what was measured, and what failed."""
    samples: list[Sample] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # servers that give up root read the objects too
        servers = frozenset(options.servers) if options.servers else None
        setting = Setting(folder, Objects(folder / "objects"), options.peers, options.rounds, options.seconds, servers)
        for group in GROUPS:
            if group.name in options.only:
                machine.say(group.text)
                try:
                    samples.extend(group.run(setting))
                except (RuntimeError, OSError) as error:  # a server that does not start ends its group only
                    setting.failed.append(f"{group.name}: {error}")
    return samples, setting.failed


if __name__ == "__main__":
    sys.exit(main())
