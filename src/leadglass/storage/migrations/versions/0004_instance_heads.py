"""Headers of instances that came lately: what the metadata of their series is made of, in one read."""

from alembic import op

from leadglass.storage import tables as t

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the table; it is filled by what comes, and emptied again by who makes metadata of it."""
    t.instance_heads.create(op.get_bind())
