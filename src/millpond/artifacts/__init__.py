"""The pond: what is cached and kept, and how it is served."""
