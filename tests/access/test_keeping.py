"""Deleting for good: what goes, what stays, what is refused; and a store that comes at the same moment."""

import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from small_house import ct_slice, part10, put, small_house, subject

from leadglass.access import ARCHIVE, SearchQuery
from leadglass.access.door import NeedsProof
from leadglass.archive.life.retention import DAY
from leadglass.compose.home import Home
from leadglass.errors import Busy, Conflict, LeadglassError, Malformed, Missing, Refused
from leadglass.settings import load
from leadglass.storage import tables as t
from leadglass.terms import Action, Peer, Plane

WHY = "a test of deletion"


@pytest.fixture
def house(tmp_path: Path):
    with small_house(tmp_path) as opened:
        yield opened


def me(house: Any) -> Any:
    return house.entrance.local("tester")


def reader(house: Any) -> Any:
    house.administration.clients_add(me(house), "reader", "service")
    token, _ = house.administration.clients_token(me(house), "reader", seconds=60)
    return house.entrance.bearer(token, Peer(plane=Plane.WEB, address="127.0.0.1"))


def rows(house: Any, table: Any) -> list[Any]:
    with house.database.read() as connection:
        return list(connection.execute(sa.select(table)))


def stage(house: Any, ds: Any) -> tuple[Any, Any]:
    grant = house.door.enter(me(house), Action.INSTANCE_STORE, ARCHIVE)
    intake = house.operations.intake(grant)
    intake.feed(part10(ds))
    return grant, intake.finish()


def series_of(study: str, count: int = 3, **changes: Any) -> list[Any]:
    first = ct_slice(study=study, **changes)
    return [first, *(ct_slice(study=study, series=first.SeriesInstanceUID, number=n, **changes) for n in range(2, count + 1))]


# --- the race of a delete with a store ------------------------------------------------------------------------------
def test_what_was_encrypted_before_the_key_was_destroyed_is_never_acknowledged(house) -> None:
    ds = ct_slice()
    put(house, ds)
    grant, staged = stage(house, ct_slice(study=ds.StudyInstanceUID, number=2))
    house.keeping.delete(me(house), ds.StudyInstanceUID, reason=WHY)
    with pytest.raises(Busy):
        house.operations.commit(grant, [staged])
    assert rows(house, t.instances) == []
    (again,) = put(house, ct_slice(study=ds.StudyInstanceUID, number=2))
    assert str(again.kind) == "stored"
    assert house.keeping.scrubbing.run(me(house))["findings"] == []


def test_only_the_senders_of_the_deleted_study_are_refused(house) -> None:
    ds = ct_slice()
    put(house, ds)
    grant, staged = stage(house, ct_slice(study=ds.StudyInstanceUID, number=2))
    _, other = stage(house, ct_slice())
    house.keeping.delete(me(house), ds.StudyInstanceUID, reason=WHY)
    committer = house.operations._committer
    found: dict[str, Any] = {}

    def commit(name: str, one: Any) -> None:
        try:
            found[name] = house.operations.commit(grant, [one])
        except LeadglassError as e:
            found[name] = e

    with committer._leader:  # both wait, so that both are in one transaction
        threads = [threading.Thread(target=commit, args=a) for a in (("gone", staged), ("other", other))]
        for thread in threads:
            thread.start()
        while len(committer._queue) < 2:
            time.sleep(0.01)
    for thread in threads:
        thread.join()
    assert isinstance(found["gone"], Busy)
    assert str(found["other"][0].kind) == "stored"


def test_another_process_forgets_the_destroyed_key(house) -> None:
    ds = ct_slice()
    put(house, ds)
    with Home.open(load(house.settings.home)).house() as other:
        study = ds.StudyInstanceUID
        old = other.archive.study_keys.for_study(study, create=False)
        house.keeping.delete(me(house), study, reason=WHY)
        with pytest.raises(Missing):
            other.archive.study_keys.for_study(study, create=False)
        put(other, ds)
        assert other.archive.study_keys.for_study(study, create=False) != old
        assert other.keeping.scrubbing.run(me(other))["findings"] == []


