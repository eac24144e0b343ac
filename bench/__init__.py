"""Measurements, side by side in one run: ratios to nginx where it is installed."""
