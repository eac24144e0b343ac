"""All outside I/O of the areas, a file per counterpart. Only the composition root names an adapter."""
