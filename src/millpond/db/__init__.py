"""The database: SQLAlchemy Core over SQLite (WAL), opened by several processes at once.

Functions that take a connection are handed to `Database.read` and `Database.write`; nothing here blocks the event loop,
and nothing above needs to know which engine is beneath. Invariants:

- Reads are snapshots; writes are IMMEDIATE transactions, one at a time over all processes.
- A function given to `write` may be run more than once (its batch was rolled back, the database was busy, the disk was
  full and room was made), and then only its last run counts: what it does outside the database must bear that.
- The schema is at head before anything reads; a database of a newer Millpond is refused.
"""

from __future__ import annotations

from millpond.db.backups import Restored, newest_good_backup, restore
from millpond.db.database import Database
from millpond.db.sqlite import Damaged, quick_check

__all__ = ["Damaged", "Database", "Restored", "newest_good_backup", "quick_check", "restore"]
