"""Verify the ledger: every record against its commitment, every commitment against the tree, the tree against
the checkpoints that were signed outside the database.

Steps: 1 indices run 0, 1, 2... without a gap; 2 record and salt give the leaf hash; 3 the columns that searches use
say what the record says; 4 the tree over all leaves has the kept root; 5 each signed checkpoint is a prefix.
Left to the caller: comparing with a checkpoint that someone else keeps.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from leadglass.audit.entry import commitment_entry
from leadglass.audit.log import tree_head
from leadglass.crypto.merkle import Edge, leaf_hash
from leadglass.crypto.signing import Signer, Verifier
from leadglass.errors import LeadglassError
from leadglass.storage.tables import ledger

__all__ = ["Verification", "checkpoint_body", "verify_ledger", "write_checkpoint"]

_PAGE = 2000
_MAX_FINDINGS = 50


@dataclass
class Verification:
    """What was found: size, root, and the damage in words that carry no patient's data."""

    size: int = 0
    root: bytes = b""
    erased: int = 0
    checkpoints: int = 0
    findings: list[str] = field(default_factory=list)

    def add(self, finding: str) -> None:
        """Keep a finding; past 50 only the count matters."""
        if len(self.findings) < _MAX_FINDINGS:
            self.findings.append(finding)


def checkpoint_body(origin: str, size: int, root: bytes) -> str:
    """Return the text of a checkpoint. Ref: C2SP tlog-checkpoint."""
    import base64

    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"


def write_checkpoint(connection: sa.Connection, signer: Signer, origin: str, directory: Path) -> int:
    """Sign the present tree head into `directory/checkpoint-<size>` and return the size."""
    size, root = tree_head(connection)
    directory.mkdir(mode=0o700, exist_ok=True)
    path = directory / f"checkpoint-{size:012d}"
    if size and not path.exists():
        temporary = path.with_suffix(".new")
        temporary.write_text(signer.sign(checkpoint_body(origin, size, root)), "utf-8")
        temporary.replace(path)
    return size


def verify_ledger(connection: sa.Connection, verifier: Verifier, origin: str, checkpoints: Path) -> Verification:
    """Return what steps 1-5 found; an empty findings list means that nothing was changed, cut or reordered."""
    report = Verification()
    claimed: dict[int, tuple[str, str]] = {}
    for path in sorted(checkpoints.glob("checkpoint-*")) if checkpoints.is_dir() else []:
        if path.suffix:
            continue
        try:
            body = verifier.open(path.read_text("utf-8"))
            name, signed_size, signed_root = body.splitlines()[:3]
            if name != origin:
                report.add(f"{path.name}: signed for another log")
                continue
            claimed[int(signed_size)] = (signed_root, path.name)
        except (LeadglassError, ValueError, UnicodeDecodeError):
            report.add(f"{path.name}: signature does not verify")
    edge = Edge.from_bytes(b"", 0)
    expected = 0
    last = -1
    while True:
        rows = connection.execute(
            sa.select(ledger).where(ledger.c.index > last).order_by(ledger.c.index).limit(_PAGE)
        ).all()
        if not rows:
            break
        for row in rows:
            last = int(row[0])
            if last != expected:  # step 1
                report.add(f"entry {expected}: missing")
                expected = last
            _verify_row(row, report)
            edge.append(row.leaf_hash)
            expected += 1
            _compare(edge, expected, claimed, report)
    report.size, report.root = expected, edge.root()
    kept = tree_head(connection)
    if kept != (report.size, report.root):  # step 4
        report.add(f"tree head: kept for {kept[0]} entries, {report.size} found, or their hashes differ")
    for size, (_, name) in claimed.items():  # step 5: a signed size that the ledger no longer reaches
        report.add(f"{name}: signed for {size} entries, the ledger ends at {report.size}")
    return report


def _compare(edge: Edge, size: int, claimed: dict[int, tuple[str, str]], report: Verification) -> None:
    """Step 5: at each signed size the root must be the signed one."""
    import base64

    if size in claimed:
        root, name = claimed.pop(size)
        report.checkpoints += 1
        if base64.b64encode(edge.root()).decode() != root:
            report.add(f"{name}: the first {size} entries are not those that were signed")


def _verify_row(row: "sa.Row[tuple[object, ...]]", report: Verification) -> None:
    if row.record is None or row.salt is None:
        report.erased += 1
        return
    if leaf_hash(commitment_entry(row.salt, row.record)) != row.leaf_hash:  # step 2
        report.add(f"entry {row[0]}: the record is not the one that was committed")
        return
    record = json.loads(row.record)
    same = (
        record["event"] == row.event and record["action"] == row.action and record["outcome"] == row.outcome
        and record["subject"]["id"] == row.subject and record["subject"]["name"] == row.subject_name
        and record["study"] == row.study_uid and record["patient"] == row.patient_id
    )
    if not same:  # step 3
        report.add(f"entry {row[0]}: its search columns do not say what the record says")
