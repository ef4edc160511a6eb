"""Derived objects: encrypted like the original, found only for the same content, gone with it, and missed by nobody."""

import threading
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from small_house import ct_slice, put, small_house

from leadglass.archive import derived
from leadglass.archive.derived import Derived, Place
from leadglass.archive.retrieve import locate
from leadglass.errors import Damaged, Missing
from leadglass.storage import tables as t

STUDY = "1.2.826.0.1.3680043.10.999.7"
CANARY = b"CANARY-" * 30_000


@pytest.fixture
def house(tmp_path: Path):
    with small_house(tmp_path) as opened:
        yield opened


def rows_of(house: Any) -> list[Any]:
    with house.database.read() as connection:
        return locate(connection, STUDY)


def kept(house: Any) -> list[Any]:
    with house.database.read() as connection:
        return list(connection.execute(sa.select(t.derived_objects).order_by(t.derived_objects.c.id)))


def file_of(house: Any, name: str) -> Path:
    return house.settings.objects_dir / name[:2] / name


def make(house: Any, kind: str = "htj2k", row: Any = None, data: bytes = CANARY) -> Derived:
    """Keep something made from an instance (a copy), from a series (metadata) or from the study (a preview)."""
    row = row or rows_of(house)[0]
    place = Place(study_uid=STUDY, series_uid=row.series_uid if kind != "preview" else None,
                  sop_instance_uid=row.sop_instance_uid if kind == "htj2k" else None)
    found = derived.put(house.archive, kind, place, derived.made_from([row.digest]), [data[:70_000], data[70_000:]])
    assert found is not None
    return found


def make_all(house: Any) -> list[Derived]:
    return [make(house, kind) for kind in derived.KINDS]


def test_it_is_read_back_and_lies_encrypted_under_the_key_of_its_study(house) -> None:
    put(house, ct_slice(study=STUDY))
    made = make(house)
    with house.database.read() as connection:
        found = derived.find(connection, "htj2k", derived.made_from([rows_of(house)[0].digest]))
        assert derived.find(connection, "preview", made.made_from) is None
        assert derived.find_all(connection, "htj2k", [made.made_from, b"x" * 32]) == {made.made_from: made}
    assert found == made
    with derived.open_derived(house.archive, STUDY, found) as reader:
        assert reader.read(0, len(CANARY)) == CANARY
    house.database.checkpoint()
    assert not [p for p in house.settings.home.rglob("*") if p.is_file() and b"CANARY-" in p.read_bytes()]
    put(house, ct_slice(study="1.2.826.0.1.3680043.10.999.8"))
    with pytest.raises(Damaged):  # another study's key opens nothing
        derived.open_derived(house.archive, "1.2.826.0.1.3680043.10.999.8", found)


def test_what_it_was_made_from_counts_in_its_order_with_all_else_that_decides() -> None:
    one, other = b"1" * 32, b"2" * 32
    seen = [derived.made_from(digests, *more) for digests in ([one], [one, other], [other, one], []) for more in ((), ("1",), ("2",))]
    assert len({*seen}) == len(seen) == 12
    assert derived.made_from([one], "ab", "c") != derived.made_from([one], "a", "bc")


def test_put_twice_changes_nothing_and_put_anew_replaces(house) -> None:
    put(house, ct_slice(study=STUDY))
    files = set(house.archive.blobs.names())
    first = make(house)
    assert make(house, data=b"later, and for the same content") == first
    row = rows_of(house)[0]
    place = Place(study_uid=STUDY, series_uid=row.series_uid, sop_instance_uid=row.sop_instance_uid)
    second = derived.put(house.archive, "htj2k", place, derived.made_from([b"new" * 11]), [b"x"])
    assert [r.object_name for r in kept(house)] == [second.object_name]
    assert set(house.archive.blobs.names()) == files | {second.object_name}
    assert not list((house.settings.objects_dir / "incoming").iterdir())


def test_many_at_once_keep_one(house) -> None:
    put(house, ct_slice(study=STUDY))
    barrier, found = threading.Barrier(6), []

    def work() -> None:
        barrier.wait()
        found.append(make(house))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({*found}) == 1 == len(kept(house))
    assert len(list(house.archive.blobs.names())) == 2


def test_an_error_while_it_is_made_leaves_nothing(house) -> None:
    put(house, ct_slice(study=STUDY))
    files = set(house.archive.blobs.names())
    row = rows_of(house)[0]

    def breaks():
        yield CANARY
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        derived.put(house.archive, "preview", Place(study_uid=STUDY), row.digest, breaks())
    assert kept(house) == []
    assert set(house.archive.blobs.names()) == files
    assert not list((house.settings.objects_dir / "incoming").iterdir())


@pytest.mark.parametrize("place", [
    Place(study_uid="1.2.3"), Place(study_uid=STUDY, series_uid="1.2.3"),
    Place(study_uid=STUDY, series_uid="1.2.3", sop_instance_uid="1.2.3"),
], ids=["study", "series", "instance"])
def test_nothing_is_kept_for_what_is_not_there(house, place: Place) -> None:
    put(house, ct_slice(study=STUDY))
    files = set(house.archive.blobs.names())
    assert derived.put(house.archive, "preview", place, b"x" * 32, [b"x"]) is None
    assert kept(house) == []
    assert set(house.archive.blobs.names()) == files


def test_a_study_deleted_while_it_is_made_keeps_nothing_even_when_it_is_stored_anew(house) -> None:
    ds = ct_slice(study=STUDY)
    put(house, ds)
    row = rows_of(house)[0]

    def meanwhile():
        yield CANARY
        house.keeping.delete(house.entrance.local("t"), STUDY, reason="while a copy is made")
        put(house, ds)  # under a new key: what the old one encrypts would open to nobody

    assert derived.put(house.archive, "preview", Place(study_uid=STUDY), row.digest, meanwhile()) is None
    assert kept(house) == []
    assert len(list(house.archive.blobs.names())) == 1


