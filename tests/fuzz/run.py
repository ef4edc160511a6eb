"""Run one fuzzer, guided by coverage: python tests/fuzz/run.py PARSER --seconds 60 [--corpus DIR] [--findings DIR].

PARSER names a file fuzz_PARSER.py beside this one; it has `one_input(data)`, which raises when the parser breaks a
promise, and `seeds()`. Exit code 0 = nothing was found. A finding is a file in --findings: give it a place in
tests/hostile (see the README there), and it is a regression test for ever.
"""

import argparse
import hashlib
import importlib
import sys
import tempfile
from pathlib import Path

import atheris

HERE = Path(__file__).resolve().parent
UNIT_SECONDS = 30  # instrumented, on a busy machine; what takes this long here takes seconds in a server
MEMORY_MB = 1024
MAX_INPUT = 65536


def main() -> None:
    """Fuzz until the time is up; libFuzzer ends the process itself."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("parser")
    options.add_argument("--seconds", type=int, default=60)
    options.add_argument("--corpus", type=Path)
    options.add_argument("--findings", type=Path, default=Path("fuzz-findings"))
    chosen = options.parse_args()
    sys.path[:0] = [str(HERE), str(HERE.parent / "support")]
    with atheris.instrument_imports(include=["leadglass.dicom", "leadglass.dimse", "leadglass.web", "leadglass.terms", "pydicom.charset"]):
        target = importlib.import_module(f"fuzz_{chosen.parser}")
    corpus = chosen.corpus or Path(tempfile.mkdtemp(prefix="fuzz-"))
    corpus.mkdir(parents=True, exist_ok=True)
    chosen.findings.mkdir(parents=True, exist_ok=True)
    for seed in target.seeds():
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    atheris.Setup([
        sys.argv[0], f"-max_total_time={chosen.seconds}", f"-artifact_prefix={chosen.findings}/{chosen.parser}-", f"-timeout={UNIT_SECONDS}",
        f"-rss_limit_mb={MEMORY_MB}", f"-max_len={MAX_INPUT}", "-print_final_stats=1", "-detect_leaks=0", str(corpus),
    ], target.one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
