"""The same instance with other content is kept, sorted, decided and undone; nothing acknowledged is lost before its day."""

import copy
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from small_house import ct_slice, part10, put, small_house

from leadglass.access import ARCHIVE, SearchQuery
from leadglass.access.reconcile_chores import ReconcileChores
from leadglass.errors import Conflict, Malformed, Missing
from leadglass.storage import tables as t
from leadglass.terms import Action, Peer, Plane

DAY = 86400.0
SYNTAXES = Path(__file__).resolve().parents[3] / "shared" / "data" / "syntaxes"


@pytest.fixture
def house(tmp_path: Path):
    with small_house(tmp_path) as opened:
        yield opened


@pytest.fixture
def me(house):
    return house.entrance.local("tester")


@pytest.fixture
def reader(house, me):
    house.administration.clients_add(me, "reader", "service")
    token, _ = house.administration.clients_token(me, "reader", seconds=600)
    return house.entrance.bearer(token, Peer(plane=Plane.WEB, address="127.0.0.1"))


def changed(ds, **attributes):
    other = copy.deepcopy(ds)
    for name, value in attributes.items():
        setattr(other, name, value)
    return other


def chores(house, *, after_days: float = 0.0) -> ReconcileChores:
    return ReconcileChores(house.database, house.door, house.archive, clock=lambda: time.time() + after_days * DAY)


def sort(house) -> int:
    return chores(house).sort(house.entrance.system("chores"), seconds=60)


def tasks(house, me) -> list[dict]:
    return house.reconciliation.tasks(me)


def found(house, reader) -> dict:
    (row,) = house.operations.search(reader, SearchQuery(filters={"PatientID": "*"}))
    return row


def pixels_of(house, reader, study: str) -> bytes:
    grant = house.operations.study(reader, study)
    (row,) = house.operations.locate(grant)
    return house.operations.frame(grant, row, 1, want_raw=True)[1]


def objects(house) -> set[str]:
    return set(house.archive.blobs.names())


@pytest.mark.parametrize(("change", "kind", "keywords"), [
    ({"PatientName": "Corrected^Name"}, "demographics", {"PatientName": 1}),
    ({"AccessionNumber": "ACC2", "PatientBirthDate": "19710101"}, "demographics", {"AccessionNumber": 1, "PatientBirthDate": 1}),
    ({"SliceThickness": "2"}, "content", {"SliceThickness": 1}),
    ({"PhotometricInterpretation": "MONOCHROME1"}, "content", {"PhotometricInterpretation": 1}),
    ({"SpecificCharacterSet": "ISO_IR 192"}, "reencoded", {}),
    ({"PixelData": bytes(64 * 64 * 2)}, "content", {}),
    ({"PatientName": "Corrected^Name", "PixelData": bytes(64 * 64 * 2)}, "content", {"PatientName": 1}),
    ({"SeriesInstanceUID": "1.2.3.4"}, "content", {"SeriesInstanceUID": 1}),
])
def test_a_version_is_sorted_by_what_differs(house, me, change, kind, keywords) -> None:
    ds = ct_slice()
    put(house, ds)
    (outcome,) = put(house, changed(ds, **change))
    assert (str(outcome.kind), outcome.warning) == ("conflict", "held for reconciliation")
    (task,) = tasks(house, me)
    assert (task["kind"], task["instances"]) == ("unsorted", 1)
    assert sort(house) == 1
    (task,) = tasks(house, me)
    assert (task["kind"], task["instances"], task["facts"]["keywords"]) == (kind, 1, keywords)
    assert task["facts"]["other_pixels"] == ("PixelData" in change)
    assert round((task["due_at"] - task["opened_at"]) / DAY) == 7
    assert sort(house) == 0


@pytest.mark.filterwarnings("ignore")
def test_a_value_in_another_character_set_is_the_same_value(house, me) -> None:
    ds = ct_slice(PatientName="Müller^Jörg", SpecificCharacterSet="ISO_IR 100")
    put(house, ds, changed(ds, SpecificCharacterSet="ISO_IR 192"))
    sort(house)
    assert [task["kind"] for task in tasks(house, me)] == ["reencoded"]


@pytest.mark.corpus
def test_one_image_in_many_transfer_syntaxes_is_one_task(house, me) -> None:
    files = sorted((SYNTAXES / "ctimage-16").glob("*.dcm"))
    assert files, "../shared/data holds no ctimage-16"
    outcomes = [put(house, f.read_bytes())[0] for f in files]
    held = [o for o in outcomes if str(o.kind) == "conflict"]
    assert len(held) == 8
    sort(house)
    (task,) = tasks(house, me)
    assert (task["kind"], task["instances"]) == ("reencoded", 1)
    assert len(task["facts"]["syntaxes"]) == 8


