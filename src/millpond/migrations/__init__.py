"""The schema's history, run by Alembic at open (see `millpond.db.schema`); each migration is one transaction."""
