"""Index rows of studies, series and instances, written inside the caller's transaction."""

import json
from typing import Any

import sqlalchemy as sa

from leadglass.archive.further import keep, models_of
from leadglass.archive.ingest import Outcome, OutcomeKind, Staged
from leadglass.archive.life.quarantine import Quarantine
from leadglass.archive.life.rejections import REJECTED, find_rejection, recount_study, take_again
from leadglass.archive.life.tasks import Place, join_task
from leadglass.archive.names import fold, listed
from leadglass.dicom.part10 import Attributes
from leadglass.storage import tables as t

__all__ = ["index_staged", "names_of", "series_values", "study_values"]

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
_FIND_INSTANCE = sa.select(_i.id, _i.digest, _i.rejection, _i.study, _s.study_uid, _s.patient_id).join_from(
    t.instances, t.studies, _i.study == _s.id).where(_i.sop_instance_uid == _b("uid"))
_FIND_STUDY = sa.select(
    _s.id, _s.patient_id, _s.issuer_of_patient_id, _s.patient_name_key, _s.patient_birth_date,
).where(_s.study_uid == _b("uid"))
_FIND_SERIES = sa.select(_e.id, _e.instance_count).where(_e.study == _b("of"), _e.series_uid == _b("uid"))
_GROW_STUDY = sa.update(t.studies).where(_s.id == _b("of")).values(
    instance_count=_s.instance_count + 1, changed_at=_b("now"))
_GROW_SERIES = sa.update(t.series).where(_e.id == _b("of")).values(instance_count=_e.instance_count + 1)
_ADD_INSTANCE = sa.insert(t.instances)


def index_staged(connection: sa.Connection, staged: Staged, now: float, site: str, quarantine: Quarantine) -> Outcome:
    """Index one staged instance and return what became of it.

    The same SOP Instance UID with the same digest is a duplicate; with another digest it goes to quarantine, and what
    is stored stays as it is. A new instance whose patient is another than the study's is shown, and a task says so; one
    that a rejection note names already is kept and not shown. Ref: PS3.4 B.2.3; IHE RAD TF-3 4.66.
    """
    head = staged.head
    known = connection.execute(_FIND_INSTANCE, {"uid": head.sop_instance_uid}).first()
    if known is not None and known.digest == staged.digest:
        is_rejected = known.rejection is not None and not take_again(connection, known)
        return _outcome(staged, OutcomeKind.DUPLICATE, drop=staged.object_name, warning=REJECTED if is_rejected else "")
    if known is not None:
        return quarantine.hold(staged, study_uid=known.study_uid, patient_id=known.patient_id)
    rejection = find_rejection(connection, head.sop_instance_uid, staged.source)
    study, differs = _study(connection, staged, now, site)
    series = _series(connection, staged, study)
    a = head.attributes
    added = connection.execute(_ADD_INSTANCE, {
        "study": study, "series": series, "sop_instance_uid": head.sop_instance_uid,
        "sop_class_uid": head.sop_class_uid, "transfer_syntax_uid": head.transfer_syntax_uid,
        "instance_number": a.instance_number, "rows": a.rows, "columns": a.columns, "bits_allocated": a.bits_allocated,
        "frames": a.frames, "object_name": staged.object_name, "length": staged.length,
        "dataset_offset": head.dataset_offset, "pixel_offset": head.pixel_offset, "digest": staged.digest,
        "source": staged.source, "received_at": now, "rejection": rejection,
    })
    if rejection is not None:
        recount_study(connection, study, now)
    task = _identity_task(connection, staged, differs, now, quarantine.days) if differs else 0
    return _outcome(
        staged, OutcomeKind.STORED, warning="" if rejection is None else REJECTED, task=task, differs=differs,
        instance=int(added.inserted_primary_key[0]))  # type: ignore[index]


def _outcome(
    staged: Staged, kind: OutcomeKind, *, drop: str = "", warning: str = "", task: int = 0, differs: tuple[str, ...] = (),
    instance: int = 0,
) -> Outcome:
    head = staged.head
    return Outcome(
        sop_class_uid=head.sop_class_uid, sop_instance_uid=head.sop_instance_uid, study_uid=head.study_uid, kind=kind,
        drop=drop, warning=warning, task=task, differs=differs, instance=instance,
    )


