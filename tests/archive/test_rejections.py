"""A rejection note takes out of use what its sender may reject, and nothing else; nothing is lost by it."""

from pathlib import Path

import pytest
from notes import rejection_note
from small_house import ct_slice, part10, put, small_house

from leadglass.access import ARCHIVE, SearchQuery
from leadglass.errors import Missing
from leadglass.terms import Action, Peer, Plane


@pytest.fixture
def house(tmp_path: Path):
    with small_house(tmp_path) as opened:
        yield opened


@pytest.fixture
def reader(house):
    me = house.entrance.local("t")
    house.administration.clients_add(me, "reader", "service")
    token, _ = house.administration.clients_token(me, "reader", seconds=60)
    return house.entrance.bearer(token, Peer(plane=Plane.WEB, address="127.0.0.1"))


def device(house, ae: str, role: str = "modality"):
    me = house.entrance.local("t")
    if ae not in {d["ae_title"] for d in house.administration.devices_list(me)}:
        house.administration.devices_add(me, ae, host="127.0.0.1", role=role)
    return house.entrance.device(Peer(plane=Plane.DIMSE, address="127.0.0.1"), ae, "LEADGLASS")


def send(house, who, *datasets) -> list:
    grant = house.door.enter(who, Action.INSTANCE_STORE, ARCHIVE)
    staged = []
    for ds in datasets:
        intake = house.operations.intake(grant)
        intake.feed(part10(ds))
        staged.append(intake.finish())
    return house.operations.commit(grant, staged)


def shown(house, who, level: str = "instance", **filters: str) -> list[dict]:
    return house.operations.search(who, SearchQuery(level=level, filters=filters))


def alerts(house) -> list[dict]:
    rows = house.ledger_reader.search(house.entrance.local("t"), events=["alert"])
    return [r.record for r in rows if r.record["action"] == "archive:instance:reject"]


def series_of_three() -> list:
    first = ct_slice(number=1)
    return [first, *[ct_slice(study=first.StudyInstanceUID, series=first.SeriesInstanceUID, number=n) for n in (2, 3)]]


@pytest.mark.parametrize("title", ["113001", "113037", "113038", "113039"])
@pytest.mark.parametrize(("has_evidence", "has_content"), [(True, True), (True, False), (False, True)])
def test_what_a_note_names_is_found_read_and_counted_no_more(house, reader, title, has_evidence, has_content) -> None:
    slices = series_of_three()
    ct = device(house, "CT1")
    send(house, ct, *slices)
    note = rejection_note(slices[1], title=title, has_evidence=has_evidence, has_content=has_content)
    (outcome,) = send(house, ct, note)
    assert (str(outcome.kind), outcome.warning) == ("stored", "")
    study = slices[0].StudyInstanceUID
    assert {r["SOPInstanceUID"] for r in shown(house, reader, StudyInstanceUID=study)} == {
        slices[0].SOPInstanceUID, slices[2].SOPInstanceUID, note.SOPInstanceUID}
    (row,) = shown(house, reader, "study", StudyInstanceUID=study)
    assert (row["NumberOfStudyRelatedSeries"], row["NumberOfStudyRelatedInstances"]) == (2, 3)
    counts = {r["Modality"]: r["NumberOfSeriesRelatedInstances"] for r in shown(house, reader, "series", StudyInstanceUID=study)}
    assert counts == {"CT": 2, "KO": 1}
    grant = house.operations.study(reader, study)
    assert len(house.operations.locate(grant)) == 3
    with pytest.raises(Missing):
        house.operations.locate(grant, slices[1].SeriesInstanceUID, slices[1].SOPInstanceUID)
    assert house.keeping.scrubbing.run(house.entrance.local("t"))["findings"] == []
    assert len(list(house.archive.blobs.names())) == 4  # nothing is lost


def test_a_study_without_a_shown_instance_is_not_there(house, reader) -> None:
    slices = series_of_three()
    pacs = device(house, "PACS1", "pacs")
    send(house, pacs, *slices)
    send(house, pacs, rejection_note(*slices, study="1.2.3.4"))  # the note lies in another study
    study = slices[0].StudyInstanceUID
    for level in ("study", "series", "instance"):
        assert shown(house, reader, level, StudyInstanceUID=study) == []
    assert shown(house, reader, "study", PatientID="PHANTOM-1", Modality="CT") == []
    with pytest.raises(Missing):
        house.operations.study(reader, study)


def test_a_modality_rejects_nothing_that_another_has_sent(house, reader) -> None:
    theirs, mine = ct_slice(), ct_slice()
    send(house, device(house, "CT1"), theirs)
    evil = device(house, "EVIL")
    send(house, evil, mine)
    (outcome,) = send(house, evil, rejection_note(theirs, mine))  # one of them is not its own: none is rejected
    assert str(outcome.kind) == "stored"
    assert len(shown(house, reader)) == 3
    (alert,) = alerts(house)
    assert (alert["outcome"], alert["subject"]["name"]) == ("refused", "EVIL")


