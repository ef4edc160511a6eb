"""Every file of the corpus through a real house: what became of it, and how it compares with what pydicom reads.

Files that share a SOP Instance UID with an earlier one are held for reconciliation in the first house; so that their
pixels are tried too, each is stored again in a later house, where it is the first.
"""

import csv
import io
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import corpus_pixels
import pydicom
import sqlalchemy as sa
from pydicom.datadict import tag_for_keyword
from pydicom.multival import MultiValue

from leadglass.access import ARCHIVE, OutcomeKind, SearchQuery
from leadglass.compose.home import Home, init_home
from leadglass.dicom.elements import Limits
from leadglass.dicom.part10 import parse_head
from leadglass.errors import LeadglassError
from leadglass.settings import load
from leadglass.storage import tables as t
from leadglass.terms import Action, Peer, Plane
from leadglass.web.dicomweb.rendering_parameters import parse_rendering

DATA = Path(os.environ.get("LEADGLASS_CORPUS", Path(__file__).resolve().parents[3] / "shared" / "data"))
_UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_NUMBERS = ("Rows", "Columns", "NumberOfFrames", "BitsAllocated", "SeriesNumber", "InstanceNumber")
_TEXTS = ("Modality", "StudyDate", "PatientID", "AccessionNumber")


@dataclass
class Fate:
    """What became of one file. Lists of differences are empty where all is well."""

    path: str
    kind: str = ""  # stored | duplicate | held | refused
    reason: str = ""
    seconds: float = 0.0
    syntax: str = ""
    frames: int = 0
    is_searched: bool = False
    is_identical: bool = False
    metadata: list[str] = field(default_factory=list)
    pixels: str = "none"  # none | same | near | ours alone | pydicom alone | neither | differ
    pixels_why: str = ""
    rendered: str = "none"  # none | yes | no
    rendered_why: str = ""
    transcoded: dict[str, str] = field(default_factory=dict)  # transfer syntax -> "same", or what went wrong

    @property
    def is_odd(self) -> bool:
        return self.path.startswith("odd/")


@dataclass
class CorpusResult:
    """What the whole run found."""

    fates: list[Fate]
    tasks: int  # reconciliation tasks after the first house
    held: int  # versions in its quarantine
    findings: list[str]  # of scrub and of the ledger's verification, over all houses


def manifest() -> list[dict[str, str]]:
    """Return the rows of MANIFEST.csv, in order."""
    with (DATA / "MANIFEST.csv").open(newline="", encoding="utf-8") as f:
        return list(csv.DictReader(f))


def run(root: Path) -> CorpusResult:
    """Store, search, read back, decode, render every file of the manifest. Homes are made under `root`."""
    fates = [Fate(row["path"]) for row in manifest()]
    waiting = fates
    result = CorpusResult(fates, 0, 0, [])
    number = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom has much to say about odd files
        while waiting:
            with _house(root / f"house-{number}") as (house, reader):
                waiting = _one_house(house, reader, waiting, is_first=number == 0)
                if number == 0:
                    with house.database.read() as connection:
                        result.tasks = connection.execute(sa.select(sa.func.count()).select_from(t.tasks)).scalar_one()
                        result.held = connection.execute(sa.select(sa.func.count()).select_from(t.quarantine)).scalar_one()
                me = house.entrance.local("corpus")
                result.findings += [str(f) for f in house.keeping.scrubbing.run(me)["findings"]]
                result.findings += [str(f) for f in house.ledger_reader.verify(me).findings]
            number += 1
    return result


@contextmanager
def _house(root: Path) -> Iterator[Any]:
    root.mkdir()
    settings = load(root / "home")
    init_home(settings, hostname="localhost", key_source=f"file:{root / 'key'}")
    with Home.open(load(root / "home")).house() as house:
        me = house.entrance.local("corpus")
        house.administration.clients_add(me, "corpus", "service")
        token, _ = house.administration.clients_token(me, "corpus", seconds=3600)
        yield house, house.entrance.bearer(token, Peer(plane=Plane.WEB, address="127.0.0.1"))


