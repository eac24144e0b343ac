"""``make bench``: hits of one worker beside nginx serving the same files.

Loads a, b and e; interleaved rounds, medians. The server is on one core, the load generator (wrk) on the other. nginx
and wrk come from the system: without nginx there are no ratios, without wrk nothing is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from millpond.testing.pond import PondProcess, free_port
from millpond.testing.upstream import ThreadedUpstream

LOADS = {
    "a: 2 KiB, 32 connections": ("small.bin", 32, ()),
    "b: 100 KiB, 32 connections": ("medium.bin", 32, ()),
    "e: 304, 32 connections": ("small.bin", 32, ("If-None-Match",)),
}
Figures = dict[str, dict[str, list[float]]]
FILES = {"small.bin": 2048, "medium.bin": 100 * 1024}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default 5)")
    parser.add_argument("--seconds", type=int, default=3, help="seconds for each measurement (default 3)")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("bench: wrk is not installed (apt-get install wrk nginx-light, as root): nothing was measured")
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), options.rounds, options.seconds)
    report(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def measure(folder: Path, rounds: int, seconds: int) -> Figures:
    """Give requests per second: load -> server -> rounds."""
    with ThreadedUpstream() as upstream:
        for name, size in FILES.items():
            upstream.put(f"/{name}", os.urandom(size))
            (folder / name).write_bytes(upstream._resources[f"/{name}"].body)  # noqa: SLF001 - the fake's own bytes
        config = f'[repositories.up]\npackage = "generic"\nbase_url = "{upstream.url}"\nimmutable_patterns = ["."]\n'
        pond = PondProcess(folder / "pond", config)
        with pond:
            os.sched_setaffinity(pond.pid, {0})
            servers = {"millpond": pond.url + "/up"}
            nginx, stop = start_nginx(folder)
            servers |= {"nginx": nginx} if nginx else {}
            try:
                return rounds_of(servers, pond, rounds, seconds)
            finally:
                stop()


def rounds_of(servers: dict[str, str], pond: PondProcess, rounds: int, seconds: int) -> Figures:
    """Ask every server for every load in turn."""
    figures: Figures = {}
    for _ in range(rounds):
        for load, (name, connections, conditional) in LOADS.items():
            for server, url in servers.items():
                tag = pond.get(f"/up/{name}").headers["etag"] if server == "millpond" else etag_of(url, name)
                headers = [f"{header}: {tag}" for header in conditional]
                rate = ask(f"{url}/{name}", connections, seconds, headers)
                figures.setdefault(load, {}).setdefault(server, []).append(rate)
    return figures


def etag_of(url: str, name: str) -> str:
    """Read an entity tag."""
    head = subprocess.run(["curl", "-sI", f"{url}/{name}"], capture_output=True, text=True, check=True).stdout
    match = re.search(r"(?im)^etag:\s*(\S+)", head)
    return match.group(1) if match else '""'


def ask(url: str, connections: int, seconds: int, headers: list[str]) -> float:
    """Give the requests per second that wrk reaches on the second core."""
    argv = ["taskset", "-c", "1", "wrk", "-t1", f"-c{connections}", f"-d{seconds}s"]
    for header in headers:
        argv += ["-H", header]
    out = subprocess.run([*argv, url], capture_output=True, text=True, check=True).stdout
    match = re.search(r"Requests/sec:\s+([\d.]+)", out)
    return float(match.group(1)) if match else 0.0


def start_nginx(folder: Path) -> tuple[str, Callable[[], object]]:
    """Start nginx on the same files, pinned to the first core; an empty URL where it is not installed."""
    if shutil.which("nginx") is None:
        return "", lambda: None
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off; worker_processes 1; worker_cpu_affinity 01; pid {folder}/nginx.pid;\n"
        f"error_log {folder}/error.log;\n"
        "events { worker_connections 1024; }\n"
        f"http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 10000000; open_file_cache max=100;\n"
        f"server {{ listen 127.0.0.1:{port}; root {folder}; }} }}\n"
    )
    process = subprocess.Popen(["nginx", "-c", str(config), "-p", str(folder)])

    def stop() -> None:
        process.terminate()
        process.wait()

    return f"http://127.0.0.1:{port}", stop


def report(figures: Figures) -> None:
    """Print a table in Markdown: medians, spreads, and the ratio to nginx."""
    print("| load | server | requests/s (median) | spread | ratio to nginx |\n| --- | --- | ---: | ---: | ---: |")
    for load, servers in figures.items():
        base = statistics.median(servers["nginx"]) if "nginx" in servers else 0.0
        for server, rates in servers.items():
            middle = statistics.median(rates)
            spread = (max(rates) - min(rates)) / middle if middle else 0.0
            ratio = f"{middle / base:.2f}" if base else "-"
            print(f"| {load} | {server} | {middle:,.0f} | {spread:.0%} | {ratio} |")


if __name__ == "__main__":
    main()
