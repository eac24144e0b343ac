"""The daemon: sockets, processes and signals. It reads nothing of the areas but what the application gives it."""
