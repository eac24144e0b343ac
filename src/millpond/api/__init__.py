"""HTTP in and out, nothing else: requests become values, answers become responses."""
