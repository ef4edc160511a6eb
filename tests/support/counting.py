"""Work for a second process: importable there, however the tests were started."""

from pathlib import Path

import sqlalchemy as sa

from leadglass.storage import tables as t
from leadglass.storage.database import Database


def count_up(path: Path, key: bytes, times: int) -> None:
    """Raise the epoch `times` times, one transaction each."""
    database = Database(path, key)
    for _ in range(times):
        with database.write() as connection:
            value = connection.execute(sa.select(t.epoch.c.value)).scalar_one()
            connection.execute(sa.update(t.epoch).values(value=value + 1))
    database.close()