def _contradictions(row: Any, a: Attributes) -> tuple[str, ...]:
    """Return the keywords in which a new instance names another patient than its study; what is empty says nothing."""
    pairs = (
        ("PatientID", row.patient_id, a.patient_id), ("IssuerOfPatientID", row.issuer_of_patient_id, a.issuer_of_patient_id),
        ("PatientName", row.patient_name_key, fold(a.patient_name) if a.patient_name else ""),
        ("PatientBirthDate", row.patient_birth_date, a.patient_birth_date),
    )
    return tuple(keyword for keyword, old, new in pairs if old and new and old != new)


def _identity_task(connection: sa.Connection, staged: Staged, differs: tuple[str, ...], now: float, days: int) -> int:
    """Return the task that says: an instance joined this study and names another patient."""
    head = staged.head
    place = Place(study_uid=head.study_uid, patient_id=head.attributes.patient_id, source=staged.source, kind="identity",
                  facts={"keywords": dict.fromkeys(differs, 1), "_instance": head.sop_instance_uid})
    return join_task(connection, place, now=now, days=days)


def names_of(a: Any) -> dict[str, str]:
    """Return the person names of a study's columns by keyword. Args: a: Attributes, or a row of studies."""
    return {"PatientName": a.patient_name, "ReferringPhysicianName": a.referring_physician_name}


def study_values(a: Attributes) -> dict[str, Any]:
    """Return the columns of a study that an instance gives."""
    return {name: getattr(a, name) for name in _STUDY} | {
        "patient_name_key": fold(a.patient_name), "referring_physician_key": fold(a.referring_physician_name),
    }


def series_values(a: Attributes) -> dict[str, Any]:
    """Return the columns of a series that an instance gives."""
    return {name: getattr(a, name) for name in _SERIES}


def _study(connection: sa.Connection, staged: Staged, now: float, site: str) -> tuple[int, tuple[str, ...]]:
    """Return (the study's id, what the instance contradicts); a new one takes its attributes from the first instance."""
    a, s = staged.head.attributes, t.studies
    row = connection.execute(_FIND_STUDY, {"uid": staged.head.study_uid}).first()
    if row is None:
        model, _ = models_of(staged.head)
        added = connection.execute(sa.insert(s).values(
            **study_values(a), attributes=json.dumps(model), study_uid=staged.head.study_uid, modalities="", site=site,
            series_count=0, instance_count=1, received_at=now, changed_at=now,
        ))
        new = int(added.inserted_primary_key[0])  # type: ignore[index]
        keep(connection, new, None, model, names=names_of(a))
        return new, ()
    connection.execute(_GROW_STUDY, {"of": row.id, "now": now})
    return int(row.id), _contradictions(row, a)


def _series(connection: sa.Connection, staged: Staged, study: int) -> int:
    a, s = staged.head.attributes, t.series
    row = connection.execute(_FIND_SERIES, {"of": study, "uid": staged.head.series_uid}).first()
    if row is not None:
        connection.execute(_GROW_SERIES, {"of": row.id})
        if row.instance_count == 0:  # all that it had was rejected: it is shown again
            _count_in(connection, study, a.modality)
        return int(row.id)
    _, model = models_of(staged.head)
    found = connection.execute(sa.insert(s).values(
        **series_values(a), attributes=json.dumps(model), study=study, series_uid=staged.head.series_uid, instance_count=1))
    new = int(found.inserted_primary_key[0])  # type: ignore[index]
    keep(connection, study, new, model)
    _count_in(connection, study, a.modality)
    return new


def _count_in(connection: sa.Connection, study: int, modality: str) -> None:
    """Count one more shown series of a study, with its modality."""
    # A study's modalities are those of its series, as in a recount: a series has one. Ref: PS3.3 C.7.3.1.
    there = connection.execute(sa.select(_s.modalities).where(_s.id == study)).scalar_one()
    connection.execute(sa.update(t.studies).where(_s.id == study).values(
        series_count=_s.series_count + 1, modalities=listed([*there.split("\\"), modality])))
