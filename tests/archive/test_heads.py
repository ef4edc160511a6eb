"""Headers kept at receipt: the object's own bytes, gone when the metadata is made, or when the object goes."""

import copy
import os
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from phantom import part10
from pydicom.data import get_testdata_files
from pydicom.uid import DeflatedExplicitVRLittleEndian
from small_house import ct_slice, put, small_house

from leadglass.archive import series_models
from leadglass.archive.heads import heads_of
from leadglass.archive.retrieve import header, locate, metadata
from leadglass.dicom.json_text import encoded
from leadglass.errors import LeadglassError
from leadglass.storage import tables as t

DATA = Path(os.environ.get("LEADGLASS_CORPUS", Path(__file__).resolve().parents[3] / "shared" / "data"))
STUDY, SERIES = "1.2.826.0.1.3680043.10.999.21", "1.2.826.0.1.3680043.10.999.22"


@pytest.fixture
def house(tmp_path: Path):
    with small_house(tmp_path) as opened:
        yield opened


def slices(count: int, series: str = SERIES, first: int = 1, **more: Any) -> list[Any]:
    return [ct_slice(study=STUDY, series=series, number=n, size=8, **more) for n in range(first, first + count)]


def rows_of(house: Any, study: str = STUDY) -> list[Any]:
    with house.database.read() as connection:
        return locate(connection, study)


def count(house: Any, table: Any = t.instance_heads) -> int:
    with house.database.read() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def forget_all(house: Any) -> None:
    with house.database.write() as connection:
        connection.execute(sa.delete(t.instance_heads))


def try_files(house: Any, paths: list[Path]) -> tuple[int, int]:
    """Store every file; return (headers kept, series compared): texts from headers, from objects, and of the slow way agree."""
    for path in paths:
        data = path.read_bytes()
        if data[128:132] == b"DICM":
            try:
                put(house, data)
            except LeadglassError:
                continue
    with house.database.read() as connection:
        studies = list(connection.execute(sa.select(t.studies.c.study_uid)).scalars())
    kept = compared = 0
    texts: dict[tuple[str, str], bytes] = {}
    for uid in studies:
        for run in series_models.by_series(rows_of(house, uid)):
            with house.database.read() as connection:
                heads = heads_of(connection, uid, run[0].series_uid)
            for row in run:
                if row.digest in heads:
                    buffer, offset = header(house.archive, row)
                    assert heads[row.digest] == buffer[offset:]
                    kept += 1
            made = series_models.make(house.archive, run)
            if made is not None:
                texts[uid, run[0].series_uid] = series_models.text_of(made, "https://h")
    forget_all(house)
    by_series = defaultdict(list)
    for uid in studies:
        for run in series_models.by_series(rows_of(house, uid)):
            by_series[uid, run[0].series_uid] = run
    for key, text in texts.items():
        run = by_series[key]
        slow = [metadata(house.archive, row, lambda path, row=row: "https://h" + series_models.bulk_path(row) + path) for row in run]
        assert text == ",".join(map(encoded, slow)).encode("utf-8", "replace")
        assert series_models.text_of(series_models.make(house.archive, run), "https://h") == text
        compared += 1
    return kept, compared


@pytest.mark.filterwarnings("ignore")
def test_pydicoms_files_give_the_same_from_headers_from_objects_and_the_slow_way(house) -> None:
    kept, compared = try_files(house, sorted(Path(path) for path in get_testdata_files() if path.endswith(".dcm")))
    assert kept > 25
    assert compared > 20


@pytest.mark.corpus
@pytest.mark.timeout(600)
@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not here")
@pytest.mark.filterwarnings("ignore")
def test_the_corpus_gives_the_same_from_headers_from_objects_and_the_slow_way(house) -> None:
    kept, compared = try_files(house, sorted(p for p in DATA.rglob("*") if p.is_file()))
    assert kept > 200
    assert compared > 50


def test_what_is_long_or_deflated_or_not_new_is_not_kept(house) -> None:
    ds = ct_slice(study=STUDY, size=8)
    put(house, ds)
    assert count(house) == 1
    put(house, ds)  # a duplicate
    other = copy.deepcopy(ds)
    other.PatientName = "Another^Name"
    put(house, other)  # held
    put(house, ct_slice(study=STUDY, size=8, TextValue="x" * 17_000))
    deflated = ct_slice(study=STUDY, size=8)
    deflated.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    put(house, part10(deflated))
    assert count(house) == 1


