"""The same instance, sent again, mends an object that is damaged or lost.

Only the same content does: the digest of the data set as received is compared before this is asked. What is whole stays as
it is, and the second copy is dropped as before.
"""

from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from leadglass.archive.heads import forget_heads
from leadglass.storage import tables as t
from leadglass.storage.epoch import raise_epoch

if TYPE_CHECKING:
    from leadglass.archive.ingest import Staged
    from leadglass.storage.blobs import BlobStore

__all__ = ["mend"]

_i, _f = t.instances.c, t.findings.c
_FIND: Final = sa.select(_i.id, _i.object_name, _i.length).where(
    _i.sop_instance_uid == sa.bindparam("uid"), _i.digest == sa.bindparam("digest"))
_IS_FOUND: Final = sa.select(_f.id).where(_f.object_name == sa.bindparam("name"), _f.state == "open")


def mend(connection: sa.Connection, blobs: "BlobStore", staged: "Staged") -> str:
    """Put a duplicate's object in the place of the kept one, if that has an open finding or is not there as it should be.

    Runs in the caller's transaction, after archive.index has called it a duplicate.
    Returns: the name of the object that is not needed any more; "" when the kept one is whole as far as is known.
    """
    row = connection.execute(_FIND, {"uid": staged.head.sop_instance_uid, "digest": staged.digest}).first()
    if row is None or row.object_name == staged.object_name:
        return ""
    found = connection.execute(_IS_FOUND, {"name": row.object_name}).first()
    if found is None and blobs.is_there(row.object_name, row.length):
        return ""
    head = staged.head
    forget_heads(connection, [row.id])  # it counts in the old object
    connection.execute(sa.update(t.instances).where(_i.id == row.id).values(
        object_name=staged.object_name, length=staged.length, dataset_offset=head.dataset_offset,
        pixel_offset=head.pixel_offset, transfer_syntax_uid=head.transfer_syntax_uid))
    connection.execute(sa.update(t.findings).where(
        _f.object_name == row.object_name, _f.state == "open").values(state="mended"))
    raise_epoch(connection)  # what any process keeps in memory names the old object
    return str(row.object_name)