def test_a_series_sent_again_is_one_task_and_counts_instances(house, me) -> None:
    first = ct_slice()
    slices = [first, *[ct_slice(study=first.StudyInstanceUID, series=first.SeriesInstanceUID, number=n) for n in range(2, 7)]]
    put(house, *slices)
    put(house, *[changed(ds, PatientName="New^Name") for ds in slices])
    put(house, *[changed(ds, PatientName="New^Name") for ds in slices])  # and once more: nothing new
    put(house, changed(first, PatientName="Other^Variant"))
    sort(house)
    (task,) = tasks(house, me)
    assert (task["kind"], task["instances"], task["facts"]["keywords"]) == ("demographics", 6, {"PatientName": 7})
    assert len(house.reconciliation.task(me, task["id"])["versions"]) == 7


def test_accepted_it_is_found_read_and_counted(house, me, reader) -> None:
    first = ct_slice()
    slices = [first, *[ct_slice(study=first.StudyInstanceUID, series=first.SeriesInstanceUID, number=n) for n in (2, 3)]]
    put(house, *slices)
    put(house, *[changed(ds, PatientName="New^Name", ReferringPhysicianName="House^Gregory") for ds in slices])
    sort(house)
    (task,) = tasks(house, me)
    before = objects(house)
    assert house.reconciliation.accept(me, task["id"], "wrong worklist entry") == {
        "task": task["id"], "state": "accepted", "instances": 3}
    row = found(house, reader)
    assert (row["PatientName"], row["NumberOfStudyRelatedInstances"]) == ("New^Name", 3)
    assert house.operations.search(reader, SearchQuery(filters={"PatientName": "new*", "ReferringPhysicianName": "house*"}))
    assert not house.operations.search(reader, SearchQuery(filters={"PatientName": "Test*"}))
    grant = house.operations.study(reader, first.StudyInstanceUID)
    for instance in house.operations.locate(grant):
        model = house.operations.metadata(grant, instance, lambda p: p)
        assert model["00100010"]["Value"] == [{"Alphabetic": "New^Name"}]
    assert objects(house) == before
    assert house.keeping.scrubbing.run(me)["findings"] == []
    with pytest.raises(Conflict):
        house.reconciliation.accept(me, task["id"], "once more")
    versions = house.reconciliation.task(me, task["id"])["versions"]
    assert {(v["state"], round((v["purge_at"] - time.time()) / DAY)) for v in versions} == {("superseded", 30)}


def test_a_decision_is_recorded_with_reason_and_digests_and_no_value(house, me) -> None:
    ds = ct_slice()
    put(house, ds, changed(ds, PatientName="New^Name"))
    sort(house)
    (task,) = tasks(house, me)
    house.reconciliation.accept(me, task["id"], "asked the ward")
    rows = [r.record for r in house.ledger_reader.search(me, study_uid=ds.StudyInstanceUID, events=["change"])]
    (record,) = [r for r in rows if r["action"] == "archive:task:settle"]
    details = record["details"]
    assert (details["task"], details["kind"], details["what"], details["reason"]) == (
        task["id"], "demographics", "accepted", "asked the ward")
    assert details["objects"][0][0] == ds.SOPInstanceUID
    assert "New" not in str(rows)
    for bad in ("", "  ", "ab", "x" * 301):
        with pytest.raises(Malformed):
            house.reconciliation.dismiss(me, task["id"], bad)


def test_undone_all_is_as_it_was(house, me, reader) -> None:
    ds = ct_slice()
    put(house, ds)
    before = found(house, reader)
    put(house, changed(ds, PatientName="New^Name", PixelData=bytes(64 * 64 * 2), SeriesInstanceUID="1.2.3.4", Modality="MR"))
    sort(house)
    (task,) = tasks(house, me)
    house.reconciliation.accept(me, task["id"], "for a try")
    after = found(house, reader)
    assert (after["PatientName"], after["ModalitiesInStudy"], after["NumberOfStudyRelatedSeries"]) == ("New^Name", ["MR"], 1)
    assert pixels_of(house, reader, ds.StudyInstanceUID) == bytes(64 * 64 * 2)
    house.reconciliation.undo(me, task["id"], "it was right before")
    assert found(house, reader) == before
    assert pixels_of(house, reader, ds.StudyInstanceUID) == ds.PixelData
    (again,) = tasks(house, me)
    assert (again["id"], again["state"], again["instances"]) == (task["id"], "open", 1)
    house.reconciliation.accept(me, task["id"], "after all")
    assert found(house, reader)["PatientName"] == "New^Name"


