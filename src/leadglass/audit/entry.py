r"""A ledger entry: canonical bytes of a record, and the salted commitment that the Merkle tree holds.

Entry (what the tree hashes) = UTF-8 of `leadglass-entry-v1\n` + hex(SHA-256(salt || record)) + `\n`. The record and
its salt can be erased under law while every proof stays valid, and nobody can guess a record from its commitment.
Format: docs/reference/ledger-format.md.
"""

import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

from leadglass.crypto.merkle import leaf_hash
from leadglass.terms import Action, Subject

__all__ = ["Entry", "Event", "Outcome", "canonical", "commitment_entry", "seal"]

_SALT_BYTES = 32
_MAX_RECORD = 60_000  # an entry of tlog-tiles is below 64 KiB; records stay below it too


class Event:
    """What kind of thing happened. Append only; a code is never reused. Ref: DICOM PS3.15 A.5.3."""

    DECISION = "decision"  # the door said yes or no
    OUTCOME = "outcome"  # a view ended: counts
    STORED = "stored"  # instances became durable
    SEARCHED = "searched"  # a query was answered
    AUTHENTICATION = "authentication"  # sign-in, association, token: success or failure
    CHANGE = "change"  # people, devices, clients, keys
    SYSTEM = "system"  # start, stop, scrub, findings
    ALERT = "alert"  # something a person must look at
    DELETED = "deleted"  # a study, or a series of it, is gone for good. Ref: PS3.15 A.5.3.8, 110105
    EXPORTED = "exported"  # a study left as a file: begun, and how it ended. Ref: PS3.15 A.5.3.4, 110106


class Outcome:
    """How it ended. Ref: PS3.15 EventOutcomeIndicator 0, 4, 8."""

    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One thing that happened, ready to be appended."""

    event: str
    action: Action
    outcome: str
    subject: Subject
    study_uid: str = ""
    patient_id: str = ""
    rule: str = ""
    details: dict[str, Any] = field(default_factory=dict)  # JSON values only


@dataclass(frozen=True)
class Sealed:
    """Canonical bytes with their salt and RFC 6962 leaf hash."""

    record: bytes
    salt: bytes
    leaf_hash: bytes


def canonical(entry: Entry, time: float) -> bytes:
    """Return the one byte string of an entry: JSON, keys sorted, no spaces, UTF-8."""
    who = entry.subject
    record: dict[str, Any] = {
        "v": 1, "time": round(time, 6), "event": entry.event, "action": str(entry.action), "outcome": entry.outcome,
        "rule": entry.rule, "study": entry.study_uid, "patient": entry.patient_id,
        "subject": {
            "id": who.id, "name": who.name, "kind": str(who.kind), "roles": sorted(who.roles),
            "assurance": int(who.assurance), "factors": list(who.factors), "session": who.session_id,
            "authenticated_at": round(who.authenticated_at, 3),
        },
        "peer": {
            "plane": str(who.peer.plane), "address": who.peer.address, "certificate": who.peer.certificate_sha256,
            "tunnel": who.peer.tunnel_peer,
        },
        "details": entry.details,
    }
    if who.acting_for is not None:
        client = who.acting_for
        record["acting_for"] = {
            "id": client.id, "name": client.name, "kind": str(client.kind), "roles": sorted(client.roles),
            "factors": list(client.factors),
        }
    data = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
    if len(data) > _MAX_RECORD:
        raise ValueError("ledger record too large; the caller must bound its details")
    return data


def commitment_entry(salt: bytes, record: bytes) -> bytes:
    """Return what the tree hashes for a record."""
    return b"leadglass-entry-v1\n" + hashlib.sha256(salt + record).hexdigest().encode() + b"\n"


def seal(entry: Entry, time: float) -> Sealed:
    """Return the canonical record, a fresh salt, and the leaf hash over the commitment."""
    record = canonical(entry, time)
    salt = secrets.token_bytes(_SALT_BYTES)
    return Sealed(record, salt, leaf_hash(commitment_entry(salt, record)))
