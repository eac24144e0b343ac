"""Fakes and conformance kits that are shipped, for our tests and for those of third-party formats and adapters."""
