"""The entry point of Alembic. `feedsvc.store.sql.migrate` passes the connection."""

from alembic import context

from feedsvc.store.sql.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite changes a column by copying the table
    compare_server_default=False,
)
with context.begin_transaction():
    context.run_migrations()
