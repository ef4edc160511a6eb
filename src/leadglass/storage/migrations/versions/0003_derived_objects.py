"""Objects that are made from stored instances: metadata of a series, copies in another syntax, previews."""

from alembic import op

from leadglass.storage import tables as t

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the table; it starts empty, since what it names is made when it is wanted."""
    t.derived_objects.create(op.get_bind())
