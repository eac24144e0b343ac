"""``python -m millpond``, and the `millpond` command."""

from __future__ import annotations

from millpond.cli import run


def main() -> None:
    """Run the command line; exit codes: 0 done, 1 the answer is no, 2 usage or configuration."""
    run()


if __name__ == "__main__":
    main()
