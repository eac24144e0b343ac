"""The composition root: it alone knows which adapter serves which port. Nothing is imported by its name alone."""
