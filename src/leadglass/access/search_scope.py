"""Which rows a subject may see, as one SQL condition. What one may not see is not found.

Each clause is the SQL twin of a rule in policy/shipped; tests/access/test_search_scope.py holds the two together over
random worlds. A subject without a reading role gets no rows, never all.
"""

import time
from dataclasses import replace
from datetime import datetime

import sqlalchemy as sa

from leadglass.storage import tables as t
from leadglass.terms import Assurance, Plane, Resource, ResourceKind, Role, Subject, SubjectKind

__all__ = ["midnight", "scope", "study_resource"]


def midnight(now: float) -> float:
    """Return the Unix time at which the local day of `now` began."""
    return datetime.fromtimestamp(now).astimezone().replace(hour=0, minute=0, second=0, microsecond=0).timestamp()


def scope(subject: Subject, *, site: str, now: float | None = None) -> "sa.ColumnElement[bool]":
    """Return the condition on `studies` that holds for exactly the rows the policy permits to be read.

    A device that acts for a client sees what both may see.
    """
    if subject.acting_for is not None:
        both = (replace(subject, acting_for=None), subject.acting_for)
        return sa.and_(*(scope(one, site=site, now=now) for one in both))
    s = t.studies.c
    if subject.kind is SubjectKind.PERSON and subject.assurance < Assurance.AAL2:  # people-need-two-factors
        return sa.false()
    if subject.roles & {Role.RADIOLOGIST, Role.SERVICE}:  # radiologist-reads, service-reads
        return sa.true()
    if subject.roles & {Role.WORKSTATION, Role.PACS}:  # workstations-read-over-tls, ...-in-clear-by-exception
        plane = subject.peer.plane
        if plane is Plane.DIMSE_TLS or (plane is Plane.DIMSE and subject.may_query_in_clear):
            return sa.true()
    clauses: list[sa.ColumnElement[bool]] = []
    if Role.TECHNOLOGIST in subject.roles:  # technologist-reads-today
        day = midnight(time.time() if now is None else now)
        clauses.append(sa.and_(s.received_at >= day, s.site == site))
    if Role.REFERRING in subject.roles and subject.referring_name:  # referring-reads-own
        clauses.append(s.referring_physician_key == subject.referring_name)
    return sa.or_(*clauses) if clauses else sa.false()


def study_resource(study_uid: str, row: "sa.Row[tuple[object, ...]] | None", now: float) -> Resource:
    """Return the policy's view of a study row; a study that is not there has no facts, so that only its absence shows."""
    if row is None:
        return Resource(kind=ResourceKind.STUDY, id=study_uid)
    return Resource(
        kind=ResourceKind.STUDY, id=study_uid, patient_id=row.patient_id,
        facts={
            "modalities": row.modalities, "referring_name": row.referring_physician_key, "site": row.site,
            "received_today": row.received_at >= midnight(now), "since": int(row.received_at * 1e6),
        },
    )
