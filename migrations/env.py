"""Alembic's entry: `feedsvc.store.sql.migrate` hands over a connection; nothing is configured by file."""

from alembic import context

from feedsvc.store.sql.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite changes a column by copying its table
    compare_server_default=False,
)
with context.begin_transaction():
    context.run_migrations()
