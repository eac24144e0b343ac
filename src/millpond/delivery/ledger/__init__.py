"""The ledger: what delivery knows, in one database, each write one named transaction."""
