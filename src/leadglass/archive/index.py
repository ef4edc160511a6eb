"""Index rows of studies, series and instances, written inside the caller's transaction."""

import json

import sqlalchemy as sa

from leadglass.archive.further import keep, models_of
from leadglass.archive.ingest import Outcome, OutcomeKind, Staged
from leadglass.archive.names import fold
from leadglass.storage import tables as t

__all__ = ["index_staged"]

_STUDY = (
    "patient_id", "issuer_of_patient_id", "patient_name", "patient_birth_date", "patient_sex", "study_date",
    "study_time", "accession_number", "study_id", "study_description", "referring_physician_name",
)
_SERIES = (
    "modality", "series_number", "series_description", "series_date", "series_time", "body_part", "station_name",
    "pps_start_date", "pps_start_time",
)
# Made once: to build a statement costs more than to run it, and these run for every instance.
_b, _s, _e, _i = sa.bindparam, t.studies.c, t.series.c, t.instances.c
_FIND_INSTANCE = sa.select(_i.digest).where(_i.sop_instance_uid == _b("uid"))
_FIND_STUDY = sa.select(_s.id, _s.modalities).where(_s.study_uid == _b("uid"))
_FIND_SERIES = sa.select(_e.id).where(_e.study == _b("of"), _e.series_uid == _b("uid"))
_GROW_STUDY = sa.update(t.studies).where(_s.id == _b("of")).values(
    instance_count=_s.instance_count + 1, changed_at=_b("now"), modalities=_b("found"))
_GROW_SERIES = sa.update(t.series).where(_e.id == _b("of")).values(instance_count=_e.instance_count + 1)
_ADD_INSTANCE = sa.insert(t.instances)


def index_staged(connection: sa.Connection, staged: Staged, now: float, site: str) -> Outcome:
    """Index one staged instance and return what became of it.

    The same SOP Instance UID with the same digest is a duplicate; with another digest it goes to quarantine, and what
    is stored stays as it is. Ref: PS3.4 B.2.3 (0x0111).
    """
    head = staged.head
    known = connection.execute(_FIND_INSTANCE, {"uid": head.sop_instance_uid}).first()
    if known is not None:
        if known.digest == staged.digest:
            return _outcome(staged, OutcomeKind.DUPLICATE, drop=staged.object_name)
        return _quarantine(connection, staged, now)
    study = _study(connection, staged, now, site)
    series = _series(connection, staged, study)
    a = head.attributes
    connection.execute(_ADD_INSTANCE, {
        "study": study, "series": series, "sop_instance_uid": head.sop_instance_uid,
        "sop_class_uid": head.sop_class_uid, "transfer_syntax_uid": head.transfer_syntax_uid,
        "instance_number": a.instance_number, "rows": a.rows, "columns": a.columns, "bits_allocated": a.bits_allocated,
        "frames": a.frames, "object_name": staged.object_name, "length": staged.length,
        "dataset_offset": head.dataset_offset, "pixel_offset": head.pixel_offset, "digest": staged.digest,
        "source": staged.source, "received_at": now,
    })
    return _outcome(staged, OutcomeKind.STORED)


def _outcome(staged: Staged, kind: OutcomeKind, *, drop: str = "") -> Outcome:
    head = staged.head
    return Outcome(
        sop_class_uid=head.sop_class_uid, sop_instance_uid=head.sop_instance_uid, study_uid=head.study_uid, kind=kind,
        drop=drop,
    )


def _quarantine(connection: sa.Connection, staged: Staged, now: float) -> Outcome:
    q = t.quarantine.c
    uid = staged.head.sop_instance_uid
    if connection.execute(sa.select(q.id).where(q.sop_instance_uid == uid, q.digest == staged.digest)).first():
        return _outcome(staged, OutcomeKind.CONFLICT, drop=staged.object_name)
    connection.execute(sa.insert(t.quarantine).values(
        sop_instance_uid=uid, study_uid=staged.head.study_uid, object_name=staged.object_name, length=staged.length,
        digest=staged.digest, reason="other content under a SOP Instance UID that is stored", source=staged.source,
        received_at=now,
    ))
    return _outcome(staged, OutcomeKind.CONFLICT)


def _study(connection: sa.Connection, staged: Staged, now: float, site: str) -> int:
    """Return the study's id; a new one takes its attributes from the first instance."""
    a, s = staged.head.attributes, t.studies
    row = connection.execute(_FIND_STUDY, {"uid": staged.head.study_uid}).first()
    mark = f"\\{a.modality}\\" if a.modality else ""
    if row is None:
        values = {name: getattr(a, name) for name in _STUDY}
        model, _ = models_of(staged.head)
        added = connection.execute(sa.insert(s).values(
            **values, attributes=json.dumps(model), study_uid=staged.head.study_uid, patient_name_key=fold(a.patient_name),
            referring_physician_key=fold(a.referring_physician_name), modalities=mark, site=site, series_count=0,
            instance_count=1, received_at=now, changed_at=now,
        ))
        new = int(added.inserted_primary_key[0])  # type: ignore[index]
        keep(connection, new, None, model, names={
            "PatientName": a.patient_name, "ReferringPhysicianName": a.referring_physician_name})
        return new
    found = row.modalities
    if mark and mark not in found:
        found = "\\" + "\\".join(sorted({*found.strip("\\").split("\\"), a.modality} - {""})) + "\\"
    connection.execute(_GROW_STUDY, {"of": row.id, "now": now, "found": found})
    return int(row.id)


def _series(connection: sa.Connection, staged: Staged, study: int) -> int:
    a, s = staged.head.attributes, t.series
    row = connection.execute(_FIND_SERIES, {"of": study, "uid": staged.head.series_uid}).first()
    if row is not None:
        connection.execute(_GROW_SERIES, {"of": row.id})
        return int(row.id)
    values = {name: getattr(a, name) for name in _SERIES}
    _, model = models_of(staged.head)
    found = connection.execute(sa.insert(s).values(
        **values, attributes=json.dumps(model), study=study, series_uid=staged.head.series_uid, instance_count=1))
    new = int(found.inserted_primary_key[0])  # type: ignore[index]
    keep(connection, study, new, model)
    connection.execute(
        sa.update(t.studies).where(t.studies.c.id == study).values(series_count=t.studies.c.series_count + 1)
    )
    return new
