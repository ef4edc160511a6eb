"""C-FIND on the Patient Root and the Study Root. Ref: PS3.4 C.4.1, C.6.1, C.6.2; PS3.7 9.1.2.

Steps: 1 the identifier is decoded, within bounds; 2 its level and the unique keys above it are checked; 3 matching
keys become one question of the archive's search, whose scope shows only what the asker may see; 4 answers go out a
page at a time, each page's record durable before it; between two answers a cancel or a revocation is heard.
No value of a key stands in a log or a comment.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from leadglass.access import ARCHIVE, UNREAD, SearchQuery, is_given, is_in_header, is_matched
from leadglass.dicom.command import Command
from leadglass.dicom.dictionary import keyword_of
from leadglass.dicom.identifier import Asked, Question, decode_identifier, encode_identifier
from leadglass.dicom.query_model import element, row_model
from leadglass.dicom.sop_classes import PATIENT_ROOT
from leadglass.dimse.exchange import Answer, Context, Exchange, Identifier
from leadglass.dimse.status import CANCELLED, NOT_THIS_INSTANCE, OUT_OF_RESOURCES, PENDING, PENDING_WARNING, SUCCESS
from leadglass.errors import Malformed
from leadglass.terms import Action

__all__ = ["FIND_EXTENDED", "FindReceiver"]

# Relational queries, combined date and time, fuzzy names: done when agreed. Ref: PS3.4 C.5.1.1.
FIND_EXTENDED: Final = bytes((1, 1, 1))
_RELATIONAL, _COMBINED, _FUZZY = 0, 1, 2
_PAGE: Final = 200
_LEVEL: Final = 0x00080052
_LEVELS: Final = {"PATIENT": "patient", "STUDY": "study", "SERIES": "series", "IMAGE": "instance"}
_UNIQUE: Final = {"PATIENT": "PatientID", "STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}
_NEVER_MATCHED: Final = frozenset({  # they say something about the question or the answer
    "InstanceAvailability", "QueryRetrieveLevel", "QueryRetrieveView", "RetrieveAETitle", "StorageMediaFileSetID",
    "StorageMediaFileSetUID", "TimezoneOffsetFromUTC",
})


@dataclass(frozen=True)
class _Plan:
    """A question as the search takes it, and what each answer must hold."""

    query: SearchQuery
    keys: list[Asked]
    paths: set[str]
    level: str
    has_unsupported: bool


class FindReceiver(Identifier):
    """One C-FIND."""

    def __init__(self, exchange: Exchange, _command: Command, context: Context) -> None:
        super().__init__()
        self._exchange = exchange
        self._context = context

    def finish(self) -> Iterator[Answer]:
        """Give one pending answer a match, then how it ended. Raises: Malformed, Refused, Unproven, Busy."""
        question = decode_identifier(self.data, self._context.transfer_syntax)  # step 1
        agreed = self._exchange.extended.get(self._context.abstract_syntax, b"").ljust(3, b"\x00")
        fault = _fault(question, self._context.abstract_syntax, is_relational=agreed[_RELATIONAL] == 1)  # step 2
        if fault:
            yield Answer(NOT_THIS_INSTANCE, fault)
            return
        plan = _plan(question, agreed)  # step 3
        yield from self._answers(plan, question.character_set)

    def _answers(self, plan: _Plan, character_set: str) -> Iterator[Answer]:
        """Step 4."""
        house, subject = self._exchange.house, self._exchange.subject
        grant = house.door.enter(subject, Action.STUDY_SEARCH, ARCHIVE)
        left, query = house.settings.max_find_answers, plan.query
        while True:
            rows = house.operations.search(subject, query)
            for row in rows:
                if self.is_cancelled:
                    yield Answer(CANCELLED, "cancelled")
                    return
                if left == 0:
                    yield Answer(OUT_OF_RESOURCES, f"more than {house.settings.max_find_answers} answers: ask for less")
                    return
                house.door.check(grant)
                left -= 1
                model = _model(plan, row, house.settings.ae_title)
                is_full = not plan.has_unsupported and UNREAD not in row
                yield Answer(
                    PENDING if is_full else PENDING_WARNING,
                    identifier=encode_identifier(model, self._context.transfer_syntax, character_set))
            if len(rows) < query.limit:
                break
            # Headers are read for the first page alone: a question costs at most so many.
            kept = frozenset(path for path in query.returns if not is_in_header(path))
            has_less = plan.query.level == "instance" and kept != query.returns
            plan = replace(plan, has_unsupported=plan.has_unsupported or has_less)
            query = replace(query, after=rows[-1]["RowNumber"], returns=kept)
        yield Answer(CANCELLED, "cancelled") if self.is_cancelled else Answer(SUCCESS)


def _fault(question: Question, sop_class: str, *, is_relational: bool) -> str:
    """Return what is wrong with the level and the unique keys above it, or "". Ref: PS3.4 C.4.1.2.1, C.4.1.3.1.1."""
    level = question.value(_LEVEL)
    levels = list(_LEVELS) if sop_class.startswith(PATIENT_ROOT) else list(_LEVELS)[1:]
    if level not in levels:
        return "no Query/Retrieve Level of this information model"
    if is_relational:
        return ""
    texts = {keyword_of(key.tag): key.text for key in question.keys}
    for above in levels[: levels.index(level)]:
        text = texts.get(_UNIQUE[above], "")
        if not text or any(mark in text for mark in "*?\\"):
            return f"{_UNIQUE[above]} must be given, as a single value"
    return ""


def _plan(question: Question, agreed: bytes) -> _Plan:
    """Return the question for the search. Raises: Malformed, for values that break their VR."""
    filters: dict[str, str] = {}
    paths: set[str] = set()
    level = question.value(_LEVEL)
    has_unsupported = False
    for path, key in _flat(question.keys, ""):
        paths.add(path)
        if path in _NEVER_MATCHED:
            continue
        if key.text and is_matched(path):
            filters[path] = key.text
        elif key.text:
            has_unsupported = True
        has_unsupported = has_unsupported or not is_given(path, _LEVELS[level])
    if len(filters) > 100:
        raise Malformed("more than 100 matching keys.")
    query = SearchQuery(
        level=_LEVELS[level], filters=filters, returns=frozenset(paths), limit=_PAGE, order="stored",
        fuzzy=agreed[_FUZZY] == 1, combined=agreed[_COMBINED] == 1,
    )
    return _Plan(query, question.keys, paths, level, has_unsupported)


def _flat(keys: list[Asked], prefix: str) -> Iterator[tuple[str, Asked]]:
    """Give each key with its path; a sequence without keys in it stands for all of it."""
    for key in keys:
        path = prefix + (keyword_of(key.tag) or f"{key.tag:08X}")
        if key.inner:
            yield from _flat(key.inner, path + ".")
        else:
            yield path, key


def _model(plan: _Plan, row: dict[str, Any], ae_title: str) -> dict[str, Any]:
    """Return one answer: every key that was asked for, with its value or empty, and what each answer must hold."""
    names = list(_UNIQUE.values())[: list(_LEVELS).index(plan.level) + 1]
    values = {**row, "QueryRetrieveLevel": plan.level, "RetrieveAETitle": ae_title, "InstanceAvailability": "ONLINE"}
    model = {f"{key.tag:08X}": element(key.vr, "") for key in plan.keys}
    return model | row_model(values, plan.paths | {*names, "QueryRetrieveLevel", "RetrieveAETitle", "InstanceAvailability"})
