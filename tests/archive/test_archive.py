"""The archive: what goes in comes out, once; what is asked for is found; what is damaged is said."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from small_house import ct_slice, part10, put, small_house, subject

from leadglass.access import ARCHIVE, SearchQuery
from leadglass.errors import Damaged, Full, Malformed, Missing
from leadglass.terms import Action


@pytest.fixture
def house(tmp_path: Path):
    with small_house(tmp_path) as opened:
        yield opened


def _reader(house):
    """Return the subject of a script that may read."""
    from leadglass.terms import Peer, Plane

    me = house.entrance.local("t")
    house.administration.clients_add(me, "reader", "service")
    token, _ = house.administration.clients_token(me, "reader", seconds=60)
    return house.entrance.bearer(token, Peer(plane=Plane.WEB, address="127.0.0.1"))


def _find(house, who, **query) -> list[dict]:
    return house.operations.search(who, SearchQuery(**query))


def test_stored_duplicate_conflict(house) -> None:
    ds = ct_slice()
    assert [str(o.kind) for o in put(house, ds)] == ["stored"]
    assert [str(o.kind) for o in put(house, ds)] == ["duplicate"]
    ds.PatientID = "OTHER"
    assert [str(o.kind) for o in put(house, ds)] == ["conflict"]
    assert [str(o.kind) for o in put(house, ds, ds)] == ["conflict", "conflict"]
    (row,) = _find(house, _reader(house))
    assert row["NumberOfStudyRelatedInstances"] == 1
    assert row["PatientID"] == "PHANTOM-1"
    assert len(list(house.archive.blobs.names())) == 2  # the one that is kept and one in quarantine


def test_two_of_the_same_in_one_batch_are_one(house) -> None:
    ds = ct_slice()
    assert sorted(str(o.kind) for o in put(house, ds, ds)) == ["duplicate", "stored"]


def test_a_discarded_intake_leaves_nothing(house) -> None:
    me = house.entrance.local("t")
    grant = house.door.enter(me, Action.INSTANCE_STORE, ARCHIVE)
    intake = house.operations.intake(grant)
    intake.feed(part10(ct_slice(size=512))[:400_000])
    intake.discard()
    assert [p for p in house.settings.objects_dir.rglob("*") if p.is_file()] == []
    with pytest.raises(Malformed):
        bad = house.operations.intake(grant)
        bad.feed(part10(ct_slice())[:-100])
        bad.finish()


def test_a_preamble_that_is_a_program_is_not_kept(house) -> None:
    data = b"MZ" + b"evil" * 31 + b"\x00\x00" + part10(ct_slice())[128:]
    put(house, data)
    who = _reader(house)
    (row,) = _find(house, who)
    grant = house.operations.study(who, row["StudyInstanceUID"])
    (instance,) = house.operations.locate(grant)
    got = b"".join(house.operations.stream_instance(grant, instance))
    assert got[:128] == bytes(128)
    assert got.endswith(data[400:])


def test_counts_and_modalities_are_kept(house) -> None:
    first = ct_slice()
    put(house, first, ct_slice(study=first.StudyInstanceUID, series=first.SeriesInstanceUID, number=2),
        ct_slice(study=first.StudyInstanceUID, Modality="SR"))
    (row,) = _find(house, _reader(house))
    assert (row["NumberOfStudyRelatedSeries"], row["NumberOfStudyRelatedInstances"]) == (2, 3)
    assert row["ModalitiesInStudy"] == ["CT", "SR"]


@pytest.mark.parametrize(("filters", "words", "found"), [
    ({"PatientName": "Müller*"}, "", {"A"}), ({"PatientName": "muller^*"}, "", {"A"}), ({"PatientName": "*ller*"}, "", {"A"}),
    ({"PatientName": "M?ller^Jörg"}, "", {"A"}), ({"PatientName": "Muller"}, "", set()), ({"PatientID": "A"}, "", {"A"}),
    ({"PatientID": "*"}, "", {"A", "B", "C"}), ({"PatientID": "%"}, "", set()), ({"PatientID": "_"}, "", set()),
    ({"StudyDate": "20260101-20260131"}, "", {"A"}), ({"StudyDate": "20260201-"}, "", {"B", "C"}), ({"StudyDate": "-20260201"}, "", {"A", "B"}),
    ({"StudyDate": "20260201"}, "", {"B"}), ({"ModalitiesInStudy": "MR"}, "", {"B"}), ({"ModalitiesInStudy": "MR\\CT"}, "", {"A", "B", "C"}),
    ({}, "muller", {"A"}), ({}, "jorg", {"A"}), ({}, "ct muller", {"A"}), ({}, "smith mr", {"B"}), ({}, "nobody", set()),
    ({}, "%", set()), ({}, "' OR 1=1 --", set()),
])
def test_matching(house, filters: dict[str, str], words: str, found: set[str]) -> None:
    for pid, name, day, modality in (("A", "Müller^Jörg", "20260115", "CT"), ("B", "Smith^Jane", "20260201", "MR"),
                                     ("C", "Zhao^Li", "20260301", "CT")):
        put(house, ct_slice(PatientID=pid, PatientName=name, StudyDate=day, Modality=modality, SpecificCharacterSet="ISO_IR 192",
                            StudyDescription="Plain"))
    assert {r["PatientID"] for r in _find(house, _reader(house), filters=filters, words=words)} == found


def test_pages_and_bad_questions(house) -> None:
    put(house, *[ct_slice(StudyDate=f"202601{n:02d}") for n in range(1, 8)])
    who = _reader(house)
    pages = [[r["StudyDate"] for r in _find(house, who, limit=3, offset=o)] for o in (0, 3, 6, 9)]
    assert pages == [["20260107", "20260106", "20260105"], ["20260104", "20260103", "20260102"], ["20260101"], []]
    for bad in ({"filters": {"StudyDate": "yesterday"}}, {"filters": {"Sex": "F"}}, {"limit": 0}, {"limit": 10**9}, {"order": "x; DROP"},
                {"filters": {"StudyInstanceUID": "../x"}}):
        with pytest.raises(Malformed):
            _find(house, who, **bad)


def test_a_technologist_sees_today_alone_and_a_referrer_the_own_patients(house) -> None:
    import sqlalchemy as sa

    from leadglass.access.search_scope import scope
    from leadglass.archive.search import search
    from leadglass.storage import tables as t

    put(house, ct_slice(PatientID="today", ReferringPhysicianName="House^Gregory"), ct_slice(PatientID="old"))
    with house.database.write() as connection:
        connection.execute(sa.update(t.studies).where(t.studies.c.patient_id == "old").values(received_at=1.0))
    for who, found in ((subject("technologist"), {"today"}), (subject("referring", referring="house gregory"), {"today"}),
                       (subject("referring"), set()), (subject("administrator"), set()), (subject("radiologist"), {"today", "old"})):
        with house.database.read() as connection:
            rows = search(connection, SearchQuery(), scope(who, site="main"))
        assert {r["PatientID"] for r in rows} == found


@pytest.mark.parametrize("name", ["CT_small.dcm", "JPEG2000.dcm", "SC_rgb_rle.dcm", "SC_rgb_jpeg_dcmtk.dcm", "ExplVR_BigEnd.dcm",
                                  "examples_rgb_color.dcm", "rtdose.dcm", "image_dfl.dcm"])
@pytest.mark.filterwarnings("ignore")
def test_frames_are_the_files_pixels(house, name: str) -> None:
    path = get_testdata_file(name)
    data = Path(str(path)).read_bytes()
    ds = pydicom.dcmread(path)
    put(house, data)
    who = _reader(house)
    grant = house.operations.study(who, ds.StudyInstanceUID)
    (row,) = house.operations.locate(grant)
    from pydicom.pixels.utils import pixel_array

    frames = int(ds.get("NumberOfFrames", 1) or 1)
    for number in sorted({1, frames}):
        _, raw = house.operations.frame(grant, row, number, want_raw=True)
        wanted = pixel_array(ds, index=number - 1, raw=True)
        got = np.frombuffer(raw, wanted.dtype.newbyteorder("<"))[: wanted.size]
        if ds.SamplesPerPixel == 3 and ds.get("PlanarConfiguration") == 1 and not ds.file_meta.TransferSyntaxUID.is_compressed:
            got = got.reshape(3, -1).T.ravel()
        assert np.array_equal(got, wanted.ravel()), number
    with pytest.raises(Missing):
        house.operations.frame(grant, row, frames + 1, want_raw=False)


def test_scrub_finds_a_flipped_byte_and_a_lost_file(house) -> None:
    put(house, ct_slice(), ct_slice(), ct_slice())
    me = house.entrance.local("t")
    files = sorted(p for p in house.settings.objects_dir.rglob("*") if p.is_file())
    assert house.keeping.scrubbing.run(me)["findings"] == []
    broken = bytearray(files[0].read_bytes())
    broken[5000] ^= 1
    files[0].chmod(0o600)
    files[0].write_bytes(broken)
    files[1].unlink()
    report = house.keeping.scrubbing.run(me)
    assert (report["objects"], report["verified"], len(report["findings"])) == (3, 1, 2)


def test_two_files_of_a_study_changed_places_are_found(house) -> None:
    first = ct_slice()
    put(house, first, ct_slice(study=first.StudyInstanceUID, series=first.SeriesInstanceUID, number=2))
    a, b = sorted(p for p in house.settings.objects_dir.rglob("*") if p.is_file())
    kept = a.read_bytes()
    for path in (a, b):
        path.chmod(0o600)
    a.write_bytes(b.read_bytes())
    b.write_bytes(kept)
    who = _reader(house)
    grant = house.operations.study(who, first.StudyInstanceUID)
    with pytest.raises(Damaged):
        b"".join(house.operations.stream_instance(grant, house.operations.locate(grant)[0]))


def test_below_the_reserve_nothing_is_taken(tmp_path: Path) -> None:
    with small_house(tmp_path, disk_reserve_bytes=2**40) as house:
        with pytest.raises(Full):
            put(house, ct_slice())
        assert _find(house, _reader(house)) == []
