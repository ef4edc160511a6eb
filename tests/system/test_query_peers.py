"""Queries and foreign programs: the same files and questions in a real Orthanc; DCMTK's findscu; names in every character set."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import dcmtk_peer
import pydicom
import pytest
from dimse_world import world
from finding import PATIENT_FIND, STUDY_FIND, asker, find, keys
from orthanc_peer import Orthanc
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from qido import qido
from query_questions import CODES, QUESTIONS, TWO_FACES, UNIQUE, explain_row, explain_value
from small_house import put

from leadglass.errors import LeadglassError
from leadglass.terms import Peer, Plane

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "conformance" / "query.md"
PATHS = {"STUDY": "/studies", "SERIES": "/series", "IMAGE": "/instances"}

pytestmark = [pytest.mark.peer, pytest.mark.corpus, pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore")]  # pydicom warns


def _files() -> list[Path]:
    found = [p for folder in ("series", "modalities", "charsets") for p in sorted((DATA / folder).rglob("*"))
             if p.is_file() and p.name != "DICOMDIR" and p.suffix not in {".txt", ".md", ".json", ".csv"}]
    epi = [p for p in found if "mr-epi-150" in p.parts]
    return [p for p in found if p not in epi[12:]]


class Both:
    """The two archives with the same instances, and what is true of the files."""

    def __init__(self, house: Any, reader: Any, orthanc: Orthanc, port: int) -> None:
        self.house, self.reader, self.orthanc, self.port = house, reader, orthanc, port
        self.stored: list[tuple[Path, Dataset]] = []
        self.facts: dict[str, set[str]] = {}

    def load(self) -> None:
        for path in _files():
            data = path.read_bytes()
            try:
                (outcome,) = put(self.house, data)
            except LeadglassError:
                continue
            if str(outcome.kind) == "stored":  # what we hold back, as an instance known with other content, is in neither
                assert self.orthanc.upload(data)["Status"] == "Success", path
                self.stored.append((path, pydicom.dcmread(path, stop_before_pixels=True, force=True)))
        patients: dict[str, set[str]] = {}
        studies: dict[str, set[str]] = {}
        for _, ds in self.stored:
            patients.setdefault(str(ds.StudyInstanceUID), set()).add(str(ds.get("PatientID", "")))
            studies.setdefault(str(ds.get("PatientID", "")), set()).add(str(ds.StudyInstanceUID))
        japanese = [ds for _, ds in self.stored if any("2022 IR 87" in t or "2022 IR 13" in t for t in _sets(ds))]
        shared = {uid for uid, ids in patients.items() if len(ids) > 1}
        self.facts = {
            "shared": shared, "shared patients": {p for uid in shared for p in patients[uid]},
            "patients of many": {p for p, uids in studies.items() if len(uids) > 1},
            "japanese": {str(ds.StudyInstanceUID) for ds in japanese}, "japanese patients": {str(ds.PatientID) for ds in japanese},
        }


def _sets(ds: Dataset) -> list[str]:
    said = ds.get("SpecificCharacterSet", "") or ""
    return [said] if isinstance(said, str) else [str(s) for s in said]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory):
    assert _files(), "../shared/data holds no file"
    root = tmp_path_factory.mktemp("both")
    with world(root) as running, Orthanc(root, DicomAlwaysAllowFind=True) as orthanc:
        running.house.administration.devices_add(running.me, "WS", host="127.0.0.1", role="workstation")
        running.house.administration.clients_add(running.me, "reader", "service")
        token, _ = running.house.administration.clients_token(running.me, "reader", seconds=3600)
        reader = running.house.entrance.bearer(token, Peer(plane=Plane.WEB, address="127.0.0.1"))
        pair = Both(running.house, reader, orthanc, running.plain)
        pair.load()
        with asker(running.plain) as ours, asker(orthanc.dicom_port, called="ORTHANC") as theirs:
            yield pair, ours, theirs


def _asked(name: str, pair: Both) -> tuple[str, str, dict[str, str]]:
    """Return (model, level, keys), with a study of several images and its series filled in."""
    model, level, wanted, _ = QUESTIONS[name]
    (ds,) = [ds for path, ds in pair.stored if path.parts[-2] == "mr-prostate-adc-20" and ds.InstanceNumber == 3] or [pair.stored[0][1]]
    filled = {"StudyInstanceUID": str(ds.StudyInstanceUID), "SeriesInstanceUID": str(ds.SeriesInstanceUID)}
    return model, level, {k: filled[k] if v == "$multi" else v for k, v in wanted.items()}


def _rows(association: Any, model: str, level: str, wanted: dict[str, str]) -> tuple[list[dict[str, str]], int]:
    question = keys(level, "ISO_IR 192", **{k: v.split("\\") if "\\" in v else v for k, v in wanted.items()})
    answers, statuses, _ = find(association, question, model=model)
    return [{k: str(a.get(k, "")) for k in {*wanted, UNIQUE[level]}} for a in answers], statuses[-1]


@pytest.mark.parametrize("name", sorted(QUESTIONS))
def test_differences_from_orthanc_are_the_explained_ones(both, name: str) -> None:
    pair, ours, theirs = both
    model, level, wanted = _asked(name, pair)
    one, status = _rows(ours, model, level, wanted)
    other, their_status = _rows(theirs, model, level, wanted)
    found: set[str] = set()
    question = (model, level, wanted, "")
    unexplained: list[Any] = []
    by_us, by_them = ({row[UNIQUE[level]]: row for row in rows} for rows in (one, other))
    for rows, others, is_ours in ((by_us, by_them, True), (by_them, by_us, False)):
        for uid in rows.keys() - others.keys():
            code = explain_row(question, rows[uid], is_ours=is_ours, facts=pair.facts)
            found.add(code)
            unexplained += [] if code else [(rows[uid], is_ours)]
    for uid in by_us.keys() & by_them.keys():
        for key in by_us[uid]:
            values = (by_us[uid][key], by_them[uid][key])
            if values[0] != values[1]:
                code = explain_value(question, uid, key, values, pair.facts)
                found.add(code)
                unexplained += [] if code else [(uid, key, values)]
    if len(one) - len(by_us) != len(other) - len(by_them):  # one unique key in several rows
        found.add("patient-rows" if level == "PATIENT" else "two-patients")
    assert unexplained == []
    assert found == set(QUESTIONS[name][3].split())
    assert status == (0xA900 if found & {"unique-keys", "study-root"} else 0)
    assert their_status == 0


@pytest.mark.parametrize("name", sorted(n for n, q in QUESTIONS.items() if q[0] == STUDY_FIND and q[1] != "PATIENT"))
def test_qido_of_both_says_what_their_c_find_says(both, name: str) -> None:
    """Ours always; Orthanc's as far as it can be asked: it does not undo percent-encoding in parameters (percent-encoding)."""
    pair, ours, theirs = both
    model, level, wanted = _asked(name, pair)
    tag = f"{tag_for_keyword(UNIQUE[level]):08X}"
    asked = {k: v for k, v in wanted.items() if v}
    by_web = {m[tag]["Value"][0] for m in qido(pair.house, pair.reader, PATHS[level], limit=1000, **asked).models}
    if "unique-keys" not in QUESTIONS[name][3]:
        assert by_web == {row[UNIQUE[level]] for row in _rows(ours, model, level, wanted)[0]}
    text = "&".join(f"{k}={v}" for k, v in asked.items())
    if quote(text, safe="=&*?-") == text and "?" not in text:
        answer = pair.orthanc.call("GET", f"/dicom-web{PATHS[level]}?limit=1000&{text}", headers={"Accept": "application/dicom+json"})
        by_orthanc = {m[tag]["Value"][0] for m in answer.json()}
        by_find = {row[UNIQUE[level]] for row in _rows(theirs, model, level, wanted)[0]}
        assert (by_orthanc == by_find) is (name not in TWO_FACES)


