"""The benchmark: Millpond beside nginx and other caches, on the machine at hand (``make bench``).

Pure parts (`model`, `stats`, `wrk`'s reading, `targets`, `report`, `compare`) are apart from what starts servers and
loads them (`servers`, `loads`, `clients`), so that what a figure means is tested without measuring anything.
"""
