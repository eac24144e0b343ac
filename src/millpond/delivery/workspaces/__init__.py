"""Workspaces: a git worktree for each task, and git, closed to whatever a repository says."""
