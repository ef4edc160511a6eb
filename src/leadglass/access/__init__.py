"""The single witnessed door, and what lies behind it as faces may see it.

Trusts: network, identity, policy, archive and audit, each for its one purpose. Refuses: any way to bytes or rows
without a Grant. Only `access/door.py` makes a Grant; only `access/entrance.py` makes a Subject.

    subject = house.entrance.bearer(token, peer)
    grant = house.operations.study(subject, study_uid)          # decided, recorded, durable
    for row in house.operations.locate(grant):
        yield from house.operations.stream_instance(grant, row)  # checked before each piece
"""

from leadglass.access.commitments import Commitment
from leadglass.access.door import NeedsProof
from leadglass.access.house import House
from leadglass.access.operations import ARCHIVE
from leadglass.access.reconciliation import TASKS
from leadglass.access.sending import Destination, Selected, Sending
from leadglass.archive.commitment import Examined
from leadglass.archive.ingest import Outcome, OutcomeKind, Staged
from leadglass.archive.retrieve import InstanceRow
from leadglass.archive.search import SearchQuery, is_matched
from leadglass.archive.search_headers import UNREAD, is_in_header
from leadglass.archive.search_keys import COUNTS, SEARCHABLE
from leadglass.archive.search_rows import is_given
from leadglass.audit import LogRow

__all__ = [
    "ARCHIVE", "COUNTS", "SEARCHABLE", "TASKS", "UNREAD", "Commitment", "Destination", "Examined", "House", "InstanceRow",
    "LogRow", "NeedsProof", "Outcome", "OutcomeKind", "SearchQuery", "Selected", "Sending", "Staged", "is_given", "is_in_header",
    "is_matched",
]
