"""Boards: what the columns mean, what is remembered of them, and a board of the daemon's own."""