@pytest.mark.parametrize("seed", range(3))
def test_a_store_that_comes_during_a_delete_lands_whole_or_is_refused(tmp_path: Path, seed: int) -> None:
    """Two houses, as two processes have them: one deletes without end, the other stores into the same study."""
    study = f"1.2.826.0.1.3680043.10.999.{seed + 1}"
    stop = threading.Event()
    acknowledged, refused, deleted, wrong = [], [], [], []
    with small_house(tmp_path) as house, Home.open(load(house.settings.home)).house() as other:
        def store(which: Any) -> None:
            number = 0
            while not stop.is_set():
                number += 1
                try:
                    put(which, ct_slice(study=study, size=16, number=number))
                    acknowledged.append(number)
                except Busy:
                    refused.append(number)
                except Exception as e:
                    wrong.append(e)

        def delete() -> None:
            while not stop.is_set():
                try:
                    deleted.append(other.keeping.delete(me(other), study, reason=WHY).instances)
                except Missing:
                    pass
                except Exception as e:
                    wrong.append(e)

        threads = [threading.Thread(target=store, args=(h,)) for h in (house, other)] + [threading.Thread(target=delete)]
        for thread in threads:
            thread.start()
        time.sleep(2.5)
        stop.set()
        for thread in threads:
            thread.join(20)
        assert wrong == []
        assert acknowledged
        assert deleted
        with Home.open(load(house.settings.home)).house() as fresh:  # no cache: what is there opens with the keys on disk
            report = fresh.keeping.scrubbing.run(me(fresh))
            assert report["findings"] == []
            assert len(acknowledged) == sum(deleted) + report["objects"]
            assert fresh.ledger_reader.verify(me(fresh)).findings == []


# --- what goes, what stays ------------------------------------------------------------------------------------------
def test_a_deleted_study_is_gone_from_the_index_the_disk_and_the_keys(house) -> None:
    gone, kept = series_of("1.2.3.1"), series_of("1.2.3.2")
    put(house, *gone, *kept)
    changed = ct_slice(study="1.2.3.1", series=gone[0].SeriesInstanceUID, instance=gone[0].SOPInstanceUID, seed=5)
    put(house, changed)  # a version beside the shown one
    found = house.keeping.delete(me(house), "1.2.3.1", reason=WHY)
    assert (found.instances, found.versions, found.series) == (3, 1, 1)
    assert found.is_whole_study
    assert found.is_key_destroyed
    assert [r.study_uid for r in rows(house, t.studies)] == ["1.2.3.2"]
    assert [r.study_uid for r in rows(house, t.study_keys)] == ["1.2.3.2"]
    assert rows(house, t.quarantine) == []
    assert {r.object_name for r in rows(house, t.instances)} == set(house.archive.blobs.names())
    (record,) = [r for r in house.ledger_reader.search(me(house), study_uid="1.2.3.1") if r.record["event"] == "deleted"]
    assert record.record["outcome"] == "done"
    details = record.record["details"]
    assert details["reason"] == WHY
    assert {uid for uid, _ in details["objects"]} == {d.SOPInstanceUID for d in gone}
    assert house.keeping.scrubbing.run(me(house))["findings"] == []


def test_what_is_left_on_disk_of_a_deleted_study_opens_with_no_key(house) -> None:
    put(house, ct_slice(study="1.2.3.1"))
    (name,) = house.archive.blobs.names()
    length = rows(house, t.instances)[0].length
    path = next(p for p in house.settings.objects_dir.rglob(name))
    kept = path.read_bytes()
    house.keeping.delete(me(house), "1.2.3.1", reason=WHY)
    assert not path.exists()
    path.write_bytes(kept)  # as an undelete of the file system would
    put(house, ct_slice(study="1.2.3.1"))
    for row in rows(house, t.study_keys):
        key = house.archive.study_keys.for_study(row.study_uid, create=False)[1]
        with pytest.raises(LeadglassError):
            house.archive.blobs.open(name, key, length)


def test_a_study_that_was_deleted_may_come_again_and_shows_that_it_was(house) -> None:
    ds = ct_slice()
    put(house, ds)
    house.keeping.delete(me(house), ds.StudyInstanceUID, reason=WHY)
    facts = house.keeping.show(me(house), ds.StudyInstanceUID)
    assert not facts["is_here"]
    assert str(put(house, ds)[0].kind) == "stored"
    facts = house.keeping.show(me(house), ds.StudyInstanceUID)
    assert facts["is_here"]
    assert [(d["by"], d["reason"], d["is_whole"]) for d in facts["deleted"]] == [("tester", WHY, True)]
    assert "PHANTOM" not in json.dumps(facts)
    assert "Test" not in json.dumps(facts)


