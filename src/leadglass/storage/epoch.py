"""The revocation epoch: raised in each transaction that takes something away from someone."""

import sqlalchemy as sa

from leadglass.storage.tables import epoch

__all__ = ["raise_epoch"]


def raise_epoch(connection: sa.Connection) -> None:
    """Raise the epoch by one, in the caller's write transaction."""
    connection.execute(sa.update(epoch).where(epoch.c.id == 0).values(value=epoch.c.value + 1))