def _one_house(house: Any, reader: Any, fates: list[Fate], *, is_first: bool) -> list[Fate]:
    """Take the files; return those that this house holds beside the first of their instance."""
    me = house.entrance.local("corpus")
    left: list[Fate] = []
    for fate in fates:
        started = time.monotonic()
        grant = house.door.enter(me, Action.INSTANCE_STORE, ARCHIVE)
        data = (DATA / fate.path).read_bytes()
        intake = house.operations.intake(grant)
        try:
            for at in range(0, len(data), 1 << 18):
                intake.feed(data[at : at + (1 << 18)])
            staged = intake.finish()
        except LeadglassError as e:
            intake.discard()
            fate.kind, fate.reason = "refused", str(e)
            continue
        (outcome,) = house.operations.commit(grant, [staged])
        if outcome.kind is OutcomeKind.CONFLICT:
            fate.kind = "held"
            left.append(fate)
        elif outcome.kind is OutcomeKind.DUPLICATE:
            fate.kind = "duplicate" if is_first else fate.kind
        else:
            fate.kind = "stored" if is_first else fate.kind
            _examine(house, reader, fate, data)
        fate.seconds = max(fate.seconds, time.monotonic() - started)
    return left


def _examine(house: Any, reader: Any, fate: Fate, data: bytes) -> None:
    head = parse_head(data, is_complete=True, limits=Limits())
    assert head is not None
    operations = house.operations
    found = operations.search(reader, SearchQuery(level="instance", filters={"SOPInstanceUID": head.sop_instance_uid}))
    fate.is_searched = [row["StudyInstanceUID"] for row in found] == [head.study_uid]
    grant = operations.study(reader, head.study_uid)
    (row,) = operations.locate(grant, head.series_uid, head.sop_instance_uid)
    stored = b"".join(operations.stream_instance(grant, row))
    fate.is_identical = stored[row.dataset_offset :] == data[head.dataset_offset :]
    fate.syntax, fate.frames = row.transfer_syntax_uid, row.frames
    dataset = _pydicom(stored)
    model = operations.metadata(grant, row, lambda path: f"bulk/{path}")
    fate.metadata = _differences(model, dataset)
    if row.pixel_offset != -1:
        read: Callable[[int], bytes] = lambda n: operations.frame(grant, row, n, want_raw=True)[1]  # noqa: E731
        fate.pixels, fate.pixels_why = corpus_pixels.compare(read, row, dataset)
        wanted = parse_rendering([]) | {"media_type": "image/png"}
        fate.rendered, fate.rendered_why = corpus_pixels.render(lambda: operations.render(grant, row, [1], wanted), row)
        fate.transcoded = corpus_pixels.transcode(
            lambda uid: b"".join(operations.stream_instance(grant, row, uid)), operations.syntaxes_of(row), row, dataset)


def _pydicom(data: bytes) -> Any:
    """Return what pydicom reads, or None where it gives up."""
    try:
        return pydicom.dcmread(io.BytesIO(data), force=True)
    except Exception:
        return None


def _differences(model: dict[str, Any], dataset: Any) -> list[str]:
    """Return keywords whose value in our JSON model is not what pydicom reads."""
    if dataset is None:
        return []
    wrong: list[str] = []
    for name in (*_UIDS, *_NUMBERS, *_TEXTS, "PatientName"):
        try:
            element = dataset.get(tag_for_keyword(name))
            theirs = element.value if element is not None else None
            if name == "PatientName" and theirs:
                theirs = {k: v for k, v in {"Alphabetic": theirs.alphabetic, "Ideographic": theirs.ideographic,
                                            "Phonetic": theirs.phonetic}.items() if v}
            elif name in _NUMBERS:
                theirs = int(theirs) if theirs not in {None, ""} else None
            elif theirs is not None:
                theirs = str(theirs[0] if isinstance(theirs, MultiValue) else theirs).strip() or None
        except Exception:
            continue  # pydicom cannot say
        ours = model.get(f"{tag_for_keyword(name):08X}", {}).get("Value", [None])[0]
        ours = str(ours) if ours is not None and name in _TEXTS else ours
        if (None if ours == "" else ours) != (None if theirs == {} else theirs):
            wrong.append(name)
    return wrong
