"""The loads, a group to a file; each gives samples."""

from bench.loads.base import Group
from bench.loads.beside import BESIDE
from bench.loads.delivery import DELIVERY
from bench.loads.entries import ENTRIES
from bench.loads.hits import HITS
from bench.loads.images import IMAGE
from bench.loads.memory import MEMORY
from bench.loads.misses import HERD, MISSES
from bench.loads.prepull import PREPULL
from bench.loads.startup import STARTUP
from bench.loads.turns import TURNS

GROUPS: tuple[Group, ...] = (HITS, MISSES, HERD, BESIDE, MEMORY, IMAGE, STARTUP, TURNS, ENTRIES, PREPULL, DELIVERY)
