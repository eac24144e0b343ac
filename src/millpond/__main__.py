"""``python -m millpond``, and the `millpond` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; exit codes: 0 done, 1 the answer is no, 2 usage or configuration."""
    if sys.argv[1:2] == ["worker"]:  # started by the supervisor: without the command line's imports
        from millpond.server.worker import main as worker

        worker(sys.argv[2:])
    else:
        from millpond.cli import run

        run()


if __name__ == "__main__":
    main()