def test_one_series_goes_and_the_rest_is_counted_anew(house) -> None:
    first, second = series_of("1.2.3.1"), series_of("1.2.3.1", 2, Modality="MR")
    put(house, *first, *second)
    found = house.keeping.delete(me(house), "1.2.3.1", reason=WHY, series_uid=first[0].SeriesInstanceUID)
    assert (found.instances, found.is_whole_study, found.is_key_destroyed) == (3, False, False)
    (study,) = rows(house, t.studies)
    assert (study.instance_count, study.series_count, study.modalities) == (2, 1, "\\MR\\")
    (row,) = house.operations.search(reader(house), SearchQuery())
    assert row["NumberOfStudyRelatedInstances"] == 2
    assert house.keeping.scrubbing.run(me(house))["findings"] == []
    last = house.keeping.delete(me(house), "1.2.3.1", reason=WHY, series_uid=second[0].SeriesInstanceUID)
    assert last.is_whole_study
    assert last.is_key_destroyed
    with pytest.raises(Missing):
        house.keeping.delete(me(house), "1.2.3.1", reason=WHY)


def test_open_tasks_of_the_study_are_closed(house) -> None:
    ds = ct_slice()
    put(house, ds)
    with house.database.write() as connection:
        connection.execute(sa.insert(t.tasks).values(
            kind="identity", study_uid=ds.StudyInstanceUID, source="x", state="open", opened_at=1.0, due_at=2.0))
    assert house.keeping.delete(me(house), ds.StudyInstanceUID, reason=WHY).tasks == 1
    (task,) = rows(house, t.tasks)
    assert (task.state, task.closed_by) == ("dismissed", me(house).id)


def test_a_held_version_of_another_study_is_not_lost_with_this_one(house) -> None:
    ds = ct_slice()
    put(house, ds)
    put(house, ct_slice(instance=ds.SOPInstanceUID))
    with pytest.raises(Conflict, match="another study"):
        house.keeping.delete(me(house), ds.StudyInstanceUID, reason=WHY)
    assert len(rows(house, t.instances)) == 1


# --- who may, and when ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("reason", ["", "   ", "x", "a" * 301, "a\x00bcd"])
def test_a_reason_is_asked_for(house, reason: str) -> None:
    ds = ct_slice()
    put(house, ds)
    with pytest.raises(Malformed):
        house.keeping.delete(me(house), ds.StudyInstanceUID, reason=reason)
    assert len(rows(house, t.instances)) == 1


def test_who_may_not_delete_learns_nothing_of_what_is_here(house) -> None:
    ds = ct_slice()
    put(house, ds)
    who, said = subject("radiologist"), []
    for uid in (ds.StudyInstanceUID, "1.2.3.4.5"):
        for act in (lambda uid=uid: house.keeping.delete(who, uid, reason=WHY), lambda uid=uid: house.keeping.show(who, uid),
                    lambda uid=uid: house.keeping.hold_set(who, uid, reason=WHY)):
            with pytest.raises(Refused) as e:
                act()
            said.append(str(e.value))
    assert said[:3] == said[3:]


def test_a_stale_proof_is_asked_for_again_and_the_one_without_the_right_is_refused(house) -> None:
    ds = ct_slice()
    put(house, ds)
    administrator = replace(subject("administrator"), authenticated_at=time.time() - 400)
    with pytest.raises(NeedsProof):
        house.keeping.delete(administrator, ds.StudyInstanceUID, reason=WHY)
    with pytest.raises(Refused):
        house.keeping.delete(replace(subject("radiologist"), authenticated_at=time.time() - 400), ds.StudyInstanceUID, reason=WHY)
    with pytest.raises(NeedsProof):  # the clock was set back: a proof from the future is none
        house.keeping.delete(replace(administrator, authenticated_at=time.time() + 3600), ds.StudyInstanceUID, reason=WHY)
    assert len(rows(house, t.instances)) == 1


