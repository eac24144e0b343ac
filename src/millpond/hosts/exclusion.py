"""One deploy of an app on an engine at a time, also beside what a Millpond that ended has left at work there. PURE.

A lease tells who may deploy, not what is still at work on a host. The lock is the kernel's, on an empty file for each
app and engine in a folder of the login's own, so that engines which share a home do not wait for one another. A shell
holds it, and what it runs does not: it ends with the command, not with what that leaves in the background.
"""

from __future__ import annotations

import hashlib

from millpond.hosts.commands import Argv, Docker

HELD = 75
"""What `alone` ends with where something else is under way (EX_TEMPFAIL of sysexits.h)."""
_USUAL = "unix:///var/run/docker.sock"
_ALONE = """\
name=$1; left=$2; shift 2
if command -v flock >/dev/null 2>&1 && [ -d "${HOME:-}" ] && [ -r "$HOME" ]; then
  place=$HOME/.millpond; file=$place/$name.$(uname -n | tr -c 'A-Za-z0-9.\\n-' _)
  mkdir -m 700 "$place" 2>/dev/null
  if [ -O "$place" ] && [ ! -L "$place" ] && (umask 077; : >>"$file") 2>/dev/null; then exec 9<"$file"
  else exec 9<"$HOME"; fi
  while flock -n 9 2>/dev/null; [ $? -eq 1 ]; do
    if [ "$left" -le 0 ]; then echo "another deploy of it is still at work on this engine" >&2; exit 75; fi
    left=$((left - 1)); sleep 1
  done
  exec 8<&0
  "$@" <&8 8<&- 9<&- &
  pid=$!; last=
  trap '
    kill -TERM "$pid" 2>/dev/null
    [ -n "$last" ] || { (sleep 4; kill -KILL "$pid") </dev/null >/dev/null 2>&1 8<&- 9<&- & last=$!; }
  ' HUP INT TERM
  while wait "$pid"; rc=$?; kill -0 "$pid" 2>/dev/null; do :; done
  [ -z "$last" ] || kill "$last" 2>/dev/null
  exit "$rc"
fi
exec "$@"
"""
"""A time-out may signal the shell alone (busybox's timeout does): it hands the signal on, and outlives the command."""


def alone(argv: Argv, docker: Docker, app: str, wait_s: int) -> Argv:
    """Run a command once nothing else runs like this for the app on the engine; else `HELD` after so many seconds.

    Where no folder can be made in the login's home, the lock is on the home itself, and engines that share it wait for
    one another. Where there is no flock(1), or no home, the command runs all the same.
    """
    about = "\0".join((docker.socket or _USUAL, app))
    name = hashlib.sha256(about.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return ("sh", "-c", _ALONE, "sh", name, str(wait_s), *argv)
