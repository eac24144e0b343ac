"""Load drivers that are processes of their own, so that they can be pinned and never share our interpreter."""
