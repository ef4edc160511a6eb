"""Every fuzzer of this folder, for FUZZ_SECONDS each (10 when not set), in a process of its own: nothing is found.

The same promises hold for inputs that hypothesis makes of the fuzzers' seeds: changed, cut, and split into pieces.
"""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from closing_words import say_at_the_end
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

HERE = Path(__file__).resolve().parent
SECONDS = int(os.environ.get("FUZZ_SECONDS", "10"))
PARSERS = sorted(p.stem.removeprefix("fuzz_") for p in HERE.glob("fuzz_*.py"))
FINDINGS = HERE.parents[1] / "fuzz-findings"
_found: list[str] = []


def test_the_parsers_that_meet_strangers_have_a_fuzzer() -> None:
    assert {"dataset", "frames", "metadata", "multipart", "pdu"} <= set(PARSERS)


@pytest.mark.fuzz
@pytest.mark.timeout(SECONDS + 120)
@pytest.mark.parametrize("parser", PARSERS)
def test_fuzzing_finds_nothing(parser: str, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    done = subprocess.run(
        [sys.executable, str(HERE / "run.py"), parser, "--seconds", str(SECONDS), "--corpus", str(tmp_path / "corpus"),
         "--findings", str(FINDINGS)],
        capture_output=True, text=True, errors="replace", timeout=SECONDS + 100, check=False, cwd=HERE.parents[1],
    )
    runs = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    assert done.returncode == 0, f"a finding: see {FINDINGS.name}/ and tests/hostile/README.md\n" + done.stderr[-4000:]
    assert runs is not None
    assert int(runs[1]) > 50 * SECONDS, "a fuzzer this slow finds nothing"
    edges = [int(n) for n in re.findall(r" cov: (\d+)", done.stderr)]
    _found.append(f"{parser:12} {int(runs[1]):10,} executions in {SECONDS} s, {edges[-1]:5} edges covered, 0 findings")
    say_at_the_end(pytestconfig, "fuzzing", _found)


def _mutants(seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    """Return inputs near the seeds: bytes changed, cut out, doubled; the end cut off."""

    def change(seed: bytes, edits: list[tuple[int, int, bytes]], keep: int) -> bytes:
        data = bytearray(seed)
        for at, length, new in edits:
            place = at % (len(data) + 1)
            data[place : place + length] = new
        return bytes(data[: len(data) - keep % 8 * len(data) // 16])

    edit = st.tuples(st.integers(0, 4000), st.integers(0, 12), st.binary(max_size=12))
    return st.builds(change, st.sampled_from(seeds), st.lists(edit, max_size=6), st.integers(0, 7))


@pytest.mark.parametrize("parser", PARSERS)
def test_changed_cut_and_split_inputs_keep_every_promise(parser: str) -> None:
    target = importlib.import_module(f"fuzz_{parser}")
    seeds = list(target.seeds())
    assert seeds
    for seed in seeds:
        target.one_input(seed)

    @settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
    @given(_mutants(seeds))
    def promises_hold(data: bytes) -> None:
        target.one_input(data)

    promises_hold()
