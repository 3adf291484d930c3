"""Opening the store: engine, transactions, migrations.

`open_store` brings the schema up to date (quickly when it is), `Store.write` is one transaction that excludes other
writers, `Store.read` a consistent view. `opintel.alerts` writes through them, `opintel.store.queries` reads.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from opintel.store.schema import HEAD

BUSY_MS = 30_000
"""How long a writer waits for another one."""


class Store:
    """A store. Threads may share it; a transaction belongs to one thread.

    Its schema is brought up to date before the first transaction. A database that is away, locked or refuses raises
    sqlalchemy.exc.DBAPIError, and the next transaction tries again.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self._current, self._preparing = False, threading.Lock()

    def prepare(self) -> None:
        """Brings its schema up to date, once. Raises RuntimeError where it is newer than this build knows."""
        if self._current:
            return
        with self._preparing:
            if not self._current and _revision(self.engine) != HEAD:
                _migrate(self.engine)
            self._current = True

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """One transaction: all of it or nothing. On SQLite it holds the write lock from its first statement on."""
        self.prepare()
        with self.engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A consistent view, which never waits for a writer on SQLite (WAL)."""
        self.prepare()
        with _view(self.engine) as connection:
            yield connection

    def close(self) -> None:
        """Closes idle connections."""
        self.engine.dispose()


def open_store(url: str, *, now: bool = True) -> Store:
    """The store at a SQLAlchemy URL, its schema brought up to date; without `now` when it is first asked for something.

    A SQLite file and its folder are made where they are missing. Raises sqlalchemy.exc.OperationalError where the
    database cannot be opened, RuntimeError where its schema is newer than this build knows.
    """
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:"):
        Path(str(parsed.database)).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(parsed)
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
    store = Store(engine)
    try:
        if now:
            store.prepare()
    except BaseException:
        engine.dispose()
        raise
    return store


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file."""
    return sa.URL.create("sqlite", database=str(path.absolute())).render_as_string(hide_password=False)


@contextmanager
def _view(engine: sa.Engine) -> Iterator[sa.Connection]:
    with engine.connect() as connection, connection.execution_options(opintel_read=True).begin():
        yield connection


def _revision(engine: sa.Engine) -> str | None:
    with _view(engine) as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def _migrate(engine: sa.Engine) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", "opintel.store:migrations")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise RuntimeError(f"the store's schema is not one this build knows (it knows {HEAD}): {error}") from error


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # Transactions are begun by `_begin_sqlite`, not by the driver, which would begin them at the first write.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={BUSY_MS}", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: sa.Connection) -> None:
    reading = connection.get_execution_options().get("opintel_read", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
