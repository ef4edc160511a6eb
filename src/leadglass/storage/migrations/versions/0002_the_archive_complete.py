"""Life of a study (tasks, rejections, retention, holds, scrub), storage commitment, values inside sequences."""

import sqlalchemy as sa
from alembic import op

from leadglass.storage import tables as t

revision = "0002"
down_revision = "0001"

_NEW = ("tasks", "rejections", "rejection_targets", "holds", "retention_rules", "scrub_runs", "findings", "commitments",
        "sequence_values")


def upgrade() -> None:
    """Add the tables and columns. Quarantined objects of 0001 had no head to choose them by: they stay held."""
    connection = op.get_bind()
    for name in _NEW:
        t.metadata.tables[name].create(connection)
    op.add_column("studies", sa.Column("attributes", sa.Text(), nullable=False, server_default="{}"))
    op.add_column("series", sa.Column("attributes", sa.Text(), nullable=False, server_default="{}"))
    op.add_column("instances", sa.Column("rejection", sa.BigInteger().with_variant(sa.Integer(), "sqlite")))
    op.add_column("devices", sa.Column("port", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("quarantine", sa.Column("task", sa.BigInteger().with_variant(sa.Integer(), "sqlite")))
    op.add_column("quarantine", sa.Column("state", sa.Text(), nullable=False, server_default="held"))
    op.add_column("quarantine", sa.Column("head", sa.Text(), nullable=False, server_default="{}"))
    op.add_column("quarantine", sa.Column("purge_at", sa.Float()))
    op.create_index("quarantine_task", "quarantine", ["task"], unique=False)
    op.create_index("quarantine_share", "quarantine", ["source", "length"], unique=False)
    op.create_index("quarantine_purge", "quarantine", ["purge_at"], unique=False)
    op.create_index("quarantine_study", "quarantine", ["study_uid"], unique=False)
