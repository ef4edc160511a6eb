"""The golden table: what each role may do, in full. A change of a policy shows here as a change of this table."""

from dataclasses import replace
from pathlib import Path

import pytest
from small_house import subject

from leadglass.errors import Malformed
from leadglass.policy import load_policy
from leadglass.terms import Action, Assurance, Plane, Resource, ResourceKind, Role, SubjectKind

A = Action
SELF = {A.CONSOLE_USE, A.SELF_READ, A.SELF_SIGN_IN, A.SELF_SIGN_OUT}
ADMIN = {
    A.PERSON_ADD, A.PERSON_CONFIRM, A.PERSON_DISABLE, A.PERSON_ENROL, A.PERSON_LIST, A.DEVICE_ADD, A.DEVICE_ECHO, A.DEVICE_ISSUE, A.DEVICE_LIST,
    A.DEVICE_REVOKE, A.CLIENT_ADD, A.CLIENT_LIST, A.CLIENT_REVOKE, A.CLIENT_TOKEN, A.AUDIT_READ, A.AUDIT_STUDY_READ, A.AUDIT_VERIFY,
    A.KEY_STATUS, A.SYSTEM_CHECK, A.SYSTEM_SCRUB, A.HOLD_LIST, A.HOLD_SET, A.REJECTION_LIFT, A.RETENTION_LIST, A.RETENTION_SET,
    A.TASK_LIST, A.TASK_SETTLE, A.STUDY_DELETE,
}
FRESH = {A.HOLD_SET, A.REJECTION_LIFT, A.RETENTION_SET, A.TASK_SETTLE, A.STUDY_DELETE}  # a person's proof is at most 5 minutes old
DEVICE = {A.INSTANCE_STORE, A.DICOM_VERIFY, A.INSTANCE_COMMIT}
TABLE = {
    Role.ADMINISTRATOR: ADMIN | SELF,
    Role.RADIOLOGIST: SELF | {A.STUDY_SEARCH, A.STUDY_READ, A.STUDY_EXPORT, A.AUDIT_STUDY_READ},
    Role.TECHNOLOGIST: SELF | {A.STUDY_SEARCH, A.INSTANCE_STORE, A.INSTANCE_REJECT},
    Role.REFERRING: SELF | {A.STUDY_SEARCH},
    Role.PRIVACY_OFFICER: SELF | {A.AUDIT_READ, A.AUDIT_STUDY_READ, A.AUDIT_VERIFY, A.HOLD_LIST, A.HOLD_SET, A.RETENTION_LIST},
    Role.SECURITY_OFFICER: SELF | {A.DEVICE_ECHO, A.DEVICE_LIST, A.DEVICE_REVOKE, A.PERSON_LIST, A.PERSON_DISABLE, A.KEY_STATUS, A.SYSTEM_CHECK,
                                   A.AUDIT_VERIFY},
    Role.RESEARCHER: SELF,
    Role.MODALITY: DEVICE, Role.WORKSTATION: DEVICE, Role.PACS: DEVICE,
    Role.SERVICE: {A.INSTANCE_STORE, A.INSTANCE_REJECT, A.STUDY_SEARCH, A.STUDY_READ, A.STUDY_EXPORT},
    Role.OPERATOR: ADMIN | {A.INSTANCE_STORE, A.INSTANCE_REJECT, A.SYSTEM_SERVE},
    Role.CHORE: {A.SYSTEM_SERVE, A.SYSTEM_SCRUB, A.AUDIT_VERIFY, A.STUDY_DELETE, A.TASK_LIST, A.INSTANCE_COMMIT},
}
KINDS = {
    Role.MODALITY: SubjectKind.DEVICE, Role.WORKSTATION: SubjectKind.DEVICE, Role.PACS: SubjectKind.DEVICE,
    Role.SERVICE: SubjectKind.CLIENT, Role.OPERATOR: SubjectKind.LOCAL, Role.CHORE: SubjectKind.SYSTEM,
}
RESOURCES = {
    A.STUDY_READ: ResourceKind.STUDY, A.AUDIT_STUDY_READ: ResourceKind.STUDY, A.INSTANCE_STORE: ResourceKind.ARCHIVE,
    A.STUDY_SEARCH: ResourceKind.ARCHIVE, A.DICOM_VERIFY: ResourceKind.ARCHIVE, A.AUDIT_READ: ResourceKind.LEDGER,
    A.AUDIT_VERIFY: ResourceKind.LEDGER, A.INSTANCE_COMMIT: ResourceKind.ARCHIVE, A.RETENTION_LIST: ResourceKind.ARCHIVE,
    A.RETENTION_SET: ResourceKind.ARCHIVE, A.TASK_LIST: ResourceKind.ARCHIVE, A.TASK_SETTLE: ResourceKind.ARCHIVE,
    A.HOLD_LIST: ResourceKind.STUDY, A.HOLD_SET: ResourceKind.STUDY, A.INSTANCE_REJECT: ResourceKind.STUDY,
    A.REJECTION_LIFT: ResourceKind.STUDY, A.STUDY_DELETE: ResourceKind.STUDY, A.STUDY_EXPORT: ResourceKind.STUDY,
    A.STUDY_SEND: ResourceKind.STUDY,
}
BY_WORD = {"clients": ResourceKind.CLIENT, "devices": ResourceKind.DEVICE, "people": ResourceKind.PERSON}


def _resource(action: Action, **facts: str | bool) -> Resource:
    kind = RESOURCES.get(action) or BY_WORD.get(str(action).split(":")[0], ResourceKind.SYSTEM)
    return Resource(kind=kind, id="1.2.3" if kind is ResourceKind.STUDY else "", facts=facts)


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory):
    return load_policy(tmp_path_factory.mktemp("none"))


