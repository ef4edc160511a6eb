"""Rooms and files are named by a noun of the field, not by a bucket."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUCKET = re.compile(r"(^|_)(utils?|helpers?|common|misc|managers?|base)(_|$)")


def test_no_bucket_names():
    paths = [p for top in ("src", "tests", "tools") for p in (ROOT / top).rglob("*.py")]
    assert paths
    names = {str(p.relative_to(ROOT)) for p in paths if any(BUCKET.search(part.removesuffix(".py")) for part in p.relative_to(ROOT).parts)}
    assert not names
