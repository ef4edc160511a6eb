"""Shared nouns: frozen dataclasses and enums, nothing else.

A request is handed from room to room and gains one of these in each: Peer (network), Subject (identity),
Decision (policy), Receipt (audit), Grant (door). Imports nothing of the house.
"""

from leadglass.terms.grants import Grant, Receipt
from leadglass.terms.people import Assurance, Peer, Plane, Role, Subject, SubjectKind
from leadglass.terms.requests import Action, Decision, Resource, ResourceKind

__all__ = [
    "Action",
    "Assurance",
    "Decision",
    "Grant",
    "Peer",
    "Plane",
    "Receipt",
    "Resource",
    "ResourceKind",
    "Role",
    "Subject",
    "SubjectKind",
]
