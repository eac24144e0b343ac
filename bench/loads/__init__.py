"""The loads, a group to a file; each gives samples."""

from bench.loads.base import Group
from bench.loads.hits import HITS
from bench.loads.misses import HERD, MISSES

GROUPS: tuple[Group, ...] = (HITS, MISSES, HERD)
