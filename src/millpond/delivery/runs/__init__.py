"""Runs: a step's commands, in processes that outlive the daemon."""