def test_deletion_takes_all_that_was_made_and_its_files(house) -> None:
    put(house, ct_slice(study=STUDY))
    made = make_all(house)
    house.keeping.delete(house.entrance.local("t"), STUDY, reason="a test of deletion")
    assert kept(house) == []
    assert list(house.archive.blobs.names()) == []
    for found in made:
        with pytest.raises(Missing):
            derived.open_derived(house.archive, STUDY, found)


def test_with_a_series_go_its_objects_and_those_of_the_study_alone(house) -> None:
    put(house, ct_slice(study=STUDY, number=1), ct_slice(study=STUDY, number=2))
    first, second = rows_of(house)
    assert first.series_uid != second.series_uid
    made, other = make_all(house), make(house, row=second)
    house.keeping.delete(house.entrance.local("t"), STUDY, series_uid=first.series_uid, reason="a test of deletion")
    assert [r.object_name for r in kept(house)] == [other.object_name]
    assert set(house.archive.blobs.names()) == {second.object_name, other.object_name}
    assert not any(file_of(house, found.object_name).exists() for found in made)


def test_the_sweep_knows_them(house) -> None:
    put(house, ct_slice(study=STUDY))
    made = make_all(house)
    assert house.sweep(older_than_seconds=-1) == 0
    with house.database.write() as connection:
        names = derived.forget(connection, study=kept(house)[0].study)
    assert sorted(names) == sorted(found.object_name for found in made)
    assert house.sweep(older_than_seconds=-1) == len(made)


@pytest.mark.parametrize("how", ["flipped", "cut", "gone"])
def test_the_scrub_drops_a_bad_one_and_finds_no_damage(house, how: str) -> None:
    put(house, ct_slice(study=STUDY))
    good, bad = make(house, "preview"), make(house)
    path = file_of(house, bad.object_name)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.unlink()
    if how != "gone":
        path.write_bytes(data if how == "flipped" else data[:-5])
    report = house.keeping.scrubbing.run(house.entrance.local("t"))
    assert (report["objects"], report["verified"], report["unknown"], report["findings"]) == (1, 1, 0, [])
    assert [r.object_name for r in kept(house)] == [good.object_name]
    assert not path.exists()


def test_a_bad_one_that_somebody_read_is_dropped_at_once(house) -> None:
    put(house, ct_slice(study=STUDY))
    bad = make(house)
    path = file_of(house, bad.object_name)
    data = bytearray(path.read_bytes())
    data[300] ^= 1
    path.write_bytes(data)
    with pytest.raises(Damaged), derived.open_derived(house.archive, STUDY, bad) as reader:
        reader.read(0, 10)
    assert house.keeping.scrubbing.look(house.entrance.system("scrub")) == 0
    assert kept(house) == []


def test_drop_takes_no_original(house) -> None:
    put(house, ct_slice(study=STUDY))
    made = make(house)
    assert derived.drop(house.archive, [made.object_name, rows_of(house)[0].object_name, "0" * 32]) == 1
    assert list(house.archive.blobs.names()) == [rows_of(house)[0].object_name]


def accept(house: Any) -> None:
    me = house.entrance.local("t")
    house.reconcile_chores.sort(house.entrance.system("chores"), seconds=60)
    (task,) = house.reconciliation.tasks(me)
    house.reconciliation.accept(me, task["id"], "the newer one is right")


def test_a_version_that_takes_the_place_of_another_leaves_nothing_made_of_it(house) -> None:
    old, new = ct_slice(study=STUDY), ct_slice(study=STUDY)
    new.SOPInstanceUID, new.SeriesInstanceUID, new.PatientName = old.SOPInstanceUID, old.SeriesInstanceUID, "Other^Name"
    put(house, old)
    digest = rows_of(house)[0].digest
    make_all(house)
    put(house, new)
    accept(house)
    assert rows_of(house)[0].digest != digest
    assert kept(house) == []


def test_purging_a_version_takes_what_was_made_of_it_meanwhile(house) -> None:
    """A copy whose making began before a decision and ended after it shows what lost."""
    old, new = ct_slice(study=STUDY), ct_slice(study=STUDY)
    new.SOPInstanceUID, new.SeriesInstanceUID, new.PatientName = old.SOPInstanceUID, old.SeriesInstanceUID, "Other^Name"
    put(house, old)
    before = rows_of(house)[0]
    put(house, new)
    accept(house)
    made = make(house, row=before)
    with house.database.write() as connection:
        connection.execute(sa.update(t.quarantine).values(purge_at=1.0))
    assert house.reconcile_chores.purge(house.entrance.system("chores")) == 1
    assert kept(house) == []
    assert not file_of(house, made.object_name).exists()


def test_they_are_not_instances(house) -> None:
    put(house, ct_slice(study=STUDY))
    before = (house.keeping.room()["stored"], house.keeping.scrubbing.state()["objects"])
    make_all(house)
    assert (house.keeping.room()["stored"], house.keeping.scrubbing.state()["objects"]) == before
    assert len(rows_of(house)) == 1


def test_only_kinds_that_are_known_are_kept(house) -> None:
    put(house, ct_slice(study=STUDY))
    with pytest.raises(RuntimeError):
        derived.put(house.archive, "other", Place(study_uid=STUDY), b"x", [])
    with house.database.read() as connection, pytest.raises(RuntimeError):
        derived.forget(connection)
