"""Decisions: facts in, orders out. PURE."""
