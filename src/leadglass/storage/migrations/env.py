"""Alembic's entry: run the scripts on the connection that storage/migrate.py hands over."""

from alembic import context

from leadglass.storage.tables import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=False
)
context.run_migrations()
