"""Append to the ledger inside the caller's transaction, and read it back.

Trusts: the database's single writer. An append has its index at once and is durable when the transaction is.
Unsafe to rely on: a Receipt before its transaction has committed.
"""

import json
import time as clock
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from leadglass.audit.entry import Entry, seal
from leadglass.crypto.merkle import Edge
from leadglass.errors import Damaged
from leadglass.storage.tables import ledger, ledger_head
from leadglass.terms import Receipt

__all__ = ["LogRow", "append", "read_rows", "tree_head"]


@dataclass(frozen=True)
class LogRow:
    """One entry as read back."""

    index: int
    time: float
    leaf_hash: bytes
    record: dict[str, Any]


def append(connection: sa.Connection, entries: Sequence[Entry]) -> list[Receipt]:
    """Append `entries` in order and return their receipts, durable with the caller's transaction.

    Raises: Damaged, when the ledger has no head (the database is not a Leadglass index).
    Ref: RFC 6962 2.1; tree edge kept, so that an append costs O(log n) hashes.
    """
    head = connection.execute(sa.select(ledger_head.c.size, ledger_head.c.edge).where(ledger_head.c.id == 0)).first()
    if head is None:
        raise Damaged("the ledger has no head; restore the database from a backup.")
    edge = Edge.from_bytes(head.edge, head.size)
    now = clock.time()
    rows, receipts = [], []
    for number, entry in enumerate(entries):
        sealed = seal(entry, now)
        edge.append(sealed.leaf_hash)
        index = head.size + number
        rows.append({
            "index": index, "leaf_hash": sealed.leaf_hash, "salt": sealed.salt, "record": sealed.record, "time": now,
            "event": entry.event, "action": str(entry.action), "outcome": entry.outcome, "subject": entry.subject.id,
            "subject_name": entry.subject.name, "study_uid": entry.study_uid, "patient_id": entry.patient_id,
        })
        receipts.append(Receipt(index=index, leaf_hash=sealed.leaf_hash))
    connection.execute(sa.insert(ledger), rows)
    connection.execute(
        sa.update(ledger_head).where(ledger_head.c.id == 0).values(size=head.size + len(rows), edge=edge.to_bytes())
    )
    return receipts


def tree_head(connection: sa.Connection) -> tuple[int, bytes]:
    """Return (size, RFC 6962 root hash) of the ledger."""
    head = connection.execute(sa.select(ledger_head.c.size, ledger_head.c.edge).where(ledger_head.c.id == 0)).one()
    return head.size, Edge.from_bytes(head.edge, head.size).root()


def read_rows(
    connection: sa.Connection, *, study_uid: str | None = None, subject_name: str | None = None,
    events: Sequence[str] = (), limit: int = 500, before_index: int | None = None,
) -> Iterator[LogRow]:
    """Give rows newest first, at most `limit` (1-5000)."""
    query = sa.select(ledger).order_by(ledger.c.index.desc()).limit(max(1, min(limit, 5000)))
    if study_uid is not None:
        query = query.where(ledger.c.study_uid == study_uid)
    if subject_name is not None:
        query = query.where(ledger.c.subject_name == subject_name)
    if events:
        query = query.where(ledger.c.event.in_(list(events)))
    if before_index is not None:
        query = query.where(ledger.c.index < before_index)
    for row in connection.execute(query):
        record = json.loads(row.record) if row.record is not None else {"erased": True}
        yield LogRow(int(row[0]), row.time, row.leaf_hash, record)
