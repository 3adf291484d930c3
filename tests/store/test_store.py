from __future__ import annotations

import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from opintel.store import Store, open_store, sqlite_url
from opintel.store import schema as t


@pytest.fixture
def url(tmp_path: Path) -> str:
    return sqlite_url(tmp_path / "a folder" / "store.db")


def revision(store: Store) -> str:
    with store.read() as connection:
        return str(connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar())


def test_the_migrated_schema_is_that_of_the_tables(url: str) -> None:
    store = open_store(url)
    assert revision(store) == t.HEAD
    with store.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, t.metadata) == []
        indexes = {i["name"] for name in t.metadata.tables for i in sa.inspect(connection).get_indexes(name)}
    assert {i.name for table in t.metadata.tables.values() for i in table.indexes} <= indexes
    store.close()


def test_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", "opintel.store:migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == t.HEAD


def test_opening_again_keeps_what_is_there_and_loads_no_alembic(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(url)
    with store.write() as connection:
        connection.execute(sa.insert(t.position).values(consumer="c", position=2**62))
    store.close()
    monkeypatch.setattr("opintel.store.database._migrate", lambda _: pytest.fail("migrated again"))
    store = open_store(url)
    with store.read() as connection:
        assert connection.execute(sa.select(t.position.c.position)).scalar() == 2**62
    store.close()


def test_a_store_of_a_newer_build_is_refused_in_words(url: str) -> None:
    store = open_store(url)
    with store.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    store.close()
    with pytest.raises(RuntimeError, match=f"not one this build knows .*{t.HEAD}"):
        open_store(url)


def test_several_may_open_an_empty_store_at_once(url: str) -> None:
    failures: list[BaseException] = []

    def run() -> None:
        try:
            open_store(url).close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_commits_are_durable_and_readers_do_not_wait(url: str) -> None:
    store = open_store(url)
    with store.write() as writer:
        writer.execute(sa.insert(t.position).values(consumer="c", position=1))
        with store.read() as reader:
            assert reader.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
            assert reader.exec_driver_sql("PRAGMA synchronous").scalar() == 2
            assert reader.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
            assert reader.execute(sa.select(t.position)).all() == []
    store.close()


def test_a_failed_transaction_leaves_nothing(url: str) -> None:
    store = open_store(url)

    def fail() -> None:
        with store.write() as connection:
            connection.execute(sa.insert(t.position).values(consumer="c", position=1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with store.read() as connection:
        assert connection.execute(sa.select(t.position)).all() == []
    store.close()


def test_the_tables_can_be_made_in_postgresql() -> None:
    for table in t.metadata.sorted_tables:
        made = str(CreateTable(table).compile(dialect=postgresql.dialect()))
        assert made.strip().startswith(f"CREATE TABLE {table.name}")
        for index in table.indexes:
            assert "CREATE INDEX" in str(CreateIndex(index).compile(dialect=postgresql.dialect()))