def test_a_hold_stops_everyone_until_it_is_released(house) -> None:
    ds = ct_slice()
    put(house, ds)
    uid = ds.StudyInstanceUID
    number = house.keeping.hold_set(me(house), uid, reason="court of X")
    second = house.keeping.hold_set(me(house), uid, reason="court of Y")
    with pytest.raises(Conflict, match="hold"):
        house.keeping.delete(me(house), uid, reason=WHY)
    with pytest.raises(Conflict, match="several"):
        house.keeping.hold_release(me(house), uid, reason="settled")
    assert house.keeping.hold_release(me(house), uid, reason="settled", number=number) == number
    assert [h["id"] for h in house.keeping.hold_list(me(house))] == [second]
    with pytest.raises(Conflict, match="hold"):
        house.keeping.delete(me(house), uid, reason=WHY)
    house.keeping.hold_release(me(house), uid, reason="settled")
    with pytest.raises(Missing):
        house.keeping.hold_release(me(house), uid, reason="settled")
    house.keeping.delete(me(house), uid, reason=WHY)
    refused = [r.record for r in house.ledger_reader.search(me(house), study_uid=uid)
               if r.record["event"] == "deleted" and r.record["outcome"] == "failed"]
    assert len(refused) == 2
    with pytest.raises(Missing):
        house.keeping.hold_set(me(house), uid, reason="court of X")


def test_what_a_rule_keeps_nobody_deletes_and_the_message_says_until_when(house) -> None:
    ds = ct_slice(StudyDate=time.strftime("%Y%m%d"))
    put(house, ds)
    house.keeping.retention.set_rule(me(house), site="", modality="ct", keep_days=10, delete_after_days=None)
    until = time.strftime("%Y-%m-%d", time.localtime(time.mktime(time.strptime(ds.StudyDate, "%Y%m%d")) + 10 * DAY))
    with pytest.raises(Conflict, match=f"kept until {until}"):  # a longer time holds at once
        house.keeping.delete(me(house), ds.StudyInstanceUID, reason=WHY)


# --- views that are open ------------------------------------------------------------------------------------------------
def test_a_view_in_progress_is_cut_and_its_books_are_closed(house) -> None:
    ds = ct_slice(size=1024)
    put(house, ds)
    who = reader(house)
    grant = house.operations.study(who, ds.StudyInstanceUID)
    stream = house.operations.stream_instance(grant, house.operations.locate(grant)[0])
    got = len(next(stream))
    house.keeping.delete(me(house), ds.StudyInstanceUID, reason=WHY)
    with pytest.raises(LeadglassError):
        for piece in stream:
            got += len(piece)
    assert got < 2 * 1024 * 1024
    closing = [r.record for r in house.ledger_reader.search(me(house), study_uid=ds.StudyInstanceUID)
               if r.record["event"] == "outcome" and r.record["details"].get("of") == who.id]
    assert [(c["details"]["instances"], c["details"]["bytes"] > 0) for c in closing] == [(1, True)]
    assert rows(house, t.grants) == [g for g in rows(house, t.grants) if ds.StudyInstanceUID not in g.resource]


def test_a_view_of_the_old_study_does_not_go_on_when_it_is_stored_anew(house) -> None:
    ds = ct_slice(size=1024)
    put(house, ds)
    who = reader(house)
    grant = house.operations.study(who, ds.StudyInstanceUID)
    stream = house.operations.stream_instance(grant, house.operations.locate(grant)[0])
    next(stream)
    house.keeping.delete(me(house), ds.StudyInstanceUID, reason=WHY)
    put(house, ds)
    new = house.operations.study(who, ds.StudyInstanceUID)
    assert b"".join(house.operations.stream_instance(new, house.operations.locate(new)[0]))
    with pytest.raises(Missing):
        next(stream)


def test_counts_that_come_late_are_recorded(house) -> None:
    ds = ct_slice()
    put(house, ds)
    who = reader(house)
    with Home.open(load(house.settings.home)).house() as other:
        grant = other.operations.study(who, ds.StudyInstanceUID)
        b"".join(other.operations.stream_instance(grant, other.operations.locate(grant)[0]))
        house.keeping.delete(me(house), ds.StudyInstanceUID, reason=WHY)
        other.door.flush_counts()
    late = [r.record["details"] for r in house.ledger_reader.search(me(house), study_uid=ds.StudyInstanceUID)
            if r.record["details"].get("late")]
    assert [x["instances"] for x in late] == [1]
