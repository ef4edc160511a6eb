"""The schema's versions: Alembic scripts, applied in order, on either engine.

`is_current` is one SELECT and does not load Alembic, so that a normal start does not pay for it.
"""

from pathlib import Path

import sqlalchemy as sa

from leadglass.errors import Conflict
from leadglass.storage.database import Database

__all__ = ["HEAD", "is_current", "migrate"]

HEAD = "0004"
_SCRIPTS = Path(__file__).parent / "migrations"


def is_current(database: Database) -> bool:
    """Return whether the schema is at HEAD."""
    try:
        with database.read() as connection:
            return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar() == HEAD
    except sa.exc.DatabaseError:
        return False


def migrate(database: Database) -> None:
    """Bring the schema to HEAD. Raises: Conflict, when it is of a newer Leadglass."""
    from alembic import command
    from alembic.config import Config
    from alembic.util.exc import CommandError

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    with database.engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as e:
            connection.rollback()
            raise Conflict("the index was written by a newer Leadglass; install that version again.") from e
        connection.commit()
