"""Alembic's environment: runs on the connection, and in the transaction, that `opintel.store.database` hands over."""

from alembic import context

from opintel.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
