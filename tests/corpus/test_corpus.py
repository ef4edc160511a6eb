"""Over every file of ../shared/data: stored and given back as it came, or refused with a reason; bounded in any case."""

import hashlib
import resource
from collections import Counter
from pathlib import Path

import corpus_page
import pytest
from closing_words import say_at_the_end
from corpus_run import DATA, CorpusResult, manifest, run

SECONDS = 60.0  # for one file with all that is done to it, on a busy machine
GROWTH = 1 << 30
ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.corpus, pytest.mark.timeout(1800), pytest.mark.filterwarnings("ignore"),  # pydicom warns
              pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not here")]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> CorpusResult:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = run(tmp_path_factory.mktemp("corpus"))
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < GROWTH
    say_at_the_end(pytestconfig, "corpus", corpus_page.lines(found))
    return found


def test_the_manifest_names_every_file_as_it_is() -> None:
    rows = manifest()
    assert len(rows) == 581
    assert len({row["path"] for row in rows}) == 581
    for row in rows:
        data = (DATA / row["path"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (int(row["bytes"]), row["sha256"]), row["path"]


def test_every_file_is_stored_held_or_refused_with_a_reason(result: CorpusResult) -> None:
    kinds = Counter(f.kind for f in result.fates)
    assert set(kinds) == {"stored", "duplicate", "held", "refused"}
    assert sum(kinds.values()) == 581
    assert kinds["stored"] + kinds["held"] + kinds["duplicate"] >= 480
    assert [f.path for f in result.fates if f.kind == "refused" and not f.reason] == []
    assert max(f.seconds for f in result.fates) < SECONDS


def test_nothing_is_refused_that_is_whole(result: CorpusResult) -> None:
    assert corpus_page.unexpected(result) == []


def test_what_shares_a_uid_waits_for_a_person_and_nothing_is_lost(result: CorpusResult) -> None:
    held = sum(f.kind == "held" for f in result.fates)
    assert held > 0
    assert result.tasks > 0
    assert 0 < result.held <= held  # the same version twice is held once


def test_what_is_stored_is_found_and_comes_back_byte_for_byte(result: CorpusResult) -> None:
    taken = [f for f in result.fates if f.kind == "stored" or f.syntax]  # a held one may be another held one again
    assert len(taken) >= 470
    assert [f.path for f in taken if not f.is_searched] == []
    assert [f.path for f in taken if not f.is_identical] == []
    assert result.findings == []  # of scrub, and of the ledger's verification


def test_metadata_says_what_pydicom_says(result: CorpusResult) -> None:
    assert {f.path: f.metadata for f in result.fates if f.metadata and not f.is_odd} == {}


def test_decoded_frames_are_pydicoms(result: CorpusResult) -> None:
    assert {f.path: f.pixels_why for f in result.fates if f.pixels in {"differ", "pydicom alone"}} == {}


def test_a_change_of_transfer_syntax_changes_no_pixel(result: CorpusResult) -> None:
    wrong = {"other pixels", "another syntax than was asked for"}
    assert {f.path: f.transcoded for f in result.fates if wrong & set(f.transcoded.values())} == {}
    assert sum(how == "same" for f in result.fates for how in f.transcoded.values()) > 1000


def test_the_page_says_what_was_found(result: CorpusResult) -> None:
    is_same = (ROOT / corpus_page.PAGE).read_text("utf-8") == corpus_page.page(result)
    assert is_same, f"{corpus_page.PAGE} is stale: run tools/make_corpus_page.py"