def test_each_difference_is_explained_in_the_conformance_statement() -> None:
    section = REFERENCE.read_text("utf-8").split("## Compared with Orthanc\n", 1)[1].split("\n## ")[0]
    said = [line.split("|")[1].strip().strip("`") for line in section.splitlines() if line.startswith("| `")]
    assert sorted(said) == sorted(CODES)


def _charset_files() -> list[Path]:
    return sorted(p for p in (DATA / "charsets").rglob("*.dcm") if not p.stem.startswith("chrSQ"))  # those have no identity: refused


@pytest.mark.parametrize("path", _charset_files(), ids=lambda p: p.stem)
@pytest.mark.parametrize("encoding", ["native", "utf-8"])
def test_names_are_found_by_both_encodings_and_read_by_both_clients(both, tmp_path: Path, path: Path, encoding: str) -> None:
    pair, ours, _ = both
    ds = pydicom.dcmread(path, stop_before_pixels=True, force=True)  # some are one instance in two encodings: found all the same
    name = str(ds.PatientName)
    question = keys("PATIENT", PatientID="")
    said = _sets(ds)
    if encoding == "utf-8":
        question.SpecificCharacterSet = "ISO_IR 192"
    elif said != [""]:
        question.SpecificCharacterSet = said
    question.PatientName = ds.PatientName if encoding == "native" else name
    answers, statuses, _ = find(ours, question, model=PATIENT_FIND)
    assert statuses[-1] == 0
    assert name in [str(a.PatientName) for a in answers]
    file = tmp_path / "question.dcm"
    question.save_as(file, implicit_vr=False, little_endian=True)
    out = tmp_path / "out"
    out.mkdir()
    done = dcmtk_peer.run("findscu", "-v", "-P", "-X", "-od", out, "-aet", "WS", "-aec", "LEADGLASS", "127.0.0.1", pair.port, file)
    assert done.code == 0, done.output
    read = [str(pydicom.dcmread(p, force=True).PatientName) for p in sorted(out.glob("rsp*.dcm"))]
    assert name in read


def test_findscu_at_each_level(both, tmp_path: Path) -> None:
    pair, _, _ = both
    _, _, wanted = _asked("images", pair)
    for number, (level, question) in enumerate((
        ("STUDY", {"StudyInstanceUID": wanted["StudyInstanceUID"], "PatientName": ""}),
        ("SERIES", {"StudyInstanceUID": wanted["StudyInstanceUID"], "Modality": ""}),
        ("IMAGE", {"StudyInstanceUID": wanted["StudyInstanceUID"], "SeriesInstanceUID": wanted["SeriesInstanceUID"], "InstanceNumber": ""}),
    )):
        done, found = dcmtk_peer.find(pair.port, {"QueryRetrieveLevel": level, **question}, calling="WS", into=tmp_path / str(number))
        assert done.code == 0, done.output
        assert len(found) == len(_rows(both[1], STUDY_FIND, level, question)[0]) > 0
    done, found = dcmtk_peer.find(pair.port, {"QueryRetrieveLevel": "STUDY", "PatientName": ""}, calling="WS", into=tmp_path / "cancel",
                                  more=("--cancel", "5"))
    assert 5 <= len(found) < 74