def test_a_header_is_the_same_in_whatever_pieces_it_comes(house) -> None:
    from leadglass.access import ARCHIVE
    from leadglass.terms import Action

    grant = house.door.enter(house.entrance.local("t"), Action.INSTANCE_STORE, ARCHIVE)
    data = part10(ct_slice(study=STUDY, size=64))
    found = set()
    for step in (1, 7, 350, 1000, 4096, len(data)):
        intake = house.operations.intake(grant)
        for at in range(0, len(data), step):
            intake.feed(data[at : at + step])
        staged = intake.finish()
        found.add(staged.header)
        assert staged.header == b"" or data.find(staged.header) > 0
    assert len(found) == 1
    assert found != {b""}


def test_metadata_is_made_when_a_series_has_settled_and_its_headers_go(house) -> None:
    put(house, *slices(9), *slices(2, series="1.2.3"))
    assert house.prepare_models() == 0  # something came a moment ago
    assert count(house) == 11
    assert house.prepare_models(settled_seconds=0) == 1  # of two slices nothing is kept
    assert (count(house), count(house, t.derived_objects)) == (0, 1)
    assert house.prepare_models(settled_seconds=0) == 0
    put(house, *slices(1, first=10))
    assert house.prepare_models(settled_seconds=0) == 1  # anew, in the place of the old one
    assert (count(house), count(house, t.derived_objects)) == (0, 1)
    assert series_models.kept_of(house.archive, [r for r in rows_of(house) if r.series_uid == SERIES]) is not None


def test_a_series_that_never_settles_keeps_no_other_waiting(house) -> None:
    put(house, *slices(9))
    with house.database.write() as connection:
        connection.execute(sa.update(t.instances).where(t.instances.c.instance_number == "1").values(received_at=time.time() - 700))
    assert house.prepare_models() == 1
    assert count(house) == 0


def test_what_cannot_be_read_is_tried_once(house) -> None:
    put(house, *slices(9))
    with house.database.write() as connection:
        connection.execute(sa.delete(t.instance_heads).where(
            t.instance_heads.c.instance == sa.select(sa.func.min(t.instances.c.id)).scalar_subquery()))
    house.archive.blobs.delete(rows_of(house)[0].object_name)
    assert house.prepare_models(settled_seconds=0) == 0
    assert (count(house), count(house, t.derived_objects)) == (0, 0)


def test_headers_go_with_what_they_belong_to(house) -> None:
    me = house.entrance.local("t")
    put(house, *slices(3), *slices(3, series="1.2.3"))
    house.keeping.delete(me, STUDY, series_uid="1.2.3", reason="a test of deletion")
    assert count(house) == 3
    old = slices(1, first=7)[0]
    put(house, old)
    newer = copy.deepcopy(old)
    newer.PatientName = "Right^Name"
    put(house, newer)
    house.reconcile_chores.sort(house.entrance.system("chores"), seconds=60)
    (task,) = house.reconciliation.tasks(me)
    house.reconciliation.accept(me, task["id"], "the name was wrong")
    assert count(house) == 3
    lost = rows_of(house)[0]
    house.archive.blobs.delete(lost.object_name)
    put(house, *[ds for ds in slices(3) if ds.SOPInstanceUID == lost.sop_instance_uid])
    house.keeping.delete(me, STUDY, reason="a test of deletion")
    assert count(house) == 0


def test_a_mended_object_is_read_from_its_new_place(house) -> None:
    ds = ct_slice(study=STUDY, series=SERIES, size=8)
    put(house, ds)
    house.archive.blobs.delete(rows_of(house)[0].object_name)
    (outcome,) = put(house, ds)
    assert outcome.is_mended
    assert count(house) == 0


def test_headers_lie_encrypted(house) -> None:
    put(house, *slices(3, PatientName="CANARYNAME^X"))
    house.database.checkpoint()
    assert not [p for p in house.settings.home.rglob("*") if p.is_file() and b"CANARYNAME" in p.read_bytes()]
