"""Write docs/reference/corpus.md: what became of every file of ../shared/data. Some minutes.

Run: .venv/bin/python tools/make_corpus_page.py
"""

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

import corpus_page  # noqa: E402 - found by the line above
import corpus_run  # noqa: E402


def main() -> None:
    """Run, write, and say what was counted."""
    if not corpus_run.DATA.is_dir():
        sys.exit(f"{corpus_run.DATA} is not here: nothing to run over.")
    with tempfile.TemporaryDirectory(prefix="corpus-") as directory:
        result = corpus_run.run(Path(directory))
    (ROOT / corpus_page.PAGE).write_text(corpus_page.page(result), "utf-8")
    print("\n".join(corpus_page.lines(result)))


if __name__ == "__main__":
    main()
