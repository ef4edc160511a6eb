"""What the door gives out: Receipt (a durable place in the ledger) and Grant."""

from dataclasses import dataclass

from leadglass.terms.people import Subject
from leadglass.terms.requests import Action, Resource

__all__ = ["Grant", "Receipt"]


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """A durable, sequenced ledger entry. Having one means the record is on disk."""

    index: int  # 0-based, no gaps
    leaf_hash: bytes  # RFC 6962 leaf hash of the salted commitment


@dataclass(frozen=True, kw_only=True)
class Grant:
    """One subject, one action, one resource, for minutes. Made only by access/door.py.

    A Grant is no bearer token: `Door.check` must still find its epoch current before each answer and chunk.
    """

    subject: Subject
    action: Action
    resource: Resource
    receipt: Receipt
    expires_at: float  # Unix seconds
    epoch: int  # the revocation epoch under which it was made