def test_a_modality_rejects_in_advance_nothing_that_another_sends(house, reader) -> None:
    later, own = ct_slice(), ct_slice()
    evil = device(house, "EVIL")
    send(house, evil, rejection_note(later, own))
    (outcome,) = send(house, device(house, "CT1"), later)
    assert outcome.warning == ""
    (outcome,) = send(house, evil, own)
    assert outcome.warning == "kept, and not shown: rejected by a note"
    assert {r["SOPInstanceUID"] for r in shown(house, reader, Modality="CT")} == {later.SOPInstanceUID}


@pytest.mark.parametrize("title", ["113001", "113037", "113038"])
def test_what_is_sent_later_or_again_stays_rejected_and_says_so(house, reader, title: str) -> None:
    slices = series_of_three()
    pacs = device(house, "PACS1", "pacs")
    send(house, pacs, slices[0])
    send(house, pacs, rejection_note(*slices, title=title))
    for ds in slices:
        (outcome,) = send(house, device(house, "CT1"), ds)
        assert outcome.warning == "kept, and not shown: rejected by a note"
    assert shown(house, reader, Modality="CT") == []


def test_what_was_only_too_old_to_keep_may_come_again(house, reader) -> None:
    ds = ct_slice()
    pacs = device(house, "PACS1", "pacs")
    send(house, pacs, ds)
    send(house, pacs, rejection_note(ds, title="113039"))
    assert shown(house, reader, Modality="CT") == []
    (outcome,) = send(house, pacs, ds)
    assert (str(outcome.kind), outcome.warning) == ("duplicate", "")
    assert len(shown(house, reader, Modality="CT")) == 1
    (row,) = shown(house, reader, "study", Modality="CT")
    assert row["NumberOfStudyRelatedInstances"] == 2


@pytest.mark.parametrize(("title", "scheme"), [("113000", "DCM"), ("113001", "99EVIL"), ("113018", "DCM"), ("", "DCM")])
def test_another_title_rejects_nothing(house, reader, title: str, scheme: str) -> None:
    ds = ct_slice()
    put(house, ds, rejection_note(ds, title=title, scheme=scheme))
    assert len(shown(house, reader)) == 2


def test_a_note_of_too_many_names_is_kept_and_has_no_effect(house, reader) -> None:
    ds = ct_slice()
    put(house, ds, rejection_note(ds, extra=[f"1.2.3.{n}" for n in range(10_001)], has_content=False))
    assert len(shown(house, reader)) == 2
    (alert,) = alerts(house)
    assert alert["details"]["why"] == "names more than 10000 instances"


def test_a_note_without_a_name_and_one_that_names_itself(house, reader) -> None:
    empty, own = rejection_note(study="1.2.3.4"), rejection_note(extra=["1.2.3.4.5"], SOPInstanceUID="1.2.3.4.5", study="1.2.3.4")
    put(house, empty, own)
    assert len(shown(house, reader)) == 2
    assert [a["details"]["why"] for a in alerts(house)] == ["names no instance"]


def test_the_record_says_what_was_rejected_and_by_which_rule(house) -> None:
    ds = ct_slice()
    put(house, ds, rejection_note(ds))
    rows = house.ledger_reader.search(house.entrance.local("t"), events=["change"])
    (record,) = [r.record for r in rows if r.record["action"] == "archive:instance:reject"]
    assert record["rule"] == "operator-runs"
    assert record["study"] == ds.StudyInstanceUID
    assert record["details"] | {"note": ""} == {
        "note": "", "code": "113001", "named": 1, "here": 1, "studies": 1, "rejection": 1, "hidden": 1}


def test_a_series_of_which_all_was_rejected_counts_again_with_what_comes_later(house, reader) -> None:
    slices = series_of_three()
    ct = device(house, "CT1")
    send(house, ct, slices[0])
    send(house, ct, rejection_note(slices[0]))
    send(house, ct, slices[1])
    (row,) = shown(house, reader, "study", StudyInstanceUID=slices[0].StudyInstanceUID)
    assert (row["NumberOfStudyRelatedSeries"], row["NumberOfStudyRelatedInstances"]) == (2, 2)
    assert row["ModalitiesInStudy"] == ["CT", "KO"]


def test_a_note_over_two_studies_is_recorded_for_each(house) -> None:
    one, other = ct_slice(PatientID="ONE"), ct_slice(PatientID="OTHER")
    put(house, one, other, rejection_note(one, other))
    rows = house.ledger_reader.search(house.entrance.local("t"), events=["change"])
    records = [r.record for r in rows if r.record["action"] == "archive:instance:reject"]
    assert {(r["study"], r["patient"]) for r in records} == {(one.StudyInstanceUID, "ONE"), (other.StudyInstanceUID, "OTHER")}
    assert [(r["details"]["studies"], r["details"]["here"], r["details"]["hidden"]) for r in records] == [(2, 1, 1)] * 2
