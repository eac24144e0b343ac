"""wrk, the load generator for hits: its script, its command, and the reading of what it says.

The script lets wrk print one line of JSON at its end, exact where its own summary rounds; several requests in turn
(many URLs, many ranges) are made before the start, so that none is formatted while it measures.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

MARK = "bench-summary "
_DONE = """
done = function(s, latency, requests)
  local e = s.errors
  io.write(string.format(
    '\\nbench-summary {"duration_us":%.0f,"requests":%.0f,"bytes":%.0f,"p50_us":%.0f,"p99_us":%.0f,' ..
    '"status_errors":%.0f,"socket_errors":%.0f}\\n',
    s.duration, s.requests, s.bytes, latency:percentile(50), latency:percentile(99),
    e.status, e.connect + e.read + e.write + e.timeout))
end
"""
_MANY = """
local made, turn = {}, 0
init = function()
  for line in io.lines(%s) do
    local path, range = line:match("^([^\\t]*)\\t(.*)$")
    local headers = {}
    for name, value in pairs(wrk.headers) do headers[name] = value end
    if range ~= "" then headers["Range"] = range end
    made[#made + 1] = wrk.format("GET", path, headers)
  end
end
request = function()
  turn = turn %% #made + 1
  return made[turn]
end
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: a raw target and a Range (empty: none)."""

    target: str
    range: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """What wrk counted. Times are seconds."""

    seconds: float
    requests: int
    bytes: int
    p50_s: float
    p99_s: float
    status_errors: int
    socket_errors: int

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds if self.seconds else 0.0

    @property
    def megabytes(self) -> float:
        """Megabytes (10^6) per second."""
        return self.bytes / self.seconds / 1e6 if self.seconds else 0.0


class Failed(Exception):
    """A measurement that counts for nothing: wrk could not run, or requests failed."""


def read(output: str) -> Summary:
    """Read wrk's output. Raises `Failed` where the script's line is not in it, or is torn."""
    lines = [line for line in output.splitlines() if line.startswith(MARK)]
    try:
        told = json.loads(lines[-1].removeprefix(MARK))
    except (IndexError, ValueError) as error:
        raise Failed(f"wrk did not tell its summary: {output[-300:]!r}") from error
    return Summary(
        told["duration_us"] / 1e6,
        told["requests"],
        told["bytes"],
        told["p50_us"] / 1e6,
        told["p99_us"] / 1e6,
        told["status_errors"],
        told["socket_errors"],
    )


def script(requests: Sequence[Asked], listing: Path) -> str:
    """Write the Lua script; `listing` is where the requests' lines will be, where there are several."""
    return _DONE if _plain(requests) else _MANY % json.dumps(str(listing)) + _DONE


def lines(requests: Sequence[Asked]) -> str:
    """Write the listing that the script reads."""
    return "".join(f"{one.target}\t{one.range}\n" for one in requests)


def command(
    base: str, requests: Sequence[Asked], lua: Path, *, connections: int, seconds: float, headers: Mapping[str, str]
) -> list[str]:
    """Give wrk's command. One thread: it has one core. wrk takes whole seconds, 1 at least."""
    argv = ["wrk", "-t1", f"-c{connections}", f"-d{max(round(seconds), 1)}s", "--timeout", "30s", "-s", str(lua)]
    for name, value in headers.items():
        argv += ["-H", f"{name}: {value}"]
    return [*argv, base + requests[0].target if _plain(requests) else base + "/"]


def run(
    base: str,
    requests: Sequence[Asked],
    *,
    connections: int,
    seconds: float,
    cores: frozenset[int],
    headers: Mapping[str, str] | None = None,
) -> Summary:
    """Load a server, pinned to `cores`. Raises `Failed`; a single failed request is one too many."""
    with tempfile.TemporaryDirectory(prefix="bench-wrk-") as name:
        lua, listing = Path(name, "load.lua"), Path(name, "requests")
        lua.write_text(script(requests, listing))
        listing.write_text(lines(requests))
        wrk = command(base, requests, lua, connections=connections, seconds=seconds, headers=headers or {})
        pinned = ["taskset", "-c", ",".join(map(str, sorted(cores))), *wrk]
        done = subprocess.run(pinned, capture_output=True, text=True, check=False, timeout=seconds + 90)
    if done.returncode:
        raise Failed(f"wrk ended with {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
    summary = read(done.stdout)
    if summary.status_errors or summary.socket_errors or not summary.bytes:
        wrong = f"{summary.status_errors} error statuses and {summary.socket_errors} socket errors"
        raise Failed(f"{wrong} in {summary.requests} requests to {base}")
    return summary


def _plain(requests: Sequence[Asked]) -> bool:
    return len(requests) == 1 and not requests[0].range