def test_dismissed_it_stays_hidden_and_comes_back_by_undo(house, me, reader) -> None:
    ds, other = ct_slice(), None
    other = changed(ds, PatientName="New^Name")
    put(house, ds, other)
    sort(house)
    (task,) = tasks(house, me)
    house.reconciliation.dismiss(me, task["id"], "sent in error")
    assert tasks(house, me) == []
    (outcome,) = put(house, other)  # known, and decided against: no new task
    assert (str(outcome.kind), outcome.warning) == ("conflict", "kept apart: this version was decided against")
    assert tasks(house, me) == []
    house.reconciliation.undo(me, task["id"])
    house.reconciliation.accept(me, task["id"], "it was right")
    assert found(house, reader)["PatientName"] == "New^Name"


def test_a_later_decision_must_be_undone_first(house, me, reader) -> None:
    ds = ct_slice()
    put(house, ds, changed(ds, PatientName="Second^Name"))
    sort(house)
    (first,) = tasks(house, me)
    house.reconciliation.accept(me, first["id"], "the second")
    put(house, changed(ds, PatientName="Third^Name"))
    sort(house)
    (second,) = tasks(house, me)
    house.reconciliation.accept(me, second["id"], "the third")
    with pytest.raises(Conflict):
        house.reconciliation.undo(me, first["id"])
    house.reconciliation.undo(me, second["id"])
    house.reconciliation.undo(me, first["id"])
    assert found(house, reader)["PatientName"] == "Test^Phantom"


def test_what_else_is_held_is_compared_anew_with_what_is_shown_now(house, me) -> None:
    ds = ct_slice()
    put(house, ds, changed(ds, SpecificCharacterSet="ISO_IR 192"), changed(ds, PatientName="New^Name"))
    sort(house)
    kinds = {task["kind"]: task["id"] for task in tasks(house, me)}
    assert set(kinds) == {"reencoded", "demographics"}
    house.reconciliation.accept(me, kinds["demographics"], "corrected")
    sort(house)
    (task,) = tasks(house, me)
    assert task["kind"] == "demographics"  # another encoding of the old name is no re-encoding of the new one


def test_what_lost_is_deleted_after_its_last_day_and_not_under_a_hold(house, me, reader) -> None:
    ds = ct_slice()
    put(house, ds, changed(ds, PatientName="New^Name"))
    sort(house)
    (task,) = tasks(house, me)
    house.reconciliation.accept(me, task["id"], "corrected")
    system = house.entrance.system("chores")
    assert chores(house, after_days=29).purge(system) == 0
    with house.database.write() as connection:
        connection.execute(sa.insert(t.holds).values(
            study_uid=ds.StudyInstanceUID, reason="court", set_by="x", set_at=1.0, released_by=""))
    assert chores(house, after_days=31).purge(system) == 0
    with house.database.write() as connection:
        connection.execute(sa.update(t.holds).values(released_at=2.0))
    assert len(objects(house)) == 2
    assert chores(house, after_days=31).purge(system) == 1
    assert len(objects(house)) == 1
    assert found(house, reader)["PatientName"] == "New^Name"
    with pytest.raises(Conflict):
        house.reconciliation.undo(me, task["id"])
    (record,) = [r.record for r in house.ledger_reader.search(me, study_uid=ds.StudyInstanceUID, events=["change"])
                 if r.record["action"] == "archive:study:delete"]
    assert record["details"]["objects"][0][0] == ds.SOPInstanceUID


def test_overdue_is_told_once(house, me) -> None:
    ds = ct_slice()
    put(house, ds, changed(ds, PatientName="New^Name"))
    sort(house)
    system = house.entrance.system("chores")
    assert chores(house, after_days=6.9).tell_overdue(system) == 0
    assert chores(house, after_days=7.1).tell_overdue(system) == 1
    assert chores(house, after_days=7.2).tell_overdue(system) == 0
    (record,) = [r.record for r in house.ledger_reader.search(me, events=["alert"]) if r.record["action"] == "archive:task:list"]
    assert [told[1:] for told in record["details"]["tasks"]] == [["demographics", 1]]


