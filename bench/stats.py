"""Medians, spreads, percentiles and ratios. PURE."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence


def median(values: Sequence[float]) -> float:
    """Give the middle value. Raises `ValueError` where there is none."""
    if not values:
        raise ValueError("there is no value to take the median of")
    return statistics.median(values)


def spread(values: Sequence[float]) -> float:
    """Give (largest - smallest) / median; 0 for one value, and where the median is 0."""
    middle = median(values)
    return (max(values) - min(values)) / abs(middle) if middle else 0.0


def percentile(values: Sequence[float], share: float) -> float:
    """Give the value that `share` (0 to 1) of all values do not exceed: the nearest rank, no interpolation.

    Raises `ValueError` without values, or for a share outside 0 to 1.
    """
    if not values or not 0 <= share <= 1:
        raise ValueError(f"no percentile {share} of {len(values)} values")
    return sorted(values)[max(math.ceil(share * len(values)), 1) - 1]


def ratios(values: Sequence[float], base: Sequence[float]) -> list[float]:
    """Give value / base for each round; empty where the base has none, or is 0.

    Neighbours in time share what the machine was doing, so their ratio is steadier than that of two medians. Where a
    round is missing on one side nobody knows which are neighbours: then it is the one ratio of the medians.
    """
    if not values or not base or not all(base):
        return []
    if len(values) != len(base):
        return [median(values) / median(base)]
    return [value / other for value, other in zip(values, base, strict=True)]