def test_the_table_names_every_role() -> None:
    assert set(TABLE) == set(Role)


@pytest.mark.parametrize("role", sorted(TABLE))
def test_each_role_may_do_this_and_nothing_else(policy, role: Role) -> None:
    kind = KINDS.get(role, SubjectKind.PERSON)
    plane = Plane.LOCAL if kind in {SubjectKind.LOCAL, SubjectKind.SYSTEM} else Plane.WEB
    who = subject(role, kind=kind, plane=plane)
    permitted = {a for a in Action if policy.decide(who, a, _resource(a), site="main", now=0.0).is_permitted}
    assert permitted == TABLE[role]


@pytest.mark.parametrize("role", sorted(TABLE))
def test_five_minutes_after_the_proof_nothing_is_deleted_or_settled(policy, role: Role) -> None:
    kind = KINDS.get(role, SubjectKind.PERSON)
    who = subject(role, kind=kind, plane=Plane.LOCAL if kind in {SubjectKind.LOCAL, SubjectKind.SYSTEM} else Plane.WEB)
    stale = {a for a in Action if policy.decide(who, a, _resource(a), site="main", now=301.0).is_permitted}
    assert stale == (TABLE[role] - FRESH if kind is SubjectKind.PERSON else TABLE[role])


@pytest.mark.parametrize(("role", "plane", "may_query_in_clear", "is_permitted"), [
    (Role.WORKSTATION, Plane.DIMSE_TLS, False, True), (Role.PACS, Plane.DIMSE_TLS, False, True),
    (Role.WORKSTATION, Plane.DIMSE, False, False), (Role.WORKSTATION, Plane.DIMSE, True, True),
    (Role.PACS, Plane.DIMSE, True, True), (Role.MODALITY, Plane.DIMSE_TLS, True, False), (Role.MODALITY, Plane.DIMSE, True, False),
])
def test_devices_read_and_reject_over_tls_or_by_a_dated_exception(policy, role, plane, may_query_in_clear, is_permitted) -> None:
    who = replace(subject(role, kind=SubjectKind.DEVICE, plane=plane), may_query_in_clear=may_query_in_clear)
    for action in (A.STUDY_SEARCH, A.STUDY_READ, A.STUDY_SEND, A.INSTANCE_REJECT):
        assert policy.decide(who, action, _resource(action), site="main").is_permitted is is_permitted


@pytest.mark.parametrize("is_own", [True, False])
def test_a_modality_rejects_nothing_but_its_own(policy, is_own: bool) -> None:
    who = subject(Role.MODALITY, kind=SubjectKind.DEVICE, plane=Plane.DIMSE)
    found = policy.decide(who, A.INSTANCE_REJECT, _resource(A.INSTANCE_REJECT, is_own=is_own), site="main")
    assert found.is_permitted is is_own


def test_deny_is_the_default(policy) -> None:
    for who in (subject(), subject("king"), subject(kind=SubjectKind.DEVICE)):
        for action in Action:
            decision = policy.decide(who, action, _resource(action), site="main")
            assert not decision.is_permitted or action in SELF or action is A.DICOM_VERIFY


def test_one_factor_may_do_nothing(policy) -> None:
    for role in Role:
        who = subject(role, assurance=Assurance.DEVICE)
        assert not [a for a in Action if policy.decide(who, a, _resource(a), site="main").is_permitted]


def test_the_command_line_is_local_only(policy) -> None:
    who = subject(Role.OPERATOR, kind=SubjectKind.LOCAL, plane=Plane.WEB)
    assert not [a for a in Action if policy.decide(who, a, _resource(a), site="main").is_permitted]


@pytest.mark.parametrize(("role", "referring", "facts", "is_permitted"), [
    (Role.TECHNOLOGIST, "", {"received_today": True, "site": "main"}, True),
    (Role.TECHNOLOGIST, "", {"received_today": False, "site": "main"}, False),
    (Role.TECHNOLOGIST, "", {"received_today": True, "site": "north"}, False),
    (Role.REFERRING, "house gregory", {"referring_name": "house gregory"}, True),
    (Role.REFERRING, "house gregory", {"referring_name": "wilson james"}, False),
    (Role.REFERRING, "", {"referring_name": ""}, False),
])
def test_reading_follows_the_facts_of_the_study(policy, role: Role, referring: str, facts: dict, is_permitted: bool) -> None:
    who = subject(role, referring=referring)
    assert policy.decide(who, A.STUDY_READ, _resource(A.STUDY_READ, **facts), site="main").is_permitted is is_permitted


@pytest.mark.parametrize("text", [
    '@id("x") permit (principal, action == Action::"no:such:action", resource);',
    '@id("x") permit (principal, action, resource) when { principal.shoeSize > 3 };',
    "permit (principal, action, resource);",
    '@id("radiologist-reads") permit (principal, action, resource);',
    "this is no policy",
])
def test_a_site_file_that_is_not_understood_stops_the_start(tmp_path: Path, text: str) -> None:
    (tmp_path / "site.cedar").write_text(text)
    with pytest.raises(Malformed, match=r"site\.cedar"):
        load_policy(tmp_path)


def test_a_site_may_forbid_what_is_permitted(tmp_path: Path) -> None:
    (tmp_path / "site.cedar").write_text(
        '@id("no-web-reading") @says("x") forbid (principal, action == Action::"archive:study:read", resource) '
        'when { context.plane == "web" };')
    found = load_policy(tmp_path).decide(subject(Role.RADIOLOGIST), A.STUDY_READ, _resource(A.STUDY_READ), site="main")
    assert not found.is_permitted
    assert found.rule == "no-web-reading"
