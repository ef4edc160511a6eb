"""Over every file of ../shared/data: stored and given back as it came, or refused with a reason; bounded in any case."""

import hashlib
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest

from leadglass.access import ARCHIVE, OutcomeKind
from leadglass.compose.home import Home, init_home
from leadglass.errors import LeadglassError
from leadglass.settings import load
from leadglass.terms import Action

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
CORE = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "Rows", "Columns",
        "NumberOfFrames", "StudyDate", "PatientID", "PatientName")
SECONDS = 10.0
GROWTH = 1 << 30

pytestmark = [pytest.mark.corpus, pytest.mark.timeout(1200), pytest.mark.filterwarnings("ignore")]  # pydicom warns


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    root = tmp_path_factory.mktemp("corpus")
    settings = load(root / "home")
    init_home(settings, hostname="localhost", key_source=f"file:{root / 'key'}")
    with Home.open(load(root / "home")).house() as opened:
        yield opened


def _files() -> list[Path]:
    return [p for p in sorted(DATA.rglob("*")) if p.is_file() and p.parent.name != "tools" and "advisories" not in p.parts
            and p.suffix not in {".md", ".csv", ".py", ".txt", ".json"} and p.name != "DICOMDIR"]


def _take(house: Any, grant: Any, data: bytes) -> Any:
    intake = house.operations.intake(grant)
    try:
        for at in range(0, len(data), 1 << 18):
            intake.feed(data[at : at + (1 << 18)])
        staged = intake.finish()
    except BaseException:
        intake.discard()
        raise
    return staged, house.operations.commit(grant, [staged])[0]


def test_the_whole_set(house: Any) -> None:
    assert _files(), "../shared/data holds no file"
    me = house.entrance.local("corpus")
    grant = house.door.enter(me, Action.INSTANCE_STORE, ARCHIVE)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counts: dict[str, int] = {}
    unexpected: list[str] = []
    stored: list[tuple[Path, Any]] = []
    for path in _files():
        data = path.read_bytes()
        started = time.monotonic()
        try:
            staged, outcome = _take(house, grant, data)
            kind = str(outcome.kind)
            if outcome.kind is OutcomeKind.STORED:
                stored.append((path, staged))
        except LeadglassError as e:
            kind = "refused"
            assert str(e)
            if "odd" not in path.parts and pydicom_reads(path):
                unexpected.append(f"{path.relative_to(DATA)}: {e}")
        counts[kind] = counts.get(kind, 0) + 1
        assert time.monotonic() - started < SECONDS, path
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < GROWTH
    print(counts)
    assert unexpected == []
    assert counts["stored"] >= 400
    _compare(house, stored)
    report = house.keeping.scrubbing.run(me)
    assert report["findings"] == []
    assert report["verified"] == len(stored)
    assert house.ledger_reader.verify(me).findings == []


def pydicom_reads(path: Path) -> bool:
    """Return whether pydicom finds an instance with all four UIDs in the file."""
    try:
        ds = pydicom.dcmread(path, stop_before_pixels=True)
        return all(ds.get(name) for name in CORE[:4])
    except Exception:
        return False


def _compare(house: Any, stored: list[tuple[Path, Any]]) -> None:
    """What was stored is the data set as it came, and its metadata says what pydicom says."""
    import sqlalchemy as sa

    from leadglass.archive.retrieve import locate, metadata, open_instance
    from leadglass.storage import tables as t

    for path, staged in stored:
        with house.database.read() as connection:
            digest = connection.execute(sa.select(t.instances.c.digest).where(
                t.instances.c.sop_instance_uid == staged.head.sop_instance_uid)).scalar_one()
            (row,) = locate(connection, staged.head.study_uid, staged.head.series_uid, staged.head.sop_instance_uid)
        with open_instance(house.archive, row) as reader:
            data = b"".join(reader.stream())
        assert hashlib.sha256(data[row.dataset_offset :]).digest() == digest, path
        assert path.read_bytes().endswith(data[row.dataset_offset :]), path
        if "odd" in path.parts:
            continue
        model = metadata(house.archive, row, lambda p: f"bulk/{p}")
        ds = pydicom.dcmread(path, force=True, stop_before_pixels=True)
        for name in CORE[:4]:
            tag = f"{pydicom.datadict.tag_for_keyword(name):08X}"
            assert model[tag]["Value"] == [str(ds[name].value).strip()], (path, name)
        for name in ("Rows", "Columns", "NumberOfFrames"):
            if ds.get(name) is not None:
                assert _value(model, name) == int(ds[name].value), (path, name)
        for name in ("Modality", "StudyDate", "PatientID"):
            if ds.get(name):
                assert _value(model, name) == str(ds[name].value), (path, name)
        if ds.get("PatientName"):
            groups = {"Alphabetic": ds.PatientName.alphabetic, "Ideographic": ds.PatientName.ideographic,
                      "Phonetic": ds.PatientName.phonetic}
            assert _value(model, "PatientName") == {k: v for k, v in groups.items() if v}, path


def _value(model: dict[str, Any], name: str) -> Any:
    """Return the first value of an element of the JSON model."""
    return model.get(f"{pydicom.datadict.tag_for_keyword(name):08X}", {}).get("Value", [None])[0]
