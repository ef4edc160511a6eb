"""What a run over the corpus found, as lines for the end of a test run and as docs/reference/corpus.md."""

from collections import Counter, defaultdict
from collections.abc import Iterable

from corpus_run import CorpusResult, Fate, manifest

PAGE = "docs/reference/corpus.md"


def counts(result: CorpusResult) -> list[tuple[str, int]]:
    """Return what was counted, in order."""
    fates = result.fates
    kinds = Counter(f.kind for f in fates)
    taken = [f for f in fates if f.syntax]
    images = [f for f in taken if f.pixels != "none"]
    pixels = Counter(f.pixels for f in images)
    changed = Counter("same" if how == "same" else "no" for f in taken for how in f.transcoded.values())
    return [
        ("files in the manifest", len(fates)),
        ("stored", kinds["stored"]), ("the same instance again, byte for byte", kinds["duplicate"]),
        ("held for reconciliation: the UID is there with other content", kinds["held"]),
        ("reconciliation tasks made of these and of contradictory identities", result.tasks),
        ("refused, with a reason", kinds["refused"]),
        ("searched and found (held ones in a house of their own)", sum(f.is_searched for f in taken)),
        ("retrieved byte-identical", sum(f.is_identical for f in taken)),
        ("metadata as pydicom reads it", sum(not f.metadata for f in taken)),
        ("with pixels", len(images)),
        ("frames decoded as pydicom decodes them", pixels["same"]),
        ("frames decoded, a lossy codec's rounding apart", pixels["near"]),
        ("frames decoded where pydicom cannot", pixels["ours alone"]),
        ("frames that neither decodes", pixels["neither"]),
        ("frames that pydicom alone decodes, or decodes otherwise", pixels["pydicom alone"] + pixels["differ"]),
        ("rendered", sum(f.rendered == "yes" for f in images)), ("not rendered, with a reason", sum(f.rendered == "no" for f in images)),
        ("changes of transfer syntax with the same pixels", changed["same"]),
        ("changes of transfer syntax refused, with a reason", changed["no"]),
    ]


def lines(result: CorpusResult) -> list[str]:
    """Return the counts and the reasons, for a terminal."""
    found = [f"{number:7,}  {name}" for name, number in counts(result)]
    for title, reasons in (("refused", Counter(f.reason for f in result.fates if f.kind == "refused")),
                           ("not rendered", Counter(f.rendered_why for f in result.fates if f.rendered == "no"))):
        found += ["", f"{title}, because:"] + [f"{number:7,}  {why}" for why, number in sorted(reasons.items(), key=lambda r: (-r[1], r[0]))]
    return found


_PROSE = """# The corpus: what is stored, rendered, refused, and why

Every file of the public test set (`../shared/data`), through a real archive. Made by `.venv/bin/python tools/make_corpus_page.py`;
`make test-corpus` runs the same and fails when this page says something else. Files that share a SOP Instance UID with an earlier
one are held in the first archive, and tried again in later ones, so that their pixels are decoded too.

{counts}
## Refused

Nothing of a refused file is kept. STOW-RS answers 0xC000 for the part, C-STORE 0xC000 with the reason as its comment, and
`leadglass import` lists the reason. A SOP class that the standard does not name is taken by `leadglass import` alone: STOW-RS answers 0x0122,
and C-STORE finds no presentation context.

{refused}
## Stored, and not rendered

Stored, found and given back as they came. A decoder's fault is told by its kind; no value of a file stands in a message.

{not_rendered}
## Stored, and read otherwise than by pydicom

{metadata}
{pixels}
## Stored, and not given in every transfer syntax

{transcoded}
## Held for reconciliation

{held}
"""


def page(result: CorpusResult) -> str:
    """Return the text of docs/reference/corpus.md."""
    fates = result.fates
    other = {"near", "ours alone", "pydicom alone", "differ"}
    return _PROSE.format(
        counts=_table(("What", "Files"), [(name, str(number)) for name, number in counts(result)]),
        refused=_grouped((f, f.reason) for f in fates if f.kind == "refused"),
        not_rendered=_grouped((f, f.rendered_why) for f in fates if f.rendered == "no"),
        metadata=_grouped((f, ", ".join(f.metadata)) for f in fates if f.metadata),
        pixels=_grouped((f, f"{f.pixels}: {f.pixels_why}") for f in fates if f.pixels in other),
        transcoded=_grouped((f, why) for f in fates for why in sorted({w for w in f.transcoded.values() if w != "same"})),
        held=_grouped((f, "shares its SOP Instance UID with a file above it in the manifest") for f in fates if f.kind == "held"),
    ).rstrip("\n") + "\n"


def _table(head: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    if not rows:
        return "None.\n"
    return "\n".join(f"| {a.replace('|', '/')} | {b} |" for a, b in (head, ("---", "---"), *rows)).replace("| --- | --- |", "|---|---|") + "\n"


def _grouped(pairs: Iterable[tuple[Fate, str]]) -> str:
    """Return a table: reason, then the files that have it."""
    groups: dict[str, list[str]] = defaultdict(list)
    for fate, why in pairs:
        groups[why].append(fate.path)
    return _table(("Why", "Files"), [(why, "<br>".join(paths)) for why, paths in sorted(groups.items(), key=lambda g: (-len(g[1]), g[0]))])


def unexpected(result: CorpusResult) -> list[str]:
    """Return refusals of files that are no oddities and that pydicom reads whole, with all their UIDs."""
    known = {row["path"]: row for row in manifest()}
    return [f"{f.path}: {f.reason}" for f in result.fates
            if f.kind == "refused" and not f.path.startswith(("odd/", "worklist/")) and known[f.path]["pydicom"] == "ok"
            and not f.reason.startswith("the data set has no ") and "(PS3.4 GG)" not in f.reason and "DICOMDIR" not in f.reason]
