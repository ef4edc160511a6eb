"""No source file is above 400 lines: split it by noun."""

from pathlib import Path

SRC = Path(__file__).parents[2] / "src"
MOST_LINES = 400


def test_no_source_file_is_too_long():
    sizes = {str(p.relative_to(SRC)): len(p.read_text("utf-8").splitlines()) for p in SRC.rglob("*.py")}
    assert sizes
    assert not {name: lines for name, lines in sizes.items() if lines > MOST_LINES}
