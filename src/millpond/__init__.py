"""Millpond: a delivery daemon that keeps delivering when its upstreams fail."""

__version__ = "0.1.0"
