"""Lists show what may be read: over random worlds, scope() gives the rows that the policy permits one by one, no others."""

from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_house import subject

from leadglass.access.search_scope import midnight, scope, study_resource
from leadglass.policy import load_policy
from leadglass.storage import tables as t
from leadglass.terms import Action, Assurance, Plane, Resource, ResourceKind, Role, Subject, SubjectKind

NOW = 1_790_000_000.0
SITES, REFERRERS = ("main", "north"), ("", "house gregory", "wilson james")
TIMES = (NOW, NOW - 1, midnight(NOW), midnight(NOW) - 0.001, midnight(NOW) + 0.001, NOW - 86400, 0.0)
DEVICES = (Role.MODALITY, Role.WORKSTATION, Role.PACS)

studies = st.lists(st.tuples(st.sampled_from(SITES), st.sampled_from(REFERRERS), st.sampled_from(TIMES), st.sampled_from(("", "\\CT\\", "\\MR\\"))),
                   max_size=8)
people = st.builds(
    lambda roles, assurance, referring: subject(*roles, assurance=assurance, referring=referring),
    st.sets(st.sampled_from(sorted(Role))), st.sampled_from(sorted(Assurance)), st.sampled_from(REFERRERS))
devices = st.builds(
    lambda role, plane, may: replace(subject(role, kind=SubjectKind.DEVICE, plane=plane, assurance=Assurance.DEVICE), may_query_in_clear=may),
    st.sampled_from(DEVICES), st.sampled_from((Plane.DIMSE, Plane.DIMSE_TLS)), st.booleans())
others = st.sampled_from((
    subject(Role.SERVICE, kind=SubjectKind.CLIENT), subject(Role.OPERATOR, kind=SubjectKind.LOCAL, plane=Plane.LOCAL),
    subject(Role.CHORE, kind=SubjectKind.SYSTEM, plane=Plane.LOCAL), subject("king"), subject()))
subjects = st.one_of(people, devices, others)
SETTINGS = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory):
    return load_policy(tmp_path_factory.mktemp("none"))


@pytest.fixture(scope="module")
def connection():
    engine = sa.create_engine("sqlite://")
    t.metadata.create_all(engine, [t.studies])
    with engine.connect() as opened:
        yield opened
    engine.dispose()


def fill(connection: sa.Connection, world: list[tuple[str, str, float, str]]) -> list[Any]:
    connection.execute(sa.delete(t.studies))
    for number, (site, referrer, received, modalities) in enumerate(world):
        connection.execute(sa.insert(t.studies).values(
            study_uid=f"1.2.{number}", patient_id=f"P{number}", site=site, referring_physician_key=referrer, received_at=received,
            changed_at=received, modalities=modalities))
    return list(connection.execute(sa.select(t.studies)))


def listed(connection: sa.Connection, who: Subject, site: str = "main") -> set[str]:
    return set(connection.execute(sa.select(t.studies.c.study_uid).where(scope(who, site=site, now=NOW))).scalars())


@SETTINGS
@given(world=studies, who=subjects, site=st.sampled_from(SITES))
def test_the_list_is_what_may_be_read_row_by_row(policy, connection, world, who, site) -> None:
    rows = fill(connection, world)
    permitted = {row.study_uid for row in rows
                 if policy.decide(who, Action.STUDY_READ, study_resource(row.study_uid, row, NOW), site=site, now=NOW).is_permitted}
    assert listed(connection, who, site) == permitted


@SETTINGS
@given(world=studies, who=subjects, site=st.sampled_from(SITES))
def test_who_may_not_search_may_not_read_either(policy, connection, world, who, site) -> None:
    fill(connection, world)
    may_search = policy.decide(who, Action.STUDY_SEARCH, Resource(kind=ResourceKind.ARCHIVE), site=site, now=NOW).is_permitted
    assert may_search or not listed(connection, who, site)


@SETTINGS
@given(world=studies, who=people, role=st.sampled_from(sorted(Role)))
def test_one_role_more_never_shows_less(connection, world, who, role) -> None:
    fill(connection, world)
    assert listed(connection, who) <= listed(connection, replace(who, roles=who.roles | {role}))


@SETTINGS
@given(world=studies, who=people)
def test_more_assurance_never_shows_less(connection, world, who) -> None:
    fill(connection, world)
    seen = [listed(connection, replace(who, assurance=level)) for level in sorted(Assurance)]
    assert seen[0] <= seen[1] <= seen[2]


@SETTINGS
@given(world=studies, who=devices)
def test_tls_or_an_exception_never_shows_a_device_less(connection, world, who) -> None:
    fill(connection, world)
    bare = listed(connection, replace(who, peer=replace(who.peer, plane=Plane.DIMSE), may_query_in_clear=False))
    assert bare == set()
    for better in (replace(who, may_query_in_clear=True), replace(who, peer=replace(who.peer, plane=Plane.DIMSE_TLS))):
        assert listed(connection, who) <= listed(connection, better)


def test_the_property_is_not_empty(connection) -> None:
    fill(connection, [("main", "house gregory", NOW, ""), ("main", "", 0.0, ""), ("north", "", NOW, "")])
    assert listed(connection, subject(Role.TECHNOLOGIST)) == {"1.2.0"}
    assert listed(connection, subject(Role.TECHNOLOGIST), "north") == {"1.2.2"}
    assert listed(connection, subject(Role.REFERRING, referring="house gregory")) == {"1.2.0"}
    assert len(listed(connection, subject(Role.RADIOLOGIST))) == 3
    assert listed(connection, subject(Role.ADMINISTRATOR)) == set()
