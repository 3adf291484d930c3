"""Findings, alerts, incidents and their history in SQL: SQLite by default, PostgreSQL one URL away.

The alert service, the clustering service and operators' actions write, the console and the command line read through
`opintel.store.queries`, `opintel.store.clusters`, `opintel.store.before` and `opintel.store.backfills`.
"""

from opintel.store.database import Store, open_store, sqlite_url

__all__ = ["Store", "open_store", "sqlite_url"]
