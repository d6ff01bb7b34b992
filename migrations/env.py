"""Runs the migrations on a connection that qmrunner hands over (`qmrunner.store.schema`)."""

from alembic import context

from qmrunner.store.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
