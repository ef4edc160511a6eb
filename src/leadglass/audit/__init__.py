"""The ledger: who did what, when, from where, under which rule.

Trusts: the database's transaction. Refuses: a record above 60 kB, and any change of what was written. Rows live in
the same database and transaction as what they witness; tiles and checkpoints are derived.

    with database.write() as connection:
        receipt, = append(connection, [Entry(event=Event.STORED, ...)])
"""

from leadglass.audit.entry import Entry, Event, Outcome
from leadglass.audit.log import LogRow, append, read_rows, tree_head
from leadglass.audit.verify import Verification, verify_ledger, write_checkpoint

__all__ = [
    "Entry", "Event", "LogRow", "Outcome", "Verification", "append", "read_rows", "tree_head", "verify_ledger",
    "write_checkpoint",
]
