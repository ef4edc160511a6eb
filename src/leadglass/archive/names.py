"""What the index matches by: names folded, group by group, and by sound; lists. Ref: PS3.5 6.2.1, PS3.4 C.2.2.2.1.

Matching of names does not heed case, accents or the kind of delimiter; that is what PS3.4 allows for the VR PN.
"""

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

__all__ = ["fold", "groups_of", "listed", "sound", "words_of"]

_VOICING: Final = {"\u3099", "\u309a"}  # Japanese marks that make another syllable, not an accent
_PAIRS: Final = (  # what is written differently and heard alike, longest first
    ("sch", "s"), ("tsch", "s"), ("sh", "s"), ("ch", "k"), ("ck", "k"), ("ph", "f"), ("th", "t"), ("dt", "t"), ("gh", "g"),
    ("qu", "k"), ("tz", "s"), ("ts", "s"), ("cz", "s"), ("sz", "s"), ("kh", "k"), ("kn", "n"), ("wr", "r"),
)
_ALIKE: Final = str.maketrans({"c": "k", "q": "k", "x": "k", "z": "s", "d": "t", "b": "p", "v": "f", "w": "f", "g": "k", "j": "i",
                               "y": "i"})
_VOWELS: Final = re.compile("[aeiouh]")
_TWICE: Final = re.compile(r"(.)\1+")


def fold(text: str) -> str:
    """Return a name for matching: case folded, accents dropped, carets, group marks and spaces as one space."""
    if text.isascii():
        kept = text.lower()
    else:
        text = unicodedata.normalize("NFKD", text)
        kept = "".join(c for c in text if not unicodedata.combining(c) or c in _VOICING)
        kept = unicodedata.normalize("NFC", kept).casefold()
    return " ".join(kept.replace("^", " ").replace("=", " ").split())


def groups_of(text: str) -> list[str]:
    """Return the folded component groups of a name that has more than one; none for a name of one group."""
    groups = [fold(group) for group in text.split("=")]
    return [group for group in groups if group] if len(groups) > 1 else []


def listed(values: Iterable[str]) -> str:
    """Return values as a column holds them that is asked for one of them: each once, sorted, a backslash on both ends."""
    found = sorted({*values} - {""})
    return "\\" + "\\".join(found) + "\\" if found else ""


def words_of(text: str) -> list[str]:
    """Return the folded words of a name, each once, at most eight."""
    return list(dict.fromkeys(fold(text).split()))[:8]


def sound(word: str) -> str:
    """Return what a folded word sounds like, roughly and for European languages; "" for words in other scripts.

    The first letter's class, then the consonants after it, each run once: meier, mayer and maier are one, as are
    schmidt and schmitt, and philip and filip.
    """
    if not word.isascii() or not word.isalpha():
        return ""
    for written, heard in _PAIRS:
        word = word.replace(written, heard)
    word = word.translate(_ALIKE)
    first, rest = ("a" if word[0] in "aeiou" else word[0]), word[1:].replace("i", "")
    return _TWICE.sub(r"\1", first + _VOWELS.sub("", rest))
