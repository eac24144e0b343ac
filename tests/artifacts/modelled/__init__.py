"""The model of the cache, in parts: things, world, what is expected, how it is checked, clients, events."""