def test_a_new_instance_of_another_patient_is_shown_and_a_task_says_so(house, me, reader) -> None:
    first = ct_slice()
    put(house, first)
    strange = ct_slice(study=first.StudyInstanceUID, number=2, PatientID="OTHER-9", PatientName="Wrong^Patient")
    (outcome,) = put(house, strange)
    assert (str(outcome.kind), outcome.differs) == ("stored", ("PatientID", "PatientName"))
    assert len(house.operations.search(reader, SearchQuery(level="instance"))) == 2
    (task,) = tasks(house, me)
    assert (task["kind"], task["facts"]) == ("identity", {"keywords": {"PatientID": 1, "PatientName": 1}})
    house.reconciliation.accept(me, task["id"], "the study was wrong")
    assert (found(house, reader)["PatientID"], found(house, reader)["PatientName"]) == ("OTHER-9", "Wrong^Patient")
    house.reconciliation.undo(me, task["id"])
    assert (found(house, reader)["PatientID"], found(house, reader)["PatientName"]) == ("PHANTOM-1", "Test^Phantom")
    house.reconciliation.dismiss(me, task["id"], "it is the same patient")
    assert found(house, reader)["PatientID"] == "PHANTOM-1"


@pytest.mark.parametrize("attributes", [
    {"PatientID": "", "PatientName": ""}, {"PatientName": "TEST^PHANTOM^^"}, {"PatientBirthDate": ""}])
def test_what_says_nothing_contradicts_nothing(house, me, attributes) -> None:
    first = ct_slice()
    put(house, first, ct_slice(study=first.StudyInstanceUID, number=2, **attributes))
    assert tasks(house, me) == []


def test_an_instance_that_moves_to_another_study_can_only_be_dismissed(house, me, reader) -> None:
    ds = ct_slice()
    put(house, ds)
    (outcome,) = put(house, changed(ds, StudyInstanceUID="1.2.3.4", PatientID="EVIL"))
    assert str(outcome.kind) == "conflict"
    sort(house)
    (task,) = tasks(house, me)
    assert (task["kind"], task["facts"]["other_study"], task["study_uid"]) == ("content", True, ds.StudyInstanceUID)
    with pytest.raises(Conflict, match="another study"):
        house.reconciliation.accept(me, task["id"], "let me")
    house.reconciliation.dismiss(me, task["id"], "an attack")
    assert found(house, reader)["StudyInstanceUID"] == ds.StudyInstanceUID


def _send(house, who, ds) -> str:
    grant = house.door.enter(who, Action.INSTANCE_STORE, ARCHIVE)
    intake = house.operations.intake(grant)
    intake.feed(part10(ds))
    (outcome,) = house.operations.commit(grant, [intake.finish()])
    return str(outcome.kind)


def test_variants_without_end_fill_one_half_and_harm_nobody_else(tmp_path: Path) -> None:
    with small_house(tmp_path, quarantine_max_instances=8) as house:
        me = house.entrance.local("t")
        for ae in ("EVIL", "CT1"):
            house.administration.devices_add(me, ae, host="127.0.0.1")
        evil, honest = (house.entrance.device(Peer(plane=Plane.DIMSE, address="127.0.0.1"), ae, "LEADGLASS") for ae in ("EVIL", "CT1"))
        ds = ct_slice()
        assert _send(house, honest, ds) == "stored"
        kinds = [_send(house, evil, changed(ds, PatientComments=f"variant {n}")) for n in range(12)]
        assert kinds == ["conflict"] * 4 + ["full"] * 8
        assert len(objects(house)) == 5  # what was refused left nothing behind
        assert _send(house, evil, changed(ds, PatientComments="variant 0")) == "conflict"  # kept already
        assert _send(house, evil, ct_slice()) == "stored"  # new instances are taken on
        assert _send(house, honest, changed(ds, PatientComments="honest")) == "conflict"
        assert house.reconciliation.gauges() == {
            "tasks_open": 2, "tasks_overdue": 0, "quarantine_versions": 5,
            "quarantine_bytes": house.reconciliation.gauges()["quarantine_bytes"]}
        refused = [r.record for r in house.ledger_reader.search(me, events=["alert"]) if r.record["outcome"] == "refused"]
        assert len(refused) == 8


def test_the_quarantine_is_bounded_in_bytes(tmp_path: Path) -> None:
    ds = ct_slice()
    size = len(part10(ds))
    with small_house(tmp_path, quarantine_max_bytes=max(65536, size * 7)) as house:
        put(house, ds)
        kinds = [str(put(house, changed(ds, PatientComments=f"{n}"))[0].kind) for n in range(8)]
        held = kinds.count("conflict")
        assert kinds == ["conflict"] * held + ["full"] * (8 - held)
        assert house.reconciliation.gauges()["quarantine_bytes"] <= max(65536, size * 7) // 2


def test_a_task_that_is_not_there(house, me) -> None:
    for verb in (house.reconciliation.accept, house.reconciliation.dismiss, house.reconciliation.undo):
        with pytest.raises(Missing):
            verb(me, 99, "for a try")
