"""From an issue on a board to a healthy deployment: one level-triggered engine, its decisions and its records."""
